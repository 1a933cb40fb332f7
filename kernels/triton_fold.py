"""`statistics.fold` as one Triton kernel: a tile of logits is read twice and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlswarm.kernels.statistics import Statistics

BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def fold_kernel(  # type: ignore[no-untyped-def]
    z_ptr,
    mass_ptr,
    targets_ptr,
    peak_ptr,
    total_ptr,
    moment_ptr,
    below_ptr,
    chosen_ptr,
    shrink_ptr,
    tokens,
    BLOCK: tl.constexpr,  # noqa: N803
):
    """One program a row. Columns beyond `tokens` are −inf before the maximum, and so weigh 0."""
    row = tl.program_id(0)
    base = row.to(tl.int64) * tokens
    target = tl.load(targets_ptr + row)
    before = tl.load(peak_ptr + row)
    offsets = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, tokens, BLOCK):
        columns = start + offsets
        z = tl.load(z_ptr + base + columns, mask=columns < tokens, other=-float("inf"))
        top = tl.maximum(top, z)
    peak = tl.maximum(before, tl.max(top, 0))
    finite = tl.where(peak == -float("inf"), 0.0, peak)
    total = tl.zeros([BLOCK], tl.float32)
    moment = tl.zeros([BLOCK], tl.float32)
    below = tl.zeros([BLOCK], tl.float32)
    chosen = tl.zeros([BLOCK], tl.float32)
    for start in range(0, tokens, BLOCK):
        columns = start + offsets
        inside = columns < tokens
        z = tl.load(z_ptr + base + columns, mask=inside, other=-float("inf"))
        mass = tl.exp(z - finite)
        total += mass
        moment += tl.where(mass > 0, mass * (z - finite), 0.0)
        below += tl.where(columns < target, mass, 0.0)
        chosen += tl.where(columns == target, z, 0.0)
        tl.store(mass_ptr + base + columns, mass, mask=inside)
    seen = tl.load(total_ptr + row)
    shift = tl.where(seen > 0, before - finite, 0.0)
    shrink = tl.exp(shift)
    tl.store(
        moment_ptr + row,
        (tl.load(moment_ptr + row) + seen * shift) * shrink + tl.sum(moment, 0),
    )
    tl.store(total_ptr + row, seen * shrink + tl.sum(total, 0))
    tl.store(below_ptr + row, tl.load(below_ptr + row) * shrink + tl.sum(below, 0))
    tl.store(chosen_ptr + row, tl.sum(chosen, 0), mask=(target >= 0) & (target < tokens))
    tl.store(peak_ptr + row, peak)
    tl.store(shrink_ptr + row, shrink)


def triton_fold(
    statistics: Statistics, z: Tensor, mass: Tensor, targets: Tensor, barred: bool
) -> Tensor:
    """As `fold`, for contiguous fp32 tiles. `z` is left as it was."""
    rows, tokens = z.shape
    shrink = torch.empty_like(statistics.peak)
    if rows:
        fold_kernel[(rows,)](
            z,
            mass,
            targets,
            statistics.peak,
            statistics.total,
            statistics.moment,
            statistics.below,
            statistics.chosen,
            shrink,
            tokens,
            BLOCK=BLOCK,
            num_warps=4,
        )
    return shrink
