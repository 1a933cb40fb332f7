"""The learning rule: how much tokens count, which groups are taken, what is refused."""

import math
from collections import Counter

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.kernels import PolicyLoss, loss_weights
from rlswarm.learning.estimator import (
    advantage_scale,
    effective_sample_size,
    loss_of,
    step_normaliser,
    step_weights,
)
from rlswarm.learning.mixing import informative, learning_order
from rlswarm.learning.plausibility import refusal
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import LearningRule, Rollout, TrainGroup

RULE = LearningRule()
PROMPT = (ChatMessage("user", "2+2?"),)


def rollout(*tokens: int, logprobs: int | None = None) -> Rollout:
    count = len(tokens) if logprobs is None else logprobs
    return Rollout(np.array(tokens, "<u4").tobytes(), bytes(2 * count), "", False)


def group(sender: str = "", age: int = 0, rewards: tuple[float, ...] = (0.0, 1.0)) -> TrainGroup:
    return TrainGroup(PROMPT, tuple(rollout(1, 2) for _ in rewards), rewards, sender, age)


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo", "gspo", "cispo", "ratio_one"])
def test_every_loss_of_a_rule_normalises_to_one_weight_a_step(loss: str) -> None:
    rule = msgspec.structs.replace(RULE, loss=loss)
    lengths = torch.tensor([3, 1, 4])
    weights = step_weights(rule, lengths)
    normaliser = step_normaliser(rule, tokens=8, sequences=3, longest=4)
    wanted = loss_weights(loss, lengths, longest=4)
    assert torch.allclose(weights / normaliser, wanted)


def test_a_rule_sets_the_clip_and_the_cap_of_its_loss() -> None:
    rule = LearningRule(clip_low=0.1, clip_high=0.3, ratio_cap=5.0)
    assert loss_of(rule) == PolicyLoss(clip_low=0.1, clip_high=0.3, correction_cap=5.0)
    gspo = loss_of(msgspec.structs.replace(rule, loss="gspo"))
    assert gspo.level == "sequence" and gspo.clip_low == 3e-4 and gspo.correction_cap == 5.0
    assert loss_of(msgspec.structs.replace(rule, loss="ratio_one")).correction == "none"
    assert advantage_scale(rule) == "std"
    assert advantage_scale(msgspec.structs.replace(rule, loss="dr_grpo")) == "none"


@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=50))
def test_effective_sample_size_is_a_share(weights: list[float]) -> None:
    total, squares = sum(weights), sum(w * w for w in weights)
    share = effective_sample_size(total, squares, len(weights))
    assert 1 / len(weights) - 1e-9 <= share <= 1 + 1e-9
    assert effective_sample_size(3.0, 3.0, 3) == 1.0
    assert effective_sample_size(0.0, 0.0, 0) == 0.0


pools = st.lists(
    st.builds(
        group,
        st.sampled_from(["", "", "a", "b", "c"]),
        st.integers(0, 3),
        st.sampled_from([(0.0, 1.0), (1.0, 1.0), (0.0, 0.5)]),
    ),
    max_size=25,
)


@given(pools, st.integers(0, 5), st.sampled_from([0.25, 0.5, 1.0]))
def test_every_beginning_of_the_order_is_fair(
    pool: list[TrainGroup], round: int, share: float
) -> None:
    order = learning_order(pool, round, share)
    assert order == learning_order(pool, round, share)
    assert len(set(order)) == len(order)
    assert all(informative(pool[i]) for i in order)
    own = [i for i, g in enumerate(pool) if not g.sender and informative(g)]
    assert order[: len(own)] == own
    counts: Counter[str] = Counter()
    for length, i in enumerate(order, start=1):
        if pool[i].sender:
            counts[pool[i].sender] += 1
            assert counts[pool[i].sender] <= max(1, share * length + 1e-6)


def test_fresh_comes_before_stale_and_senders_take_turns() -> None:
    pool = [group("a", 1), group("a"), group("a"), group("b"), group(), group(), group(), group()]
    order = learning_order(pool, 0, 1.0)
    assert order[:4] == [4, 5, 6, 7]
    assert {pool[i].sender for i in order[4:6]} == {"a", "b"}
    assert order[6:] == [2, 0]


def test_a_lone_peer_teaches_no_more_than_its_share() -> None:
    pool = [group(), group(), *(group("a") for _ in range(10))]
    assert len(learning_order(pool, 0, 0.5)) == 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (TrainGroup(PROMPT, (rollout(1), rollout(2)), (1.0,), "a", 0), "1 rewards"),
        (TrainGroup(PROMPT, (rollout(1),), (1.0,), "a", 0), "fewer than two"),
        (TrainGroup((), (rollout(1), rollout(2)), (1.0, 0.0), "a", 0), "empty prompt"),
        (group(rewards=(1.0, math.nan)), "not a finite number"),
        (TrainGroup(PROMPT, (rollout(1), rollout(2, logprobs=3)), (1.0, 0.0), "a", 0), "lengths"),
        (TrainGroup(PROMPT, (rollout(1), rollout(100)), (1.0, 0.0), "a", 0), "vocabulary"),
        (TrainGroup(PROMPT, (rollout(1), rollout(*range(9))), (1.0, 0.0), "a", 0), "9 tokens"),
        (
            TrainGroup(PROMPT, (rollout(1), Rollout(b"abc", b"", "", False)), (1.0, 0.0), "a", 0),
            "lengths",
        ),
    ],
)
def test_malformed_groups_are_refused_with_the_reason(bad: TrainGroup, reason: str) -> None:
    assert reason in refusal(bad, vocabulary=100, longest=8)


def test_a_sound_group_is_not_refused() -> None:
    sound = TrainGroup(PROMPT, (rollout(), rollout(99)), (1.0, 0.0), "a", 0)
    assert refusal(sound, vocabulary=100, longest=8) == ""
