"""Draws against the softmax they come from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.kernels import draw, interval


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=60)
@given(
    vocabulary=st.integers(1, 1100),
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.0, 1.0, 8.0, 200.0]),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_draw_is_the_inverse_cdf(
    vocabulary: int, seed: int, spread: float, temperature: float
) -> None:
    logits = normal(4, vocabulary, seed=seed) * spread - 1e4
    u = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = u.clamp(1e-12, 1 - 1e-12)
    tokens, logprobs = draw(logits.clone(), u, temperature)
    low, high = interval(logits.clone(), tokens, temperature)
    assert ((low - 1e-9 <= u) & (u <= high + 1e-9)).all()
    assert (high > low).all()
    wanted = (logits.double() / temperature).log_softmax(1).gather(1, tokens[:, None]).squeeze(1)
    # One step of fp32 at 1e4 is 1e-3: the reference sees the logits before they are divided.
    assert torch.allclose(logprobs.double(), wanted, atol=5e-3)


def test_draw_reaches_both_ends_and_skips_impossible_tokens() -> None:
    logits = torch.full((3, 600), -torch.inf)
    logits[:, [5, 300, 590]] = 0.0
    tokens, logprobs = draw(logits, torch.tensor([2**-53, 0.5, 1 - 2**-53], dtype=torch.float64))
    assert tokens.tolist() == [5, 300, 590]
    assert logprobs.numpy() == pytest.approx(-np.log(3))


def test_drawn_frequencies_follow_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(4000, 1)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    tokens, _ = draw(logits.clone(), u)
    shares = torch.bincount(tokens, minlength=3) / 4000
    assert torch.allclose(shares, logits[0].softmax(0), atol=5e-4)
