"""Advantages against their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.kernels import group_advantages


@given(
    groups=st.lists(
        st.lists(st.floats(0, 1, allow_subnormal=False), min_size=0, max_size=6), max_size=5
    )
)
def test_advantages_are_centred_scaled_and_zero_without_a_signal(
    groups: list[list[float]],
) -> None:
    rewards = torch.tensor([r for group in groups for r in group], dtype=torch.float64)
    advantages, informative = group_advantages(rewards, [len(g) for g in groups])
    start = 0
    for number, group in enumerate(groups):
        mine = advantages[start : start + len(group)].numpy()
        start += len(group)
        assert bool(informative[number]) == (len(set(group)) > 1)
        if len(set(group)) > 1:
            spread = np.std(group, ddof=1)
            wanted = (np.array(group) - np.mean(group)) / (spread + 1e-4)
            assert mine == pytest.approx(wanted, abs=1e-9)
        else:
            assert not mine.any()


def test_advantages_survive_a_large_offset() -> None:
    base = torch.tensor([0.0, 1.0, 0.0, 1.0])
    near, _ = group_advantages(base, [4])
    far, _ = group_advantages(base + 1000, [4])
    assert torch.allclose(near, far, atol=1e-4)


@pytest.mark.parametrize("scale", ["std", "none", "batch", "rloo"])
def test_each_scale_has_its_formula(scale: str) -> None:
    groups = [np.array([0.0, 1.0, 0.5]), np.array([2.0, 5.0]), np.array([1.0, 1.0, 1.0, 1.0])]
    everything = np.concatenate(groups)
    advantages, informative = group_advantages(torch.from_numpy(everything), [3, 2, 4], scale=scale)
    wanted = []
    for group in groups:
        centred = group - group.mean()
        n = len(group)
        others = (group.sum() - group) / (n - 1)
        wanted.append(
            {
                "std": centred / (group.std(ddof=1) + 1e-4),
                "none": centred,
                "batch": centred / (everything.std(ddof=1) + 1e-4),
                "rloo": group - others,
            }[scale]
        )
    assert advantages.numpy() == pytest.approx(np.concatenate(wanted), abs=1e-12)
    assert informative.tolist() == [True, True, False]


def test_unscorable_rewards_are_left_out_of_their_group() -> None:
    rewards = torch.tensor([1.0, torch.nan, 0.0, torch.nan, 1.0, torch.nan])
    advantages, informative = group_advantages(rewards, [3, 2, 1])
    alone, _ = group_advantages(torch.tensor([1.0, 0.0]), [2])
    assert advantages.tolist() == [alone[0], 0, alone[1], 0, 0, 0]
    assert informative.tolist() == [True, False, False]


def test_group_sizes_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 3"):
        group_advantages(torch.zeros(4), [1, 2])
