"""Does a model compute what the rest of this package relies on? Asked once, when it is loaded."""

from typing import TYPE_CHECKING

import torch

from rlswarm.errors import ModelError
from rlswarm.policy.forest import Forest

if TYPE_CHECKING:
    from rlswarm.policy.model import Policy

_TRUNK, _BRANCHES = 3, (2, 3)
"""Tokens of the shared beginning and of what follows it."""

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest relative error of the logits that rounding explains."""


@torch.inference_mode()
def check_policy(policy: "Policy") -> None:
    """Compare two sequences in one pass, as a forest, with the model's own output for each.

    Raises ModelError for architectures that ignore the masks or positions they are given, that
    need more than these, or whose logits are not those that `Policy.logits` gives.
    """
    count = _TRUNK + sum(_BRANCHES)
    ids = torch.linspace(0, policy.vocabulary - 1, count).long().tolist()
    forest = Forest(policy.device)
    trunk = forest.branch()
    forest.extend(trunk, _TRUNK)
    branches = [forest.extend(forest.branch(trunk), length) for length in _BRANCHES]
    row = torch.tensor([ids], device=policy.device)
    hidden = policy.hidden(row, forest.positions(0), policy.masks(forest, 0, count))
    for places in branches:
        alone = row[:, [*range(_TRUNK), *places]]
        wanted = policy.model(input_ids=alone, use_cache=False).logits[0, _TRUNK:]
        found = policy.logits(hidden[list(places)])
        error = float((found - wanted).norm() / wanted.norm())
        if not error < _TOLERANCE[policy.head.dtype]:
            raise ModelError(
                f"models of type {policy.kind} don't work here: prompts shared "
                f"by several samples would change their output (by {error:.0%})"
            )
