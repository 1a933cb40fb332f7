"""The node's two children as the node sees them: a worker and a scorer that always come back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from rlswarm.errors import (
    ModelError,
    NotEnoughMemoryError,
    RlswarmError,
    ScorerError,
    StorageError,
    WorkerError,
)
from rlswarm.node.child import Child, ChildDiedError
from rlswarm.scorer import messages as scoring
from rlswarm.scorer.confinement import scorer_environment
from rlswarm.worker import messages as working

MAX_DEATHS = 3
"""Deaths in a row, without one answer between them, after which a child is given up."""

_LOAD_SECONDS = 1800.0
_OPEN_SECONDS = 600.0
"""Some data sets take more than a minute to generate their fingerprint's items."""

_GUARD_SECONDS = 120.0
"""Added to a request's own budget before a silent child is killed."""


class RestartedError(Exception):
    """The child died with this request and is back; the request's work is lost."""


class Worker(Protocol):
    """What samples and learns."""

    async def load(self, request: working.Load) -> working.Loaded: ...
    async def sample(self, request: working.Sample) -> working.Sampled: ...
    async def learn(self, request: working.Learn) -> working.Learned: ...
    async def close(self, grace: float) -> None: ...


class Scorer(Protocol):
    """What generates and judges tasks."""

    async def open(self, request: scoring.Open) -> scoring.Opened: ...
    async def tasks(self, request: scoring.Tasks | scoring.HeldOut) -> scoring.TaskList: ...
    async def score(self, request: scoring.Score) -> scoring.Scored: ...
    async def close(self, grace: float) -> None: ...


_FAILURES: dict[str, type[RlswarmError]] = {
    "model": ModelError,
    "memory": NotEnoughMemoryError,
    "storage": StorageError,
    "bug": WorkerError,
}


class WorkerProcess:
    """The worker as a child. When it dies, it is restarted from its last checkpoint with half the
    micro-batch, and the open request raises RestartedError."""

    def __init__(
        self,
        log: Path,
        on_trouble: Callable[[str], None],
        on_restart: Callable[[working.Loaded], None],
        processes: int = 1,
    ) -> None:
        """`processes` > 1: as many processes are the worker together, one for each GPU."""
        several = processes > 1
        self._child: Child[working.Reply] = Child(
            "rlswarm.worker.launch" if several else "rlswarm.worker",
            working.Reply,
            log,
            arguments=[str(processes)] if several else [],
        )
        self._on_trouble = on_trouble
        self._on_restart = on_restart
        self._load: working.Load | None = None
        self._loaded: working.Loaded | None = None
        self._deaths = 0
        self._micro_batch = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def load(self, request: working.Load) -> working.Loaded:
        """Spawn and load; what is loaded already is not loaded again.

        Raises ModelError, NotEnoughMemoryError, StorageError, WorkerError.
        """
        if self._loaded is not None and request == self._load:
            return self._loaded
        self._load = request
        await self._child.start()
        try:
            reply = await self._child.request(request, _LOAD_SECONDS)
        except ChildDiedError as death:
            raise WorkerError(f"the worker died while loading the model: {death}") from None
        if isinstance(reply, working.Failed):
            await self._child.close(5)
            raise _FAILURES[reply.kind](reply.message)
        assert isinstance(reply, working.Loaded)
        self._loaded = reply
        self._micro_batch = reply.micro_batch
        return reply

    async def sample(self, request: working.Sample) -> working.Sampled:
        reply = await self._request(request, request.budget)
        assert isinstance(reply, working.Sampled)
        return reply

    async def learn(self, request: working.Learn) -> working.Learned:
        reply = await self._request(request, request.budget)
        assert isinstance(reply, working.Learned)
        return reply

    async def _request(
        self, request: working.Sample | working.Learn, budget: float
    ) -> working.Reply:
        try:
            reply = await self._child.request(request, budget + _GUARD_SECONDS)
        except ChildDiedError as death:
            await self._restart(str(death))
            raise RestartedError from None
        self._deaths = 0
        if isinstance(reply, working.Failed):
            if reply.kind == "memory":
                await self._child.kill()
                await self._restart(reply.message)
            else:
                self._on_trouble(f"the worker could not do its part: {reply.message}")
            raise RestartedError
        return reply

    async def _restart(self, cause: str) -> None:
        assert self._load is not None
        self._loaded = None
        self._deaths += 1
        if self._deaths > MAX_DEATHS:
            raise WorkerError(f"the worker died {self._deaths} times in a row; last: {cause}")
        self._micro_batch = max(1, self._micro_batch // 2)
        self._on_trouble(
            f"the worker died ({cause}); restarting it from its last checkpoint with "
            f"micro-batch {self._micro_batch}"
        )
        request = msgspec.structs.replace(self._load, micro_batch=self._micro_batch)
        self._on_restart(await self.load(request))

    async def close(self, grace: float) -> None:
        await self._child.close(grace)


class ScorerProcess:
    """The scorer as a child, restarted when it dies or overruns; the request then raises
    RestartedError, so that only the record it was about is left out."""

    def __init__(
        self, log: Path, on_trouble: Callable[[str], None], answer_seconds: float = 30.0
    ) -> None:
        """`answer_seconds` guards a request; overruns decide nothing but here."""
        self._child: Child[scoring.Reply] = Child(
            "rlswarm.scorer", scoring.Reply, log, scorer_environment(os.environ)
        )
        self._on_trouble = on_trouble
        self._seconds = answer_seconds
        self._open: scoring.Open | None = None
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def open(self, request: scoring.Open) -> scoring.Opened:
        """Spawn and open the environments. Raises ScorerError."""
        self._open = request
        await self._child.start()
        try:
            reply = await self._child.request(request, _OPEN_SECONDS)
        except ChildDiedError as death:
            raise ScorerError(f"the scorer can't be started: {death}") from None
        if isinstance(reply, scoring.Refused):
            await self._child.close(5)
            raise ScorerError(reply.message)
        assert isinstance(reply, scoring.Opened)
        return reply

    async def tasks(self, request: scoring.Tasks | scoring.HeldOut) -> scoring.TaskList:
        reply = await self._request(request)
        assert isinstance(reply, scoring.TaskList)
        return reply

    async def score(self, request: scoring.Score) -> scoring.Scored:
        reply = await self._request(request)
        assert isinstance(reply, scoring.Scored)
        return reply

    async def _request(self, request: scoring.Request) -> scoring.Reply:
        try:
            reply = await self._child.request(request, self._seconds)
        except ChildDiedError as death:
            self._deaths += 1
            if self._deaths > MAX_DEATHS:
                raise ScorerError(
                    f"the scorer died {self._deaths} times in a row; last: {death}"
                ) from None
            self._on_trouble(f"the scorer died ({death}); restarting it")
            assert self._open is not None
            await self.open(self._open)
            raise RestartedError from None
        self._deaths = 0
        if isinstance(reply, scoring.Refused):
            self._on_trouble(f"the scorer refused: {reply.message}")
            raise RestartedError
        return reply

    async def close(self, grace: float) -> None:
        await self._child.close(grace)
