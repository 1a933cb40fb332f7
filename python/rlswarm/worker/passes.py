"""Groups packed into forward passes: each prompt once, each completion once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlswarm.kernels import linear_logprob
from rlswarm.policy.forest import Forest, shared_length
from rlswarm.policy.model import Policy
from rlswarm.worker.trunk import Trunk


@dataclass(frozen=True)
class Piece:
    """Completions of one prompt with what the loss needs of them."""

    group: int
    """Index of the group in the window."""
    prompt: list[int]
    completions: tuple[list[int], ...]
    """None of them empty."""
    behaviour: tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]
    """Per completion, log μ of each token."""
    advantages: tuple[float, ...]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.completions))

    def split(self, rows: int) -> Iterator["Piece"]:
        """Pieces of at most `rows` completions."""
        for start in range(0, len(self.completions), rows):
            part = slice(start, start + rows)
            yield Piece(
                self.group,
                self.prompt,
                self.completions[part],
                self.behaviour[part],
                self.advantages[part],
            )


Pass = list[Piece]


def pack(
    pieces: Sequence[Piece], most_tokens: int, most_rows: int, trunk: int = 0
) -> Iterator[list[Pass]]:
    """All units of work that `take` makes of these pieces, in order."""
    start = 0
    while start < len(pieces):
        unit, count = take(pieces[start:], most_tokens, most_rows, trunk)
        start += count
        yield unit


def take(
    pieces: Sequence[Piece], most_tokens: int, most_rows: int, trunk: int = 0
) -> tuple[list[Pass], int]:
    """The next unit of work and how many of `pieces` (at least one) it finishes.

    A unit is one pass over the first few pieces, or several passes over the first alone. A pass
    has at most `most_rows` completions and `most_tokens` laid-out tokens after the `trunk`'s,
    unless a single completion with its prompt has more.
    """
    first = pieces[0]

    def fits(passed: Pass) -> bool:
        rows = sum(len(piece.completions) for piece in passed)
        return rows <= most_rows and laid_out(passed, trunk) <= most_tokens

    if not fits([first]):
        longest = max(map(len, first.completions))
        rows = min(most_rows, max(1, (most_tokens + trunk - len(first.prompt)) // longest))
        return [[part] for part in first.split(rows)], 1
    held = [first]
    for piece in pieces[1:]:
        if not fits([*held, piece]):
            break
        held.append(piece)
    return [held], len(held)


def neighbours(pieces: Sequence[Piece], reach: int) -> list[Piece]:
    """The same pieces with those of equal beginnings side by side, so that they share a pass.

    None moves further than `reach` places: the order in which groups deserve to be learned from
    holds but for that.
    """
    return [
        piece
        for start in range(0, len(pieces), reach)
        for piece in sorted(pieces[start : start + reach], key=lambda piece: piece.prompt)
    ]


def laid_out(passed: Pass, trunk: int = 0) -> int:
    """Tokens that a pass sends through the model, `trunk` of which another one has sent."""
    shared = shared_length([piece.prompt for piece in passed])
    rest = sum(len(piece.prompt) - shared + piece.tokens for piece in passed)
    return shared - trunk + rest - sum(len(piece.completions) for piece in passed)


def logprobs(
    policy: Policy, passed: Pass, temperature: float, trunk: Trunk | None = None
) -> Tensor:
    """log π of every completion token of a pass, in order: [N], differentiable.

    Only positions that predict a completion token go through the head. All prompts of the pass
    begin with `trunk`, if it is given.
    """
    start = len(trunk) if trunk else 0
    forest = Forest(policy.device)
    shared = shared_length([piece.prompt for piece in passed])
    root = forest.branch()
    ids = list(passed[0].prompt[:shared])
    forest.extend(root, shared)
    predicting: list[int] = []
    targets: list[int] = []
    for piece in passed:
        stem = forest.branch(root)
        ids += piece.prompt[shared:]
        last = forest.extend(stem, len(piece.prompt) - shared)[-1]
        for completion in piece.completions:
            ids += completion[:-1]
            places = forest.extend(forest.branch(stem), len(completion) - 1)
            predicting += [last, *places]
            targets += completion
    hidden = policy.hidden(
        torch.tensor([ids[start:]], device=policy.device),
        forest.positions(start),
        policy.masks(forest, start, len(ids)),
        trunk.cache() if trunk else None,
    )
    return linear_logprob(
        hidden[torch.tensor(predicting, device=policy.device) - start],
        policy.head,
        torch.tensor(targets, device=policy.device),
        bias=policy.head_bias,
        softcap=policy.softcap,
        temperature=temperature,
    ).logprob
