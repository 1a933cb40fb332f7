"""Token mathematics on arrays: log-probs through the head, draws, advantages.

Plain torch, the reference for any faster version. Nothing here knows of nodes or models.
"""

from rlswarm.kernels.advantages import group_advantages
from rlswarm.kernels.inverse_cdf import draw, interval
from rlswarm.kernels.linear_logprob import LogProbs, linear_logprob

__all__ = ["LogProbs", "draw", "group_advantages", "interval", "linear_logprob"]
