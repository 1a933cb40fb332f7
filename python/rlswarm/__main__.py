"""``python -m rlswarm`` is the same as ``rlswarm``."""

from rlswarm.cli.main import main

main()
