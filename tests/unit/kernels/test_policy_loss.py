"""Closed-form losses and gradients against float64 autograd of the formulas."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_references import normal
from torch import Tensor

from rlswarm.kernels import VARIANTS, PolicyLoss, loss_weights, named_loss, policy_loss

SPECS = st.builds(
    PolicyLoss,
    surrogate=st.sampled_from(["clip", "cispo"]),
    level=st.just("token"),
    clip_low=st.sampled_from([0.1, 0.2]),
    clip_high=st.sampled_from([0.1, 0.28]),
    ratio_max=st.sampled_from([None, 1.5]),
    correction=st.sampled_from(["none", "truncate", "mask"]),
    correction_level=st.sampled_from(["token", "sequence"]),
    correction_floor=st.sampled_from([0.0, 0.5]),
    correction_cap=st.sampled_from([1.2, 2.0]),
    kl=st.sampled_from([0.0, 0.1]),
    kl_by_ratio=st.booleans(),
)


def as_written(
    spec: PolicyLoss,
    logp: Tensor,
    advantages: Tensor,
    weights: Tensor,
    behaviour: Tensor,
    proximal: Tensor,
    reference: Tensor,
    offsets: list[int],
) -> Tensor:
    """One sequence after the other, one token after the other."""
    total = logp.new_zeros(())
    for start, end in itertools.pairwise(offsets):
        tokens = [i for i in range(start, end) if weights[i] != 0]
        if not tokens:
            continue
        mean = sum(logp[i] - proximal[i] for i in tokens) / len(tokens)
        whole = sum(proximal[i] - behaviour[i] for i in tokens).exp()
        for i in tokens:
            own = (logp[i] - proximal[i]).exp()
            r = mean.exp() if spec.level == "sequence" else own
            a = advantages[i]
            if spec.surrogate == "cispo":
                term = -r.detach().clamp(max=1 + spec.clip_high) * a * logp[i]
            else:
                first = r if spec.ratio_max is None else r.clamp(max=spec.ratio_max)
                second = r.clamp(1 - spec.clip_low, 1 + spec.clip_high)
                term = -torch.minimum(first * a, second * a)
            c = whole if spec.correction_level == "sequence" else (proximal[i] - behaviour[i]).exp()
            if spec.correction == "truncate":
                c = c.clamp(max=spec.correction_cap)
            elif spec.correction == "mask":
                c = c if spec.correction_floor <= c <= spec.correction_cap else c * 0
            else:
                c = c * 0 + 1
            gap = reference[i] - logp[i]
            k3 = gap.exp() - gap - 1
            kl = spec.kl * k3 * (own if spec.kl_by_ratio else 1)
            total = total + weights[i] * (c.detach() * term + kl)
    return total


@settings(deadline=None, max_examples=120)
@given(
    spec=SPECS,
    by_sequence=st.booleans(),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_loss_and_gradient_are_those_of_the_formulas(
    spec: PolicyLoss, by_sequence: bool, lengths: list[int], seed: int
) -> None:
    if by_sequence and spec.surrogate == "clip":
        spec = replace(spec, level="sequence")
    offsets = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    count = offsets[-1]
    logp, behaviour, proximal, reference = (
        -1 + 0.4 * normal(count, seed=seed + i, dtype=torch.float64) for i in range(4)
    )
    each = normal(len(lengths), seed=seed + 4, dtype=torch.float64)
    weights = torch.rand(count, generator=torch.Generator().manual_seed(seed)).double()
    weights[weights < 0.3] = 0
    advantages = each.repeat_interleave(torch.tensor(lengths))
    exact = logp.clone().requires_grad_()
    args = (weights, behaviour, proximal, reference)
    wanted = as_written(spec, exact, advantages, *args, offsets)
    mine = logp.clone().requires_grad_()
    found, statistics = policy_loss(
        mine,
        each,
        weights,
        spec,
        behaviour=behaviour,
        proximal=proximal,
        reference=reference,
        offsets=torch.tensor(offsets),
    )
    assert found.item() == pytest.approx(wanted.item(), abs=1e-12)
    assert statistics.tokens == (weights != 0).sum()
    (2 * found).backward()
    if wanted.requires_grad:
        wanted.backward()
        assert exact.grad is not None and mine.grad is not None
        assert torch.allclose(mine.grad, 2 * exact.grad, atol=1e-12)
    else:
        assert mine.grad is not None and not mine.grad.any()


def test_gradcheck_of_every_named_loss() -> None:
    offsets = torch.tensor([0, 3, 3, 7])
    proximal, reference = (normal(7, seed=i, dtype=torch.float64) * 1e-5 for i in (1, 2))
    for variant in VARIANTS:
        spec = replace(named_loss(variant), kl=0.05)

        def loss(logp: Tensor, spec: PolicyLoss = spec) -> Tensor:
            return policy_loss(
                logp,
                torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64),
                torch.full((7,), 0.1, dtype=torch.float64),
                spec,
                behaviour=proximal + 0.3,
                proximal=proximal,
                reference=reference,
                offsets=offsets,
            )[0]

        if spec.surrogate == "cispo":  # its ratio is held fixed, so it is no one's derivative
            continue
        start = (normal(7, dtype=torch.float64) * 1e-5).requires_grad_()
        assert torch.autograd.gradcheck(loss, (start,), eps=1e-7, atol=1e-5)


def test_without_proximal_log_probs_the_ratio_is_one() -> None:
    logp = normal(5).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 2.0, 0.0, 3.0])
    loss, statistics = policy_loss(logp, advantages, torch.ones(5))
    loss.backward()
    assert logp.grad is not None
    assert torch.equal(logp.grad, -advantages)
    assert statistics.ratio == 5 and statistics.clipped == 0


def test_masked_tokens_may_hold_anything() -> None:
    weights = torch.tensor([1.0, 0.0, 1.0])
    rubbish = torch.tensor([-1.0, torch.nan, -1.5])
    endless = torch.tensor([-1.0, -torch.inf, -1.5])
    for variant in VARIANTS:
        logp = torch.tensor([-1.0, torch.inf, -2.0]).requires_grad_()
        loss, statistics = policy_loss(
            logp,
            torch.tensor([1.0, torch.nan, 2.0]),
            weights,
            replace(named_loss(variant), kl=0.1),
            behaviour=rubbish,
            proximal=endless,
            reference=rubbish,
            offsets=torch.tensor([0, 3]),
        )
        loss.backward()
        assert loss.isfinite() and statistics.tokens == 2
        assert logp.grad is not None and logp.grad.isfinite().all() and logp.grad[1] == 0


def test_a_truncated_weight_scales_the_gradient_and_never_overflows() -> None:
    logp = torch.tensor([-1.0, -1.0, -1.0, 0.0], requires_grad=True)
    behaviour = torch.tensor([-1.0, -3.0, -0.5, -300.0])
    loss, statistics = policy_loss(logp, torch.ones(4), torch.ones(4), behaviour=behaviour)
    loss.backward()
    assert logp.grad is not None
    assert (-logp.grad).tolist() == pytest.approx([1.0, 2.0, 0.6065307, 2.0])
    assert float(statistics.correction) == pytest.approx(5.6065307)


@pytest.mark.parametrize("variant", VARIANTS)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_token_weights_follow_their_formula(variant: str, lengths: list[int]) -> None:
    found = loss_weights(variant, torch.tensor(lengths), tokens=40, sequences=10, longest=8)
    assume(sum(lengths) > 0)
    of_one = {
        "grpo": lambda n: 1 / (10 * n),
        "gspo": lambda n: 1 / (10 * n),
        "luspo": lambda n: 1 / 10,
        "dr_grpo": lambda n: 1 / 80,
        "bnpo": lambda n: 1 / sum(lengths),
    }.get(variant, lambda n: 1 / 40)
    wanted = [of_one(n) for n in lengths for _ in range(n)]
    assert found.tolist() == pytest.approx(wanted)


def test_what_is_missing_is_named() -> None:
    logp, ones = normal(3), torch.ones(3)
    with pytest.raises(ValueError, match="reference"):
        policy_loss(logp, ones, ones, PolicyLoss(kl=0.1))
    with pytest.raises(ValueError, match="offsets"):
        policy_loss(logp, ones, ones, named_loss("gspo"))
    with pytest.raises(ValueError, match="2 advantages for 3 tokens"):
        policy_loss(logp, ones[:2], ones)
    with pytest.raises(ValueError, match="end at 2"):
        policy_loss(logp, ones, ones, named_loss("gspo"), offsets=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="cispo"):
        PolicyLoss(surrogate="cispo", level="sequence")
