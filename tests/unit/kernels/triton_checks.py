"""Runs the Triton kernels on CPU tensors; started by test_triton with TRITON_INTERPRET=1 set.

In the interpreter bf16 arithmetic is silently wrong, so bf16 operands are upcast in the kernel.
"""

import torch
from kernel_references import normal, picks, reference_logits, reference_logprobs, relative

from rlswarm.kernels import linear_logprob
from rlswarm.kernels.head import Head
from rlswarm.kernels.linear_logprob import LogProbs, put
from rlswarm.kernels.triton_score import triton_score


def close(found: LogProbs, wanted: tuple[torch.Tensor, ...], what: str) -> None:
    for name, value, true in zip(found._fields, found, wanted, strict=True):
        worst = float((value.double() - true).abs().max())
        assert worst < 1e-4, f"{what}: {name} is off by {worst}"


def score() -> None:
    temperature = torch.tensor([0.5, 1.0, 1.5]).repeat(23)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for cap, biased in ((None, False), (4.0, True)):
            hidden, weight = normal(69, 72).to(dtype), normal(301, 72, seed=1).div(6).to(dtype)
            bias = normal(301, seed=2).to(dtype) if biased else None
            if bias is not None:
                bias[3] = -torch.inf
            targets = picks(69, 301).clamp(min=4)
            head = Head(weight, bias, cap, 0.8)
            statistics = triton_score(
                head, hidden, targets, temperature, upcast=dtype == torch.bfloat16
            )
            found = LogProbs(*(torch.zeros(69) for _ in range(4)))
            put(found, statistics, torch.arange(69))
            logits = reference_logits(hidden, weight, bias, temperature, cap, 0.8)
            close(found, reference_logprobs(logits, targets), f"score {dtype} {cap}")


def score_in_any_company() -> None:
    hidden, weight = normal(69, 32), normal(300, 32, seed=1)
    targets, ones = picks(69, 300), torch.ones(69)
    head = Head(weight)
    together = triton_score(head, hidden, targets, ones).logprob()
    order = torch.randperm(69, generator=torch.Generator().manual_seed(0))[:20]
    alone = triton_score(head, hidden[order], targets[order], ones[:20]).logprob()
    assert torch.equal(together[order], alone)


def sweep() -> None:
    for biased in (False, True):
        hidden = normal(5, 8).requires_grad_()
        weight, targets = normal(2500, 8, seed=1), picks(5, 2500)
        targets[2] = -100
        bias = torch.zeros(2500) if biased else None
        if bias is not None:
            bias[:1100] = -torch.inf  # the whole of the first tile
            targets[1] = 1100
        found = linear_logprob(hidden, weight, targets, bias=bias, backend="triton")
        found.logprob.sum().backward()
        kept = targets != -100
        exact = hidden.detach().double().requires_grad_()
        wanted = reference_logprobs(reference_logits(exact[kept], weight, bias), targets[kept])
        wanted[0].sum().backward()
        close(LogProbs(*(value[kept] for value in found)), wanted, "sweep")
        assert hidden.grad is not None and exact.grad is not None
        assert relative(hidden.grad, exact.grad) < 1e-5


if __name__ == "__main__":
    score()
    score_in_any_company()
    sweep()
    print("as the references")
