"""One sweep over the vocabulary for a block of rows: attention with K = V = the head's weight."""

import torch
from torch import Tensor

from rlswarm.kernels.backend import Fold
from rlswarm.kernels.head import Head
from rlswarm.kernels.products import accumulate, statistics_dtype
from rlswarm.kernels.statistics import Statistics
from rlswarm.kernels.tiling import Block, part, tiles


class Sweep:
    """Holds the two tiles of R × T numbers that sweeps of blocks of up to R rows share."""

    def __init__(self, head: Head, rows: int, columns: int, fold: Fold, *, slope: bool) -> None:
        self._head = head
        self._columns = columns
        self._fold = fold
        self._slope = slope
        shape = (rows, min(columns, head.vocabulary))
        like = head.weight.new_empty(0, dtype=statistics_dtype(head.weight.dtype))
        self._logits = like.new_empty(shape)
        self._mass = like.new_empty(shape)
        self._bend = like.new_empty(shape) if slope and head.softcap is not None else None

    def __call__(self, block: Block) -> tuple[Statistics, Tensor | None]:
        """The block's statistics and, if asked for, ∂ log p / ∂ hidden [R, H].

        That derivative is (d_y W[y] − Σ_v p_v d_v W[v]) · scale / temperature, with d = 1 but for
        a soft-cap. Σ p W is gathered like the softmax's denominator: no second pass over logits.
        """
        head = self._head
        statistics = Statistics.empty(block.temperature)
        rows, width = block.hidden.shape
        expected = block.temperature.new_zeros(rows, width) if self._slope else None
        bend_of_target = torch.ones_like(block.temperature)
        for columns in tiles(head.vocabulary, self._columns):
            size = columns.stop - columns.start
            logits, mass = part(self._logits, rows, size), part(self._mass, rows, size)
            bend = None if self._bend is None else part(self._bend, rows, size)
            local = block.targets - columns.start
            head.logits(block.hidden, block.temperature, columns, logits, bend)
            shrink = self._fold(statistics, logits, mass, local, head.bias is not None)
            if expected is None:
                continue
            if bend is not None:
                mass.mul_(bend)
                inside = (local >= 0) & (local < size)
                here = bend.gather(1, local.clamp(0, size - 1)[:, None]).squeeze(1)
                bend_of_target = torch.where(inside, here, bend_of_target)
            accumulate(mass, head.weight[columns], expected.mul_(shrink[:, None]))
        if expected is None:
            return statistics, None
        slope = head.weight[block.targets].to(expected.dtype).mul_(bend_of_target[:, None])
        slope.sub_(expected.div_(statistics.total[:, None]))
        return statistics, slope.mul_((head.scale / block.temperature)[:, None])
