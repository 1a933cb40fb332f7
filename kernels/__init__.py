"""Token mathematics on arrays: log-probs through the head, draws, losses, advantages.

Nothing here knows of nodes or models. See docs/reference/kernels.md.
"""

from rlswarm.kernels.advantages import group_advantages
from rlswarm.kernels.inverse_cdf import draw, interval
from rlswarm.kernels.linear_logprob import LogProbs, linear_logprob
from rlswarm.kernels.linear_policy_loss import LinearPolicyLoss, linear_policy_loss
from rlswarm.kernels.loss_variants import VARIANTS, Variant, loss_weights, named_loss
from rlswarm.kernels.policy_loss import LossStatistics, PolicyLoss, policy_loss

__all__ = [
    "VARIANTS",
    "LinearPolicyLoss",
    "LogProbs",
    "LossStatistics",
    "PolicyLoss",
    "Variant",
    "draw",
    "group_advantages",
    "interval",
    "linear_logprob",
    "linear_policy_loss",
    "loss_weights",
    "named_loss",
    "policy_loss",
]
