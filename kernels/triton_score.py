"""Statistics of rows with no gradient, in one Triton kernel: logits never leave the chip.

Each program takes a block of rows and a part of the vocabulary, and keeps the online softmax of its
tiles in registers; the parts are merged in a fixed order. The tiles are a fixed choice, so a row's
bits do not depend on the other rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlswarm.kernels.head import Head
from rlswarm.kernels.statistics import Statistics

ROWS, COLUMNS, DEPTH = 128, 128, 64
"""Tile of a product. On sm_90a: wgmma, no spills, 96 KiB of shared memory."""

WARPS, STAGES = 8, 3

PARTS = 16
"""Of the vocabulary: 2,048 rows make 256 programs, enough for an H100's 132 multiprocessors."""


@triton.jit  # type: ignore[untyped-decorator]
def score_kernel(  # type: ignore[no-untyped-def]
    hidden_ptr,
    weight_ptr,
    bias_ptr,
    targets_ptr,
    temperature_ptr,
    out_ptr,
    count,
    vocabulary,
    width,
    row_stride,
    part_tokens,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,  # noqa: N803
    HAS_CAP: tl.constexpr,  # noqa: N803
    UPCAST: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
):
    """`out` [parts, 5, count]: peak, total, moment, below, chosen (0 where the target isn't)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = rows < count
    begin = tl.program_id(1) * part_tokens
    end = tl.minimum(begin + part_tokens, vocabulary)
    targets = tl.load(targets_ptr + rows, mask=inside, other=-1)
    factor = 1.0 / tl.load(temperature_ptr + rows, mask=inside, other=1.0)
    depth = tl.arange(0, DEPTH)
    peak = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    moment = tl.zeros([ROWS], tl.float32)
    below = tl.zeros([ROWS], tl.float32)
    chosen = tl.zeros([ROWS], tl.float32)
    for start in range(begin, end, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        real = columns < end
        z = tl.zeros([ROWS, COLUMNS], tl.float32)
        for k in range(0, width, DEPTH):
            deep = k + depth
            a = tl.load(
                hidden_ptr + rows.to(tl.int64)[:, None] * row_stride + deep[None, :],
                mask=inside[:, None] & (deep < width)[None, :],
                other=0.0,
            )
            b = tl.load(
                weight_ptr + columns.to(tl.int64)[None, :] * width + deep[:, None],
                mask=real[None, :] & (deep < width)[:, None],
                other=0.0,
            )
            if UPCAST:
                a, b = a.to(tl.float32), b.to(tl.float32)
            z = tl.dot(a, b, z, input_precision="ieee")
        if HAS_BIAS:
            z += tl.load(bias_ptr + columns, mask=real, other=0.0).to(tl.float32)[None, :]
        z *= scale
        if HAS_CAP:
            small = tl.exp(-2.0 * tl.abs(z) / softcap)
            tanh = (1.0 - small) / (1.0 + small)
            z = tl.where(z < 0, -tanh, tanh) * softcap
        z *= factor[:, None]
        z = tl.where(real[None, :], z, -float("inf"))
        higher = tl.maximum(peak, tl.max(z, 1))
        finite = tl.where(higher == -float("inf"), 0.0, higher)
        shift = tl.where(total > 0, peak - finite, 0.0)
        shrink = tl.exp(shift)
        mass = tl.exp(z - finite[:, None])
        gap = tl.where(mass > 0, z - finite[:, None], 0.0)
        moment = (moment + total * shift) * shrink + tl.sum(mass * gap, 1)
        total = total * shrink + tl.sum(mass, 1)
        lower = columns[None, :] < targets[:, None]
        below = below * shrink + tl.sum(tl.where(lower, mass, 0.0), 1)
        chosen += tl.sum(tl.where(columns[None, :] == targets[:, None], z, 0.0), 1)
        peak = higher
    at = out_ptr + tl.program_id(1).to(tl.int64) * 5 * count + rows
    tl.store(at, peak, mask=inside)
    tl.store(at + count, total, mask=inside)
    tl.store(at + 2 * count, moment, mask=inside)
    tl.store(at + 3 * count, below, mask=inside)
    tl.store(at + 4 * count, chosen, mask=inside)


def triton_score(
    head: Head, hidden: Tensor, targets: Tensor, temperature: Tensor, *, upcast: bool = False
) -> Statistics:
    """Statistics of rows `hidden` [R, H] (fp32, fp16 or bf16; rows contiguous) over all tokens.

    `targets` int64 [R], `temperature` fp32 [R]. With `upcast`, products are of fp32 operands:
    Triton's interpreter computes nonsense from bf16 ones.
    """
    count, width = hidden.shape
    tokens = -(-head.vocabulary // PARTS)
    tokens = -(-tokens // COLUMNS) * COLUMNS
    parts = -(-head.vocabulary // tokens)
    out = temperature.new_empty(parts, 5, count)
    weight = head.weight.contiguous()
    score_kernel[(-(-count // ROWS), parts)](
        hidden,
        weight,
        weight if head.bias is None else head.bias,
        targets,
        temperature.contiguous(),
        out,
        count,
        head.vocabulary,
        width,
        hidden.stride(0),
        tokens,
        head.scale,
        1.0 if head.softcap is None else head.softcap,
        HAS_BIAS=head.bias is not None,
        HAS_CAP=head.softcap is not None,
        UPCAST=upcast,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        DEPTH=DEPTH,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return _merged(out, targets, tokens)


def _merged(out: Tensor, targets: Tensor, tokens: int) -> Statistics:
    """Parts [P, 5, R] to statistics of the whole, in the order of the parts."""
    peaks, totals, moments, belows, chosen = out.unbind(1)
    peak = peaks.amax(0)
    finite = torch.where(peak == -torch.inf, 0.0, peak)
    shifts = torch.where(totals > 0, peaks - finite, 0.0)
    shrinks = shifts.exp()
    return Statistics(
        peak,
        (totals * shrinks).sum(0),
        ((moments + totals * shifts) * shrinks).sum(0),
        (belows * shrinks).sum(0),
        chosen.gather(0, (targets // tokens)[None]).squeeze(0),
    )
