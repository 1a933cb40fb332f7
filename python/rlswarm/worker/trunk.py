"""A beginning that several passes share, computed once with its gradient.

The passes attend to leaf copies of the trunk's keys and values, whose gradients add up; one
backward through the trunk then carries the sum on. This is the chain rule, so the result is that
of computing the trunk again in every pass.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rlswarm.policy.forest import Forest, shared_length
from rlswarm.policy.model import Policy
from rlswarm.policy.recompute import recomputed

SHORTEST = 32
"""Tokens from which a beginning is worth a pass of its own."""


class _Kept(DynamicCache):  # type: ignore[misc]  # transformers is untyped
    """Remembers what each layer adds; adding twice, as recomputed layers do, changes nothing."""

    def __init__(self, before: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        super().__init__()
        self._before = before
        self.added: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        if not self._before:
            self.added.setdefault(layer, (keys, values))
            return keys, values
        old_keys, old_values = self._before[layer]
        return torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2)


class Trunk:
    """Keys and values of the tokens that some prompts begin with."""

    def __init__(self, policy: Policy, ids: Sequence[int], *, recompute: bool = False) -> None:
        """One forward pass over `ids`; its graph is held until `backward`, or most of it is
        computed again then."""
        self.ids = list(ids)
        self._outputs: list[tuple[Tensor, Tensor]] = []
        self._leaves: list[tuple[Tensor, Tensor]] = []
        if not self.ids:
            return
        forest = Forest(policy.device)
        forest.extend(forest.branch(), len(self.ids))
        row = torch.tensor([self.ids], device=policy.device)
        kept = _Kept()
        with recomputed(policy.body, recompute):
            masks = policy.masks(forest, 0, len(self.ids))
            policy.hidden(row, forest.positions(0), masks, kept)
        self._outputs = [kept.added[layer] for layer in sorted(kept.added)]
        self._leaves = [
            (keys.detach().requires_grad_(), values.detach().requires_grad_())
            for keys, values in self._outputs
        ]

    def __len__(self) -> int:
        return len(self.ids)

    def cache(self) -> DynamicCache | None:
        """What one pass attends to before its own tokens; None if there is no trunk."""
        return _Kept(self._leaves) if self.ids else None

    def backward(self) -> None:
        """Carry on what the passes left, and let go of the graph."""
        pairs = [
            (output, leaf.grad)
            for outputs, leaves in zip(self._outputs, self._leaves, strict=True)
            for output, leaf in zip(outputs, leaves, strict=True)
            if leaf.grad is not None and output.requires_grad
        ]
        if pairs:
            outputs, gradients = zip(*pairs, strict=True)
            torch.autograd.backward(outputs, gradients)
        self._outputs, self._leaves = [], []


def common_beginning(prompts: Sequence[list[int]]) -> tuple[int, int]:
    """How many of `prompts`, from the first on, share a beginning worth computing once, and its
    length: at least `SHORTEST` tokens, and half of the first prompt. (1, 0) if there is none."""
    least = max(SHORTEST, len(prompts[0]) // 2)
    count, length = 1, 0
    while count < len(prompts):
        shared = shared_length(prompts[: count + 1])
        if shared < least:
            break
        count, length = count + 1, shared
    return count, length
