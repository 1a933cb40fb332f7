"""Log-probs of tokens straight from hidden states, without the logits ever existing at once."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 1 << 22
"""Logits held at once: 4 Mi numbers, 16 MB in fp32."""


def linear_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """log softmax((hidden · weightᵀ + bias) / temperature) at `targets`, for a frozen head.

    `hidden` [N, H], `weight` [V, H], `bias` [V], `targets` int64 [N]. Returns [N], fp32 (float64
    for float64 input). Differentiable with respect to `hidden`: the gradient of one log-prob is
    (W[y] − E_p[W]) / temperature, computed in the forward sweep over tiles of rows, so the
    backward is a row scale and memory is O(N·H). Raises ValueError if the head wants a gradient.
    """
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        raise ValueError("linear_logprob is for a frozen head: weight or bias wants a gradient")
    logprobs: Tensor = _LinearLogprob.apply(hidden, weight, targets, bias, temperature)
    return logprobs


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        temperature: float,
    ) -> Tensor:
        count = hidden.shape[0]
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        logprobs = torch.empty(count, dtype=dtype, device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        rows = max(1, TILE // weight.shape[0])
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            scaled = F.linear(hidden[part], weight, bias).to(dtype).div_(temperature)
            chosen = scaled.gather(1, targets[part, None])
            total = scaled.logsumexp(1, keepdim=True)
            logprobs[part] = (chosen - total).squeeze(1)
            if slope is not None:
                expected = scaled.sub_(total).exp_().to(weight.dtype) @ weight
                slope[part] = (weight[targets[part]] - expected).div_(temperature)
        if slope is not None:
            ctx.save_for_backward(slope)
        return logprobs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradients[0].to(slope.dtype)[:, None], None, None, None, None
