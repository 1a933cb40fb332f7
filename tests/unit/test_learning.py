"""The learning rule: how much tokens count, which groups are taken, what is refused."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.learning.estimator import effective_sample_size, importance_weights, policy_loss
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


def gradient(logp: float, prox: float, advantage: float, weight: float = 1.0) -> float:
    x = torch.tensor([logp], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    policy_loss(x, one * prox, one * weight, one * advantage, RULE).backward()
    assert x.grad is not None
    return float(x.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "wanted"),
    [
        (1.0, 2.0, -2.0),
        (1.0, -2.0, 2.0),
        (1.5, 1.0, 0.0),  # already moved far enough in this direction
        (0.5, 1.0, -0.5),
        (0.5, -1.0, 0.0),
        (1.5, -1.0, 1.5),
    ],
)
def test_clipped_gradient_has_its_closed_form(
    ratio: float, advantage: float, wanted: float
) -> None:
    assert gradient(math.log(ratio) - 1, -1.0, advantage) == pytest.approx(wanted)


def test_a_truncated_weight_scales_the_gradient_and_has_none_itself() -> None:
    prox = torch.tensor([-1.0, -1.0, -1.0, 0.0], requires_grad=True)
    weights = importance_weights(prox, torch.tensor([-1.0, -3.0, -0.5, -30.0]), RULE)
    assert weights.tolist() == pytest.approx([1.0, 2.0, math.exp(-0.5), 2.0])
    assert not weights.requires_grad
    assert gradient(-1.0, -1.0, 1.0, weight=0.25) == pytest.approx(-0.25)


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
