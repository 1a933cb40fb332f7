"""Held-out accuracy: tasks that training never draws, the same on every node, with an interval."""

import math
from collections.abc import Sequence

import msgspec

from rlswarm._core import prf
from rlswarm.node.processes import Scorer, Worker
from rlswarm.scorer.messages import MICRO, Answer, HeldOut, Score
from rlswarm.worker.messages import GroupRequest, Sample

BATCH = 32
"""Completions sampled at once."""


class Accuracy(msgspec.Struct, frozen=True):
    """Right answers among held-out tasks, one sample each at the swarm's temperature."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count if self.count else math.nan

    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval (Wilson 1927)."""
        if not self.count:
            return (0.0, 1.0)
        z, n, p = 1.959964, self.count, self.share
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(0.0, middle - half), min(1.0, middle + half))


async def held_out_accuracy(
    worker: Worker,
    scorer: Scorer,
    environments: Sequence[int],
    count: int,
    max_tokens: int,
    *,
    initial: bool,
) -> Accuracy:
    """Accuracy on the first `count` held-out tasks of each environment (indices).

    `initial` measures the policy as it was before any training. The tokens are drawn with the
    same uniforms every time, so before and after are a paired comparison.
    """
    right = total = 0
    for environment in environments:
        tasks = (await scorer.tasks(HeldOut(environment, count))).tasks
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            requests = tuple(
                GroupRequest(
                    prompt=task.prompt,
                    key=prf("rlswarm 2026 held-out sampling", [task.seed.to_bytes(8, "little")]),
                    samples=1,
                    max_tokens=max_tokens,
                )
                for task in batch
            )
            sampled = await worker.sample(Sample(requests, budget=600.0, initial=initial))
            answers = tuple(
                Answer(task.environment, task.seed, rollouts[0].text)
                for task, rollouts in zip(batch, sampled.groups, strict=True)
            )
            scored = await scorer.score(Score(answers))
            right += sum(score == MICRO for score in scored.scores)
            total += len(batch)
    return Accuracy(right, total)
