"""Judging what peers sent: tasks regenerated, prompts rebuilt, rewards recomputed here."""

from collections.abc import Iterable

from rlswarm.config.manifest import Manifest
from rlswarm.game.inputs import Quote
from rlswarm.game.round import Round
from rlswarm.game.table import HeldRecord, PlayedGroup, Slot
from rlswarm.game.tasks import slot_request, task_beacon
from rlswarm.node.processes import RestartedError, Scorer
from rlswarm.scorer.messages import Score, SlotRequest, Tasks


class Judge:
    """The node's access to its scorer, one record at a time."""

    def __init__(self, manifest: Manifest, me: bytes, scorer: Scorer) -> None:
        """`me` is the own public key: own texts need no check against their tokens."""
        self.declined: frozenset[int] = frozenset()
        """Environments (indices) that this node can't judge."""
        self.readable_base: bytes | None = None
        """The base model whose tokens the scorer can spell; None if it has no tokenizer."""
        self.scorer_peak_rss = 0
        self._manifest = manifest
        self._swarm = manifest.swarm_id
        self._me = me
        self._scorer = scorer

    async def ensure_tasks(self, state: Round, slots: Iterable[Slot]) -> None:
        """Have the tasks of these slots regenerated; those of declined environments stay out.

        Raises RestartedError.
        """
        beacon = task_beacon(self._swarm, state.number)
        wanted: dict[Slot, SlotRequest] = {}
        for author, slot in slots:
            if (author, slot) not in state.tasks:
                request = state.proposed.get((author, slot)) or slot_request(
                    beacon, author, slot, self._manifest.game, self._manifest.environments
                )
                if request.environment not in self.declined:
                    wanted[(author, slot)] = request
        if wanted:
            listed = await self._scorer.tasks(Tasks(tuple(wanted.values()), state.levels))
            state.tasks |= dict(zip(wanted, listed.tasks, strict=True))

    async def judge(self, state: Round, last_stage: int) -> list[PlayedGroup]:
        """Recompute what has arrived for the stages up to `last_stage`, in their order.

        Returns the groups that were not verified before. What the scorer can't judge in time is
        left out here, and only here.
        """
        fresh: list[PlayedGroup] = []
        for stage in range(last_stage + 1):
            for held in sorted(state.unjudged(stage), key=lambda h: h.header.hash):
                known = set(state.played)
                try:
                    judged = await self._record(state, held)
                except RestartedError:
                    _set_aside(held, "the scorer could not judge it here")
                    continue
                except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                    # What a stranger sent must never end training.
                    _set_aside(held, f"it could not be judged ({type(error).__name__})")
                    continue
                fresh += [g for g in judged if Quote(g.record, g.slot) not in known]
        return fresh

    async def _record(self, state: Round, held: HeldRecord) -> list[PlayedGroup]:
        header, groups = held.header, held.groups
        assert groups is not None
        places = list(state.places(held))
        await self.ensure_tasks(state, places)
        if any(place not in state.tasks for place in places):
            _set_aside(held, "its environment is one that this node can't judge")
            return []
        decoded: tuple[tuple[bytes, str], ...] = ()
        if header.base == self.readable_base and header.author != self._me:
            decoded = tuple((r.tokens, r.text) for g in groups for r in g.rollouts)
        request = Score(tuple(state.to_score(held)), decoded, state.levels)
        scored = await self._scorer.score(request)
        self.scorer_peak_rss = max(self.scorer_peak_rss, scored.peak_rss)
        if not all(scored.faithful):
            _set_aside(held, "its text is not what its tokens spell")
            return []
        if scored.overran:
            _set_aside(held, "its scoring overran the local time limit")
            return []
        return state.judge(held, scored.scores)


def _set_aside(held: HeldRecord, reason: str) -> None:
    held.refused, held.set_aside = reason, True
