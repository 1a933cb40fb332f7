"""The policy-gradient estimator (design §6).

L = −Σ sg[min(π_prox/μ, cap)] · min(r A, clip(r, 1 − clip_low, 1 + clip_high) A), r = π/π_prox

with μ the carried log-probs of whoever sampled and π_prox the policy at the start of the learn
window: decoupled PPO (arXiv 2110.00641) with DAPO's asymmetric clip (arXiv 2503.14476) and a
truncated importance weight. Summed here; the step divides by its total number of tokens.
"""

from math import log

from torch import Tensor

from rlswarm.worker.messages import LearningRule


def importance_weights(proximal: Tensor, behaviour: Tensor, rule: LearningRule) -> Tensor:
    """min(π_prox/μ, cap) per token, without gradient. All [N], log-probs in nats."""
    return (proximal.detach() - behaviour).clamp(max=log(rule.ratio_cap)).exp()


def policy_loss(
    logprobs: Tensor, proximal: Tensor, weights: Tensor, advantages: Tensor, rule: LearningRule
) -> Tensor:
    """The sum L over tokens, differentiable with respect to `logprobs`.

    All inputs [N]: log π, log π_prox (nats), `importance_weights`, and each token's advantage.
    """
    ratio = (logprobs - proximal.detach()).exp()
    clipped = ratio.clamp(1.0 - rule.clip_low, 1.0 + rule.clip_high)
    return -(weights * (ratio * advantages).minimum(clipped * advantages)).sum()


def effective_sample_size(total: float, squares: float, count: int) -> float:
    """Kish's (Σw)²/Σw² as a share of the `count` tokens; 0 without tokens."""
    share = total * total / (squares * count) if count and squares > 0 else 0.0
    return min(1.0, share)  # rounding
