"""Losses by the names that papers and trainers give them: a `PolicyLoss` and token weights."""

from typing import Literal, get_args

import torch
from torch import Tensor

from rlswarm.kernels.policy_loss import PolicyLoss

Variant = Literal["dapo", "grpo", "dr_grpo", "bnpo", "luspo", "gspo", "cispo", "ratio_one"]

VARIANTS: tuple[Variant, ...] = get_args(Variant)


def named_loss(variant: Variant) -> PolicyLoss:
    """The published settings of a loss; change some with `dataclasses.replace`.

    - dapo, grpo, dr_grpo, bnpo: the same clip at 0.8 and 1.28; they differ in `loss_weights`
      (arXiv 2503.14476; 2402.03300; 2503.20783, with advantages that aren't divided by the spread;
      the mean over one batch's own tokens);
    - gspo: the ratio of sequences, clipped at 1 − 3e-4 and 1 + 4e-4 (arXiv 2507.18071, §5.1);
    - luspo: as gspo, but each token of a sequence counts (arXiv 2602.05261);
    - cispo: capped weights at 1 + 4 (`epsilon_high` 5 in TRL);
    - ratio_one: π∇log π · A with no ratio and no importance weight, whoever sampled: the rule of
      SAPO, arXiv 2509.08721. Pass no `proximal` with it.
    """
    if variant in ("gspo", "luspo"):
        return PolicyLoss(level="sequence", clip_low=3e-4, clip_high=4e-4)
    if variant == "cispo":
        return PolicyLoss(surrogate="cispo", clip_high=4.0)
    if variant == "ratio_one":
        return PolicyLoss(correction="none")
    return PolicyLoss()


def loss_weights(
    variant: Variant,
    lengths: Tensor,
    *,
    tokens: float | None = None,
    sequences: float | None = None,
    longest: float | None = None,
) -> Tensor:
    """Normalisers w [N] of the tokens of sequences with these `lengths` [S] (sum N), fp32.

    dapo, cispo, ratio_one: 1/tokens; bnpo: 1/N, always of this batch; grpo, gspo:
    1/(sequences · length); luspo: 1/sequences; dr_grpo: 1/(sequences · longest). `tokens` and
    `sequences` are totals of the whole optimizer step over all its batches and processes
    (default: of this batch); `longest` is the most tokens a completion may have (default: has).
    """
    total = int(lengths.sum())
    each = torch.ones(total, device=lengths.device)
    sequences = len(lengths) if sequences is None else sequences
    if total == 0:
        return each
    if variant in ("grpo", "gspo"):
        return each / (sequences * lengths.repeat_interleave(lengths))
    if variant == "luspo":
        return each / sequences
    if variant == "dr_grpo":
        return each / (sequences * (int(lengths.max()) if longest is None else longest))
    return each / (total if tokens is None or variant == "bnpo" else tokens)
