"""Seeded sampling of many completions at once.

Rows (samples in the making) run side by side, up to the width at which a machine is fastest; when
some end, the next ones in line take their places at once. What prompts have in common is computed
once. The result is a function of (weights, prompt, key) up to floating-point noise, whatever else
runs beside it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from rlswarm._core import uniforms
from rlswarm.errors import ModelError
from rlswarm.kernels import draw
from rlswarm.kernels.products import multiply
from rlswarm.policy.group_cache import GroupCache, group_attention
from rlswarm.policy.model import Policy
from rlswarm.policy.prefix_tree import PrefixTree
from rlswarm.policy.stops import StopStrings
from rlswarm.worker.messages import GroupRequest, Rollout, Sampled

LOGPROB_UNITS = 2048.0
"""Log-probs are carried as −log p in units of 2⁻¹¹ nat (design §2)."""

WIDTH = 64
"""Rows that run at once; more are hardly faster on a CPU and finish fewer groups by a deadline."""

REFILL = 8
"""Free rows for which new prompts are computed: a pass over few tokens costs as much as one over
some dozens. Rows whose prompt is known take a free place at once."""

PREFILL = 1024
"""Prompt tokens in one forward pass."""

TILE = 8192
"""Tokens of the vocabulary whose output embeddings are held in fp32 at once."""

KEPT_PREFIXES = 2048
"""Prompt tokens kept so that later prompts with the same beginning need not compute it."""


@dataclass(eq=False)
class _Prompt:
    """One group's prompt; its slot and last hidden state [H] while rows need them."""

    ids: list[int]
    waiting: int
    """Rows that have not begun."""
    running: int = 0
    slot: int = -1
    end: torch.Tensor | None = None


