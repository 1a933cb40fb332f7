"""Policy-gradient losses of tokens, with their gradients in closed form.

L = Σ_i w_i (c_i l_i + kl · k_i) over tokens i, with r = π/π_prox, A the advantage and

- clip:  l = −min(min(r, ratio_max) A, clip(r, 1 − clip_low, 1 + clip_high) A)
  (PPO, arXiv 1707.06347; clip_high apart from clip_low: DAPO, arXiv 2503.14476; ratio_max, the
  two-sided clip: INTELLECT-2, arXiv 2505.07291). At level "sequence" r is
  exp(mean over the sequence of log π − log π_prox) (GSPO, arXiv 2507.18071);
- cispo: l = −sg[min(r, 1 + clip_high)] A log π (MiniMax-M1, arXiv 2506.13585);
- c, the importance weight of carried log-probs μ: min(π_prox/μ, cap), or π_prox/μ inside
  [floor, cap] and else 0; of a token, or of a whole sequence (decoupled PPO, arXiv 2110.00641);
- k, the k3 estimator of KL(π, π_ref): π_ref/π − log(π_ref/π) − 1 (arXiv 2402.03300, eq. 4),
  times r if `kl_by_ratio` (its gradient then flows through both).

Which loss goes by which name, and how tokens are averaged, is in `loss_variants`.
"""

from dataclasses import dataclass
from math import log
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """Which loss. The defaults are design §6's estimator: DAPO's clip, weights cut at 2."""

    surrogate: Literal["clip", "cispo"] = "clip"
    level: Literal["token", "sequence"] = "token"
    """Of the ratio."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    """For cispo the cap is 1 + clip_high; TRL and Liger call that sum `epsilon_high`."""
    ratio_max: float | None = None
    correction: Literal["none", "truncate", "mask"] = "truncate"
    correction_level: Literal["token", "sequence"] = "token"
    correction_floor: float = 0.0
    correction_cap: float = 2.0
    kl: float = 0.0
    kl_by_ratio: bool = False

    def __post_init__(self) -> None:
        if self.surrogate == "cispo" and self.level == "sequence":
            raise ValueError("cispo weighs tokens: level must be 'token'")

    @property
    def by_sequence(self) -> bool:
        """Whether a token's gradient depends on the rest of its sequence."""
        return self.level == "sequence" or (
            self.correction != "none" and self.correction_level == "sequence"
        )


class LossStatistics(NamedTuple):
    """Sums over the tokens whose weight is not 0; 0-dimensional, no gradient."""

    tokens: Tensor
    clipped: Tensor
    """Tokens whose surrogate has no gradient because of the clip (for cispo: that are capped)."""
    kl: Tensor
    """Σ k3; 0 without reference log-probs."""
    ratio: Tensor
    """Σ r."""
    correction: Tensor
    """Σ c."""
    correction_squares: Tensor
    """Σ c²: (Σ c)²/Σ c² is Kish's effective sample size, in tokens."""


class TokenTerms(NamedTuple):
    """All [N]."""

    loss: Tensor
    """w_i (c_i l_i + kl · k_i)."""
    gradient: Tensor
    """dL / d log π_i."""


def policy_loss(
    logprob: Tensor,
    advantages: Tensor,
    weights: Tensor,
    spec: PolicyLoss | None = None,
    *,
    behaviour: Tensor | None = None,
    proximal: Tensor | None = None,
    reference: Tensor | None = None,
    offsets: Tensor | None = None,
) -> tuple[Tensor, LossStatistics]:
    """The loss L (0-dimensional), differentiable with respect to `logprob`, and statistics.

    `logprob` [N] is log π in nats; `advantages` [N], or [S] with `offsets`; `weights` [N] are
    the normalisers (see `loss_weights`), 0 for tokens that don't count, whose other values may then
    be anything, NaN included. `behaviour` [N] is log μ (default: no correction); `proximal` [N]
    is log π_prox (default: π itself, so r = 1); `reference` [N] is log π_ref, needed for kl ≠ 0.
    `offsets` int [S + 1] says where sequences begin and end, from 0 to N; needed for anything "of
    a sequence". All is computed in the dtype of `logprob`. Raises ValueError for what is missing.
    """
    spec = spec or PolicyLoss()
    advantages = per_token(advantages, len(logprob), offsets)
    loss, *statistics = _PolicyLoss.apply(
        logprob, advantages, weights, behaviour, proximal, reference, offsets, spec
    )
    return loss, LossStatistics(*statistics)


def per_token(advantages: Tensor, count: int, offsets: Tensor | None) -> Tensor:
    """Advantages [N], from [N] or, with `offsets`, from [S] (taken for that where both fit)."""
    if offsets is not None and len(advantages) == len(offsets) - 1:
        return advantages.repeat_interleave(offsets.diff().to(advantages.device))
    if len(advantages) != count:
        raise ValueError(
            f"{len(advantages)} advantages for {count} tokens: give one a token, or one a "
            "sequence with `offsets`"
        )
    return advantages


