"""Measuring a policy on held-out tasks, and checking what others say they measured."""

from collections.abc import Callable, Sequence

from rlswarm.game.held_out import (
    Completion,
    Measured,
    answers,
    count_right,
    held_out_request,
    was_cut,
)
from rlswarm.game.rollouts import BodyError
from rlswarm.game.stages import Stage
from rlswarm.node.processes import Scorer, Worker
from rlswarm.scorer.messages import HeldOut, Score, Task
from rlswarm.worker.messages import Sample

BATCH = 32
"""Completions sampled at once."""

_PATIENCE = 600.0
"""Seconds for one batch where nothing else waits."""


async def held_out_tasks(scorer: Scorer, environment: int, count: int) -> tuple[Task, ...]:
    """The first `count` held-out tasks, the same on every node. Raises RestartedError."""
    return (await scorer.tasks(HeldOut(environment, count))).tasks


async def sample_answers(
    worker: Worker,
    tasks: Sequence[Task],
    rules: Stage,
    *,
    initial: bool = False,
    budget: float = _PATIENCE,
) -> tuple[Completion, ...] | None:
    """One answer to each task; None if the budget (seconds) was too short for one of them.

    `initial` asks the policy as it was before any training. Raises RestartedError.
    """
    requests = tuple(held_out_request(task, rules) for task in tasks)
    sampled = await worker.sample(Sample(requests, budget, initial, rules.stop))
    rollouts = [group[0] for group in sampled.groups]
    if any(was_cut(rollout, rules) for rollout in rollouts):
        return None
    return tuple(Completion(rollout.tokens, rollout.text) for rollout in rollouts)


async def measure(
    worker: Worker,
    scorer: Scorer,
    environment: int,
    count: int,
    rules: Stage,
    *,
    initial: bool = False,
    answered: Callable[[int], None] = lambda answers: None,
) -> Measured:
    """A policy on the first `count` held-out tasks of an environment, or as many as it has.

    `answered` is told of every batch. Raises RestartedError.
    """
    tasks = await held_out_tasks(scorer, environment, count)
    done: list[Completion] = []
    for start in range(0, len(tasks), BATCH):
        drawn = await sample_answers(worker, tasks[start : start + BATCH], rules, initial=initial)
        if drawn is None:
            break  # ten minutes were too short for a batch: what is whole is kept
        done += drawn
        answered(len(drawn))
    unscored = Measured(environment, 0, 0, tuple(done))
    right, _ = await score(scorer, unscored, tasks)
    return Measured(environment, 0, right, unscored.completions)


async def score(
    scorer: Scorer, measured: Measured, tasks: Sequence[Task], *, spelt: bool = False
) -> tuple[int, bool]:
    """How many answers are right, and whether this machine could judge all of them.

    `spelt` also checks that the texts are what the tokens spell. Raises RestartedError, and
    BodyError for a result that can't be true.
    """
    wanted = answers(measured, tasks)
    pairs = tuple((c.tokens, c.text) for c in measured.completions) if spelt else ()
    right = 0
    for start in range(0, len(wanted), BATCH):
        part = slice(start, start + BATCH)
        scored = await scorer.score(Score(wanted[part], pairs[part]))
        if not all(scored.faithful):
            raise BodyError("its text is not what its tokens spell")
        if scored.overran:
            return right, False
        right += count_right(scored.scores)
    return right, True
