"""The learn window on the tiny model."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from rlswarm.kernels import group_advantages
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample, unpack_logprobs
from rlswarm.policy.source import resolve
from rlswarm.prompt import ChatMessage, Prompt
from rlswarm.worker.messages import GroupRequest, LearningRule, LoraShape, TrainGroup
from rlswarm.worker.passes import Piece, laid_out, logprobs, neighbours, pack
from rlswarm.worker.step import Learner
from tiny_model import make_tiny_model

RULE = LearningRule(learning_rate=1e-2)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load_policy(resolve(str(make_tiny_model(tmp_path))), LoraShape(rank=4))


def question(number: int) -> Prompt:
    return (ChatMessage("user", f"What is {number} times {number}?"),)


def played(policy: Policy, count: int, sender: str = "", rewards: str = "01") -> list[TrainGroup]:
    """Groups sampled by the policy itself, with made-up rewards."""
    requests = [GroupRequest(question(i), bytes([i]) * 32, 4, 12) for i in range(count)]
    done = sample(policy, requests, deadline=1e9, clock=lambda: 0.0)
    return [
        TrainGroup(
            request.prompt,
            group,
            tuple(float(rewards[n % len(rewards)]) for n in range(len(group))),
            sender,
            0,
        )
        for request, group in zip(requests, done.groups, strict=True)
    ]


def learner(policy: Policy, clock: Callable[[], float] = lambda: 0.0) -> Learner:
    return Learner(policy, RULE, temperature=1.0, clock=clock)


def pieces(policy: Policy, groups: list[TrainGroup]) -> list[Piece]:
    return [
        Piece(
            number,
            policy.renderer.encode(g.prompt),
            tuple(np.frombuffer(r.tokens, "<u4").tolist() for r in g.rollouts),
            tuple(unpack_logprobs(r.logprobs) for r in g.rollouts),
            tuple(range(len(g.rollouts))),
        )
        for number, g in enumerate(groups)
    ]


def naive_logprobs(policy: Policy, piece: Piece) -> torch.Tensor:
    """Each completion after its own copy of the prompt, through full logits."""
    found = []
    for completion in piece.completions:
        ids = torch.tensor([piece.prompt + completion])
        logits = policy.model(ids).logits[0, len(piece.prompt) - 1 : -1]
        chosen = torch.tensor(completion)[:, None]
        found.append(logits.log_softmax(1).gather(1, chosen).squeeze(1))
    return torch.cat(found)


def gradients(policy: Policy, logp: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = torch.linspace(-1, 1, len(logp))
    found = torch.autograd.grad((weights * logp).sum(), list(policy.adapter.values()))
    return dict(zip(policy.adapter, found, strict=True))


def test_shared_prompts_give_the_naive_gradient(policy: Policy) -> None:
    passed = pieces(policy, played(policy, 3))
    naive = torch.cat([naive_logprobs(policy, piece) for piece in passed])
    shared = logprobs(policy, passed, 1.0)
    assert torch.allclose(shared, naive, atol=1e-4)
    wanted = gradients(policy, naive)
    for name, found in gradients(policy, shared).items():
        error = (found - wanted[name]).norm() / wanted[name].norm()
        assert error < 1e-4, name
    alone = sum(len(p.prompt) + p.tokens for p in passed) * 1.0
    assert laid_out(passed) < alone  # and the pass is smaller than the tokens it stands for


@pytest.mark.parametrize(("tokens", "rows"), [(10_000, 100), (150, 100), (10_000, 3), (1, 1)])
def test_packing_loses_and_splits_nothing_it_need_not(
    policy: Policy, tokens: int, rows: int
) -> None:
    whole = pieces(policy, played(policy, 4))
    units = list(pack(whole, tokens, rows))
    seen = [piece for unit in units for passed in unit for piece in passed]
    assert [p.group for p in seen] == sorted(p.group for p in seen)
    assert [c for p in seen for c in p.completions] == [c for p in whole for c in p.completions]
    for unit in units:
        for passed in unit:
            count = sum(len(p.completions) for p in passed)
            assert count == 1 or (count <= rows and laid_out(passed) <= tokens)
    # No group is spread over two units: a unit that is finished has finished its groups.
    groups = [{piece.group for passed in unit for piece in passed} for unit in units]
    assert not any(a & b for a, b in itertools.pairwise(groups))


def test_neighbours_share_a_pass_and_none_moves_far(policy: Policy) -> None:
    ordered = pieces(policy, played(policy, 9))
    shuffled = [ordered[n] for n in (4, 0, 8, 2, 6, 1, 5, 3, 7)]
    moved = neighbours(shuffled, 4)
    assert sorted(p.group for p in moved) == list(range(9))
    for place, piece in enumerate(moved):
        assert abs(shuffled.index(piece) - place) < 4
    for start in range(0, 9, 4):
        run = [piece.prompt for piece in moved[start : start + 4]]
        assert run == sorted(run)


def test_the_micro_batch_does_not_change_the_step(tmp_path: Path) -> None:
    after = []
    for rows in (100, 3, 1):
        policy = load_policy(resolve(str(make_tiny_model(tmp_path))), LoraShape(rank=4))
        policy = replace(policy, plan=replace(policy.plan, micro_batch=rows))
        outcome = learner(policy).learn(played(policy, 3), 0, 1e9)
        assert outcome.stepped and outcome.own_used == 3
        after.append((outcome.gradient_norm, outcome.loss))
    assert after[0] == pytest.approx(after[1], rel=1e-3, abs=1e-6)
    assert after[0] == pytest.approx(after[2], rel=1e-3, abs=1e-6)


def test_learning_raises_what_was_rewarded(policy: Policy) -> None:
    groups = played(policy, 3)
    teacher = learner(policy)

    def gap() -> float:
        total = 0.0
        with torch.no_grad():
            for group, piece in zip(groups, pieces(policy, groups), strict=True):
                rewards = torch.tensor(group.rewards, dtype=torch.float64)
                advantages, _ = group_advantages(rewards, [len(group.rewards)])
                rows = naive_logprobs(policy, piece).split([len(c) for c in piece.completions])
                total += sum(
                    float(a) * float(r.sum()) for a, r in zip(advantages, rows, strict=True)
                )
        return total

    before = gap()
    for round in range(3):
        outcome = teacher.learn(groups, round, 1e9)
        assert outcome.stepped
        assert outcome.tokens == sum(len(r.tokens) // 4 for g in groups for r in g.rollouts)
        assert 0 < outcome.effective_sample_size <= 1
    assert teacher.steps == 3
    assert gap() > before + 1


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "gspo", "cispo", "ratio_one"])
def test_a_rule_may_name_any_loss(policy: Policy, loss: str) -> None:
    rule = msgspec.structs.replace(RULE, loss=loss)
    before = policy.adapter_hash()
    outcome = Learner(policy, rule, temperature=1.0, clock=lambda: 0.0).learn(
        played(policy, 3), 0, 1e9
    )
    assert outcome.stepped and outcome.gradient_norm > 0
    assert policy.adapter_hash() != before


def test_the_first_window_is_on_policy(policy: Policy) -> None:
    outcome = learner(policy).learn(played(policy, 2), 0, 1e9)
    assert outcome.effective_sample_size == pytest.approx(1.0, abs=1e-5)


def test_without_a_signal_nothing_changes(policy: Policy) -> None:
    before = policy.adapter_hash()
    teacher = learner(policy)
    outcome = teacher.learn(played(policy, 2, rewards="1"), 0, 1e9)
    assert not outcome.stepped and outcome.own_informative == 0 and teacher.steps == 0
    assert policy.adapter_hash() == before
    assert not teacher.learn([], 1, 1e9).stepped


def test_own_groups_come_first_and_time_cuts_whole_groups(policy: Policy) -> None:
    one_group = replace(policy, plan=replace(policy.plan, micro_batch=4))
    ticks = itertools.count()
    teacher = learner(one_group, lambda: float(next(ticks)))
    groups = played(policy, 3, sender="a") + played(policy, 3, sender="b") + played(policy, 2)
    outcome = teacher.learn(groups, 0, 9.0)
    assert outcome.stepped
    assert outcome.own_used == outcome.own_informative == 2
    assert 0 < outcome.external_used < outcome.external_informative == 6
    assert not teacher.learn(groups, 1, 0.0).stepped


def test_malformed_groups_are_named_and_the_rest_is_learned(policy: Policy) -> None:
    good = played(policy, 1)
    bad = TrainGroup(good[0].prompt, good[0].rollouts, (1.0,), "liar", 0)
    outcome = learner(policy).learn([bad, *good], 0, 1e9)
    assert outcome.stepped and outcome.own_used == 1 and outcome.used == (1,)
    assert outcome.refused == (("liar", "1 rewards for 4 rollouts"),)
