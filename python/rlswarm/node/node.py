"""A node: it keeps the clock, plays rounds with whoever is there, and never waits for anybody."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from rlswarm._core import CoreError, Identity
from rlswarm.config.manifest import Manifest, choose_persona, render_manifest
from rlswarm.errors import ModelError, ScorerError
from rlswarm.game.held_out import pooled
from rlswarm.game.round import Round
from rlswarm.game.table import PlayedGroup
from rlswarm.identity.binding import Statement
from rlswarm.identity.typed_data import Domain
from rlswarm.journal.journal import Journal
from rlswarm.ledger.ledger import Ledger, uncounted
from rlswarm.ledger.levels import no_round_is_sealed
from rlswarm.names import animal_name
from rlswarm.network.transport import BINDING, Transport
from rlswarm.node.author import Author
from rlswarm.node.bindings import Bindings
from rlswarm.node.clock import Clock
from rlswarm.node.closing import decide_ledger, earned
from rlswarm.node.evaluating import Evaluator
from rlswarm.node.evaluation import measure
from rlswarm.node.intake import Intake
from rlswarm.node.judge import Judge
from rlswarm.node.learning import Learner
from rlswarm.node.playing import MIN_WINDOW, Player
from rlswarm.node.presence import Presence
from rlswarm.node.processes import RestartedError, Scorer, Worker
from rlswarm.node.report import Observe, Report
from rlswarm.node.rounds import Rounds
from rlswarm.node.tally import Tally
from rlswarm.resources import peak_rss
from rlswarm.scorer.messages import Open
from rlswarm.worker.messages import Learned, Load, Loaded


class Node:
    """One node of one swarm. Everything that touches the world is handed in."""

    def __init__(
        self,
        manifest: Manifest,
        identity: Identity,
        *,
        transport: Transport,
        worker: Worker,
        scorer: Scorer,
        journal: Journal,
        clock: Clock,
        load: Load,
        statements: Sequence[Statement] = (),
        observe: Observe = lambda event, data: None,
        rounds: int | None = None,
        evaluate: int = 0,
        born: float | None = None,
        persona: str | None = None,
        sealed: Callable[[int], Sequence[Ledger]] = no_round_is_sealed,
    ) -> None:
        """`statements` are the own bindings for this swarm, oldest first; `rounds` ends the run
        after so many played rounds; `evaluate` is the number of held-out tasks by environment that
        are measured at the end (0 = none); `born` (Unix seconds) is when the process started, if
        that was before now; `persona` names one of the manifest's (None: the lottery picks).
        `sealed` gives the ledger that a round's lottery names and those it builds on, newest first.
        Raises ManifestError if there is no persona of that name."""
        self.manifest = manifest
        self.identity = identity
        self.tally = Tally(clock.now() if born is None else born)
        self._transport = transport
        self._worker = worker
        self._scorer = scorer
        self._journal = journal
        self._clock = clock
        self._report = Report(journal, clock, observe)
        self._load = load
        self._limit = rounds
        self._evaluate = evaluate
        self._swarm = manifest.swarm_id
        self._me = identity.public_key
        self._rounds = Rounds(manifest, sealed)
        self._judged_by = Judge(manifest, identity.public_key, scorer)
        journal.manifest(render_manifest(manifest))
        author = Author(
            self._swarm,
            identity,
            transport=transport,
            journal=journal,
            clock=clock,
            report=self._report,
        )
        self._bindings = Bindings(
            Domain.of_swarm(self._swarm), statements, author=author, report=self._report
        )
        self._bindings.restore(journal.bodies(BINDING))
        self._presence = Presence(author, transport)
        self._evaluator = Evaluator(
            manifest,
            identity.public_key,
            author=author,
            worker=worker,
            scorer=scorer,
            clock=clock,
            report=self._report,
        )
        self._intake = Intake(
            manifest,
            self._rounds,
            bindings=self._bindings,
            presence=self._presence,
            evaluator=self._evaluator,
            transport=transport,
            journal=journal,
            clock=clock,
            report=self._report,
        )
        self._player = Player(
            manifest,
            identity.public_key,
            author=author,
            transport=transport,
            worker=worker,
            judge=self._judged_by,
            clock=clock,
            report=self._report,
            persona=choose_persona(manifest, identity.public_key, persona),
        )
        self._learner = Learner(
            manifest,
            identity.public_key,
            worker=worker,
            clock=clock,
            report=self._report,
            tally=self.tally,
        )
        self._background: set[asyncio.Task[Any]] = set()

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load, then play rounds until the limit is reached or the task is cancelled.

        Raises ModelError, NotEnoughMemoryError, WorkerError, ScorerError: what a node can't live
        without. Peers, disk and network failing only degrade it.
        """
        self._report(
            "started",
            peer_id=self.identity.peer_id,
            name=animal_name(self.identity.peer_id),
            swarm=self._swarm.hex(),
            addresses=self._transport.addresses(),
        )
        receiving = asyncio.create_task(self._intake.receive())
        try:
            await self._prepare()
            while self._limit is None or self.tally.rounds < self._limit:
                await self._play(await self._next_round())
            if self._evaluate:
                await self._measure()
        finally:
            receiving.cancel()
            for task in self._background:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving

    async def _prepare(self) -> None:
        loaded = await self._worker.load(self._load)
        self.took_policy(loaded)
        wanted = self.manifest.model.base
        if wanted and loaded.base.hex() != wanted:
            raise ModelError(
                f"the swarm's base model has the hash {wanted[:16]}…, but "
                f"{self._load.model} has {loaded.base.hex()[:16]}…; use the published files of "
                f"{self.manifest.model.name}"
            )
        readable = loaded.base if loaded.tokenizer else None
        self._judged_by.readable_base = self._evaluator.readable_base = readable
        opened = await self._scorer.open(
            Open(self.manifest.environments, tokenizer=loaded.tokenizer)
        )
        self._judged_by.scorer_peak_rss = opened.peak_rss
        declined = frozenset(index for index, _ in opened.mismatches)
        self._judged_by.declined = declined
        if len(declined) == len(self.manifest.environments):
            reasons = "; ".join(sentence.rstrip(".") for _, sentence in opened.mismatches)
            raise ScorerError(f"this node can't take part in any environment: {reasons}")
        for _, sentence in opened.mismatches:
            self.trouble(sentence)
        self._evaluator.environments = tuple(
            i for i, allowed in enumerate(opened.held_out) if allowed and i not in declined
        )
        self._report(
            "ready",
            base=loaded.base.hex(),
            adapter=loaded.adapter.hex(),
            plan=loaded.plan,
            resumed_round=loaded.resumed_round,
            seconds=round(self._clock.now() - self.tally.started, 3),
        )

    def took_policy(self, loaded: Loaded) -> None:
        """Note the policy of a worker that has just (re)started."""
        self._player.base, self._player.adapter = loaded.base, loaded.adapter
        self.tally.worker_peak_rss = max(self.tally.worker_peak_rss, loaded.peak_rss)

    async def _next_round(self) -> Round:
        """The current round if its first stage can still be entered, else the next."""
        now = self._clock.now()
        number = max(0, self.manifest.round_at(now))
        current = self._rounds[number]
        if now > current.times[0].closes - 2 * MIN_WINDOW:
            number += 1
            current = self._rounds[number]
        await self._clock.sleep_until(current.times[0].opens)
        return current

    # -- a round --------------------------------------------------------------------------------

    async def _play(self, state: Round) -> None:
        began = self._clock.now()
        self._report("round_opened", state.number, peers=len(self._transport.peers()))
        self._bindings.tell(state.number)
        self._presence.tell(state.number)
        judged: asyncio.Task[None] | None = None
        for stage, times in enumerate(state.times):
            await self._clock.sleep_until(times.opens)
            own = await self._player.take_part(state, stage)
            await self._clock.sleep_until(times.closes + self.manifest.rounds.clock_offset)
            if own is not None:
                try:
                    self._transport.reveal(own.header.hash)
                except CoreError as error:
                    self.trouble(f"the own {stage + 1}. record could not be revealed: {error}")
            await self._player.collect(state, stage)
            await self._clock.sleep_until(times.reveals)
            judged = self._later(self._judge(state, stage, judged))
        settled = self._later(self._settle(state, judged))
        if judged is not None:
            await judged
        self._learner.add(state, state.settle(uncounted(state)))
        keep_free = self._evaluator.keep_free(state.number)
        learned = await self._learner.learn(state, keep_free)
        if learned is not None:
            self._player.adapter = learned.adapter
        await self._evaluator.run(state.number, self._player.base, self._player.adapter)
        ledger = await settled
        self._close(state, began, learned, ledger)

    def _later(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # -- verdicts -------------------------------------------------------------------------------

    async def _judge(
        self, state: Round, last_stage: int, before: "asyncio.Task[None] | None" = None
    ) -> None:
        """Have the stages up to `last_stage` judged; what is verified may be learned from."""
        if before is not None:
            await before
        fresh = await self._judged_by.judge(state, last_stage)
        # Proposals are paid when the round is over, so they can't teach before.
        self._learner.add(state, [g for g in fresh if not state.is_paid_late(g)])
        self._note(state, fresh)

    def _note(self, state: Round, groups: list[PlayedGroup]) -> None:
        self._journal.groups(
            state.number, [(g, state.records[g.record].header.peer_id) for g in groups]
        )

    async def _settle(self, state: Round, judged: "asyncio.Task[None] | None") -> Ledger:
        """After the last body may have come: judge the rest and compute the ledger."""
        await self._clock.sleep_until(state.times[-1].reveals + self.manifest.rounds.settle)
        await self._judge(state, len(state.times) - 1, judged)
        for late in self._rounds.before(state.number):
            await self._judge(late, len(late.times) - 1)
        ledger = decide_ledger(
            self._swarm,
            state,
            journal=self._journal,
            tally=self.tally,
            report=self._report,
            now=self._clock.now(),
        )
        self._note(state, [g for g in state.played.values() if state.is_paid_late(g)])
        return ledger

    def _close(self, state: Round, began: float, learned: Learned | None, ledger: Ledger) -> None:
        """The round is over: count it and say what came of it."""
        tally, came = self.tally, earned(state, self._me)
        tally.round_over(came["mean_reward"], self._clock.now() - began)
        self._report(
            "round",
            state.number,
            **came,
            own_used=learned.own_used if learned else 0,
            external_used=learned.external_used if learned else 0,
            external_available=tally.external_available,
            root=ledger.root.hex(),
            peers=len(self._transport.peers()),
            node_rss=peak_rss(),
            worker_rss=tally.worker_peak_rss,
            scorer_rss=self._judged_by.scorer_peak_rss,
            seconds=round(tally.round_seconds[-1], 3),
        )

    # -- evaluation and telling -----------------------------------------------------------------

    async def _measure(self) -> None:
        """Held-out accuracy of the policy before any training and now."""
        rules = self.manifest.game.answering
        if not self._evaluator.environments:
            return
        for when, initial in (("heldout_before", True), ("heldout_after", False)):
            try:
                measured = [
                    await measure(
                        self._worker, self._scorer, index, self._evaluate, rules, initial=initial
                    )
                    for index in self._evaluator.environments
                ]
            except RestartedError:
                return
            self.tally.heldout[when] = pooled(measured).as_data()
            self._report("evaluation", None, when=when, **self.tally.heldout[when])

    def summary(self) -> dict[str, Any]:
        """What this run came to; the fields of ``swarm up --json``."""
        return self.tally.summary(self.identity.peer_id, self._judged_by.scorer_peak_rss)

    def trouble(self, sentence: str) -> None:
        """Something failed that training survives: one clear sentence."""
        self._report.trouble(sentence)
