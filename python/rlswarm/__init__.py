"""rlswarm: language models that teach each other by reinforcement learning, peer to peer."""

__version__ = "0.1.0"
