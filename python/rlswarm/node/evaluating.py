"""The scheduled evaluation: in what a round leaves over, and told to everybody as a signed record.

Nothing here may cost a round. An evaluation that doesn't fit goes on in the next rounds; each of
its records names the policy that gave the answers in it.
"""

from collections.abc import Sequence

from rlswarm._core import Header
from rlswarm.config.manifest import Manifest
from rlswarm.game.held_out import (
    Completion,
    Measured,
    decode_evaluation,
    encode_evaluation,
)
from rlswarm.game.rollouts import BodyError
from rlswarm.names import animal_name
from rlswarm.network.transport import EVALUATION
from rlswarm.node.author import Author
from rlswarm.node.clock import Clock
from rlswarm.node.evaluation import BATCH, held_out_tasks, sample_answers, score
from rlswarm.node.processes import RestartedError, Scorer, Worker
from rlswarm.node.report import Report
from rlswarm.scorer.messages import Task

SPARE = 0.5
"""Seconds kept free before the next round opens."""

_FIRST_BATCH = 4
"""Answers to begin with, before their speed is known."""

_HEARD = 256
"""Peers' records that wait to be checked, at most."""


class Evaluator:
    """Measures the own policy when the manifest says so, and checks what peers measured."""

    def __init__(
        self,
        manifest: Manifest,
        me: bytes,
        *,
        author: Author,
        worker: Worker,
        scorer: Scorer,
        clock: Clock,
        report: Report,
    ) -> None:
        """`me` is the own public key."""
        self.environments: tuple[int, ...] = ()
        """Those with a held-out figure that this node can judge, by index."""
        self.readable_base: bytes | None = None
        """The base model whose tokens the scorer can spell."""
        self._manifest = manifest
        self._rules = manifest.game.answering
        self._me = me
        self._author = author
        self._worker = worker
        self._scorer = scorer
        self._clock = clock
        self._report = report
        self._left: list[tuple[int, int]] = []
        """(environment, task number) still to be answered, in order."""
        self._seconds_each: float | None = None
        self._tasks: dict[int, tuple[Task, ...]] = {}
        self._heard: dict[tuple[bytes, int], tuple[Header, bytes]] = {}
        self._settled: set[tuple[bytes, int]] = set()

    def keep_free(self, number: int) -> float:
        """Seconds of round `number`'s learn window that learning should leave."""
        return self._manifest.evaluation.seconds if self._left or self._is_due(number) else 0.0

    def heard(self, header: Header, body: bytes) -> None:
        """A peer's record. The first of an author for a round counts."""
        key = (header.author, header.round)
        if key not in self._settled and len(self._heard) < _HEARD:
            self._heard.setdefault(key, (header, body))

    async def run(self, number: int, base: bytes, adapter: bytes) -> None:
        """Use what is left of round `number` for the policy (`base`, `adapter`) as it is now, then
        for checking."""
        until = self._manifest.opens(number + 1) - SPARE
        try:
            if self._is_due(number):
                await self._begin()
            if self._left:
                await self._answer(number, base, adapter, until)
            await self._check_heard(number, until)
        except RestartedError:
            return  # told already; the next round goes on where this one stopped

    def _is_due(self, number: int) -> bool:
        every = self._manifest.evaluation.every_rounds
        return bool(every and self.environments) and number % every == every - 1

    async def _begin(self) -> None:
        """Line up every task, the environments taking turns, so that each stop is a fair one."""
        if self._left:
            self._report.trouble(
                f"{len(self._left)} held-out tasks were not reached before the next evaluation; "
                "raise `evaluation.seconds` or `every_rounds`, or lower `tasks`"
            )
        lists = [await self._held_out(environment) for environment in self.environments]
        self._left = [
            (environment, index)
            for index in range(self._manifest.evaluation.tasks)
            for environment, tasks in zip(self.environments, lists, strict=True)
            if index < len(tasks)
        ]

    async def _held_out(self, environment: int) -> tuple[Task, ...]:
        if environment not in self._tasks:
            count = self._manifest.evaluation.tasks
            self._tasks[environment] = await held_out_tasks(self._scorer, environment, count)
        return self._tasks[environment]

    # -- measuring ------------------------------------------------------------------------------

    async def _answer(self, number: int, base: bytes, adapter: bytes, until: float) -> None:
        """Answer batches of what should fit while time is left, then publish."""
        done: dict[tuple[int, int], Completion] = {}
        while len(done) < len(self._left):
            began = self._clock.now()
            size = self._fitting(until - began)
            if size == 0:
                break
            batch = self._left[len(done) : len(done) + size]
            tasks = [self._tasks[environment][index] for environment, index in batch]
            drawn = await sample_answers(self._worker, tasks, self._rules, budget=until - began)
            seconds = (self._clock.now() - began) / len(batch)
            if drawn is None:
                self._seconds_each = 2 * seconds
                break
            self._seconds_each = seconds
            done |= dict(zip(batch, drawn, strict=True))
        if done:
            await self._publish(number, base, adapter, done)
            del self._left[: len(done)]

    def _fitting(self, seconds: float) -> int:
        """Answers to ask for at once, as fast as they came last."""
        if self._seconds_each is None:
            return _FIRST_BATCH if seconds > 0 else 0
        return min(BATCH, int(seconds / (1.25 * self._seconds_each + 1e-9)))

    async def _publish(
        self, number: int, base: bytes, adapter: bytes, done: dict[tuple[int, int], Completion]
    ) -> None:
        measured = []
        for environment in sorted({environment for environment, _ in done}):
            numbers = sorted(index for where, index in done if where == environment)
            completions = tuple(done[environment, index] for index in numbers)
            unscored = Measured(environment, numbers[0], 0, completions)
            right, whole = await score(self._scorer, unscored, self._tasks[environment])
            if whole:
                measured.append(Measured(environment, numbers[0], right, completions))
        if not measured:
            return
        body = encode_evaluation(measured)
        record = self._author.seal(EVALUATION, number, body, base=base, adapter=adapter)
        self._author.announce(record, body, "the evaluation")
        self._tell(record.header, measured, "")

    # -- checking -------------------------------------------------------------------------------

    async def _check_heard(self, number: int, until: float) -> None:
        """Score again what peers said, oldest first, while there is time."""
        oldest = number - self._manifest.rounds.staleness
        self._settled = {key for key in self._settled if key[1] >= oldest}
        for key in list(self._heard):
            if self._clock.now() >= until:
                return
            header, body = self._heard.pop(key)
            self._settled.add(key)
            await self._check(header, body)

    async def _check(self, header: Header, body: bytes) -> None:
        measured: Sequence[Measured] = ()
        try:
            measured = decode_evaluation(
                body,
                len(self._manifest.environments),
                self._manifest.evaluation.tasks,
                self._rules,
            )
            for result in measured:
                if result.environment not in self.environments:
                    continue  # nothing here to judge it by
                tasks = await self._held_out(result.environment)
                spelt = header.base == self.readable_base
                right, whole = await score(self._scorer, result, tasks, spelt=spelt)
                if whole and right != result.right:
                    raise BodyError(f"it claims {result.right} right answers, but {right} are")
        except BodyError as error:
            self._tell(header, measured, str(error))
        else:
            self._tell(header, measured, "")

    def _tell(self, header: Header, measured: Sequence[Measured], problem: str) -> None:
        """What was measured, or what is wrong with it."""
        self._report(
            "held_out",
            header.round,
            peer_id=header.peer_id,
            name=animal_name(header.peer_id),
            own=header.author == self._me,
            record=header.hash.hex(),
            adapter=header.adapter.hex(),
            problem=problem,
            results=[
                {
                    "environment": self._manifest.environments[m.environment].name,
                    "start": m.start,
                    **m.accuracy.as_data(),
                }
                for m in measured
            ],
        )
