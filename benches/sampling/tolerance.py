"""How well the verifier tells honest samples from others: false alarms and misses, as JSON lines.

    python benches/sampling/tolerance.py [--groups N]

It goes on where it stopped, cell by cell, in benches/sampling/tolerance.jsonl.

SmolLM2-135M, prompts of the demo's environments. Samples are drawn once for each sampler and looked
at by every checker. A row counts the units (rollouts, groups, rounds of pooled groups) that a
verdict called inconsistent; `min` and `max` are the 95% Wilson interval of that share.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import torch

from rlswarm._core import blake3
from rlswarm.bench.rows import Row, append, read, versions
from rlswarm.bench.sampling import mixed
from rlswarm.policy import audit as audit_module
from rlswarm.policy.audit import audit
from rlswarm.policy.evidence import GROUP, ROLLOUT, ROUND, Bound, Evidence, pooled, verdict
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import AuditGroup, GroupRequest, LoraShape, Rollout

MODEL = "smollm2-135m-instruct"
ADAPTER = 0.02
"""Spread of the numbers in B: an adapter that has learned for a while (Δ log-prob about 0.1)."""

ROUND_WEIGHT = 64.0
"""Pooled rounds are of as many groups as it takes to hold this much evidence."""

VERSIONS = versions("torch", "transformers")

Looked = list[tuple[Evidence, ...]]


def load(dtype: str, adapter_seed: int = 1) -> Policy:
    policy = load_policy(resolve(MODEL), LoraShape(), dtype=dtype)
    set_adapter(policy, adapter_seed)
    return policy


def set_adapter(policy: Policy, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.adapter.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * ADAPTER)


@contextmanager
def moved(policy: Policy, share: float, seed: int = 9) -> Iterator[None]:
    """Every weight matrix of the model moved by noise of `share` of its spread."""
    generator = torch.Generator().manual_seed(seed)
    matrices = [p for n, p in policy.model.named_parameters() if p.ndim == 2 and "lora" not in n]
    before = [matrix.detach().clone() for matrix in matrices]
    with torch.no_grad():
        for matrix in matrices:
            noise = torch.randn(matrix.shape, generator=generator)
            matrix.add_((noise * (share * matrix.float().std())).to(matrix.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for matrix, old in zip(matrices, before, strict=True):
                matrix.copy_(old)


def draw(
    policy: Policy, requests: list[GroupRequest], temperature: float = 1.0
) -> list[AuditGroup]:
    done = sample(policy, requests, deadline=1e18, clock=lambda: 0.0, temperature=temperature)
    return [
        AuditGroup(request.prompt, request.key, rollouts)
        for request, rollouts in zip(requests, done.groups, strict=True)
    ]


def look(policy: Policy, groups: list[AuditGroup], pass_tokens: int = 1024) -> Looked:
    audit_module.PASS_TOKENS = pass_tokens
    return list(audit(policy, groups, deadline=1e18, clock=lambda: 0.0))


def cheat(case: str) -> bool:
    return case.startswith("cheat")


def careful(looked: Looked) -> Looked:
    """As if the cheat had carried the log-probs that the checker finds."""
    return [tuple(msgspec.structs.replace(e, logprob_error=0.0) for e in g) for g in looked]


def rows(case: str, system: str, looked: Looked) -> Iterator[Row]:
    """The shares called inconsistent, by scale, and what the pooled statistics were."""
    rng = np.random.default_rng(0)
    shuffled = [looked[i] for i in rng.permutation(len(looked))]
    groups = [pooled(group) for group in shuffled]
    rounds = [Evidence()]
    for group in groups:
        if rounds[-1].weight >= ROUND_WEIGHT:
            rounds.append(Evidence())
        rounds[-1] += group
    units: list[tuple[str, list[Evidence], Bound]] = [
        ("rollout", [e for group in shuffled for e in group if e.tokens], ROLLOUT),
        ("group", groups, GROUP),
        ("round", [r for r in rounds if r.weight >= ROUND_WEIGHT], ROUND),
    ]
    whole = pooled(groups)
    yield row(case, system, "share outside", whole.share, 0, 0, "of evidence")
    yield row(case, system, "far tokens", whole.far, 0, whole.tokens, "tokens")
    error = whole.logprob_error / max(1, whole.tokens)
    yield row(case, system, "carried log-prob error", error, 0, 0, "nat")
    for scale, evidence, bound in units:
        caught = sum(verdict(e, bound) == "inconsistent" for e in evidence)
        low, high = wilson(caught, len(evidence))
        worst = max((e.share for e in evidence if e.weight >= bound.weight), default=0.0)
        yield row(case, system, f"inconsistent {scale}s", caught, low, high, f"of {len(evidence)}")
        yield row(case, system, f"worst {scale} share", worst, 0, bound.share, "of evidence")


def row(
    case: str, system: str, metric: str, value: float, low: float, high: float, unit: str
) -> Row:
    bench = "sampling-tolerance"
    return Row(bench, case, system, metric, round(value, 5), low, high, unit, VERSIONS)


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle, spread = (
        share + square / 2,
        z * (share * (1 - share) / count + square / count / 4) ** 0.5,
    )
    return max(0.0, (middle - spread) / (1 + square)), min(1.0, (middle + spread) / (1 + square))


def edited(groups: list[AuditGroup], edit: Callable[[int, int], Rollout]) -> list[AuditGroup]:
    return [
        msgspec.structs.replace(
            group, rollouts=tuple(edit(g, i) for i in range(len(group.rollouts)))
        )
        for g, group in enumerate(groups)
    ]


def attacks(groups: list[AuditGroup], vocabulary: int) -> Iterator[tuple[str, list[AuditGroup]]]:
    """Cheats made from honest samples."""
    rng = np.random.default_rng(1)

    def replaced(g: int, i: int, count: int) -> Rollout:
        """`count` consecutive tokens from elsewhere in the swarm's own texts; the rest as drawn."""
        rollout = groups[g].rollouts[i]
        tokens = np.frombuffer(rollout.tokens, "<u4").copy()
        pool = np.concatenate(
            [np.frombuffer(r.tokens, "<u4")[:-1] for r in groups[(g + 2) % len(groups)].rollouts]
        )
        if len(tokens) < 2 or len(pool) <= count:
            return rollout
        at = int(rng.integers(0, max(1, len(tokens) - count)))
        size = min(count, len(tokens) - 1 - at)
        start = int(rng.integers(0, len(pool) - size))
        tokens[at : at + size] = pool[start : start + size]
        return msgspec.structs.replace(rollout, tokens=tokens.tobytes())

    yield "one token of each sample changed", edited(groups, lambda g, i: replaced(g, i, 1))
    yield "eight tokens of each sample changed", edited(groups, lambda g, i: replaced(g, i, 8))
    yield (
        "one sample of a group with eight tokens changed",
        edited(groups, lambda g, i: replaced(g, i, 8) if i == 0 else groups[g].rollouts[i]),
    )
    yield (
        "other randomness",
        [msgspec.structs.replace(group, key=blake3(group.key)) for group in groups],
    )
    yield (
        "samples of a group in another order",
        edited(groups, lambda g, i: groups[g].rollouts[i - 1]),
    )
    yield (
        "one sample's text copied to all of its group",
        edited(groups, lambda g, i: groups[g].rollouts[0]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--results", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    requests = mixed(options.groups, options.tokens, "tolerance")

    done = {(row.case, row.system) for row in read(options.results)}

    def tell(case: str, system: str, groups: list[AuditGroup], pass_tokens: int = 1024) -> None:
        if (case, system) not in done:
            looked = look(policy, groups, pass_tokens)
            append(options.results, rows(case, system, careful(looked) if cheat(case) else looked))
            print(case, "|", system, file=sys.stderr, flush=True)

    policy = load("bfloat16")
    by_bf16 = draw(policy, requests)
    tell("bf16 sampled", "bf16, another batch shape", by_bf16)
    policy = None  # type: ignore[assignment]
    gc.collect()

    policy = load("float32")
    honest = draw(policy, requests)
    tell("fp32 sampled", "fp32, another batch shape", honest)
    tell("fp32 sampled", "fp32, one group a pass", honest, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(2, threads))
    tell("fp32 sampled", f"fp32, {torch.get_num_threads()} threads for {threads}", honest)
    torch.set_num_threads(threads)
    tell("bf16 sampled", "fp32", by_bf16)
    for share in (0.001, 0.003, 0.01):
        with moved(policy, share):
            tell("fp32 sampled", f"fp32, weights moved by {share:.1%}", honest)
            tell("bf16 sampled", f"fp32, weights moved by {share:.1%}", by_bf16)
    for name, groups in attacks(honest, policy.vocabulary):
        tell(f"cheat: {name}", "fp32", groups)
    tell("cheat: temperature 0.8", "fp32", draw(policy, requests, 0.8))
    tell("cheat: greedy", "fp32", draw(policy, requests, 1e-4))
    set_adapter(policy, 2)
    tell("cheat: another adapter", "fp32", honest)
    set_adapter(policy, 1)
    with policy.without_adapter():
        tell("cheat: the base without the adapter", "fp32", honest)
    with moved(policy, 0.1):
        tell("cheat: another base (weights moved by 10%)", "fp32", honest)
    policy = None  # type: ignore[assignment]
    gc.collect()

    policy = load("bfloat16")
    tell("fp32 sampled", "bf16", honest)
    with moved(policy, 0.003):
        tell("bf16 sampled", "bf16, weights moved by 0.3%", by_bf16)
    set_adapter(policy, 2)
    tell("cheat: another adapter", "bf16", honest)


if __name__ == "__main__":
    main()
