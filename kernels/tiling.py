"""How large the tiles are, and how rows are dealt out to blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""Target of rows that are left out, as in torch's cross-entropy."""


@dataclass(frozen=True)
class Tiling:
    """Blocks of rows times tiles of tokens; one such tile of logits is all that ever exists."""

    rows: int = 512
    columns: int = 1024
    padded: bool = False
    """Fill up the last block, so that every product has the same shape whatever N is."""


@dataclass(frozen=True)
class Block:
    """Some rows of the input, gathered."""

    rows: Tensor
    """int64 [R'], where they come from; R' < R if the block is padded."""
    hidden: Tensor
    """[R, H]."""
    targets: Tensor
    """int64 [R]."""
    temperature: Tensor
    """[R], in the dtype of the statistics."""


def kept_rows(targets: Tensor) -> Tensor:
    """int64, ascending: the rows whose target is a token."""
    return (targets != IGNORED).nonzero().squeeze(1)


def blocks(
    hidden: Tensor, targets: Tensor, temperature: Tensor, kept: Tensor, tiling: Tiling
) -> Iterator[Block]:
    """The `kept` rows of `hidden` [N, H], `targets` [N], `temperature` [N], block by block."""
    for rows in torch.split(kept, tiling.rows):
        block = Block(rows, hidden[rows], targets[rows].long(), temperature[rows])
        lacking = tiling.rows - len(rows) if tiling.padded else 0
        yield _filled(block, lacking) if lacking else block


def tiles(vocabulary: int, columns: int) -> Iterator[slice]:
    """Slices of at most `columns` consecutive token ids."""
    for start in range(0, vocabulary, columns):
        yield slice(start, min(start + columns, vocabulary))


def part(buffer: Tensor, rows: int, columns: int) -> Tensor:
    """A contiguous [rows, columns] at the beginning of a buffer."""
    return buffer.view(-1)[: rows * columns].view(rows, columns)


def _filled(block: Block, lacking: int) -> Block:
    return Block(
        block.rows,
        torch.cat([block.hidden, block.hidden.new_zeros(lacking, block.hidden.shape[1])]),
        torch.cat([block.targets, block.targets.new_zeros(lacking)]),
        torch.cat([block.temperature, block.temperature.new_ones(lacking)]),
    )
