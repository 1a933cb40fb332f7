"""What a look at seeded samples shows: were these tokens drawn with the randomness they had to be?

Token t of a sample is y = min{v : CDF(v) ≥ u} (design §7), so its u lies in the token's interval of
the policy's CDF. A checker with the same policy finds it there but for rounding; tokens chosen in
any other way leave it outside as often as a blind guess would. Pure arithmetic on arrays; nothing
here imports torch, so that a node can weigh what its worker found.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

NEAR = 0.05
"""Distance of u from its token's interval that other arithmetic, or weights that differ by up to a
percent, explain."""

FAR = 0.25
"""Distance that they do not."""

Verdict = Literal["consistent", "inconsistent", "too little evidence"]


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """Sums over tokens; those of several samples add up."""

    tokens: int = 0
    outside: int = 0
    """Tokens whose u lies more than `NEAR` outside their interval."""
    far: int = 0
    """Tokens whose u lies more than `FAR` outside."""
    weight: float = 0.0
    """How many tokens a blind guess at u would be expected to leave outside by `NEAR`: what the
    tokens could tell. Those that the policy was sure of tell nothing."""
    logprob_error: float = 0.0
    """Σ |carried − recomputed| over tokens, nats; 0 if none were carried."""
    broken: int = 0
    """Samples that go on after an end token, or claim an end that they don't have."""

    def __add__(self, other: "Evidence") -> "Evidence":
        return Evidence(
            tokens=self.tokens + other.tokens,
            outside=self.outside + other.outside,
            far=self.far + other.far,
            weight=self.weight + other.weight,
            logprob_error=self.logprob_error + other.logprob_error,
            broken=self.broken + other.broken,
        )

    @property
    def share(self) -> float:
        """Tokens outside for each that a blind guess would leave there: about 0 for an honest
        sampler, about 1 for one that drew with other randomness. 0 without evidence."""
        return self.outside / self.weight if self.weight else 0.0


class Bound(msgspec.Struct, frozen=True):
    """What evidence may show and still count as honest; see docs/explanation/seeded-sampling.md."""

    share: float
    """Largest `Evidence.share`."""
    far: float
    """Most `far` tokens, as a share of all."""
    logprob_error: float
    """Largest mean error of carried log-probs, nats."""
    weight: float
    """Least `Evidence.weight` on which a verdict may rest."""


ROLLOUT = Bound(share=0.25, far=0.0, logprob_error=0.25, weight=4.0)
GROUP = Bound(share=0.15, far=0.0, logprob_error=0.15, weight=16.0)
ROUND = Bound(share=0.10, far=0.002, logprob_error=0.10, weight=64.0)


def look(u: Floats, cdf_below: Floats, logprob: Floats, carried: Floats | None = None) -> Evidence:
    """Evidence of n tokens; all arrays [n].

    `u` what each was to be drawn with; `cdf_below` the mass of smaller token ids and `logprob`,
    both under the checker's policy; `carried` the sender's log-probs.
    """
    low = np.asarray(cdf_below, np.float64)
    high = low + np.exp(np.asarray(logprob, np.float64))
    distance = np.maximum(np.maximum(low - u, u - high), 0.0)
    inside = np.minimum(high + NEAR, 1.0) - np.maximum(low - NEAR, 0.0)
    # A token of infinite surprise counts as one whose log-prob is as low as it can be carried.
    error = np.zeros(1) if carried is None else np.abs(carried - np.maximum(logprob, -32.0))
    return Evidence(
        tokens=len(low),
        outside=int((distance > NEAR).sum()),
        far=int((distance > FAR).sum()),
        weight=float(np.clip(1.0 - inside, 0.0, 1.0).sum()),
        logprob_error=float(error.sum()),
    )


def pooled(evidence: Iterable[Evidence]) -> Evidence:
    """The sum of evidence of several samples."""
    return sum(evidence, Evidence())


def verdict(evidence: Evidence, bound: Bound) -> Verdict:
    """Whether honest sampling explains the evidence.

    Far tokens, broken ends and wrong log-probs speak for themselves, however little else there is.
    """
    tokens = max(1, evidence.tokens)
    if (
        evidence.broken
        or evidence.far > bound.far * tokens
        or evidence.logprob_error > bound.logprob_error * tokens
    ):
        return "inconsistent"
    if evidence.weight < bound.weight:
        return "too little evidence"
    return "inconsistent" if evidence.share > bound.share else "consistent"
