"""Playing a stage: what to sample, how much of it fits, and what is committed to and announced."""

import contextlib

from rlswarm._core import CoreError, Record
from rlswarm.config.manifest import Manifest
from rlswarm.game.presenting import Plan, inputs, place, prompt
from rlswarm.game.rollouts import Group, encode_body
from rlswarm.game.round import Round
from rlswarm.game.tasks import sampling_key
from rlswarm.network.transport import ROLLOUTS, Transport
from rlswarm.node.author import Author
from rlswarm.node.clock import Clock
from rlswarm.node.judge import Judge
from rlswarm.node.pace import Pace
from rlswarm.node.processes import RestartedError, Worker
from rlswarm.node.report import Report
from rlswarm.worker.messages import GroupRequest, Sample, Sampled

PUBLISH_SECONDS = 0.25
"""Kept free at the end of a window to seal and announce."""

MIN_WINDOW = 0.5
"""A window with less time left than this is not entered."""


class Player:
    """A node's own part in the stages of a round."""

    def __init__(
        self,
        manifest: Manifest,
        me: bytes,
        *,
        author: Author,
        transport: Transport,
        worker: Worker,
        judge: Judge,
        clock: Clock,
        report: Report,
        persona: str,
    ) -> None:
        """`persona` is the name of one of the manifest's, or empty."""
        self.base = self.adapter = bytes(32)
        """The policy that the next header names."""
        self._manifest = manifest
        self._author = author
        self._transport = transport
        self._worker = worker
        self._judge = judge
        self._clock = clock
        self._report = report
        self._me = me
        self._persona = persona
        self._pace = Pace(
            max(manifest.game.slots_of(stage) for stage in range(len(manifest.game.stages)))
        )

    async def take_part(self, state: Round, stage: int) -> Record | None:
        """Play a stage: sample, seal, announce. None if there was nothing to do or no time."""
        rules, times = self._manifest.game.stages[stage], state.times[stage]
        left = times.closes - self._clock.now() - PUBLISH_SECONDS
        if left < MIN_WINDOW:
            self._report("stage_skipped", state.number, stage=rules.name, reason="no time left")
            return None
        slots = min(self._pace.slots(stage, left), self._manifest.game.slots_of(stage))
        planned = inputs(state, stage, self._me, slots)
        try:
            places = [place(state, self._me, stage, slot, quotes) for slot, quotes in planned]
            await self._judge.ensure_tasks(state, [where for where in places if where])
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

    def _requests(self, state: Round, stage: int, planned: Plan) -> tuple[Plan, list[GroupRequest]]:
        chosen, requests = [], []
        for slot, quotes in planned:
            where = place(state, self._me, stage, slot, quotes)
            if where is not None and where not in state.tasks:
                continue
            seed = 0 if where is None else state.tasks[where].seed
            requests.append(
                GroupRequest(
                    prompt=prompt(state, self._me, stage, slot, quotes, self._persona),
                    key=sampling_key(state.lottery, self._me, stage, slot, seed),
                    samples=self._manifest.game.samples_of(stage),
                    max_tokens=self._manifest.game.stages[stage].max_tokens,
                )
            )
            chosen.append((slot, quotes))
        return chosen, requests

    def _publish(
        self,
        state: Round,
        stage: int,
        chosen: Plan,
        sampled: Sampled,
    ) -> Record | None:
        rules = self._manifest.game.stages[stage]
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
        body = encode_body(groups, seeded=sampled.seeded)
        record = self._author.seal(
            ROLLOUTS,
            state.number,
            body,
            stage=stage,
            slots=[group.slot for group in groups],
            base=self.base,
            adapter=self.adapter,
            persona=self._persona,
        )
        held = state.add_header(record.header, self._clock.now())
        state.add_body(record.header, body)
        if not self._author.announce(record, body, f"the {rules.name} stage", in_time=held.in_time):
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

    async def collect(self, state: Round, stage: int) -> None:
        """Until the reveal deadline: pull the bodies that gossip did not bring."""
        times = state.times[stage]
        await self._clock.sleep_until(
            min(times.reveals, self._clock.now() + (times.reveals - times.closes) / 4)
        )
        left = times.reveals + self._manifest.rounds.settle - self._clock.now()
        for header in state.missing_bodies(stage):
            if header.author != self._me and left > 0:
                # The endpoint may have forgotten a header that it passed on long ago.
                with contextlib.suppress(CoreError):
                    self._transport.fetch(header, left)