@dataclass(eq=False)
class _Row:
    """One sample in the making."""

    prompt: _Prompt
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
    `max_tokens`, or at the deadline; the latter two mark it truncated. Groups begin in order, so
    that at a deadline the first ones are whole. Raises ModelError if a prompt leaves no room in
    the model's context or the policy's output is not finite.
    """
    start = clock()
    prompts = [policy.renderer.encode(group.prompt) for group in groups]
    for prompt, group in zip(prompts, groups, strict=True):
        if len(prompt) + group.max_tokens > policy.longest:
            raise ModelError(
                f"a prompt of {len(prompt)} tokens and a completion of {group.max_tokens} exceed "
                f"the model's {policy.longest}"
            )
    rows = [_rows(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
    queue = [row for group in rows for row in group if len(row.u)]
    if queue:
        ends = StopStrings(stop, policy.renderer.decode, policy.renderer.silent)
        engine = _Engine(policy, queue, ends, temperature, deadline, clock)
        with torch.inference_mode(), group_attention(policy.body):
            engine.run()
    return Sampled(
        groups=tuple(tuple(_rollout(policy, row) for row in group) for group in rows),
        tokens=sum(len(row.tokens) for group in rows for row in group),
        prompt_tokens=sum(len(prompt) for prompt in prompts),
        seconds=clock() - start,
    )


class _Engine:
    """Rows in line and rows that run."""

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[_Row],
        stops: StopStrings,
        temperature: float,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._stops = stops
        self._temperature = temperature
        self._deadline = deadline
        self._clock = clock
        self._queue = deque(rows)
        self._running: list[_Row] = []
        """By row of the cache."""
        self._longest_prompt = max(len(row.prompt.ids) for row in rows)
        self._longest_row = max(len(row.u) for row in rows)
        self._cache = GroupCache(self._longest_prompt, policy.device)
        self._slots = 0
        # The group cache holds fp32 whatever the model's dtype, for which the plan was made.
        self._room = policy.plan.cache_tokens * policy.head.element_size() // 4
        self._tree = PrefixTree(policy.device)
        self._prefixes = DynamicCache()

    def run(self) -> None:
        """Until every row has ended, or the deadline lets no further step end in time."""
        nothing = hidden = self._policy.head.new_empty(0, self._policy.head.shape[1])
        while self._queue or self._running:
            before = self._clock()
            fresh = self._admit()
            if fresh is None:
                return
            self._draw(fresh, hidden)
            self._settle(fresh)
            now = self._clock()
            # The next step takes about as long as this one did.
            if not now + (now - before) <= self._deadline:
                return
            hidden = self._advance() if self._running else nothing

    def _admit(self) -> list[_Row] | None:
        """The rows that begin now, their prompts computed; None if time ran out meanwhile."""
        free = WIDTH - len(self._running)
        fresh: list[_Row] = []
        unknown: list[_Prompt] = []
        slots = self._slots
        while self._queue and len(fresh) < free:
            prompt = self._queue[0].prompt
            new = prompt.slot < 0 and prompt not in unknown
            late = bool(self._running) and free - len(fresh) < min(REFILL, prompt.waiting)
            if (new and late) or not self._fits(slots + new, len(fresh) + 1):
                break
            if new:
                unknown.append(prompt)
                slots += 1
            fresh.append(self._queue.popleft())
        if unknown and not self._prefill(unknown):
            return None
        for row in fresh:
            row.prompt.waiting -= 1
            row.prompt.running += 1
        return fresh

    def _fits(self, slots: int, more: int) -> bool:
        """Whether the cache holds so many prompts and `more` rows beyond those that run."""
        rows = len(self._running) + more
        held = slots * self._longest_prompt + rows * self._longest_row
        return held <= self._room or rows == 1

    def _prefill(self, prompts: Sequence[_Prompt]) -> bool:
        """Compute prompts, each token that several begin with once. False if time ran out."""
        policy = self._policy
        if len(self._tree) > KEPT_PREFIXES:
            self._tree, self._prefixes = PrefixTree(policy.device), DynamicCache()
        first = len(self._tree)
        paths = [self._tree.add(prompt.ids) for prompt in prompts]
        found: dict[int, torch.Tensor] = {}
        wanted = {path[-1] for path in paths}
        for start in range(first, len(self._tree), PREFILL):
            if self._clock() >= self._deadline:
                return False
            stop = min(start + PREFILL, len(self._tree))
            row = torch.tensor([self._tree.ids[start:stop]], device=policy.device)
            positions = self._tree.positions(start)[:, : stop - start]
            masks = policy.masks(self._tree, start, stop)
            hidden = policy.hidden(row, positions, masks, self._prefixes)
            found |= {place: hidden[place - start] for place in wanted & set(range(start, stop))}
        for path, prompt in zip(paths, prompts, strict=True):
            prompt.end = found[path[-1]]
            prompt.slot = self._cache.add_prompt(self._prefixes, path)
            self._slots += 1
        return True

    def _draw(self, fresh: Sequence[_Row], hidden: torch.Tensor) -> None:
        """One token for every running row, whose last hidden states [rows, H] are given, and the
        first one for every fresh row."""
        prompts = list(dict.fromkeys(row.prompt for row in fresh))
        count = len(self._running)
        seat = {prompt: count + number for number, prompt in enumerate(prompts)}
        rows = [*self._running, *fresh]
        if prompts:
            ends = [prompt.end for prompt in prompts if prompt.end is not None]
            hidden = torch.cat([hidden, torch.stack(ends)])
        logits = _logits(self._policy, hidden)
        if fresh:
            # Samples of one prompt begin alike: its logits are computed once for all of them.
            index = [*range(count), *(seat[row.prompt] for row in fresh)]
            logits = logits[torch.tensor(index, device=logits.device)]
        u = torch.tensor([row.u[len(row.tokens)] for row in rows], dtype=torch.float64)
        tokens, logprobs = draw(logits, u.to(logits.device), self._temperature)
        if not bool(torch.isfinite(logprobs).all()):
            raise ModelError("the policy's output is not finite; resume from an older checkpoint")
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            ended = token in self._policy.end_tokens or self._stops.met(row.tokens)
            row.truncated = not ended
            row.done = ended or len(row.tokens) == len(row.u)

    def _settle(self, fresh: Sequence[_Row]) -> None:
        """Rows that have ended go, fresh ones that have not take part from now on."""
        before = self._running
        order = self._cache.drop_rows([n for n, row in enumerate(before) if row.done])
        going = [row for row in fresh if not row.done]
        self._cache.add_rows([row.prompt.slot for row in going])
        self._running = [before[n] for n in order] + going
        for row in [*before, *fresh]:
            if row.done:
                self._leave(row.prompt)

    def _leave(self, prompt: _Prompt) -> None:
        prompt.running -= 1
        if not prompt.running and not prompt.waiting:
            self._cache.drop_prompt(prompt.slot)
            self._slots -= 1
            prompt.end = None

    def _advance(self) -> torch.Tensor:
        """Feed every running row its last token; hidden states [rows, H]."""
        positions = self._cache.open_step()
        last = torch.tensor([[row.tokens[-1]] for row in self._running], device=positions.device)
        return self._policy.hidden_of_rows(last, positions, self._cache)


def _logits(policy: Policy, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [n, V] in fp32: rounding them to bf16 would move log-probs by up to 0.05 nat."""
    if policy.head.dtype == torch.float32:
        return policy.logits(hidden)
    logits = torch.empty(len(hidden), policy.vocabulary, device=hidden.device)
    for start in range(0, policy.vocabulary, TILE):
        part = slice(start, start + TILE)
        multiply(hidden, policy.head[part].t(), logits[:, part])
    return logits if policy.head_bias is None else logits.add_(policy.head_bias)


def _rows(prompt: list[int], group: GroupRequest) -> list[_Row]:
    shared = _Prompt(prompt, group.samples if group.max_tokens else 0)
    return [
        _Row(shared, np.frombuffer(uniforms(group.key, number, group.max_tokens), dtype="<f8"))
        for number in range(group.samples)
    ]


def _rollout(policy: Policy, row: _Row) -> Rollout:
    return Rollout(
        tokens=np.array(row.tokens, dtype="<u4").tobytes(),
        logprobs=pack_logprobs(np.array(row.logprobs, dtype=np.float64)),
        text=policy.renderer.decode(row.tokens),
        truncated=row.truncated,
    )


def pack_logprobs(logprobs: NDArray[np.float64]) -> bytes:
    """−log p in units of 2⁻¹¹ nat, rounded to nearest, saturating: u16 little-endian."""
    units = np.rint(-logprobs * LOGPROB_UNITS)
    return units.clip(0, 65535).astype("<u2").tobytes()


def unpack_logprobs(packed: bytes) -> NDArray[np.float32]:
    """log p in nats, fp32, as `pack_logprobs` wrote it."""
    return (np.frombuffer(packed, dtype="<u2") / -LOGPROB_UNITS).astype(np.float32)
