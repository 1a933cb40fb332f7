"""What a row's softmax comes to, gathered tile by tile in one sweep over the vocabulary.

The online softmax of arXiv 1805.02867, with three more sums taken along: the entropy's, the mass
below a token, and the logit of that token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Statistics:
    """Of R rows over the tokens seen so far; all [R], relative to e to the `peak`."""

    peak: Tensor
    """Largest scaled logit z."""
    total: Tensor
    """Σ exp(z − peak)."""
    moment: Tensor
    """Σ exp(z − peak) · (z − peak)."""
    below: Tensor
    """The part of `total` that comes from token ids below the row's target."""
    chosen: Tensor
    """z of the target, once it has been seen."""

    @classmethod
    def empty(cls, like: Tensor) -> "Statistics":
        """Nothing seen. `like` [R] gives device and dtype."""
        lowest, zeros = torch.full_like(like, -torch.inf), torch.zeros_like(like)
        return cls(lowest, zeros, zeros.clone(), zeros.clone(), lowest.clone())

    def logprob(self) -> Tensor:
        return (self.chosen - self.peak) - self.total.log()

    def entropy(self) -> Tensor:
        return self.total.log() - self.moment / self.total

    def lse(self) -> Tensor:
        return self.peak + self.total.log()

    def cdf_below(self) -> Tensor:
        return self.below / self.total


def fold(statistics: Statistics, z: Tensor, mass: Tensor, targets: Tensor, barred: bool) -> Tensor:
    """Take in a tile; returns the factor [R] by which sums of earlier tiles have shrunk.

    `z` [R, T] scaled logits of T consecutive tokens, overwritten; `mass` [R, T] takes
    exp(z − peak); `targets` int64 [R], relative to the tile's first token; `barred` says whether
    z may hold −inf.
    """
    tokens = z.shape[1]
    peak = torch.maximum(statistics.peak, z.amax(1))
    finite = torch.where(peak == -torch.inf, 0.0, peak) if barred else peak
    rows = ((targets >= 0) & (targets < tokens)).nonzero().squeeze(1)
    inside = targets[rows]
    statistics.chosen[rows] = z[rows, inside]
    z.sub_(finite[:, None])
    torch.exp(z, out=mass)
    if barred:
        z.clamp_(min=-1e4)  # so that no mass times −inf is 0
    total = mass.sum(1)
    shift = torch.where(statistics.total > 0, statistics.peak - finite, 0.0)
    shrink = shift.exp()
    statistics.moment.addcmul_(statistics.total, shift).mul_(shrink).add_(
        torch.linalg.vecdot(mass, z)
    )
    statistics.total.mul_(shrink).add_(total)
    statistics.below.mul_(shrink).add_(torch.where(targets >= tokens, total, 0.0))
    if len(rows):
        before = torch.arange(tokens, device=z.device) < inside[:, None]
        statistics.below[rows] += torch.where(before, mass[rows], 0.0).sum(1)
    statistics.peak = peak
    return shrink


def add_at_targets(values: Tensor, targets: Tensor, amounts: Tensor) -> None:
    """values[i, targets[i]] += amounts[i] for the targets within the tile `values` [R, T]."""
    inside = (targets >= 0) & (targets < values.shape[1])
    places = targets.clamp(0, values.shape[1] - 1)
    values.scatter_add_(1, places[:, None], torch.where(inside, amounts, 0.0)[:, None])
