"""One beginning for several passes gives the gradient of computing it in each."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_worker_step import RULE, gradients, learner, pieces, played

from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.recompute import recomputed
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import LoraShape
from rlswarm.worker.passes import Piece, laid_out, logprobs, take
from rlswarm.worker.step import Learner
from rlswarm.worker.trunk import Trunk, common_beginning
from tiny_model import make_tiny_model


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    made = load_policy(resolve(str(make_tiny_model(tmp_path))), LoraShape(rank=4))
    learner(made).learn(played(made, 2), 0, 1e9)  # so that B is not zero
    return made


def few_shot(policy: Policy) -> list[Piece]:
    """Groups whose prompts begin with the same 60 tokens."""
    shots = list(range(10, 70))
    return [replace(p, prompt=shots + p.prompt) for p in pieces(policy, played(policy, 3))]


def accumulated(
    policy: Policy, passes: list[list[Piece]], length: int, again: bool
) -> torch.Tensor:
    trunk = Trunk(policy, passes[0][0].prompt[:length], recompute=again)
    for passed in passes:
        with recomputed(policy.body, again):
            logp = logprobs(policy, passed, 1.0, trunk)
        (logp * torch.linspace(-1, 1, len(logp))).sum().backward()
    trunk.backward()
    found = torch.cat([p.grad.flatten() for p in policy.adapter.values() if p.grad is not None])
    for parameter in policy.adapter.values():
        parameter.grad = None
    return found


@pytest.mark.parametrize("again", [False, True])
def test_a_trunk_gives_the_gradient_of_passes_by_themselves(policy: Policy, again: bool) -> None:
    passes = [[piece] for piece in few_shot(policy)]
    count, length = common_beginning([passed[0].prompt for passed in passes])
    assert count == 3 and length >= 32
    wanted = torch.zeros(())
    for passed in passes:
        grads = gradients(policy, logprobs(policy, passed, 1.0))
        wanted = wanted + torch.cat([grad.flatten() for grad in grads.values()])
    found = accumulated(policy, passes, length, again)
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_small_passes_step_as_large_ones_do(tmp_path: Path) -> None:
    after = []
    for tokens, again in ((100_000, False), (150, False), (60, False), (150, True)):
        policy = load_policy(resolve(str(make_tiny_model(tmp_path))), LoraShape(rank=4))
        policy = replace(
            policy, plan=replace(policy.plan, pass_tokens=tokens, micro_batch=64, recompute=again)
        )
        teacher = Learner(policy, RULE, temperature=1.0, clock=lambda: 0.0)
        outcome = teacher.learn(played(policy, 4), 0, 1e9)
        assert outcome.own_used == 4
        after.append((outcome.gradient_norm, outcome.loss))
    for other in after[1:]:
        assert other == pytest.approx(after[0], rel=1e-3, abs=1e-6)


def test_a_pass_beside_a_trunk_sends_only_its_own_tokens(policy: Policy) -> None:
    whole = few_shot(policy)
    length = common_beginning([piece.prompt for piece in whole])[1]
    assert laid_out(whole, length) == laid_out(whole) - length
    (unit,), count = take(whole, laid_out(whole[:2], length), 64, length)
    assert unit == whole[:2] and count == 2


def test_only_long_beginnings_are_shared() -> None:
    long = list(range(100))
    assert common_beginning([[*long, 1], [*long, 2], [*long[:60], 3]]) == (3, 60)
    assert common_beginning([[*long, 1], [*long, 2], [*long[:40], 3]]) == (2, 100)
    assert common_beginning([[*long, 1], [7, 8, 9]]) == (1, 0)
    assert common_beginning([long[:20], long[:20]]) == (1, 0)
