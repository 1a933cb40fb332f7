"""Plain float64 references, as short as the formulas, with every logit in memory."""

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picks(count: int, below: int, seed: int = 0) -> Tensor:
    """`count` numbers in 0..below−1, the two ends among them."""
    found = torch.randint(below, (count,), generator=torch.Generator().manual_seed(seed))
    found[:1], found[1:2] = below - 1, 0
    return found


def reference_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> Tensor:
    """float64 [N, V]."""
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits / torch.as_tensor(temperature).double().reshape(-1, 1)


def reference_logprobs(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log p, entropy, log Σ exp and mass below the target, float64 [N] each."""
    logp = logits.log_softmax(1)
    mass = logp.exp()
    chosen = logp.gather(1, targets[:, None]).squeeze(1)
    entropy = -torch.where(mass > 0, mass * logp, 0.0).sum(1)
    below = (mass * (torch.arange(logits.shape[1]) < targets[:, None])).sum(1)
    return chosen, entropy, logits.logsumexp(1), below


def relative(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the error, relative to that of `wanted`."""
    return float((found.double() - wanted).norm() / wanted.norm().clamp(min=1e-30))
