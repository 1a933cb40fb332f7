"""Log-probs of tokens straight from hidden states, without the logits ever existing at once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlswarm.kernels.head import Head
from rlswarm.kernels.products import statistics_dtype
from rlswarm.kernels.sweep import Sweep
from rlswarm.kernels.tiling import Tiling, blocks, kept_rows


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
) -> LogProbs:
    """Log-softmax of z = cap(logit_scale · (hidden · weightᵀ + bias)) / temperature at `targets`.

    `hidden` [N, H], `weight` [V, H] and `bias` [V] of one floating dtype; `targets` integer [N]
    in 0..V−1, or −100 for rows to leave out; `temperature` a number or [N]; cap(x) = softcap ·
    tanh(x / softcap), or x. With `invariant`, a row's bits depend on nothing but the row, the head
    and the number of threads: not on N, on the order or on the other rows.

    Differentiable with respect to `hidden`, for a frozen head. The gradient of one log-prob is
    (W[y] − E_p[W]) / temperature, gathered in the forward sweep, so the backward is a row scale:
    two matrix products in all, and memory O(N·H). Raises ValueError for shapes that don't fit and
    if the head wants a gradient.
    """
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        raise ValueError("linear_logprob is for a frozen head: weight or bias wants a gradient")
    if hidden.shape[1:] != weight.shape[1:] or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {list(hidden.shape)}, weight {list(weight.shape)} and targets "
            f"{list(targets.shape)} should be [N, H], [V, H] and [N]"
        )
    dtype = statistics_dtype(hidden.dtype)
    each = torch.as_tensor(temperature, dtype=dtype, device=hidden.device).expand(targets.shape)
    head = Head(weight, bias, softcap, logit_scale)
    return LogProbs(*_LinearLogprob.apply(hidden, targets, each, head, Tiling(padded=invariant)))


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        temperature: Tensor,
        head: Head,
        tiling: Tiling,
    ) -> tuple[Tensor, ...]:
        kept = kept_rows(targets)
        wanted: bool = ctx.needs_input_grad[0]
        rows = tiling.rows if tiling.padded else min(tiling.rows, len(kept))
        sweep = Sweep(head, rows, tiling.columns, slope=wanted)
        found = [temperature.new_zeros(temperature.shape) for _ in LogProbs._fields]
        slopes = hidden.new_empty(len(kept) if wanted else 0, hidden.shape[1])
        done = 0
        for block in blocks(hidden, targets, temperature, kept, tiling):
            statistics, slope = sweep(block)
            count = len(block.rows)
            values = (
                statistics.logprob(),
                statistics.entropy(),
                statistics.lse(),
                statistics.cdf_below(),
            )
            for into, value in zip(found, values, strict=True):
                into[block.rows] = value[:count]
            if slope is not None:
                slopes[done : done + count] = slope[:count]
            done += count
        ctx.save_for_backward(slopes, kept)
        ctx.mark_non_differentiable(*found[1:])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        slopes, kept = ctx.saved_tensors
        gradient = gradients[0]
        if len(kept) == len(gradient):
            return slopes * gradient.to(slopes.dtype)[:, None], None, None, None, None
        full = slopes.new_zeros(len(gradient), slopes.shape[1])
        full[kept] = slopes * gradient[kept].to(slopes.dtype)[:, None]
        return full, None, None, None, None
