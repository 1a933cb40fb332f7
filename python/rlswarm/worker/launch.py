"""``python -m rlswarm.worker.launch N``: a worker of N processes, started by accelerate.

One process for each GPU, or, without GPUs, N that share the CPU's threads. ``RLSWARM_LAUNCH`` may
hold more options of `accelerate launch`, as for a second machine.
"""

import os
import shlex
import sys

from rlswarm.parent import die_with_parent


def command(count: int, more: str) -> list[str]:
    """The command line that becomes the launcher."""
    options = ["--multi_gpu", "--num_processes", str(count), "--num_machines", "1"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launcher, *options, *shlex.split(more), "-m", "rlswarm.worker"]


def main() -> None:
    die_with_parent()
    count = int(sys.argv[1])
    import torch

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
        # torchrun would give each process one thread.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.execv(sys.executable, command(count, os.environ.get("RLSWARM_LAUNCH", "")))


if __name__ == "__main__":
    main()
