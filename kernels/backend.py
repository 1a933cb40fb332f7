"""Which implementation runs: one rule for all kernels."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from rlswarm.kernels.head import Head
from rlswarm.kernels.statistics import Statistics, fold
from rlswarm.kernels.tiling import Tiling

Backend = Literal["auto", "torch", "triton"]

Fold = Callable[[Statistics, Tensor, Tensor, Tensor, bool], Tensor]

WIDEST_SCORED = 1024
"""Hidden sizes up to which rows without gradient are scored by one kernel: for wider heads the
products weigh so much that cuBLAS with a fold per tile should win (an estimate)."""


def uses_triton(hidden: Tensor, backend: Backend) -> bool:
    """On a GPU where Triton is installed, unless told otherwise; never for float64."""
    if hidden.dtype == torch.float64 or backend == "torch":
        return False
    if backend == "triton":
        return True
    if not hidden.is_cuda:
        return False
    try:
        import triton  # noqa: F401
    except ImportError:  # there are no wheels for it but for Linux
        return False
    return True


def fold_of(hidden: Tensor, backend: Backend) -> Fold:
    """What takes in a tile of logits."""
    if not uses_triton(hidden, backend):
        return fold
    from rlswarm.kernels.triton_fold import triton_fold

    return triton_fold


def scores_at_once(head: Head, hidden: Tensor, backend: Backend) -> bool:
    """Whether rows without gradient go through `triton_score`."""
    return uses_triton(hidden, backend) and head.weight.shape[1] <= WIDEST_SCORED


def tiling_of(hidden: Tensor, invariant: bool) -> Tiling:
    """fp32 tiles of 16 MiB on a GPU (its second-level cache should hold them: an estimate), of
    2 MiB on a CPU (measured: larger ones gain nothing)."""
    if hidden.is_cuda:
        return Tiling(2048, 2048, padded=invariant)
    return Tiling(padded=invariant)
