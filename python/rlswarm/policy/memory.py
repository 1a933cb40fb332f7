"""How much memory a model will need, decided before any of it is loaded.

`plan` is a pure function of what the files say and of what the machine has; `free_memory` is the
only part that asks the machine.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rlswarm.errors import NotEnoughMemoryError
from rlswarm.policy.facts import ModelFacts

RUNTIME = 720 << 20
"""Bytes that Python with torch, transformers and peft takes before any weight (0.68 GB seen)."""

HEADROOM = 0.9
"""Share of the free memory that a plan may use: allocators waste some."""

PASS_BYTES_CPU = 4 * 256
"""Tokens learned from in one pass times bytes of a number; larger passes are no faster on a CPU."""

BF16_FROM = 50_000_000
"""Parameters from which multiplying in bf16, where a CPU can, is worth its rounding: a step of
SmolLM2-135M takes half the time. Smaller models are quick anyway."""

TILE = 16 << 20
"""Bytes of logits in fp32 that the head holds at once."""

PASS_TOKENS_GPU = 8192
MOST_SEQUENCES_CPU = 64
MOST_SEQUENCES_GPU = 128
CACHE_CPU = 512 << 20
"""Bytes of keys and values that sampling may hold on a CPU; more rows than that don't go faster."""

LEAST_TOKENS = 256
"""Tokens of the shortest learning pass that is any use: one prompt and one completion."""

GIB = 1 << 30


@dataclass(frozen=True)
class Memory:
    """What there is to use, in bytes."""

    free: int
    gpu: bool = False
    bf16: bool = False
    """Whether this CPU multiplies bf16 numbers in hardware."""


@dataclass(frozen=True)
class Plan:
    """What the planner chose."""

    dtype: str
    """``float32`` or ``bfloat16``."""
    micro_batch: int
    """Most completions in one learning pass."""
    pass_tokens: int
    """Most tokens in one learning pass, unless one sequence alone has more."""
    cache_tokens: int
    """Most tokens whose keys and values are held while sampling."""
    recompute: bool
    """Gradient checkpointing: layers hold only their input and are computed again."""
    needed: int
    """Bytes estimated at peak, the running process included."""
    free: int

    def __str__(self) -> str:
        recompute = ", gradient checkpointing" if self.recompute else ""
        return (
            f"{self.dtype}, micro-batch {self.micro_batch} ({self.pass_tokens} tokens a pass"
            f"{recompute}), "
            f"about {self.needed / GIB:.1f} of {self.free / GIB:.1f} GiB"
        )


def plan(
    facts: ModelFacts,
    memory: Memory,
    micro_batch: int = 0,
    wanted_dtype: str = "",
    full: bool = False,
) -> Plan:
    """Choose dtype and micro-batch (`micro_batch` > 0 and a `wanted_dtype` are kept).

    On a GPU bf16. On a CPU fp32; bf16 where fp32 does not fit, or where the CPU has instructions
    for it and the model is large enough to gain. Raises NotEnoughMemoryError
    naming what the smallest plan needs and what is free.
    """
    budget = int(memory.free * HEADROOM)
    smallest = 0
    brisk = memory.gpu or (memory.bf16 and facts.parameters >= BF16_FROM)
    choice = ("bfloat16",) if brisk else ("float32", "bfloat16")
    if wanted_dtype:
        choice = (wanted_dtype,)
    if full:
        choice = ("float32",)  # bf16 would round most updates away
    sequences = MOST_SEQUENCES_GPU if memory.gpu else MOST_SEQUENCES_CPU
    rows = min(micro_batch or sequences, sequences)
    for dtype, recompute in product(choice, (False, True)):
        size = 4 if dtype == "float32" else 2
        fixed = _fixed_bytes(facts, size, memory.gpu, full)
        token = _token_bytes(facts, size, recompute, full)
        cache = 2 * facts.layers * facts.key_heads * facts.head_width * 4
        most = (PASS_TOKENS_GPU if memory.gpu else PASS_BYTES_CPU // size) * rows // sequences
        least = min(LEAST_TOKENS, most)
        loading = _load_bytes(facts, size, memory.gpu)
        smallest = max(loading, fixed + least * max(token, cache))
        if smallest > budget:
            continue
        pass_tokens = min(most, (budget - fixed) // token)
        cache_bytes = (budget - fixed) // 2 if memory.gpu else min(CACHE_CPU, (budget - fixed) // 2)
        cache_tokens = max(LEAST_TOKENS, cache_bytes // cache * rows // sequences)
        return Plan(
            dtype=dtype,
            micro_batch=micro_batch or max(1, min(sequences, pass_tokens * sequences // most)),
            pass_tokens=pass_tokens,
            cache_tokens=cache_tokens,
            recompute=recompute,
            # Loading, sampling and learning take turns.
            needed=max(loading, fixed + max(pass_tokens * token, cache_tokens * cache)),
            free=memory.free,
        )
    raise NotEnoughMemoryError(
        f"the model needs about {smallest / HEADROOM / GIB:.1f} GiB of memory and "
        f"{memory.free / GIB:.1f} GiB are free; close other programs or choose a smaller model"
    )


def free_memory() -> int:
    """Bytes this process may still take: the machine's, its cgroup's and RLIMIT_AS's minimum."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for root, used, limit in (
        ("/sys/fs/cgroup", "memory.current", "memory.max"),
        ("/sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.limit_in_bytes"),
    ):
        try:
            most = (Path(root) / limit).read_text().strip()
            if most != "max":
                free = min(free, int(most) - int((Path(root) / used).read_text()))
        except (OSError, ValueError):
            continue
    try:
        import resource
    except ImportError:  # Windows
        return max(0, free)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        free = min(free, soft - int(psutil.Process().memory_info().vms))
    return max(0, free)


def _fixed_bytes(facts: ModelFacts, size: int, gpu: bool, full: bool) -> int:
    """Weights, what is trained, gradient and optimizer, logits of one tile, the runtime."""
    adapter = 4 * (facts.adapter * 4 + facts.frozen_adapter)  # B, gradient and two moments; A
    trained = 12 * facts.parameters if full else adapter
    return facts.parameters * size + trained + 4 * TILE + (0 if gpu else RUNTIME)


def _load_bytes(facts: ModelFacts, size: int, gpu: bool) -> int:
    """At the end of loading: the weights, and the pages of the files that they were read from."""
    return facts.parameters * size + (0 if gpu else facts.stored + RUNTIME)


def _token_bytes(facts: ModelFacts, size: int, recompute: bool, full: bool) -> int:
    """What a learning pass holds for one token.

    Of each layer with frozen weights: what goes into the two norms, in fp32; of a gated
    feed-forward part both products and the activation; queries, keys, values and the attention
    weights. Trained weights want the inputs of their products as well.
    """
    width, keys = facts.heads * facts.head_width, facts.key_heads * facts.head_width
    inner = (3 if facts.gated else 2) * facts.inner
    layer = 8 * facts.hidden + size * (inner + 3 * width + 2 * keys)
    if full:
        layer += size * (facts.inner + width + 2 * facts.hidden)
    if recompute:
        return facts.layers * facts.hidden * size + layer
    return facts.layers * layer
