"""Which loss a learning rule means (design §6); its mathematics is in `rlswarm.kernels`."""

from dataclasses import replace
from typing import Literal

from torch import Tensor

from rlswarm.kernels import PolicyLoss, named_loss
from rlswarm.worker.messages import LearningRule


def loss_of(rule: LearningRule) -> PolicyLoss:
    """The rule's loss with the rule's clip and cap, where that loss has them.

    gspo and cispo keep their published clips: the manifest's are meant for a token's ratio.
    """
    spec = named_loss(rule.loss)
    if rule.loss == "ratio_one":
        return spec
    if rule.loss in ("gspo", "cispo"):
        return replace(spec, correction_cap=rule.ratio_cap)
    return replace(
        spec, clip_low=rule.clip_low, clip_high=rule.clip_high, correction_cap=rule.ratio_cap
    )


def advantage_scale(rule: LearningRule) -> Literal["std", "none"]:
    """How advantages are scaled: Dr. GRPO doesn't divide them by the group's spread."""
    return "none" if rule.loss == "dr_grpo" else "std"


def step_weights(rule: LearningRule, lengths: Tensor) -> Tensor:
    """Weights [N] of tokens of sequences with these `lengths` [S], before the step's normaliser.

    They sum up to the step's `step_normaliser`, so that passes can be added before it is known.
    """
    each = lengths.repeat_interleave(lengths).float()
    return each.reciprocal() if rule.loss in ("grpo", "gspo") else each.new_ones(len(each))


def step_normaliser(rule: LearningRule, *, tokens: int, sequences: int, longest: int) -> int:
    """What the sum of a step's passes is divided by; all counts are of the whole step."""
    if rule.loss in ("grpo", "gspo"):
        return sequences
    return sequences * longest if rule.loss == "dr_grpo" else tokens


def effective_sample_size(total: float, squares: float, count: int) -> float:
    """Kish's (Σw)²/Σw² as a share of the `count` tokens; 0 without tokens."""
    share = total * total / (squares * count) if count and squares > 0 else 0.0
    return min(1.0, share)  # rounding
