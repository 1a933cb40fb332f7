"""Gradients of a head that is trained itself: logits are made a second time, tile by tile."""

from typing import NamedTuple

import torch
from torch import Tensor

from rlswarm.kernels.head import Head
from rlswarm.kernels.products import accumulate
from rlswarm.kernels.statistics import add_at_targets
from rlswarm.kernels.tiling import Tiling, blocks, part, tiles


class HeadGradients(NamedTuple):
    """In the dtype of the statistics; None where not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, head: Head, hidden: Tensor, like: Tensor, wanted: tuple[bool, bool, bool]
    ) -> "HeadGradients":
        """Zeros of the wanted ones, in the dtype of `like`."""
        shapes = (hidden.shape, head.weight.shape, head.weight.shape[:1])
        pairs = zip(shapes, wanted, strict=True)
        return cls(*(like.new_zeros(shape) if want else None for shape, want in pairs))


def in_dtype_of(
    gradients: HeadGradients, hidden: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Each gradient in the dtype of what it is the gradient of."""
    return (
        None if gradients.hidden is None else gradients.hidden.to(hidden.dtype),
        None if gradients.weight is None else gradients.weight.to(weight.dtype),
        None if gradients.bias is None or bias is None else gradients.bias.to(bias.dtype),
    )


def recomputed_gradients(
    head: Head,
    hidden: Tensor,
    targets: Tensor,
    temperature: Tensor,
    lse: Tensor,
    gradient: Tensor,
    tiling: Tiling,
    wanted: tuple[bool, bool, bool],
) -> HeadGradients:
    """Gradients of hidden [N, H], weight and bias from `gradient` [N] of the log-probs.

    dL/dx = g · (1[y] − p) · dz/dx for the raw logits x, with p = exp(z − lse); `lse` [N] of the
    forward pass. Rows with g = 0 are dropped. Tiles of tokens outside, rows inside, so that the
    weight's gradient of one tile stays in the cache.
    """
    active = (gradient != 0).nonzero().squeeze(1)
    found = HeadGradients.zeros(head, hidden, gradient, wanted)
    dealt = list(blocks(hidden, targets, temperature, active, tiling))
    most = max((len(block.targets) for block in dealt), default=0)
    shape = (most, min(tiling.columns, head.vocabulary))
    logits = gradient.new_empty(shape)
    bends = gradient.new_empty(shape) if head.softcap is not None else None
    into = [gradient.new_zeros(block.hidden.shape) for block in dealt] if wanted[0] else []
    for columns in tiles(head.vocabulary, tiling.columns):
        for number, block in enumerate(dealt):
            count, size = len(block.targets), columns.stop - columns.start
            z = part(logits, count, size)
            bend = None if bends is None else part(bends, count, size)
            head.logits(block.hidden, block.temperature, columns, z, bend)
            factor = torch.zeros_like(block.temperature)
            factor[: len(block.rows)] = gradient[block.rows]
            factor *= head.scale / block.temperature
            floor = torch.zeros_like(factor)
            floor[: len(block.rows)] = lse[block.rows]
            z.sub_(floor[:, None]).exp_().mul_(-factor[:, None])
            add_at_targets(z, block.targets - columns.start, factor)
            if bend is not None:
                z.mul_(bend)
            if into:
                accumulate(z, head.weight[columns], into[number])
            if found.weight is not None:
                accumulate(z.t(), block.hidden, found.weight[columns])
            if found.bias is not None:
                found.bias[columns] += z.sum(0)
    if found.hidden is not None:
        for block, values in zip(dealt, into, strict=True):
            found.hidden[block.rows] = values[: len(block.rows)]
    return found
