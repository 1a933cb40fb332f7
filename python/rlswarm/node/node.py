"""A node: it keeps the clock, plays rounds with whoever is there, and never waits for anybody."""

import asyncio
import contextlib
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from rlswarm._core import CoreError, Header, Identity, Record, seal
from rlswarm.config.manifest import Manifest
from rlswarm.errors import ModelError, ScorerError
from rlswarm.game.inputs import Quote
from rlswarm.game.rollouts import Group, encode_body
from rlswarm.game.round import PlayedGroup, Round
from rlswarm.game.tasks import lottery, sampling_key
from rlswarm.journal.journal import Journal
from rlswarm.ledger.ledger import Ledger, compute_ledger
from rlswarm.names import animal_name
from rlswarm.network.transport import ROLLOUTS, Arrival, Transport
from rlswarm.node.clock import Clock
from rlswarm.node.evaluation import held_out_accuracy
from rlswarm.node.judge import Judge
from rlswarm.node.pace import Pace
from rlswarm.node.processes import RestartedError, Scorer, Worker
from rlswarm.node.tally import Tally
from rlswarm.resources import peak_rss
from rlswarm.scorer.messages import MICRO, Open
from rlswarm.worker.messages import (
    GroupRequest,
    Learn,
    Learned,
    Load,
    Loaded,
    Sample,
    Sampled,
    TrainGroup,
)

PUBLISH_SECONDS = 0.25
"""Kept free at the end of a window to seal and announce."""

LEARN_SECONDS = 0.5
"""Kept free before the next round opens."""

MIN_WINDOW = 0.5
"""A window with less time left than this is not entered."""

