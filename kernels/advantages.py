"""Advantages of samples relative to their group."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to the spread, as TRL does: near-equal rewards must not blow up."""


def group_advantages(
    rewards: Tensor,
    sizes: Sequence[int],
    *,
    scale: Literal["std", "none", "batch", "rloo"] = "std",
) -> tuple[Tensor, Tensor]:
    """Rewards centred within each group and scaled; groups may differ in size.

    `rewards` [S] holds the groups one after another, `sizes` their lengths (sum S). A reward that
    is NaN is unscorable: left out of its group, advantage 0. `scale`:

    - "std": (r − mean) / (std + 1e-4), std with n − 1 (GRPO, arXiv 2402.03300, eq. 3);
    - "none": r − mean (Dr. GRPO, arXiv 2503.20783);
    - "batch": (r − mean) / (std of all rewards + 1e-4) (arXiv 2508.08221);
    - "rloo": r − mean of the group's others (arXiv 2402.14740).

    Returns advantages [S] in the dtype of `rewards` and, per group, whether it is informative: two
    or more samples that differ. A group that isn't has advantage 0. Raises ValueError if the sizes
    don't add up to S.
    """
    if sum(sizes) != rewards.shape[0]:
        raise ValueError(f"group sizes add up to {sum(sizes)}, not to {rewards.shape[0]} rewards")
    advantages = torch.zeros_like(rewards)
    informative = torch.zeros(len(sizes), dtype=torch.bool, device=rewards.device)
    scorable = ~rewards.isnan()
    batch = _spread(rewards[scorable]) if scale == "batch" else None
    start = 0
    for number, size in enumerate(sizes):
        places = start + scorable[start : start + size].nonzero().squeeze(1)
        start += size
        group = rewards[places]
        if len(group) < 2 or not bool((group != group[0]).any()):
            continue
        informative[number] = True
        centred = _centred(group)
        if scale == "rloo":
            centred = centred * (len(group) / (len(group) - 1))
        elif scale != "none":
            centred = centred / ((_spread(group) if batch is None else batch) + EPSILON)
        advantages[places] = centred
    return advantages, informative


def _centred(values: Tensor) -> Tensor:
    centred = values - values.mean()
    return centred - centred.mean()  # exact to rounding even for values far from 0


def _spread(values: Tensor) -> Tensor:
    return _centred(values).square().sum().div(max(1, len(values) - 1)).sqrt()
