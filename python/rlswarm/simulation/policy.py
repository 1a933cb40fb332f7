"""A policy that costs nothing: it adds small numbers with a skill that learning raises."""

import asyncio
import re
import struct

from rlswarm._core import blake3, uniforms
from rlswarm.worker.messages import (
    GroupRequest,
    Learn,
    Learned,
    Load,
    Loaded,
    Rollout,
    Sample,
    Sampled,
)

_SUM = re.compile(r"(\d+(?: [+-] \d+)+)")
GAIN = 0.02
"""Skill won from one informative group."""


class ScriptedWorker:
    """A `Worker` whose answers are a pure function of (skill, prompt, key), like a real one's."""

    def __init__(self, skill: float = 0.4, seconds_per_group: float = 0.2) -> None:
        """`skill`: chance of a right answer; the seconds are the event loop's."""
        self.skill = skill
        self.seconds_per_group = seconds_per_group
        self.steps = 0

    def _adapter(self) -> bytes:
        return blake3(struct.pack("<d", self.skill))

    async def load(self, request: Load) -> Loaded:
        await asyncio.sleep(0.1)
        return Loaded(
            base=blake3(b"scripted policy"),
            adapter=self._adapter(),
            resumed_round=None,
            steps=0,
            plan="scripted policy",
            tokenizer="",
            micro_batch=1,
            peak_rss=0,
        )

    async def sample(self, request: Sample) -> Sampled:
        needed = self.seconds_per_group * len(request.groups)
        await asyncio.sleep(min(needed, request.budget))
        share = min(1.0, request.budget / needed) if needed else 1.0
        groups = tuple(self._group(group, share) for group in request.groups)
        return Sampled(
            groups=groups,
            tokens=sum(len(r.tokens) // 4 for rollouts in groups for r in rollouts),
            prompt_tokens=0,
            seconds=min(needed, request.budget),
        )

    def _group(self, group: GroupRequest, share: float) -> tuple[Rollout, ...]:
        """A group; with a `share` below 1 the window ended it early."""
        rollouts = []
        for sample in range(group.samples):
            u = struct.unpack("<3d", uniforms(group.key, sample, 3))
            text = self._say(group, u).encode()[: group.max_tokens]
            cut = text[: int(len(text) * share)] if share < 1 else text
            rollouts.append(
                Rollout(
                    tokens=struct.pack(f"<{len(cut)}I", *cut),
                    logprobs=bytes(2 * len(cut)),
                    text=cut.decode(),
                    truncated=len(cut) < len(text),
                )
            )
        return tuple(rollouts)

    def _say(self, group: GroupRequest, u: tuple[float, ...]) -> str:
        last = group.prompt[-1]
        verdict = f"{'right' if u[0] < 0.5 else 'wrong'} {50 + int(50 * u[2])}%"
        if last.role == "assistant" and last.content == "Kind":
            asked = "\n".join(turn.content for turn in group.prompt)
            kinds = len(re.findall(r"^Kind \d+:", asked, re.MULTILINE))
            return f" {1 + int(kinds * u[0])}, seed {int(1000 * u[1])}"
        if last.role == "assistant" and "Your side:" in group.prompt[-2].content:
            return f" {verdict}\nBecause of the sum."
        if last.role == "assistant":
            return f" {verdict}\nB: {'right' if u[1] < 0.5 else 'wrong'} 70%"
        answer = sum(int(n) for n in re.findall(r"[+-]?\d+", _terms(group.prompt[-1].content)))
        if u[0] >= self.skill:
            answer += 1 + int(8 * u[1])
        return f"Answer: {answer}"

    async def learn(self, request: Learn) -> Learned:
        informative = [i for i, g in enumerate(request.groups) if len(set(g.rewards)) > 1]
        own = [i for i in informative if not request.groups[i].sender]
        await asyncio.sleep(min(request.budget, 0.05 * len(informative)))
        if informative:
            self.skill = min(1.0, self.skill + GAIN * len(informative) * (1 - self.skill))
            self.steps += 1
        return Learned(
            stepped=bool(informative),
            own_used=len(own),
            external_used=len(informative) - len(own),
            own_informative=len(own),
            external_informative=len(informative) - len(own),
            refused=(),
            tokens=0,
            loss=0.0,
            gradient_norm=0.0,
            effective_sample_size=1.0,
            adapter=self._adapter(),
            steps=self.steps,
            seconds=0.0,
            checkpoint_error="",
            peak_rss=0,
            used=tuple(informative),
        )

    async def close(self, grace: float) -> None:
        return None


def _terms(question: str) -> str:
    """The sum to be worked out: the last one in the text, without its spaces."""
    found = _SUM.findall(question.split("Answers given so far:")[0])
    return found[-1].replace(" ", "") if found else "0"
