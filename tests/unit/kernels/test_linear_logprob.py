"""Log-probs through the head against plain float64 references."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_references import normal, picks, reference_logits, reference_logprobs, relative

from rlswarm.kernels import interval, linear_logprob

HEADS = {
    "plain": {},
    "scaled": {"logit_scale": 0.25},
    "capped": {"softcap": 5.0, "logit_scale": 1.5},
}
GRADIENT = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-3}


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(0, 1100),
    vocabulary=st.sampled_from([1, 2, 63, 2048, 2049, 5000]),
    width=st.integers(1, 40),
    dtype=st.sampled_from(list(GRADIENT)),
    head=st.sampled_from(list(HEADS)),
    biased=st.booleans(),
    spread=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_statistics_and_gradient_match_float64(
    rows: int,
    vocabulary: int,
    width: int,
    dtype: torch.dtype,
    head: str,
    biased: bool,
    spread: float,
    seed: int,
) -> None:
    hidden = normal(rows, width, seed=seed).mul(spread).to(dtype).requires_grad_()
    weight = normal(vocabulary, width, seed=seed + 1).div(width**0.5).to(dtype)
    bias = normal(vocabulary, seed=seed + 2).to(dtype) if biased else None
    targets = picks(rows, vocabulary, seed)
    temperature = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) + 0.5
    factors = normal(rows, seed=seed + 3)
    found = linear_logprob(
        hidden, weight, targets, bias=bias, temperature=temperature, **HEADS[head]
    )
    (found.logprob * factors).sum().backward()
    exact = hidden.detach().double().requires_grad_()
    wanted = reference_logprobs(
        reference_logits(exact, weight, bias, temperature, **HEADS[head]), targets
    )
    (wanted[0] * factors).sum().backward()
    for value, true in zip(found, wanted, strict=True):
        assert value.dtype == torch.float32
        assert torch.allclose(value.double(), true, atol=5e-5)
    # W[y] and E_p[W] may cancel: the error is relative to their size.
    assert hidden.grad is not None and exact.grad is not None
    size = 3 * factors.norm() * weight.float().norm(dim=1).max()
    error = (hidden.grad.double() - exact.grad).norm()
    assert error <= GRADIENT[dtype] * size + 1e-6


@pytest.mark.parametrize("dtype", list(GRADIENT))
def test_the_gradient_of_many_rows(dtype: torch.dtype) -> None:
    hidden = normal(300, 64).to(dtype).requires_grad_()
    weight, targets = normal(5000, 64, seed=1).div(4).to(dtype), picks(300, 5000)
    linear_logprob(hidden, weight, targets).logprob.sum().backward()
    exact = hidden.detach().double().requires_grad_()
    reference_logprobs(reference_logits(exact, weight), targets)[0].sum().backward()
    assert hidden.grad is not None and exact.grad is not None
    assert relative(hidden.grad, exact.grad) < GRADIENT[dtype]


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("biased", [False, True])
def test_gradcheck(head: str, biased: bool) -> None:
    hidden = normal(5, 4, dtype=torch.float64).requires_grad_()
    weight = normal(11, 4, seed=1, dtype=torch.float64)
    bias = normal(11, seed=2, dtype=torch.float64) if biased else None
    targets = torch.tensor([0, 10, -100, 3, 7])
    each = torch.tensor([0.5, 1.0, 1.0, 2.0, 1.3], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda h: (
            linear_logprob(h, weight, targets, bias=bias, temperature=each, **HEADS[head]).logprob
        ),
        (hidden,),
    )


@pytest.mark.parametrize("rows", [0, 1, 700])
def test_rows_left_out_are_zero_and_cost_nothing_to_the_others(rows: int) -> None:
    hidden, weight = normal(rows, 8).requires_grad_(), normal(99, 8, seed=1)
    targets = picks(rows, 99)
    masked = torch.where(torch.arange(rows) % 3 == 0, -100, targets)
    found = linear_logprob(hidden, weight, masked)
    found.logprob.sum().backward()
    kept = masked != -100
    whole = linear_logprob(hidden.detach(), weight, targets)
    for value, full in zip(found, whole, strict=True):
        assert not value[~kept].any()
        assert torch.allclose(value[kept], full[kept], atol=1e-6)
    assert hidden.grad is not None and not hidden.grad[~kept].any()


@pytest.mark.parametrize("level", [-1e4, 1e4])
def test_logits_far_from_zero(level: float) -> None:
    hidden = torch.cat([normal(6, 8), torch.ones(6, 1)], dim=1)
    weight = torch.cat([normal(3000, 8, seed=1), torch.full((3000, 1), level)], dim=1)
    targets = picks(6, 3000)
    found = linear_logprob(hidden, weight, targets)
    # In fp32 a logit of 1e4 is known to 1e-3.
    for value, true in zip(
        found, reference_logprobs(reference_logits(hidden, weight), targets), strict=True
    ):
        assert torch.allclose(value.double(), true, atol=1e-2, rtol=1e-6)


def test_spikes_and_barred_tokens() -> None:
    hidden, weight = torch.ones(4, 1), torch.zeros(2500, 1)
    bias = torch.zeros(2500)
    bias[7], bias[2400] = 50.0, -50.0
    bias[:5] = bias[2100:2300] = -torch.inf  # the sweep's second tile begins at 2048
    targets = torch.tensor([7, 2400, 2499, 5])
    found = linear_logprob(hidden, weight, targets, bias=bias)
    wanted = reference_logprobs(reference_logits(hidden, weight, bias), targets)
    for value, true in zip(found, wanted, strict=True):
        assert torch.allclose(value.double(), true, atol=1e-4)
    all_barred_first = torch.full((2500,), -torch.inf)
    all_barred_first[2300:] = 0.0
    late = linear_logprob(hidden[:1], weight, torch.tensor([2400]), bias=all_barred_first)
    assert float(late.logprob) == pytest.approx(-math.log(200), abs=1e-5)
    assert float(late.cdf_below) == pytest.approx(0.5)


def test_mass_below_is_where_the_drawn_interval_begins() -> None:
    hidden, weight, targets = normal(40, 16), normal(5000, 16, seed=1), picks(40, 5000)
    found = linear_logprob(hidden, weight, targets, temperature=0.7)
    low, high = interval(hidden @ weight.T, targets, 0.7)
    assert torch.allclose(found.cdf_below.double(), low, atol=1e-6)
    assert torch.allclose((found.cdf_below + found.logprob.exp()).double(), high, atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(
    rows=st.integers(1, 1100),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_invariant_rows_have_the_same_bits_in_any_company(
    rows: int, seed: int, dtype: torch.dtype
) -> None:
    hidden, weight = normal(rows, 64, seed=seed).to(dtype), normal(3000, 64, seed=1).to(dtype)
    targets = picks(rows, 3000, seed)

    def run(order: torch.Tensor) -> list[torch.Tensor]:
        mine = hidden[order].requires_grad_()
        found = linear_logprob(mine, weight, targets[order], invariant=True)
        found.logprob.sum().backward()
        assert mine.grad is not None
        return [*(value.detach() for value in found), mine.grad]

    together = run(torch.arange(rows))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    for some in (order, order[:1], order[: rows // 2 + 1]):
        for value, alone in zip(together, run(some), strict=True):
            assert torch.equal(value[some], alone)


def test_a_strided_row_is_read_as_it_is() -> None:
    wide, weight, targets = normal(9, 24), normal(50, 16, seed=1), picks(9, 50)
    part = wide[:, :16]
    assert torch.equal(
        linear_logprob(part, weight, targets).logprob,
        linear_logprob(part.contiguous(), weight, targets).logprob,
    )


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[N, H\], \[V, H\] and \[N\]"):
        linear_logprob(normal(2, 4), normal(8, 5), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="cast one"):
        linear_logprob(normal(2, 4), normal(8, 4).bfloat16(), torch.tensor([1, 2]))
