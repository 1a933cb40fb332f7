"""One line of the table, measured with the product's own scorer and worker processes."""

import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cells import Case

from rlswarm._core import prf
from rlswarm.errors import RlswarmError
from rlswarm.game.held_out import Accuracy
from rlswarm.node.processes import ScorerProcess, WorkerProcess
from rlswarm.scorer.messages import MICRO, Answer, Open, Score, SlotRequest, Tasks
from rlswarm.worker.messages import GroupRequest, Rollout, Sample

GROUPS = 24
GROUP_SIZE = 8
_AT_LEAST = 1.0
"""Seconds over which a rate is taken."""
_SLOTS = 64
"""Tasks or answers in one request."""


@dataclass(frozen=True)
class Line:
    """What was found."""

    case: str
    opening: float
    """Seconds until an opened environment's fingerprint was there."""
    tasks: float
    """Tasks generated a second, requests and replies included."""
    scores: float
    """Completions of the model scored a second, each its own text, likewise."""
    reward: float
    """Mean over all completions."""
    reward_error: float
    """Standard error of it, from the groups' means."""
    informative: int
    """Groups whose rewards differ."""
    groups: int
    truncated: float
    """Share of completions cut by the token limit."""
    tokens: int
    seconds: float
    """Of sampling."""
    scorer_rss: int

    @property
    def signal(self) -> Accuracy:
        return Accuracy(self.informative, self.groups)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def measure(case: Case, scorer: ScorerProcess, worker: WorkerProcess) -> Line:
    """Raises RlswarmError for an environment that can't be used here."""
    before = time.perf_counter()
    opened = await scorer.open(Open(case.environments))
    opening = time.perf_counter() - before
    if opened.mismatches:
        raise RlswarmError(opened.mismatches[0][1])
    slots = _slots(case)
    tasks = (await scorer.tasks(Tasks(tuple(slots[:GROUPS])))).tasks
    asked = tuple(
        GroupRequest(task.prompt, prf("rlswarm 2026 bench", [bytes([n])]), GROUP_SIZE, case.tokens)
        for n, task in enumerate(tasks)
    )
    sampled = await worker.sample(Sample(asked, budget=400.0, initial=True))
    answers = [
        Answer(task.environment, task.seed, rollout.text)
        for task, group in zip(tasks, sampled.groups, strict=True)
        for rollout in group
    ]
    scored = await scorer.score(Score(tuple(answers)))
    rewards = [(score or 0) / MICRO for score in scored.scores]
    means = [
        statistics.fmean(rewards[start : start + GROUP_SIZE])
        for start in range(0, len(rewards), GROUP_SIZE)
    ]
    informative = sum(
        len(set(rewards[start : start + GROUP_SIZE])) > 1
        for start in range(0, len(rewards), GROUP_SIZE)
    )
    return Line(
        case=case.name,
        opening=opening,
        tasks=await _tasks_a_second(scorer, slots),
        scores=await _scores_a_second(scorer, answers),
        reward=statistics.fmean(rewards),
        reward_error=statistics.stdev(means) / math.sqrt(len(means)),
        informative=informative,
        groups=GROUPS,
        truncated=_truncated(sampled.groups),
        tokens=sampled.tokens,
        seconds=sampled.seconds,
        scorer_rss=scored.peak_rss,
    )


def _slots(case: Case) -> list[SlotRequest]:
    """Slots as a peer draws them: by weight, each its own seed."""
    draw = random.Random(0)
    weights = [spec.weight for spec in case.environments]
    return [
        SlotRequest(environment, prf("rlswarm 2026 bench", [n.to_bytes(4, "little")]))
        for n, environment in enumerate(
            draw.choices(range(len(weights)), weights, k=max(GROUPS, 16 * _SLOTS))
        )
    ]


async def _tasks_a_second(scorer: ScorerProcess, slots: Sequence[SlotRequest]) -> float:
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < _AT_LEAST:
        start = done % len(slots)
        done += len((await scorer.tasks(Tasks(tuple(slots[start : start + _SLOTS])))).tasks)
    return done / (time.perf_counter() - began)


async def _scores_a_second(scorer: ScorerProcess, answers: Sequence[Answer]) -> float:
    """The number at the end of each text makes it one that was never scored before."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < _AT_LEAST:
        part = tuple(
            Answer(answer.environment, answer.seed, f"{done + n}. {answer.text}")
            for n, answer in enumerate(answers[: 4 * _SLOTS])
        )
        done += len((await scorer.score(Score(part))).scores)
    return done / (time.perf_counter() - began)


def _truncated(groups: Sequence[Sequence[Rollout]]) -> float:
    return statistics.fmean(rollout.truncated for group in groups for rollout in group)
