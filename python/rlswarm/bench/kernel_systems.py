"""The systems that the kernel bench compares, each doing the same work on the same inputs.

Run as a process: ``python -m rlswarm.bench.kernel_systems``, one JSON request a line on stdin, one
JSON answer a line on stdout. A process does one system in one case, so that peak memory is its own.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SYSTEMS = ("naive", "trl", "liger", "torch chunked CE", "rlswarm, no row dropped", "rlswarm")
"""torch's chunked cross-entropy computes −log p only: no ratio, no weights, one scalar."""

SLICE = 64
"""Rows whose log-probs and gradients are compared with float64."""

Work = Callable[["Inputs"], Tensor | None]
"""Forward and backward of the loss; leaves gradients, returns log-probs [N] if it has them."""


@dataclass
class Inputs:
    """A head and a batch of completions; the loss is −Σ w A log π at ratio 1 (DAPO, on policy)."""

    hidden: Tensor
    """[S, L, H], wants a gradient."""
    weight: Tensor
    """[V, H], wants one if the head is trained."""
    targets: Tensor
    """int64 [S, L]."""
    mask: Tensor
    """fp32 [S, L]; 0 for padding."""
    advantages: Tensor
    """fp32 [S]."""

    @property
    def weights(self) -> Tensor:
        """[N]: one over the number of tokens that count."""
        return (self.mask / self.mask.sum()).flatten()

    @property
    def each(self) -> Tensor:
        """Advantages [N]."""
        return self.advantages.repeat_interleave(self.mask.shape[1])


def make_inputs(
    width: int, vocabulary: int, rows: int, masked: float, dtype: str, trained: bool
) -> Inputs:
    """Seeded. Logits have a standard deviation of 3; each sequence has its last part masked."""
    random = torch.Generator().manual_seed(0)
    length = min(256, rows)
    sequences = rows // length
    kind = getattr(torch, dtype)
    weight = torch.randn(vocabulary, width, generator=random).mul_(3 / math.sqrt(width)).to(kind)
    hidden = torch.randn(sequences, length, width, generator=random).to(kind)
    mask = torch.ones(sequences, length)
    mask[:, length - round(masked * length) :] = 0
    return Inputs(
        hidden.requires_grad_(),
        weight.requires_grad_(trained),
        torch.randint(vocabulary, (sequences, length), generator=random),
        mask,
        torch.randn(sequences, generator=random),
    )


def surrogate(inputs: Inputs, logprob: Tensor) -> Tensor:
    """The loss as a trainer writes it in plain torch, from log-probs [N]."""
    ratio = (logprob - logprob.detach()).exp()
    clipped = ratio.clamp(0.8, 1.28)
    return -(inputs.weights * torch.minimum(ratio * inputs.each, clipped * inputs.each)).sum()


def naive(inputs: Inputs) -> Tensor:
    logits = (inputs.hidden.flatten(0, 1) @ inputs.weight.T).float()
    logprob = logits.log_softmax(-1).gather(1, inputs.targets.flatten()[:, None]).squeeze(1)
    torch.autograd.backward(surrogate(inputs, logprob))
    return logprob.detach()


def trl(inputs: Inputs) -> Tensor:
    """With the tile that TRL's fused head uses by default."""
    from trl.kernels import ChunkedLogProbFunction

    logprob: Tensor = ChunkedLogProbFunction.apply(
        inputs.hidden.flatten(0, 1),
        inputs.weight,
        None,
        inputs.targets.flatten(),
        1.0,
        32768,
        None,
        1.0,
        (),
    )[0]
    torch.autograd.backward(surrogate(inputs, logprob))
    return logprob.detach()


def liger(inputs: Inputs) -> None:
    """Eager: compiled it takes as long on CPUs, after half a minute of compilation."""
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss

    loss = LigerFusedLinearGRPOLoss(
        beta=0.0, compiled=False, use_ref_model=False, epsilon_high=0.28, loss_type="dapo"
    )
    found = loss(inputs.hidden, inputs.weight, inputs.targets, inputs.mask, inputs.advantages)
    torch.autograd.backward(found[0])


