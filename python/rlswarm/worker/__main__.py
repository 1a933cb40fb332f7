"""``python -m rlswarm.worker``: speaks the worker's protocol on stdin and stdout."""

import os

# Several nodes may share the cores: an OpenMP thread that spins while it waits for one that another
# worker has pushed off its core makes both slower. Read when torch loads the library.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rlswarm.worker.process import main

main()
