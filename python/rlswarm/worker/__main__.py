"""``python -m rlswarm.worker``: speaks the worker's protocol on stdin and stdout."""

import os

# Several nodes may share the cores: an OpenMP thread that spins while it waits for one that another
# worker has pushed off its core makes both slower. Read when torch loads the library.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps a compiled kernel for each shape it has met, and every pass has another number of
# tokens: at its own limit of 1,024 a worker grew by 90 MB a round. 64 serve the layers of one pass.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

from rlswarm.worker.process import main

main()
