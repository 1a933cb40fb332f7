"""N nodes of one swarm in one process, in virtual time, with everything seeded."""

import asyncio
import contextlib
import datetime
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rlswarm._core import Identity, blake3
from rlswarm.config.manifest import Manifest, Model, Rounds
from rlswarm.errors import ScorerError
from rlswarm.game.presets import retimed
from rlswarm.game.stages import Game
from rlswarm.identity.binding import Statement
from rlswarm.journal.journal import Journal
from rlswarm.ledger.ledger import Ledger
from rlswarm.ledger.levels import no_round_is_sealed
from rlswarm.network.memory import MemoryNetwork
from rlswarm.node.node import Node
from rlswarm.node.processes import Scorer, Worker
from rlswarm.scorer import messages as scoring
from rlswarm.scorer.process import Scorer as ScoringService
from rlswarm.simulation.clock import EPOCH, VirtualClock, run_virtual
from rlswarm.simulation.policy import ScriptedWorker
from rlswarm.worker.messages import Load


class InProcessScorer:
    """The scorer without a process of its own."""

    def __init__(self) -> None:
        self._service = ScoringService()

    async def open(self, request: scoring.Open) -> scoring.Opened:
        reply = self._service.answer(request)
        if not isinstance(reply, scoring.Opened):
            raise ScorerError(getattr(reply, "message", "the scorer can't open"))
        return reply

    async def tasks(self, request: scoring.Tasks | scoring.HeldOut) -> scoring.TaskList:
        reply = self._service.answer(request)
        assert isinstance(reply, scoring.TaskList), reply
        return reply

    async def score(self, request: scoring.Score) -> scoring.Scored:
        reply = self._service.answer(request)
        assert isinstance(reply, scoring.Scored), reply
        return reply

    async def close(self, grace: float) -> None:
        return None


def simulated_manifest(**changes: Any) -> Manifest:
    """Rounds of ten virtual seconds on sums that `ScriptedWorker` can do."""
    manifest = Manifest(
        name="simulated",
        genesis=datetime.datetime.fromtimestamp(EPOCH + 1, datetime.UTC),
        rounds=Rounds(seconds=12.0, clock_offset=0.1, settle=0.5, staleness=2),
        game=Game(
            slots=3,
            group_size=4,
            stages=retimed("answer-critique-revise", [2.0] * 3, reveal=0.5, max_tokens=48),
        ),
        environments=(
            scoring.EnvironmentSpec(
                name="chain_sum",
                config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
            ),
        ),
        model=Model(name="scripted"),
    )
    return msgspec.structs.replace(manifest, **changes)


class SimulatedNode(msgspec.Struct):
    """A node with the parts a test wants to look at."""

    node: Node
    events: list[tuple[str, dict[str, Any]]]
    task: "asyncio.Task[None] | None" = None
    error: BaseException | None = None


class SimulatedSwarm:
    """Make with `simulate`; a script may kill, cut and add nodes while it runs."""

    def __init__(self, manifest: Manifest, folder: Path, seed: int, **medium: Any) -> None:
        self.manifest = manifest
        self.clock = VirtualClock()
        self.network = MemoryNetwork(manifest.swarm_id, self.clock.now, seed=seed, **medium)
        self.nodes: list[SimulatedNode] = []
        self._folder = folder
        self._seed = seed

    def add(
        self,
        worker: Worker | None = None,
        *,
        rounds: int | None = None,
        clock: VirtualClock | None = None,
        scorer: Scorer | None = None,
        key: int | None = None,
        evaluate: int = 0,
        sealed: Callable[[int], Sequence[Ledger]] = no_round_is_sealed,
        statements: Sequence[Statement] = (),
    ) -> SimulatedNode:
        """Start a node. `key` names its identity and journal, so that a restart can reuse both."""
        key = len(self.nodes) if key is None else key
        seed = blake3(self._seed.to_bytes(8, "little") + key.to_bytes(8, "little"))
        identity = Identity.from_seed(seed)
        events: list[tuple[str, dict[str, Any]]] = []
        node = Node(
            self.manifest,
            identity,
            transport=self.network.join(identity.peer_id),
            worker=worker or ScriptedWorker(),
            scorer=scorer or InProcessScorer(),
            journal=Journal(self._folder / f"journal-{key}.sqlite3", self.manifest.swarm_id),
            clock=clock or self.clock,
            load=Load(
                model="scripted",
                checkpoints="",
                lora=self.manifest.model.lora,
                rule=self.manifest.learning,
            ),
            statements=statements,
            sealed=sealed,
            observe=lambda event, data: events.append((event, data)),
            rounds=rounds,
            evaluate=evaluate,
        )
        simulated = SimulatedNode(node, events)

        async def live() -> None:
            try:
                await node.run()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                simulated.error = error

        simulated.task = asyncio.create_task(live())
        self.nodes.append(simulated)
        return simulated

    async def kill(self, simulated: SimulatedNode) -> None:
        """As kill -9: gone from the network without a word."""
        self.network.leave(simulated.node.identity.peer_id)
        assert simulated.task is not None
        simulated.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await simulated.task

    async def finish(self) -> None:
        """Wait until every node that was not killed has played its rounds."""
        for simulated in self.nodes:
            if simulated.task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await simulated.task
            if simulated.error is not None:
                raise simulated.error


def simulate(
    script: Callable[[SimulatedSwarm], Any],
    *,
    manifest: Manifest | None = None,
    seed: int = 0,
    **medium: Any,
) -> SimulatedSwarm:
    """Run `await script(swarm)` in virtual time and return the swarm as it ended.

    `medium` goes to `MemoryNetwork` (latency, loss).
    """
    with tempfile.TemporaryDirectory() as folder:

        async def main() -> SimulatedSwarm:
            swarm = SimulatedSwarm(manifest or simulated_manifest(), Path(folder), seed, **medium)
            await script(swarm)
            return swarm

        return run_virtual(main())


def roots(nodes: Sequence[SimulatedNode]) -> list[dict[int, str]]:
    """Ledger roots by round, of each node."""
    return [simulated.node.tally.roots for simulated in nodes]
