"""Seeded sampling of many completions at once.

Every prompt of a batch is a branch of one forest: what prompts share is computed once, and each
sample is a branch of its prompt. The result is a function of (weights, prompt, key) up to
floating-point noise, whatever else is in the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from rlswarm._core import uniforms
from rlswarm.errors import ModelError
from rlswarm.kernels import draw
from rlswarm.policy.forest import Forest, shared_length
from rlswarm.policy.model import Policy
from rlswarm.worker.messages import GroupRequest, Rollout, Sampled

LOGPROB_UNITS = 2048.0
"""Log-probs are carried as −log p in units of 2⁻¹¹ nat (design §2)."""

PREFILL = 1024
"""Prompt tokens in one forward pass."""

SHORTEST_COMPACTION = 256
"""Dead cache positions below which copying the rest isn't worth it."""


@dataclass
class _Row:
    """One sample in the making."""

    segment: int
    u: NDArray[np.float64]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    done: bool = False
    truncated: bool = True


def sample(
    policy: Policy,
    groups: Sequence[GroupRequest],
    *,
    deadline: float,
    clock: Callable[[], float],
    stop: Sequence[str] = (),
    temperature: float = 1.0,
) -> Sampled:
    """Draw every group's samples, or as much of them as fits before `deadline` (by `clock`, s).

    A sample ends with an end token, after its text first holds a string of `stop`, at its group's
    `max_tokens`, or at the deadline; the latter two mark it truncated. Raises ModelError if a
    prompt leaves no room in the model's context or the policy's output is not finite.
    """
    start = clock()
    prompts = [policy.renderer.encode(group.prompt) for group in groups]
    for prompt, group in zip(prompts, groups, strict=True):
        if len(prompt) + group.max_tokens > policy.longest:
            raise ModelError(
                f"a prompt of {len(prompt)} tokens and a completion of {group.max_tokens} exceed "
                f"the model's {policy.longest}"
            )
    done: list[tuple[Rollout, ...]] = []
    for part in _batches(prompts, groups, policy.plan.cache_tokens):
        batch = _Batch(policy, prompts[part], groups[part], stop, temperature)
        batch.run(deadline, clock)
        done += batch.rollouts()
    return Sampled(
        groups=tuple(done),
        tokens=sum(len(rollout.tokens) // 4 for group in done for rollout in group),
        prompt_tokens=sum(len(prompt) for prompt in prompts),
        seconds=clock() - start,
    )


class _Batch:
    """Groups that are sampled together."""

    def __init__(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        groups: Sequence[GroupRequest],
        stop: Sequence[str],
        temperature: float,
    ) -> None:
        self._policy = policy
        self._prompts = prompts
        self._stop = stop
        self._temperature = temperature
        self._forest = Forest(policy.device)
        self._cache = DynamicCache()
        self._decode = policy.renderer.decode
        shared = shared_length(prompts)
        root = self._forest.branch()
        self._ids = list(prompts[0][:shared])
        self._forest.extend(root, shared)
        self._ends: list[int] = []
        self._rows: list[list[_Row]] = []
        for prompt, group in zip(prompts, groups, strict=True):
            leaf = self._forest.branch(root)
            self._ids += prompt[shared:]
            self._ends.append(self._forest.extend(leaf, len(prompt) - shared)[-1])
            self._rows.append([])
            for number in range(group.samples):
                u = np.frombuffer(uniforms(group.key, number, group.max_tokens), dtype="<f8")
                row = _Row(self._forest.branch(leaf), u, done=group.max_tokens == 0)
                self._rows[-1].append(row)

    @torch.inference_mode()
    def run(self, deadline: float, clock: Callable[[], float]) -> None:
        active = [row for rows in self._rows for row in rows if not row.done]
        ends = self._prefill(deadline, clock)
        if ends is None:
            return
        before = clock()
        counts = torch.tensor([sum(not row.done for row in rows) for rows in self._rows])
        hidden = ends.repeat_interleave(counts.to(ends.device), dim=0)
        while active:
            self._draw(active, hidden)
            active = [row for row in active if not row.done]
            now = clock()
            # The next step takes about as long as this one did.
            if not active or now + (now - before) > deadline:
                return
            before = now
            hidden = self._advance(active)

    def rollouts(self) -> Iterator[tuple[Rollout, ...]]:
        for rows in self._rows:
            yield tuple(
                Rollout(
                    tokens=np.array(row.tokens, dtype="<u4").tobytes(),
                    logprobs=pack_logprobs(np.array(row.logprobs, dtype=np.float64)),
                    text=self._decode(row.tokens),
                    truncated=row.truncated,
                )
                for row in rows
            )

    def _prefill(self, deadline: float, clock: Callable[[], float]) -> torch.Tensor | None:
        """Hidden states [groups, H] at the prompts' last tokens; None if time ran out."""
        ids, ends = self._ids, self._ends
        found: dict[int, torch.Tensor] = {}
        wanted = set(ends)
        for start in range(0, len(ids), PREFILL):
            if clock() >= deadline:
                return None
            stop = min(start + PREFILL, len(ids))
            hidden = self._forward(ids[start:stop], start, stop)
            found |= {place: hidden[place - start] for place in wanted & set(range(start, stop))}
        return torch.stack([found[place] for place in ends])

    def _advance(self, rows: list[_Row]) -> torch.Tensor:
        """Feed every row its last token; hidden states [rows, H]."""
        live = [row.segment for row in rows]
        dead = len(self._forest) - self._forest.seen(live)
        if dead > max(SHORTEST_COMPACTION, len(self._forest) // 2):
            places = self._forest.keep(live)
            for layer in self._cache.layers:
                layer.keys = layer.keys.index_select(2, places)
                layer.values = layer.values.index_select(2, places)
        start = len(self._forest)
        for row in rows:
            self._forest.extend(row.segment, 1)
        return self._forward([row.tokens[-1] for row in rows], start, len(self._forest))

    def _forward(self, ids: list[int], start: int, stop: int) -> torch.Tensor:
        policy = self._policy
        row = torch.tensor([ids], device=policy.device)
        positions = self._forest.positions(start)[:, : stop - start]
        masks = policy.masks(self._forest, start, stop)
        return policy.hidden(row, positions, masks, self._cache)

    def _draw(self, rows: list[_Row], hidden: torch.Tensor) -> None:
        policy = self._policy
        logits = policy.logits(hidden)
        u = torch.tensor([row.u[len(row.tokens)] for row in rows], dtype=torch.float64)
        tokens, logprobs = draw(logits, u.to(logits.device), self._temperature)
        if not bool(torch.isfinite(logprobs).all()):
            raise ModelError("the policy's output is not finite; resume from an older checkpoint")
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            ended = token in policy.end_tokens or self._stopped(row)
            row.truncated = not ended
            row.done = ended or len(row.tokens) == len(row.u)

    def _stopped(self, row: _Row) -> bool:
        if not self._stop:
            return False
        text = self._decode(row.tokens)
        return any(end in text for end in self._stop)


def pack_logprobs(logprobs: NDArray[np.float64]) -> bytes:
    """−log p in units of 2⁻¹¹ nat, rounded to nearest, saturating: u16 little-endian."""
    units = np.rint(-logprobs * LOGPROB_UNITS)
    return units.clip(0, 65535).astype("<u2").tobytes()


def unpack_logprobs(packed: bytes) -> NDArray[np.float32]:
    """log p in nats, fp32, as `pack_logprobs` wrote it."""
    return (np.frombuffer(packed, dtype="<u2") / -LOGPROB_UNITS).astype(np.float32)


def _batches(
    prompts: Sequence[list[int]], groups: Sequence[GroupRequest], cache_tokens: int
) -> Iterator[slice]:
    """Runs of groups whose keys and values fit together; a group alone always goes."""
    start = held = 0
    for number, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        size = len(prompt) + group.samples * group.max_tokens
        if number > start and held + size > cache_tokens:
            yield slice(start, number)
            start, held = number, 0
        held += size
    if start < len(groups):
        yield slice(start, len(groups))
