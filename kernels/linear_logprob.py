"""Log-probs of tokens straight from hidden states, without the logits ever existing at once."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlswarm.kernels.backend import Backend, fold_of, scores_at_once, tiling_of
from rlswarm.kernels.head import Head
from rlswarm.kernels.products import statistics_dtype
from rlswarm.kernels.statistics import Statistics
from rlswarm.kernels.sweep import Sweep
from rlswarm.kernels.tiling import IGNORED, Block, Tiling, blocks, kept_rows
from rlswarm.kernels.trained_head import in_dtype_of, recomputed_gradients


class LogProbs(NamedTuple):
    """What one sweep over the vocabulary tells of each row; all [N], in nats.

    fp32 (float64 for float64 input); 0 in rows whose target is −100. Only `logprob` is
    differentiable.
    """

    logprob: Tensor
    """log p(target)."""
    entropy: Tensor
    """−Σ p log p."""
    lse: Tensor
    """log Σ exp z, of the scaled logits z."""
    cdf_below: Tensor
    """Probability mass of token ids below the target: where its interval of (0, 1) begins."""


def linear_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    invariant: bool = False,
    backend: Backend = "auto",
) -> LogProbs:
    """Log-softmax of z = cap(logit_scale · (hidden · weightᵀ + bias)) / temperature at `targets`.

    `hidden` [N, H], `weight` [V, H] and `bias` [V] of one floating dtype; `targets` integer [N]
    in 0..V−1, or −100 for rows to leave out; `temperature` a number or [N]; cap(x) = softcap ·
    tanh(x / softcap), or x. With `invariant`, a row's bits depend on nothing but the row, the head
    and the number of threads: not on N, on the order or on the other rows.

    `backend` "auto" means Triton on GPUs that have it, plain torch elsewhere.

    A frozen head is swept once: the gradient of a log-prob with respect to its row of `hidden`,
    (W[y] − E_p[W]) / temperature, is gathered on the way, so the backward is a row scale: two
    matrix products in all, and memory O(N·H). If weight or bias wants a gradient, the backward
    makes the logits again: four products. Raises ValueError for shapes that don't fit.
    """
    check_shapes(hidden, weight, targets)
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    found: tuple[Tensor, ...] = _LinearLogprob.apply(
        hidden,
        weight,
        bias,
        targets,
        per_row(temperature, hidden),
        softcap,
        logit_scale,
        tiling_of(hidden, invariant),
        backend,
    )
    return LogProbs(*found)


def check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor) -> None:
    if hidden.shape[1:] != weight.shape[1:] or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {list(hidden.shape)}, weight {list(weight.shape)} and targets "
            f"{list(targets.shape)} should be [N, H], [V, H] and [N]"
        )
    if hidden.dtype != weight.dtype:
        raise ValueError(f"hidden is {hidden.dtype}, but weight {weight.dtype}: cast one of them")


def per_row(temperature: float | Tensor, hidden: Tensor) -> Tensor:
    """The temperature of every row of `hidden`, [N], in the dtype of the statistics."""
    dtype = statistics_dtype(hidden.dtype)
    each = torch.as_tensor(temperature, dtype=dtype, device=hidden.device)
    return each.expand(len(hidden))


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: Tensor,
        softcap: float | None,
        scale: float,
        tiling: Tiling,
        backend: Backend,
    ) -> tuple[Tensor, ...]:
        head = Head(weight, bias, softcap, scale)
        wanted = ctx.needs_input_grad[:3]
        ctx.trained, ctx.shape = any(wanted[1:]), (softcap, scale)
        ctx.tiling, ctx.wanted = tiling, wanted
        kept = kept_rows(targets)
        frozen = wanted[0] and not ctx.trained
        rows = tiling.rows if tiling.padded else min(tiling.rows, len(kept))
        sweep: Callable[[Block], tuple[Statistics, Tensor | None]]
        if not any(wanted) and scores_at_once(head, hidden, backend):
            sweep = partial(_scored, head)
        else:
            sweep = Sweep(head, rows, tiling.columns, fold_of(hidden, backend), slope=frozen)
        found = LogProbs(*(temperature.new_zeros(temperature.shape) for _ in range(4)))
        slopes = hidden.new_empty(len(kept) if frozen else 0, hidden.shape[1])
        done = 0
        for block in blocks(hidden, targets, temperature, kept, tiling):
            statistics, slope = sweep(block)
            put(found, statistics, block.rows)
            if slope is not None:
                slopes[done : done + len(block.rows)] = slope[: len(block.rows)]
            done += len(block.rows)
        if ctx.trained:
            ctx.save_for_backward(hidden, weight, bias, targets, temperature, found.lse)
        else:
            ctx.save_for_backward(slopes, kept)
        ctx.mark_non_differentiable(*found[1:])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rest = (None,) * 6
        if ctx.trained:
            hidden, weight, bias, targets, temperature, lse = ctx.saved_tensors
            gradient = torch.where(targets == IGNORED, 0.0, gradients[0])
            head = Head(weight, bias, *ctx.shape)
            found = recomputed_gradients(
                head, hidden, targets, temperature, lse, gradient, ctx.tiling, ctx.wanted
            )
            return *in_dtype_of(found, hidden, weight, bias), *rest
        slopes, kept = ctx.saved_tensors
        gradient = gradients[0]
        if len(kept) == len(gradient):
            return slopes * gradient.to(slopes.dtype)[:, None], None, None, *rest
        full = slopes.new_zeros(len(gradient), slopes.shape[1])
        full[kept] = slopes * gradient[kept].to(slopes.dtype)[:, None]
        return full, None, None, *rest


def _scored(head: Head, block: Block) -> tuple[Statistics, None]:
    from rlswarm.kernels.triton_score import triton_score

    return triton_score(head, block.hidden, block.targets, block.temperature), None


def put(found: LogProbs, statistics: Statistics, rows: Tensor) -> None:
    """Write a block's statistics to its `rows` of `found`."""
    values = (
        statistics.logprob(),
        statistics.entropy(),
        statistics.lse(),
        statistics.cdf_below(),
    )
    for into, value in zip(found, values, strict=True):
        into[rows] = value[: len(rows)]
