"""A policy loss straight from hidden states: the head, the loss and both backwards in one call."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlswarm.kernels.backend import Backend, Fold, fold_of, tiling_of
from rlswarm.kernels.head import Head
from rlswarm.kernels.linear_logprob import (
    LogProbs,
    check_shapes,
    linear_logprob,
    per_row,
    put,
)
from rlswarm.kernels.one_pass import OnePass, chunk_rows
from rlswarm.kernels.policy_loss import (
    LossStatistics,
    PolicyLoss,
    Sequences,
    per_token,
    policy_loss,
    token_terms,
)
from rlswarm.kernels.statistics import Statistics
from rlswarm.kernels.tiling import IGNORED, Tiling, blocks, kept_rows
from rlswarm.kernels.trained_head import HeadGradients, in_dtype_of

RECOMPUTED = 800
"""On a GPU, heads narrower than this are recomputed: a product costs less than three trips of
the exponentials through memory (an estimate: 2·H flop against 6 bytes)."""


class LinearPolicyLoss(NamedTuple):
    loss: Tensor
    """0-dimensional, differentiable with respect to hidden, weight and bias."""
    statistics: LossStatistics
    """Over the rows that were computed."""
    values: LogProbs
    """Of the rows that were computed, without gradient; 0 elsewhere."""


def linear_policy_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    advantages: Tensor,
    weights: Tensor,
    spec: PolicyLoss | None = None,
    *,
    behaviour: Tensor | None = None,
    proximal: Tensor | None = None,
    reference: Tensor | None = None,
    offsets: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    invariant: bool = False,
    compact: bool = True,
    backend: Backend = "auto",
) -> LinearPolicyLoss:
    """`policy_loss` of `linear_logprob`, with rows of zero gradient dropped before any product.

    Arguments as of those two. Rows are dropped whose target is −100, whose weight is 0 or, without
    a KL term, whose advantage is 0 (for losses of whole sequences: if all advantages of their
    sequence are); `compact=False` keeps the last kind, whose gradient is 0 but whose log-probs and
    statistics may be of interest. The value of the loss is the same either way.

    A frozen head costs two matrix products. A head that is trained costs three where a token's
    gradient needs nothing but its own log-prob, and four for losses of whole sequences, for heads
    with a soft-cap and, on GPUs, for narrow ones.
    """
    check_shapes(hidden, weight, targets)
    spec = spec or PolicyLoss()
    advantages = per_token(advantages, len(targets), offsets)
    counts = (weights != 0) & (targets != IGNORED)
    weights = torch.where(counts, weights, 0.0)
    if compact and not spec.kl:
        busy = (advantages != 0) & counts
        if spec.by_sequence:
            if offsets is None:
                raise ValueError("a loss of whole sequences needs `offsets`")
            busy = counts & (Sequences(offsets, counts).sum(busy.to(weights.dtype)) > 0)
        counts = busy
        weights = torch.where(counts, weights, 0.0)
    targets = torch.where(counts, targets, IGNORED)
    given = (advantages, weights, behaviour, proximal, reference)
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trained and torch.is_grad_enabled() and _one_pass_is_better(hidden, spec, softcap):
        head = (bias, per_row(temperature, hidden), logit_scale)
        how = (tiling_of(hidden, invariant), fold_of(hidden, backend))
        loss, *rest = _OnePassLoss.apply(hidden, weight, targets, spec, given, *head, *how)
        return LinearPolicyLoss(loss, LossStatistics(*rest[:6]), LogProbs(*rest[6:]))
    values = linear_logprob(
        hidden,
        weight,
        targets,
        bias=bias,
        temperature=temperature,
        softcap=softcap,
        logit_scale=logit_scale,
        invariant=invariant,
        backend=backend,
    )
    loss, statistics = policy_loss(
        values.logprob,
        advantages,
        weights,
        spec,
        behaviour=behaviour,
        proximal=proximal,
        reference=reference,
        offsets=offsets,
    )
    return LinearPolicyLoss(loss, statistics, values._replace(logprob=values.logprob.detach()))


def _one_pass_is_better(hidden: Tensor, spec: PolicyLoss, softcap: float | None) -> bool:
    if spec.by_sequence or softcap is not None:
        return False
    return not hidden.is_cuda or hidden.shape[1] >= RECOMPUTED


class _OnePassLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        spec: PolicyLoss,
        given: tuple[Tensor | None, ...],
        bias: Tensor | None,
        temperature: Tensor,
        scale: float,
        tiling: Tiling,
        fold: Fold,
    ) -> tuple[Tensor, ...]:
        head = Head(weight, bias, None, scale)
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[5])
        gradients = HeadGradients.zeros(head, hidden, temperature, wanted)
        one_pass = OnePass(head, tiling.columns, gradients, fold, whole=tiling.padded)
        found = LogProbs(*(temperature.new_zeros(temperature.shape) for _ in range(4)))
        sums = LossStatistics(*(temperature.new_zeros(()) for _ in range(6)))
        loss = temperature.new_zeros(())
        chunks = Tiling(chunk_rows(head.vocabulary), tiling.columns, tiling.padded)
        for block in blocks(hidden, targets, temperature, kept_rows(targets), chunks):
            rows = block.rows

            def gradient_of(statistics: Statistics, rows: Tensor = rows) -> Tensor:
                nonlocal loss, sums
                advantages, weights, *others = (v if v is None else v[rows] for v in given)
                assert advantages is not None and weights is not None
                logprob = statistics.logprob()[: len(rows)]
                terms, more = token_terms(logprob, advantages, weights, spec, *others)
                loss = loss + terms.loss.sum()
                sums = LossStatistics(*(a + b for a, b in zip(sums, more, strict=True)))
                return terms.gradient

            put(found, one_pass(block, gradient_of), rows)
        ctx.save_for_backward(*in_dtype_of(gradients, hidden, weight, bias))
        ctx.mark_non_differentiable(*sums, *found)
        return loss, *sums, *found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = (
            None if saved is None else saved * gradients[0].to(saved.dtype)
            for saved in ctx.saved_tensors
        )
        return hidden, weight, None, None, None, bias, None, None, None, None
