"""A policy loss through a head that is trained, in one pass: three matrix products, not four.

Where a token's gradient depends on its own log-prob alone, it is known as soon as the row's sweep
is done. So a chunk of rows keeps its exponentials [C, V], which become the logits' gradient in
place.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rlswarm.kernels.backend import Fold
from rlswarm.kernels.head import Head
from rlswarm.kernels.products import accumulate
from rlswarm.kernels.statistics import Statistics, add_at_targets
from rlswarm.kernels.tiling import Block, part, tiles
from rlswarm.kernels.trained_head import HeadGradients

MOST = 1 << 25
"""Exponentials kept at once: 128 MiB in fp32."""


def chunk_rows(vocabulary: int) -> int:
    """Rows of one chunk: 64 to 512. Fewer would read and write the weight's gradient too often."""
    return max(64, min(512, MOST // vocabulary))


class OnePass:
    """Sweeps chunks of rows and adds their gradients to `gradients`."""

    def __init__(
        self, head: Head, columns: int, gradients: HeadGradients, fold: Fold, *, whole: bool
    ) -> None:
        """With `whole`, rows without gradient are kept: products then always have one shape.

        Raises ValueError for a head with a soft-cap, whose slope would have to be kept too.
        """
        if head.softcap is not None:
            raise ValueError("one pass is for heads without a soft-cap")
        self._head = head
        self._tiles = list(tiles(head.vocabulary, columns))
        self._gradients = gradients
        self._fold = fold
        self._whole = whole
        self._kept: list[Tensor] = []
        self._logits: Tensor | None = None

    def __call__(self, block: Block, gradient_of: Callable[[Statistics], Tensor]) -> Statistics:
        """One chunk. `gradient_of` gives dL/dlog p [R'] of its rows from their statistics."""
        statistics, peaks = self._sweep(block)
        gradient = gradient_of(statistics)
        gradient = F.pad(gradient, (0, len(block.targets) - len(gradient)))
        rows = torch.arange(len(gradient), device=gradient.device)
        if not self._whole:
            rows = rows[gradient != 0]
        if len(rows):
            self._descend(block, statistics, peaks, gradient, rows)
        return statistics

    def _sweep(self, block: Block) -> tuple[Statistics, list[Tensor]]:
        statistics = Statistics.empty(block.temperature)
        rows, like = len(block.targets), block.temperature
        if self._logits is None:
            sizes = [columns.stop - columns.start for columns in self._tiles]
            self._logits = like.new_empty(rows, max(sizes))
            self._kept = [like.new_empty(rows, size) for size in sizes]
        peaks = []
        for columns, kept in zip(self._tiles, self._kept, strict=True):
            size = columns.stop - columns.start
            z = part(self._logits, rows, size)
            self._head.logits(block.hidden, block.temperature, columns, z)
            local = block.targets - columns.start
            self._fold(statistics, z, part(kept, rows, size), local, self._head.bias is not None)
            peaks.append(statistics.peak)
        return statistics, peaks

    def _descend(
        self,
        block: Block,
        statistics: Statistics,
        peaks: list[Tensor],
        gradient: Tensor,
        rows: Tensor,
    ) -> None:
        count = len(block.targets)
        factor = gradient[rows] * self._head.scale / block.temperature[rows]
        share = factor / statistics.total[rows]
        hidden, targets = block.hidden[rows], block.targets[rows]
        into = self._gradients
        slope = None if into.hidden is None else factor.new_zeros(hidden.shape)
        for columns, kept, peak in zip(self._tiles, self._kept, peaks, strict=True):
            mass = part(kept, count, columns.stop - columns.start)
            if len(rows) < count:
                mass = mass[rows]
            # Exponentials are relative to the peak as it was at their tile.
            shrink = torch.where(
                peak[rows] == -torch.inf, 0.0, (peak[rows] - statistics.peak[rows]).exp()
            )
            mass.mul_((-share * shrink)[:, None])
            add_at_targets(mass, targets - columns.start, factor)
            if slope is not None:
                accumulate(mass, self._head.weight[columns], slope)
            if into.weight is not None:
                accumulate(mass.t(), hidden, into.weight[columns])
            if into.bias is not None:
                into.bias[columns] += mass.sum(0)
        if into.hidden is not None and slope is not None:
            real = rows < len(block.rows)
            into.hidden[block.rows[rows[real]]] = slope[real]
