"""Matrix products with fp32 accumulators and fp32 results, whatever the operands.

A product of two bf16 matrices is rounded to bf16 by default: up to 0.05 nat in a log-prob. On a GPU
the accumulators are asked for; on a CPU the operands are handed over as fp32, and oneDNN is allowed
to multiply them as bf16 (which loses nothing of what was bf16 to begin with).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which log-probs are computed: float64 for float64 operands, else fp32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a · b. `a` [M, K], `b` [K, N] of one dtype; `out` [M, N] in `statistics_dtype`."""
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    elif a.is_cuda:
        torch.mm(a, b, out_dtype=out.dtype, out=out)
    else:
        with _products_of(a.dtype):
            torch.mm(a.to(out.dtype), b.to(out.dtype), out=out)


def accumulate(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out += a · b. `a` [M, K] in `statistics_dtype` (rounded to b's dtype), `b` [K, N]."""
    if b.dtype == out.dtype:
        torch.addmm(out, a, b, out=out)
    elif b.is_cuda:
        torch.addmm(out, a.to(b.dtype), b, out_dtype=out.dtype, out=out)
    else:
        with _products_of(b.dtype):
            torch.addmm(out, a, b.to(out.dtype), out=out)


@contextmanager
def _products_of(dtype: torch.dtype) -> Iterator[None]:
    """Let fp32 products on the CPU take operands that are `dtype` in truth as bf16."""
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    setting.fp32_precision = "bf16" if dtype == torch.bfloat16 else before
    try:
        yield
    finally:
        setting.fp32_precision = before
