"""The scorer's side of the conversation: one reply to each request, whatever environments do."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from rlswarm._core import blake3
from rlswarm.environments.draw import evaluation_tasks, may_show_held_out, training_task
from rlswarm.environments.environment import (
    SEED_BITS,
    Environment,
    Item,
    UnusableEnvironmentError,
)
from rlswarm.environments.fingerprint import fingerprint, mismatch
from rlswarm.environments.registry import open_environment
from rlswarm.errors import ScorerError
from rlswarm.pipes import ChildPipe
from rlswarm.resources import peak_rss
from rlswarm.scorer.guard import Guard, OverranError
from rlswarm.scorer.messages import (
    Answer,
    EnvironmentSpec,
    HeldOut,
    Open,
    Opened,
    Refused,
    Reply,
    Request,
    Score,
    Scored,
    Task,
    TaskList,
    Tasks,
)
from rlswarm.scorer.tokenizer import TextCheck

SCORE_SECONDS = 5.0
OPEN_SECONDS = 300.0
"""For one environment, its 64 fingerprint items and the count of its prompts."""

_REMEMBERED_ITEMS = 2048
"""A group's completions are scored one after the other, and again when peers revise them."""


class Scorer:
    """Generates and scores the tasks of the environments it was opened with."""

    def __init__(self, score_seconds: float = SCORE_SECONDS) -> None:
        """`score_seconds` is the local guard on one answer. Main thread only."""
        self._guard = Guard()
        self._score_seconds = score_seconds
        self._environments: tuple[tuple[Environment, ...], ...] | None = None
        """Of each: as configured, then its levels; empty if it is left out."""
        self._text_check: TextCheck | None = None
        self._items: OrderedDict[tuple[Environment, int], Item] = OrderedDict()

    def answer(self, request: Request) -> Reply:
        """The reply; Refused instead of any error."""
        try:
            match request:
                case Open():
                    return self._open(request)
                case Tasks():
                    return self._tasks(request)
                case HeldOut():
                    return self._held_out(request)
                case Score():
                    return self._score(request)
        except ScorerError as error:
            return Refused(str(error))
        except Exception as error:
            return Refused(f"The scorer failed: {type(error).__name__}: {error}.")

    def _open(self, request: Open) -> Opened:
        environments: list[tuple[Environment, ...]] = []
        fingerprints: list[str] = []
        versions: list[str] = []
        held_out: list[bool] = []
        mismatches: list[tuple[int, str]] = []
        for index, spec in enumerate(request.environments):
            opened = self._open_one(spec)
            environments.append(() if opened.reason else opened.environments)
            fingerprints.append(opened.fingerprint)
            versions.append(opened.environments[0].version if opened.environments else "")
            held_out.append(opened.shows_held_out)
            if opened.reason:
                mismatches.append((index, opened.reason))
        self._environments = tuple(environments)
        self._text_check = TextCheck(request.tokenizer) if request.tokenizer else None
        self._items.clear()
        return Opened(
            fingerprints=tuple(fingerprints),
            versions=tuple(versions),
            mismatches=tuple(mismatches),
            held_out=tuple(held_out),
            peak_rss=peak_rss(),
        )

    def _open_one(self, spec: EnvironmentSpec) -> "_OpenedEnvironment":
        try:
            return self._guard.run(OPEN_SECONDS, partial(_open, spec))
        except UnusableEnvironmentError as error:
            return _OpenedEnvironment(reason=str(error))
        except OverranError:
            return _OpenedEnvironment(
                reason=f"{spec.name} took over {OPEN_SECONDS:.0f} s to generate its first tasks."
            )

    def _tasks(self, request: Tasks) -> TaskList:
        tasks: list[Task] = []
        for slot in request.slots:
            environment = self._environment(slot.environment, request.levels)
            seed, item = training_task(environment, slot.seed_key)
            tasks.append(self._task(slot.environment, environment, seed, item))
        return TaskList(tuple(tasks))

    def _held_out(self, request: HeldOut) -> TaskList:
        environment = self._environment(request.environment)
        return TaskList(
            tuple(
                self._task(request.environment, environment, seed, item)
                for seed, item in evaluation_tasks(environment, request.count)
            )
        )

    def _score(self, request: Score) -> Scored:
        scores: list[int | None] = []
        overran: list[int] = []
        for position, answer in enumerate(request.answers):
            try:
                scores.append(
                    self._guard.run(
                        self._score_seconds, partial(self._score_one, answer, request.levels)
                    )
                )
            except (OverranError, UnusableEnvironmentError, MemoryError):
                scores.append(None)
                overran.append(position)
        faithful = tuple(self._is_faithful(tokens, text) for tokens, text in request.decoded)
        return Scored(tuple(scores), faithful, tuple(overran), peak_rss())

    def _score_one(self, answer: Answer, levels: Sequence[int]) -> int | None:
        environment = self._environment(answer.environment, levels)
        if answer.seed >> SEED_BITS:
            return None
        item = self._items.get((environment, answer.seed))
        if item is None:
            try:
                item = environment.generate(answer.seed)
            except MemoryError:
                raise
            except Exception:  # a seed without a task has no right answer, for anybody
                return None
            self._remember(environment, answer.seed, item)
        return environment.score(answer.text, item)

    def _is_faithful(self, tokens: bytes, text: str) -> bool:
        if self._text_check is None:
            raise ScorerError("Texts can't be checked: the scorer was opened without a tokenizer.")
        return self._text_check.agrees(tokens, text)

    def _environment(self, index: int, levels: Sequence[int] = ()) -> Environment:
        """The environment at its level of `levels`, or as configured without any."""
        if self._environments is None:
            raise ScorerError("The scorer was asked for tasks before it was opened.")
        if not 0 <= index < len(self._environments):
            raise ScorerError(f"The manifest has no environment number {index}.")
        configured, *by_level = self._environments[index] or (None,)
        if configured is None:
            raise UnusableEnvironmentError(f"Environment number {index} is left out here.")
        if not levels or not by_level:
            return configured
        if index >= len(levels) or not 0 <= levels[index] < len(by_level):
            raise ScorerError(f"Environment number {index} has no such level.")
        return by_level[levels[index]]

    def _task(self, index: int, environment: Environment, seed: int, item: Item) -> Task:
        self._remember(environment, seed, item)
        return Task(index, seed, item.question, environment.prompt(item))

    def _remember(self, environment: Environment, seed: int, item: Item) -> None:
        self._items[environment, seed] = item
        if len(self._items) > _REMEMBERED_ITEMS:
            self._items.popitem(last=False)


def serve(pipe: ChildPipe) -> None:
    """Answer requests until the node has gone away."""
    scorer = Scorer()
    decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
    while True:
        try:
            request = pipe.receive(decoder)
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            pipe.send(Refused(f"The scorer got a message it can't read: {error}."))
            continue
        if request is None:
            return
        pipe.send(scorer.answer(request))


class _OpenedEnvironment(NamedTuple):
    environments: tuple[Environment, ...] = ()
    """As configured, then its levels."""
    fingerprint: str = ""
    shows_held_out: bool = False
    reason: str = ""
    """Why to leave it out, one sentence; empty if there is no reason to."""


def _open(spec: EnvironmentSpec) -> _OpenedEnvironment:
    opened: list[Environment] = []
    found: list[str] = []
    for level in ({}, *spec.levels):
        again = partial(open_environment, spec.name, {**spec.config, **level}, spec.shots)
        found.append(fingerprint(again))
        opened.append(again())
    mark = blake3("".join(found).encode()).hex() if spec.levels else found[0]
    reason = ""
    if spec.fingerprint not in ("", mark):
        reason = mismatch(opened[0], spec.fingerprint, mark, spec.version)
    return _OpenedEnvironment(tuple(opened), mark, may_show_held_out(opened[0]), reason)
