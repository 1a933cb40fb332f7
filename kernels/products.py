"""Matrix products whose results are fp32, whatever the operands."""

import torch
from torch import Tensor


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which log-probs are computed: float64 for float64 operands, else fp32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a · b, for logits: never rounded to less than fp32.

    `a` [M, K], `b` [K, N] of one dtype; `out` [M, N] in `statistics_dtype`. Logits rounded to bf16
    would cost up to 0.05 nat in a log-prob. On CPUs torch has no bf16 product with an fp32 result,
    so the operands are widened there, which makes it as slow as fp32.
    """
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    elif a.is_cuda:
        torch.mm(a, b, out_dtype=out.dtype, out=out)
    else:
        torch.mm(a.to(out.dtype), b.to(out.dtype), out=out)


def accumulate(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out += a · b, for gradients. `a` [M, K], `b` [K, N]; `out` [M, N] in `statistics_dtype`.

    Both are rounded to the narrower of their dtypes. Sums are fp32; on CPUs one product of bf16
    matrices is rounded to bf16 before it is added, which is less than what the gradient loses when
    it is handed back in bf16.
    """
    narrow = a.dtype if a.dtype.itemsize < b.dtype.itemsize else b.dtype
    if narrow == out.dtype:
        torch.addmm(out, a, b, out=out)
    elif out.is_cuda:
        torch.addmm(out, a.to(narrow), b.to(narrow), out_dtype=out.dtype, out=out)
    elif narrow == torch.bfloat16:
        out.add_(torch.mm(a.to(narrow), b.to(narrow)))
    else:
        torch.addmm(out, a.to(out.dtype), b.to(out.dtype), out=out)
