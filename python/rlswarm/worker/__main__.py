"""``python -m rlswarm.worker``: speaks the worker's protocol on stdin and stdout."""

from rlswarm.worker.process import main

main()