def torch_chunked(inputs: Inputs) -> None:
    """With chunks of 256 rows: its default is much slower on CPUs."""
    targets = torch.where(inputs.mask > 0, inputs.targets, -100).flatten()
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=256)
    loss = F.linear_cross_entropy(
        inputs.hidden.flatten(0, 1), inputs.weight, targets, options=options
    )
    torch.autograd.backward(loss)


def ours(inputs: Inputs, weights: Tensor) -> Tensor:
    from rlswarm.kernels import linear_policy_loss

    found = linear_policy_loss(
        inputs.hidden.flatten(0, 1), inputs.weight, inputs.targets.flatten(), inputs.each, weights
    )
    torch.autograd.backward(found.loss)
    return found.values.logprob


def rlswarm(inputs: Inputs) -> Tensor:
    return ours(inputs, inputs.weights)


def rlswarm_all_rows(inputs: Inputs) -> Tensor:
    """A weight that is negligible, but not 0, for masked rows: none is dropped."""
    return ours(inputs, inputs.weights.clamp(min=1e-30))


WORK: dict[str, Work] = dict(
    zip(SYSTEMS, (naive, trl, liger, torch_chunked, rlswarm_all_rows, rlswarm), strict=True)
)


def errors(inputs: Inputs, logprob: Tensor | None, system: str) -> dict[str, float | None]:
    """Largest error of a log-prob, and relative error of hidden's gradient, of the first rows.

    None where a system has no such value.
    """
    rows = slice(0, SLICE)
    hidden = inputs.hidden.detach().flatten(0, 1)[rows].double()
    targets = inputs.targets.flatten()[rows]
    weight = inputs.weight.detach()
    parts = torch.split(weight, 8192)
    logits = torch.cat([hidden @ part.double().T for part in parts], dim=1)
    lse = logits.logsumexp(1)
    wanted = logits.gather(1, targets[:, None]).squeeze(1) - lse
    shares = torch.split((logits - lse[:, None]).exp_(), 8192, dim=1)
    expected = torch.zeros_like(hidden)
    for share, part in zip(shares, parts, strict=True):
        expected += share @ part.double()
    factor = (-inputs.weights * inputs.each)[rows].double()
    gradient = factor[:, None] * (weight[targets].double() - expected)
    assert inputs.hidden.grad is not None
    found = inputs.hidden.grad.flatten(0, 1)[rows].double()
    off = float((found - gradient).norm() / gradient.norm())
    worst = None if logprob is None else float((logprob[rows].double() - wanted).abs().max())
    return {"logprob": worst, "gradient": None if system == "torch chunked CE" else off}


def serve() -> None:
    """Answer requests until stdin ends: first the case, then one "run" after the other."""
    case = json.loads(sys.stdin.readline())
    torch.set_num_threads(case["threads"])
    work = WORK[case["system"]]
    shape = {key: case[key] for key in ("width", "vocabulary", "dtype", "trained")}
    try:
        small = make_inputs(**{**shape, "vocabulary": 512}, rows=64, masked=0.0)
        work(small)  # whatever is imported or set up on first use
    except (ImportError, AttributeError) as error:
        _say({"absent": str(error)})
        return
    inputs = make_inputs(**shape, rows=case["rows"], masked=case["masked"])
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    logprob = work(inputs)
    _say(
        {
            "peak_bytes": _resident("VmHWM") - before,
            "errors": errors(inputs, logprob, case["system"]),
            "threads": torch.get_num_threads(),
        }
    )
    del logprob
    for _ in sys.stdin:
        inputs.hidden.grad = inputs.weight.grad = None
        start, cpu = time.perf_counter(), time.process_time()
        work(inputs)
        _say({"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu})


def _resident(field: str) -> int:
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(field):
            return int(text.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
