"""The fused loss against the same loss through float64 logits."""

import importlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_references import normal, picks, reference_logits, relative

from rlswarm.kernels import (
    VARIANTS,
    linear_logprob,
    linear_policy_loss,
    named_loss,
    policy_loss,
)

LENGTHS = torch.tensor([5, 0, 9, 1, 40, 20])
OFFSETS = torch.nn.functional.pad(LENGTHS.cumsum(0), (1, 0))
COUNT = int(LENGTHS.sum())


@settings(deadline=None, max_examples=40)
@given(
    variant=st.sampled_from(VARIANTS),
    trained=st.booleans(),
    biased=st.booleans(),
    softcap=st.sampled_from([None, None, 4.0]),
    kl=st.sampled_from([0.0, 0.1]),
    vocabulary=st.sampled_from([7, 1024, 2500]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    dead=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_loss_and_gradients_match_float64(
    variant: str,
    trained: bool,
    biased: bool,
    softcap: float | None,
    kl: float,
    vocabulary: int,
    dtype: torch.dtype,
    dead: float,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    hidden = normal(COUNT, 16, seed=seed).to(dtype).requires_grad_()
    weight = normal(vocabulary, 16, seed=1).div(4).to(dtype).requires_grad_(trained)
    bias = normal(vocabulary, seed=2).to(dtype).requires_grad_(trained) if biased else None
    targets = picks(COUNT, vocabulary, seed)
    targets[torch.rand(COUNT, generator=random) < 0.2] = -100
    advantages = normal(len(LENGTHS), seed=seed + 1)
    advantages[torch.rand(len(LENGTHS), generator=random) < dead] = 0.0
    weights = torch.rand(COUNT, generator=random)
    temperature = torch.rand(COUNT, generator=random) + 0.5
    spec = replace(named_loss(variant), kl=kl)
    if variant in ("gspo", "luspo"):
        spec = replace(spec, clip_low=0.2, clip_high=0.28)

    exact = [
        None if t is None else t.detach().double().requires_grad_() for t in (hidden, weight, bias)
    ]
    logits = reference_logits(exact[0], exact[1], exact[2], temperature, softcap)
    logp = logits.log_softmax(1).gather(1, targets.clamp(min=0)[:, None]).squeeze(1)
    around = logp.detach()
    others = {
        name: around + 0.05 * normal(COUNT, seed=seed + number, dtype=torch.float64)
        for number, name in enumerate(("behaviour", "proximal", "reference"))
    }
    kept = torch.where(targets == -100, 0.0, weights)
    wanted, _ = policy_loss(logp, advantages, kept, spec, **others, offsets=OFFSETS)
    wanted.backward()

    found = linear_policy_loss(
        hidden,
        weight,
        targets,
        advantages,
        weights,
        spec,
        **{name: value.float() for name, value in others.items()},
        offsets=OFFSETS,
        bias=bias,
        temperature=temperature,
        softcap=softcap,
    )
    found.loss.backward()
    assert found.loss.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-4)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    for mine, true in zip((hidden, weight, bias), exact, strict=True):
        if mine is not None and mine.requires_grad:
            assert mine.grad is not None and true is not None and true.grad is not None
            assert mine.grad.dtype == dtype
            error = (mine.grad.double() - true.grad).norm()
            assert error <= tolerance * true.grad.norm() + 1e-6


@pytest.mark.parametrize("trained", [False, True])
def test_compaction_changes_nothing_that_is_computed(trained: bool) -> None:
    hidden = normal(COUNT, 16).requires_grad_()
    weight = normal(900, 16, seed=1).requires_grad_(trained)
    targets, weights = picks(COUNT, 900), torch.ones(COUNT)
    advantages = torch.tensor([1.0, 5.0, 0.0, -1.0, 0.0, 2.0])
    found = []
    for compact in (True, False):
        hidden.grad = weight.grad = None
        result = linear_policy_loss(
            hidden, weight, targets, advantages, weights, offsets=OFFSETS, compact=compact
        )
        result.loss.backward()
        found.append((result, hidden.grad, weight.grad))
    (few, few_hidden, few_weight), (every, all_hidden, all_weight) = found
    assert few.loss.item() == pytest.approx(every.loss.item(), abs=1e-5)
    assert int(few.statistics.tokens) == 26 and int(every.statistics.tokens) == COUNT
    dropped = (advantages == 0).repeat_interleave(LENGTHS)
    assert not few.values.logprob[dropped].any() and (every.values.lse[dropped] != 0).all()
    assert relative(few_hidden, all_hidden.double()) < 1e-5
    if trained:
        assert relative(few_weight, all_weight.double()) < 1e-5


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_gradcheck_of_a_trained_head(softcap: float | None) -> None:
    hidden = normal(5, 4, dtype=torch.float64).requires_grad_()
    weight = normal(11, 4, seed=1, dtype=torch.float64).requires_grad_()
    bias = normal(11, seed=2, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([0, 10, -100, 3, 3])
    each = torch.tensor([0.5, 1.0, 1.0, 2.0, 1.3], dtype=torch.float64)
    advantages = torch.arange(5.0, dtype=torch.float64) - 2
    ones = torch.ones_like(advantages)
    unclipped = replace(named_loss("dapo"), clip_low=0.999, clip_high=1e9)

    def logprob(h: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return linear_logprob(h, w, targets, bias=b, temperature=each, softcap=softcap).logprob

    def loss(h: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return linear_policy_loss(
            h,
            w,
            targets,
            advantages,
            ones,
            unclipped,
            behaviour=-3 * ones,
            proximal=-2 * ones,
            bias=b,
            temperature=each,
            softcap=softcap,
        ).loss

    assert torch.autograd.gradcheck(logprob, (hidden, weight, bias))
    assert torch.autograd.gradcheck(loss, (hidden, weight, bias))


def test_one_pass_and_recomputation_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = importlib.import_module("rlswarm.kernels.linear_policy_loss")
    found = []
    for one_pass in (True, False):
        hidden = normal(COUNT, 16).requires_grad_()
        weight = normal(3000, 16, seed=1).requires_grad_()
        monkeypatch.setattr(driver, "_one_pass_is_better", lambda *_, one=one_pass: one)
        result = linear_policy_loss(
            hidden, weight, picks(COUNT, 3000), normal(COUNT, seed=5), torch.ones(COUNT)
        )
        result.loss.backward()
        found.append([*result.values, hidden.grad, weight.grad])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_invariant_gradients_of_rows_have_the_same_bits_in_any_company(trained: bool) -> None:
    hidden, targets = normal(COUNT, 16), picks(COUNT, 3000)
    advantages, weights = normal(COUNT, seed=5), torch.ones(COUNT)
    advantages[3:7] = 0

    def gradient(order: torch.Tensor) -> torch.Tensor:
        mine = hidden[order].requires_grad_()
        weight = normal(3000, 16, seed=1).requires_grad_(trained)
        linear_policy_loss(
            mine, weight, targets[order], advantages[order], weights[order], invariant=True
        ).loss.backward()
        assert mine.grad is not None
        return mine.grad

    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:40]
    assert torch.equal(gradient(torch.arange(COUNT))[order], gradient(order))


def test_nothing_to_learn_from_is_a_zero_loss_with_zero_gradients() -> None:
    for count in (0, 3):
        hidden, weight = normal(count, 8).requires_grad_(), normal(20, 8).requires_grad_()
        targets = torch.full((count,), -100)
        result = linear_policy_loss(hidden, weight, targets, torch.ones(count), torch.ones(count))
        result.loss.backward()
        assert float(result.loss) == 0 and weight.grad is not None and not weight.grad.any()
