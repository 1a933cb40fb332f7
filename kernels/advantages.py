"""Advantages of samples relative to their group."""

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to the spread, as TRL does: near-equal rewards must not blow up."""


def group_advantages(rewards: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(r − mean) / (std + 1e-4) within each group (GRPO, arXiv 2402.03300, eq. 3; std with n − 1).

    `rewards` [S] holds the groups one after another, `sizes` their lengths (sum S). Returns
    advantages [S] in the dtype of `rewards` and, per group, whether it is informative: two or
    more samples that differ. A group that isn't has advantage 0. Raises ValueError if the sizes
    don't add up to S.
    """
    if sum(sizes) != rewards.shape[0]:
        raise ValueError(f"group sizes add up to {sum(sizes)}, not to {rewards.shape[0]} rewards")
    advantages = torch.zeros_like(rewards)
    informative = torch.zeros(len(sizes), dtype=torch.bool, device=rewards.device)
    start = 0
    for number, size in enumerate(sizes):
        group = rewards[start : start + size]
        if size > 1 and bool((group != group[0]).any()):
            centred = group - group.mean()
            centred = centred - centred.mean()  # exact to rounding even for rewards far from 0
            spread = centred.square().sum().div(size - 1).sqrt()
            advantages[start : start + size] = centred / (spread + EPSILON)
            informative[number] = True
        start += size
    return advantages, informative