class _PolicyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logprob: Tensor,
        advantages: Tensor,
        weights: Tensor,
        behaviour: Tensor | None,
        proximal: Tensor | None,
        reference: Tensor | None,
        offsets: Tensor | None,
        spec: PolicyLoss,
    ) -> tuple[Tensor, ...]:
        terms, statistics = token_terms(
            logprob, advantages, weights, spec, behaviour, proximal, reference, offsets
        )
        ctx.save_for_backward(terms.gradient)
        ctx.mark_non_differentiable(*statistics)
        return terms.loss.sum(), *statistics

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], *([None] * 7)


def token_terms(
    logprob: Tensor,
    advantages: Tensor,
    weights: Tensor,
    spec: PolicyLoss,
    behaviour: Tensor | None = None,
    proximal: Tensor | None = None,
    reference: Tensor | None = None,
    offsets: Tensor | None = None,
) -> tuple[TokenTerms, LossStatistics]:
    """Loss and gradient of every token, without an autograd graph; arguments of `policy_loss`."""
    if spec.kl and reference is None:
        raise ValueError("a KL term needs the log-probs of the reference policy")
    if spec.by_sequence and offsets is None:
        raise ValueError("a loss of whole sequences needs `offsets`")
    logprob = logprob.detach()
    counts = weights != 0
    weights = torch.where(counts, weights, 0.0).to(logprob.dtype)
    advantages = torch.where(counts, advantages, 0.0).to(logprob.dtype)
    # A masked token's log-probs may be anything; equal ones make every ratio 1 (never inf · 0).
    logprob = torch.where(counts, logprob, 0.0)
    proximal = _or_own(proximal, logprob, counts)
    behaviour = _or_own(behaviour, proximal, counts)
    reference = _or_own(reference, logprob, counts)
    sequences = None if offsets is None else Sequences(offsets, counts)

    ratio = (logprob - proximal).exp()
    used = ratio
    if spec.level == "sequence":
        assert sequences is not None
        used = sequences.mean(logprob - proximal).exp()
    correction = _correction(proximal - behaviour, spec, sequences)
    surrogate, slope, clipped = _surrogate(used, logprob, advantages, spec)
    loss, gradient = weights * correction * surrogate, weights * correction * slope
    if spec.level == "sequence":
        assert sequences is not None
        gradient = sequences.mean(gradient)  # each token has 1/length of the ratio's logarithm
    gap = reference - logprob
    k3 = gap.exp() - gap - 1
    if spec.kl:
        by = ratio if spec.kl_by_ratio else torch.ones_like(ratio)
        loss = loss + weights * spec.kl * by * k3
        change = 1 - gap.exp() + (k3 if spec.kl_by_ratio else 0.0)
        gradient = gradient + weights * spec.kl * by * change
    correction = correction * counts
    statistics = (counts, clipped & counts, k3, used * counts, correction, correction.square())
    sums = (value.sum(dtype=logprob.dtype) for value in statistics)
    return TokenTerms(loss, gradient * counts), LossStatistics._make(sums)


def _or_own(given: Tensor | None, own: Tensor, counts: Tensor) -> Tensor:
    return own if given is None else torch.where(counts, given.to(own.dtype), own)


def _surrogate(
    ratio: Tensor, logprob: Tensor, advantages: Tensor, spec: PolicyLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """l, dl/d log r, and whether the clip or cap holds; [N] each."""
    if spec.surrogate == "cispo":
        capped = ratio.clamp(max=1 + spec.clip_high)
        slope = -capped * advantages
        return slope * logprob, slope, ratio > 1 + spec.clip_high
    most = torch.inf if spec.ratio_max is None else spec.ratio_max
    first = ratio.clamp(max=most) * advantages
    second = ratio.clamp(1 - spec.clip_low, 1 + spec.clip_high) * advantages
    active = (first <= second) & (ratio <= most)
    return -torch.minimum(first, second), torch.where(active, -first, 0.0), ~active


def _correction(gap: Tensor, spec: PolicyLoss, sequences: "Sequences | None") -> Tensor:
    """c, from log π_prox − log μ."""
    if spec.correction == "none":
        return torch.ones_like(gap)
    if spec.correction_level == "sequence":
        assert sequences is not None
        gap = sequences.sum(gap)
    if spec.correction == "truncate":
        # The logarithm is cut, so that no weight overflows on the way.
        return gap.clamp(max=log(spec.correction_cap)).exp()
    weight = gap.exp()
    inside = (weight >= spec.correction_floor) & (weight <= spec.correction_cap)
    return torch.where(inside, weight, 0.0)


class Sequences:
    """Sums over sequences of the tokens that count, given back to each of their tokens."""

    def __init__(self, offsets: Tensor, counts: Tensor) -> None:
        self._offsets = offsets.to(device=counts.device, dtype=torch.int64)
        if int(self._offsets[-1]) != len(counts):
            raise ValueError(f"offsets end at {int(self._offsets[-1])}, not at {len(counts)}")
        self._counts = counts

    def sum(self, values: Tensor) -> Tensor:
        """[N] → [N]."""
        each = torch.segment_reduce(
            values * self._counts, "sum", offsets=self._offsets, initial=0.0
        )
        return each.repeat_interleave(self._offsets.diff(), output_size=len(values))

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.sum(torch.ones_like(values)).clamp(min=1)