Observe = Callable[[str, dict[str, Any]], None]
"""Told of everything worth showing: (event, data that JSON can hold)."""


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
        observe: Observe = lambda event, data: None,
        rounds: int | None = None,
        evaluate: int = 0,
        born: float | None = None,
    ) -> None:
        """`rounds` ends the run after so many played rounds; `evaluate` is the number of held-out
        tasks by environment that are measured at the end (0 = none); `born` (Unix seconds) is when
        the process started, if that was before now."""
        self.manifest = manifest
        self.identity = identity
        self.tally = Tally()
        self._transport = transport
        self._worker = worker
        self._scorer = scorer
        self._journal = journal
        self._clock = clock
        self._load = load
        self._observe = observe
        self._limit = rounds
        self._evaluate = evaluate
        self._swarm = manifest.swarm_id
        self._me = identity.public_key
        self._rounds: dict[int, Round] = {}
        self._untrained: dict[Quote, tuple[int, PlayedGroup]] = {}
        self._pace = Pace(manifest.game.slots)
        self._judged_by = Judge(manifest, identity.public_key, scorer)
        self._base = self._adapter = bytes(32)
        self._sequence = journal.next_sequence()
        self._held_out: tuple[int, ...] = ()
        self._started = clock.now() if born is None else born
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
        receiving = asyncio.create_task(self._receive())
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
        self._judged_by.readable_base = loaded.base if loaded.tokenizer else None
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
        self._held_out = tuple(
            i for i, allowed in enumerate(opened.held_out) if allowed and i not in declined
        )
        self._report(
            "ready",
            base=loaded.base.hex(),
            adapter=loaded.adapter.hex(),
            plan=loaded.plan,
            resumed_round=loaded.resumed_round,
            seconds=round(self._clock.now() - self._started, 3),
        )

    def took_policy(self, loaded: Loaded) -> None:
        """Note the policy of a worker that has just (re)started."""
        self._base, self._adapter = loaded.base, loaded.adapter
        self.tally.worker_peak_rss = max(self.tally.worker_peak_rss, loaded.peak_rss)

    async def _next_round(self) -> Round:
        """The current round if its first stage can still be entered, else the next."""
        now = self._clock.now()
        number = max(0, self.manifest.round_at(now))
        current = self._round(number)
        if now > current.times[0].closes - 2 * MIN_WINDOW:
            number += 1
            current = self._round(number)
        await self._clock.sleep_until(current.times[0].opens)
        return current

    def _round(self, number: int) -> Round:
        if number not in self._rounds:
            self._rounds[number] = Round(
                number,
                self.manifest.game,
                self.manifest.opens(number),
                lottery(self._swarm, number, None),
                self.manifest.rounds.clock_offset,
            )
            oldest = number - self.manifest.rounds.staleness
            for past in [n for n in self._rounds if n < oldest]:
                del self._rounds[past]
            self._untrained = {
                name: (born, group)
                for name, (born, group) in self._untrained.items()
                if born >= oldest
            }
        return self._rounds[number]

    # -- what arrives ---------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            for arrival in await self._transport.receive():
                try:
                    self._arrived(arrival)
                except Exception as error:  # a stranger's record must never end training
                    self.trouble(
                        f"a record could not be taken in ({type(error).__name__}: {error})"
                    )

    def _arrived(self, arrival: Arrival) -> None:
        header = arrival.header
        if arrival.kind == "header" and header is not None:
            if (state := self._state_of(header)) is not None:
                held = state.add_header(header, arrival.at)
                self._journal.record(header, arrival.at, in_time=held.in_time, own=False, body=None)
        elif arrival.kind == "body" and header is not None:
            if (state := self._state_of(header)) is not None:
                held = state.add_header(header, arrival.at)
                state.add_body(header, arrival.body)
                self._journal.record(
                    header, held.arrived, in_time=held.in_time, own=False, body=arrival.body
                )
        elif arrival.kind in ("peer_joined", "peer_left"):
            self._report(
                arrival.kind,
                peer_id=arrival.peer,
                name=animal_name(arrival.peer),
                address=arrival.detail,
                peers=len(self._transport.peers()),
            )
        elif arrival.kind == "other_swarm":
            self.trouble(
                f"a peer of another swarm was left alone ({arrival.peer} at {arrival.detail}); "
                "check that both use the same swarm.toml"
            )
        elif arrival.kind == "unreachable":
            self.trouble(
                f"can't reach {arrival.detail}; trying again in the background, going on alone "
                "until then"
            )

    def _state_of(self, header: Header) -> Round | None:
        """The round of a rollouts record, if it is young enough to be of use."""
        now = self.manifest.round_at(self._clock.now())
        if header.kind != ROLLOUTS:
            return None
        if not now - self.manifest.rounds.staleness <= header.round <= now + 1:
            return None
        return self._round(header.round)

    # -- a round --------------------------------------------------------------------------------

    async def _play(self, state: Round) -> None:
        began = self._clock.now()
        self._report("round_opened", state.number, peers=len(self._transport.peers()))
        judged: asyncio.Task[None] | None = None
        for stage, times in enumerate(state.times):
            await self._clock.sleep_until(times.opens)
            own = await self._take_part(state, stage)
            await self._clock.sleep_until(times.closes + self.manifest.rounds.clock_offset)
            if own is not None:
                try:
                    self._transport.reveal(own.header.hash)
                except CoreError as error:
                    self.trouble(f"the own {stage + 1}. record could not be revealed: {error}")
            await self._collect(state, stage)
            await self._clock.sleep_until(times.reveals)
            judged = self._later(self._judge(state, stage, judged))
        settled = self._later(self._settle(state, judged))
        if judged is not None:
            await judged
        learned = await self._learn(state)
        ledger = await settled
        self._close(state, began, learned, ledger)

    def _later(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _take_part(self, state: Round, stage: int) -> Record | None:
        """Play a stage: sample, seal, announce. None if there was nothing to do or no time."""
        rules, times = self.manifest.game.stages[stage], state.times[stage]
        left = times.closes - self._clock.now() - PUBLISH_SECONDS
        if left < MIN_WINDOW:
            self._report("stage_skipped", state.number, stage=rules.name, reason="no time left")
            return None
        planned = state.inputs(stage, self._me, self._pace.slots(stage, left))
        try:
            await self._judged_by.ensure_tasks(
                state, [state.task_slot(self._me, stage, slot, q) for slot, q in planned]
            )
            chosen, requests = self._requests(state, stage, planned)
            if not chosen:
                self._report("stage_skipped", state.number, stage=rules.name, reason="no inputs")
                return None
            left = times.closes - self._clock.now() - PUBLISH_SECONDS
            sampled = await self._worker.sample(
                Sample(tuple(requests), budget=max(0.0, left), stop=rules.stop)
            )
        except RestartedError:
            self._report("stage_skipped", state.number, stage=rules.name, reason="restarted")
            return None
        return self._publish(state, stage, chosen, sampled)

    def _requests(
        self, state: Round, stage: int, planned: list[tuple[int, tuple[Quote, ...]]]
    ) -> tuple[list[tuple[int, tuple[Quote, ...]]], list[GroupRequest]]:
        chosen, requests = [], []
        for slot, quotes in planned:
            place = state.task_slot(self._me, stage, slot, quotes)
            if place not in state.tasks:
                continue
            requests.append(
                GroupRequest(
                    prompt=state.prompt(self._me, stage, slot, quotes),
                    key=sampling_key(state.lottery, self._me, stage, slot, state.tasks[place].seed),
                    samples=self.manifest.game.group_size,
                    max_tokens=self.manifest.game.stages[stage].max_tokens,
                )
            )
            chosen.append((slot, quotes))
        return chosen, requests

    def _publish(
        self,
        state: Round,
        stage: int,
        chosen: list[tuple[int, tuple[Quote, ...]]],
        sampled: Sampled,
    ) -> Record | None:
        rules = self.manifest.game.stages[stage]
        groups = [
            Group(slot, quotes, rollouts)
            for (slot, quotes), rollouts in zip(chosen, sampled.groups, strict=True)
            if all(rollout.tokens for rollout in rollouts)
        ]
        cut = any(
            r.truncated and len(r.tokens) // 4 < rules.max_tokens
            for rollouts in sampled.groups
            for r in rollouts
        )
        self._pace.measured(stage, len(chosen), sampled.seconds, cut=cut)
        if not groups:
            self._report("stage_skipped", state.number, stage=rules.name, reason="too slow")
            return None
        body = encode_body(groups)
        now = self._clock.now()
        record = seal(
            self.identity,
            swarm=self._swarm,
            kind=ROLLOUTS,
            round=state.number,
            lottery_root=bytes(32),
            stage=stage,
            slots=[group.slot for group in groups],
            sequence=self._sequence,
            created_at_ms=round(now * 1000),
            base=self._base,
            adapter=self._adapter,
            persona="",
            body=body,
        )
        self._sequence += 1
        held = state.add_header(record.header, now)
        state.add_body(record.header, body)
        self._journal.record(record.header, now, in_time=held.in_time, own=True, body=body)
        try:
            self._transport.announce(record)
        except CoreError as error:
            self.trouble(f"the {rules.name} stage could not be announced: {error}")
            return None
        self._report(
            "stage",
            state.number,
            stage=rules.name,
            groups=len(groups),
            tokens=sampled.tokens,
            prompt_tokens=sampled.prompt_tokens,
            seconds=round(sampled.seconds, 3),
            bytes=record.header.body_stored,
        )
        return record

    async def _collect(self, state: Round, stage: int) -> None:
        """Until the reveal deadline: pull the bodies that gossip did not bring."""
        times = state.times[stage]
        await self._clock.sleep_until(
            min(times.reveals, self._clock.now() + (times.reveals - times.closes) / 4)
        )
        left = times.reveals + self.manifest.rounds.settle - self._clock.now()
        for header in state.missing_bodies(stage):
            if header.author != self._me and left > 0:
                # The endpoint may have forgotten a header that it passed on long ago.
                with contextlib.suppress(CoreError):
                    self._transport.fetch(header, left)

    # -- verdicts -------------------------------------------------------------------------------

    async def _judge(
        self, state: Round, last_stage: int, before: "asyncio.Task[None] | None" = None
    ) -> None:
        """Have the stages up to `last_stage` judged; what is verified may be learned from."""
        if before is not None:
            await before
        fresh = await self._judged_by.judge(state, last_stage)
        self._untrained |= {Quote(g.record, g.slot): (state.number, g) for g in fresh}
        self._journal.groups(
            state.number,
            [
                (
                    group,
                    state.records[group.record].header.peer_id,
                    state.tasks[
                        state.task_slot(group.author, group.stage, group.slot, group.quotes)
                    ].question,
                )
                for group in fresh
            ],
        )

    async def _settle(self, state: Round, judged: "asyncio.Task[None] | None") -> Ledger:
        """After the last body may have come: judge the rest and compute the ledger."""
        await self._clock.sleep_until(state.times[-1].reveals + self.manifest.rounds.settle)
        await self._judge(state, len(state.times) - 1, judged)
        for late in [r for n, r in sorted(self._rounds.items()) if n < state.number]:
            await self._judge(late, len(late.times) - 1)
        ledger = compute_ledger(self._swarm, state)
        self._journal.ledger(ledger, self._clock.now())
        self.tally.roots[state.number] = ledger.root.hex()
        self._report(
            "ledger",
            state.number,
            root=ledger.root.hex(),
            peers=sum(1 for line in ledger.lines if line.work),
            groups=sum(line.groups for line in ledger.lines),
        )
        return ledger

    # -- learning -------------------------------------------------------------------------------

    async def _learn(self, state: Round) -> Learned | None:
        """Learn from the whole pool within what is left of the round."""
        pool = [
            (name, born, group)
            for name, (born, group) in sorted(self._untrained.items())
            if all(reward is not None for reward in group.rewards)
        ]
        own = [g for _, born, g in pool if g.author == self._me]
        self.tally.external_available += sum(
            1 for _, born, g in pool if born == state.number and g.author != self._me
        )
        budget = self.manifest.opens(state.number + 1) - self._clock.now() - LEARN_SECONDS
        if budget < MIN_WINDOW:
            self._report("learn_skipped", state.number, reason="no time left in the round")
            return None
        request = Learn(
            round=state.number,
            groups=tuple(self._train_group(state.number, born, group) for _, born, group in pool),
            budget=budget,
        )
        try:
            learned = await self._worker.learn(request)
        except RestartedError:
            self._report("learn_skipped", state.number, reason="the worker was restarted")
            return None
        for index in learned.used:
            self._untrained.pop(pool[index][0], None)
        for name, (_, group) in list(self._untrained.items()):
            if len(set(group.rewards)) == 1:
                del self._untrained[name]
        self._adapter = learned.adapter
        tally = self.tally
        tally.worker_peak_rss = max(tally.worker_peak_rss, learned.peak_rss)
        tally.own_used += learned.own_used
        tally.external_used += learned.external_used
        if learned.stepped:
            tally.learn_steps += 1
            if tally.first_learn_step is None:
                tally.first_learn_step = self._clock.now() - self._started
        if learned.checkpoint_error:
            self.trouble(
                f"the checkpoint of round {state.number} could not be written "
                f"({learned.checkpoint_error}); training goes on from memory"
            )
        self._report(
            "learned",
            state.number,
            stepped=learned.stepped,
            own_used=learned.own_used,
            own_groups=len(own),
            external_used=learned.external_used,
            external_groups=len(pool) - len(own),
            own_informative=learned.own_informative,
            external_informative=learned.external_informative,
            tokens=learned.tokens,
            loss=round(learned.loss, 6),
            gradient_norm=round(learned.gradient_norm, 6),
            effective_sample_size=round(learned.effective_sample_size, 4),
            refused=[list(pair) for pair in learned.refused],
            seconds=round(learned.seconds, 3),
        )
        return learned

    def _train_group(self, number: int, born: int, group: PlayedGroup) -> TrainGroup:
        own = group.author == self._me
        sender = "" if own else self._rounds[born].records[group.record].header.peer_id
        return TrainGroup(
            prompt=group.prompt,
            rollouts=group.rollouts,
            rewards=tuple((reward or 0) / MICRO for reward in group.rewards),
            sender=sender,
            age=number - born,
        )

    def _close(self, state: Round, began: float, learned: Learned | None, ledger: Ledger) -> None:
        """The round is over: count it and say what came of it."""
        tally = self.tally
        tally.rounds += 1
        tally.round_seconds.append(self._clock.now() - began)
        answers = [
            group.mean_reward
            for group in state.own_groups(self._me)
            if self.manifest.game.stages[group.stage].inputs == "task"
            and group.mean_reward is not None
        ]
        mean = statistics.fmean(answers) if answers else None
        if mean is not None:
            tally.rewards.append(mean)
        by_stage = {
            rules.name: _mean(g.mean_reward for g in state.own_groups(self._me) if g.stage == index)
            for index, rules in enumerate(self.manifest.game.stages)
        }
        self._report(
            "round",
            state.number,
            mean_reward=None if mean is None else round(mean, 4),
            rewards=by_stage,
            own_used=learned.own_used if learned else 0,
            external_used=learned.external_used if learned else 0,
            external_available=self.tally.external_available,
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
        if not self._held_out:
            return
        tokens = self.manifest.game.stages[0].max_tokens
        for when, initial in (("heldout_before", True), ("heldout_after", False)):
            try:
                accuracy = await held_out_accuracy(
                    self._worker,
                    self._scorer,
                    self._held_out,
                    self._evaluate,
                    tokens,
                    initial=initial,
                )
            except RestartedError:
                return
            low, high = accuracy.interval()
            self.tally.heldout[when] = {
                "accuracy": round(accuracy.share, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "right": accuracy.right,
                "count": accuracy.count,
            }
            self._report("evaluation", None, when=when, **self.tally.heldout[when])

    def summary(self) -> dict[str, Any]:
        """What this run came to; the fields of ``swarm up --json``."""
        return self.tally.summary(self.identity.peer_id, self._judged_by.scorer_peak_rss)

    def trouble(self, sentence: str) -> None:
        """Something failed that training survives: one clear sentence."""
        self._report("trouble", None, message=sentence)

    def _report(self, event: str, number: int | None = None, **data: Any) -> None:
        if number is not None:
            data = {"round": number, **data}
        self._journal.event(self._clock.now(), event, data, number)
        self._observe(event, data)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 4) if known else None
