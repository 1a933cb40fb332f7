"""The learn window: the pool of verified groups, own and peers', and one step from it a round."""

from collections.abc import Iterable

from rlswarm.config.manifest import Manifest
from rlswarm.game.inputs import Quote
from rlswarm.game.round import Round
from rlswarm.game.table import PlayedGroup
from rlswarm.node.clock import Clock
from rlswarm.node.processes import RestartedError, Worker
from rlswarm.node.report import Report
from rlswarm.node.tally import Tally
from rlswarm.scorer.messages import MICRO
from rlswarm.worker.messages import Learn, Learned, TrainGroup

LEARN_SECONDS = 0.5
"""Kept free before the next round opens."""

MIN_LEARN = 0.5
"""A learn window with less time left than this is not entered."""


class Learner:
    """Keeps what may still teach and hands it to the worker."""

    def __init__(
        self,
        manifest: Manifest,
        me: bytes,
        *,
        worker: Worker,
        clock: Clock,
        report: Report,
        tally: Tally,
    ) -> None:
        """`me` is the own public key."""
        self._manifest = manifest
        self._me = me
        self._worker = worker
        self._clock = clock
        self._report = report
        self._tally = tally
        self._pool: dict[Quote, tuple[int, str, PlayedGroup]] = {}

    def add(self, state: Round, groups: Iterable[PlayedGroup]) -> None:
        """Verified groups of a round."""
        for group in groups:
            peer_id = state.records[group.record].header.peer_id
            self._pool[Quote(group.record, group.slot)] = (state.number, peer_id, group)

    async def learn(self, state: Round, keep_free: float = 0.0) -> Learned | None:
        """Learn from the whole pool within what is left of the round but `keep_free` seconds."""
        oldest = state.number - self._manifest.rounds.staleness
        self._pool = {name: entry for name, entry in self._pool.items() if entry[0] >= oldest}
        pool = [
            (name, born, peer_id, group)
            for name, (born, peer_id, group) in sorted(self._pool.items())
            if all(reward is not None for reward in group.rewards)
        ]
        own = sum(group.author == self._me for *_, group in pool)
        self._tally.external_available += sum(
            born == state.number and group.author != self._me for _, born, _, group in pool
        )
        ends = self._manifest.opens(state.number + 1) - LEARN_SECONDS - keep_free
        budget = ends - self._clock.now()
        if budget < MIN_LEARN:
            self._report("learn_skipped", state.number, reason="no time left in the round")
            return None
        lessons = [entry for entry in pool if entry[3].teaches]
        request = Learn(
            round=state.number,
            groups=tuple(
                TrainGroup(
                    prompt=group.prompt,
                    rollouts=group.rollouts,
                    rewards=tuple((reward or 0) / MICRO for reward in group.rewards),
                    sender="" if group.author == self._me else peer_id,
                    age=state.number - born,
                )
                for _, born, peer_id, group in lessons
            ),
            budget=budget,
        )
        try:
            learned = await self._worker.learn(request)
        except RestartedError:
            self._report("learn_skipped", state.number, reason="the worker was restarted")
            return None
        for index in learned.used:
            self._pool.pop(lessons[index][0], None)
        self._pool = {name: entry for name, entry in self._pool.items() if entry[2].teaches}
        if learned.checkpoint_error:
            self._report.trouble(
                f"the checkpoint of round {state.number} could not be written "
                f"({learned.checkpoint_error}); training goes on from memory"
            )
        self._tally.learned(learned, self._clock.now())
        self._report(
            "learned",
            state.number,
            stepped=learned.stepped,
            own_used=learned.own_used,
            own_groups=own,
            external_used=learned.external_used,
            external_groups=len(pool) - own,
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
