"""Several sequences that share beginnings, laid out as one sequence for one forward pass.

A forest of segments: each continues its parent. A token sees its own segment up to itself and all
of its ancestors. Shared beginnings are computed once and their keys and values are stored once,
which is exact: the attention mask alone says who continues whom. Without it, 32 samples of four
150-token prompts would prefill and keep 4,800 positions instead of 300.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Forest:
    """Segments and the tokens laid out so far, in the order in which they were added."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sees: list[set[int]] = []
        self._ends: list[int] = []
        self._segment: list[int] = []
        self._position: list[int] = []
        self._matrix: Tensor | None = None

    def __len__(self) -> int:
        """Tokens laid out."""
        return len(self._segment)

    def branch(self, parent: int | None = None) -> int:
        """A new, empty segment that continues `parent` where it ends now. Returns its number."""
        self._sees.append({len(self._sees)} | (self._sees[parent] if parent is not None else set()))
        self._ends.append(self._ends[parent] if parent is not None else 0)
        self._matrix = None
        return len(self._sees) - 1

    def extend(self, segment: int, count: int) -> range:
        """Lay out `count` more tokens of a segment. Returns their places."""
        start = len(self._segment)
        end = self._ends[segment]
        self._segment += [segment] * count
        self._position += range(end, end + count)
        self._ends[segment] = end + count
        return range(start, start + count)

    def positions(self, start: int) -> Tensor:
        """Position ids of the tokens from place `start` on: int64 [1, tokens]."""
        return torch.tensor([self._position[start:]], device=self._device)

    def mask(self, start: int, stop: int, dtype: torch.dtype, window: int = 0) -> Tensor:
        """Additive attention mask: queries at places start..stop, keys at places 0..stop.

        Shape [1, 1, stop − start, stop]; 0 where a query sees a key, −inf elsewhere. No row is
        all −inf, as every token sees itself. `window` > 0 hides keys that many positions back.
        """
        segment = torch.tensor(self._segment[:stop], device=self._device)
        position = torch.tensor(self._position[:stop], device=self._device)
        sees = self._ancestry()[segment[start:]][:, segment]
        sees &= position[None, :] <= position[start:, None]
        if window:
            sees &= position[None, :] > position[start:, None] - window
        mask = torch.zeros(sees.shape, dtype=dtype, device=self._device)
        return mask.masked_fill_(~sees, -torch.inf)[None, None]

    def _ancestry(self) -> Tensor:
        if self._matrix is None:
            matrix = torch.zeros(len(self._sees), len(self._sees), dtype=torch.bool)
            for segment, ancestors in enumerate(self._sees):
                matrix[segment, list(ancestors)] = True
            self._matrix = matrix.to(self._device)
        return self._matrix


def shared_length(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with, short of the last token of each.

    A prompt may itself be the beginning of another; its own branch still needs one token.
    """
    least, most = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((place for place in range(limit) if least[place] != most[place]), limit)
