"""Drawing tokens by inverse CDF in vocabulary order, from given uniform numbers (design §7)."""

import torch
from torch import Tensor

BLOCK = 256
"""Tokens summed together: one float64 number per block is accumulated instead of one per token."""


def draw(logits: Tensor, u: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """y = min{v : CDF(v) ≥ u · total} for each row, and log p(y) under the full softmax.

    `logits` [R, V] in any floating dtype (overwritten if fp32), `u` [R] float64 in (0, 1).
    Returns tokens int64 [R] and log-probs fp32 [R]. Weights are exp(logit / temperature − max) in
    fp32; sums are float64, over blocks first, so only one block per row is accumulated in full.
    """
    weights = _weights(logits, temperature)
    sums = _block_sums(weights).cumsum(1)
    total = sums[:, -1]
    target = u * total
    block = torch.searchsorted(sums, target[:, None]).clamp_(max=sums.shape[1] - 1)
    below = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    vocabulary = weights.shape[1]
    places = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = places < vocabulary
    places = places.clamp_(max=vocabulary - 1)
    mass = weights.gather(1, places).double() * inside
    reached = below + mass.cumsum(1) >= target[:, None]
    # Rounding may leave the block's own sum a hair short of the target: then its last token that
    # has any mass is the answer.
    last = (mass > 0).long().mul_(torch.arange(BLOCK, device=weights.device)).argmax(1)
    offset = torch.where(reached.any(1), reached.long().argmax(1), last)
    tokens = places.gather(1, offset[:, None]).squeeze(1)
    chosen = weights.gather(1, tokens[:, None]).squeeze(1)
    return tokens, (chosen.double().log() - total.log()).float()


def interval(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The part of (0, 1) that draws `tokens`: CDF just below, and at, each token.

    `logits` [R, V] (overwritten if fp32), `tokens` int64 [R]; returns float64 [R] twice.
    """
    weights = _weights(logits, temperature).double()
    total = weights.sum(1)
    below = torch.arange(weights.shape[1], device=weights.device) < tokens[:, None]
    low = (weights * below).sum(1)
    high = low + weights.gather(1, tokens[:, None]).squeeze(1)
    return low / total, high / total


def _weights(logits: Tensor, temperature: float) -> Tensor:
    scaled = logits.float().div_(temperature)
    return scaled.sub_(scaled.amax(1, keepdim=True)).exp_()


def _block_sums(weights: Tensor) -> Tensor:
    """Sums of `BLOCK` consecutive columns, the last of fewer: float64 [R, blocks]."""
    rows, vocabulary = weights.shape
    whole = vocabulary // BLOCK * BLOCK
    sums = weights[:, :whole].reshape(rows, -1, BLOCK).sum(2, dtype=torch.float64)
    if whole == vocabulary:
        return sums
    rest = weights[:, whole:].sum(1, keepdim=True, dtype=torch.float64)
    return torch.cat([sums, rest], dim=1) if whole else rest.view(rows, 1)
