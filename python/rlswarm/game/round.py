"""One round as one node knows it: records in, rebuilt prompts and recomputed rewards out.

No clock, no socket, no process: arrival times and scores are arguments. The node feeds it what
arrives; a replay feeds it the journal; both get the same result.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from rlswarm._core import Header
from rlswarm.game import explain
from rlswarm.game.inputs import Quote
from rlswarm.game.presenting import place, prompt
from rlswarm.game.rollouts import BodyError, Group
from rlswarm.game.stages import READING, SCORED
from rlswarm.game.table import NO_ENVIRONMENT, HeldRecord, PlayedGroup, Slot, Table
from rlswarm.scorer.messages import MICRO, Answer

Tried = dict[Slot, list[tuple[bytes, list[int]]]]
"""Who solved a proposed task, and how its completions scored (millionths)."""


class Round(Table):
    """The state of one round, with verdicts."""

    def places(self, held: HeldRecord) -> Iterator[Slot]:
        """The tasks that a record is about, as far as what it quotes is held and fits."""
        for group in held.groups or ():
            if (where := self._place(held.header, group)) is not None:
                yield where

    def _place(self, header: Header, group: Group) -> Slot | None:
        with contextlib.suppress(KeyError, BodyError):
            return place(self, header.author, header.stage, group.slot, group.quotes)
        return None

    def to_score(self, held: HeldRecord) -> list[Answer]:
        """What the scorer must judge before `judge`: every text that answers a task known here."""
        answers: list[Answer] = []
        slots: set[int] = set()
        if self.game.stages[held.header.stage].inputs in SCORED:
            for group in held.groups or ():
                if (where := self._place(held.header, group)) in self.tasks:
                    slots.add(group.slot)
                    task = self.tasks[where]
                    answers += [Answer(task.environment, task.seed, r.text) for r in group.rollouts]
        held.scored_slots = frozenset(slots)
        return answers

    def judge(self, held: HeldRecord, scores: Sequence[int | None]) -> list[PlayedGroup]:
        """Rebuild the prompts of a record and recompute its rewards.

        `scores` answers the last `to_score`, in order. Groups that quote what is not held are left
        out (they can't be rebuilt here); a broken rule refuses the whole record.
        """
        header, rules = held.header, self.game.stages[held.header.stage]
        assert held.groups is not None
        verdicts = iter(scores)
        judged: list[PlayedGroup] = []
        about: set[object] = set()
        for group in held.groups:
            scored = group.slot in held.scored_slots
            own = tuple(next(verdicts) for _ in group.rollouts) if scored else ()
            try:
                where = place(self, header.author, header.stage, group.slot, group.quotes)
                if rules.inputs in SCORED and not scored:
                    continue
                once = group.quotes[0] if rules.inputs in READING else where or group.slot
                if once in about:
                    raise BodyError("two groups of one record are about the same task")
                about.add(once)
                judged.append(self._judged(header, group, where, own))
            except KeyError:
                continue
            except BodyError as error:
                held.refused, held.judged = str(error), True
                return []
        held.judged = len(judged) == len(held.groups)
        self.played |= {Quote(played.record, played.slot): played for played in judged}
        return judged

    def _judged(
        self, header: Header, group: Group, where: Slot | None, own: tuple[int | None, ...]
    ) -> PlayedGroup:
        task = None if where is None else self.tasks[where]
        asked = prompt(self, header.author, header.stage, group.slot, group.quotes, header.persona)
        earned = self._earned(header, group, own)
        return PlayedGroup(
            record=header.hash,
            author=header.author,
            stage=header.stage,
            slot=group.slot,
            environment=NO_ENVIRONMENT if task is None else task.environment,
            seed=0 if task is None else task.seed,
            quotes=group.quotes,
            prompt=asked,
            rollouts=group.rollouts,
            scores=own,
            rewards=tuple(reward for reward, _ in earned),
            why=tuple(why for _, why in earned),
            question="" if task is None else task.question,
        )

    def _earned(
        self, header: Header, group: Group, own: tuple[int | None, ...]
    ) -> list[tuple[int | None, str]]:
        """Reward and reason of each completion."""
        rules = self.game.stages[header.stage]
        if rules.reward == "challenge":
            return self._challenges(Quote(header.hash, group.slot), {})
        if rules.reward == "correctness":
            return [
                explain.answer(score, None, rollout, rules)
                for score, rollout in zip(own, group.rollouts, strict=True)
            ]
        quoted = self.played[group.quotes[0]]
        if rules.reward == "improvement":
            before = [quoted.scores[s] for s in self.shown(group.quotes[0])]
            return [
                explain.answer(score, before, rollout, rules)
                for score, rollout in zip(own, group.rollouts, strict=True)
            ]
        shown = self.shown(group.quotes[0])
        debated = rules.sides or rules.inputs == "arguments"
        read = shown[:1] if debated else shown
        known = [score for s in read if (score := quoted.scores[s]) is not None]
        if len(known) < len(read):
            return [(None, "an answer that it read is unscorable")] * len(group.rollouts)
        truths = [score == MICRO for score in known]
        return [explain.judgement(rules.begin + r.text, truths) for r in group.rollouts]

    # -- what is paid only when the round is over -----------------------------------------------

    def is_paid_late(self, group: PlayedGroup) -> bool:
        """Whether a group's rewards depend on what others do later in the round."""
        return self.game.stages[group.stage].reward == "challenge"

    def settle(self, uncounted: Collection[Quote] = ()) -> list[PlayedGroup]:
        """Pay the proposers by how the tasks they proposed were solved, in `played` too.

        A function of the groups played so far, less those that do not count.
        """
        tried: Tried = {}
        for name, group in self.played.items():
            if self.game.stages[group.stage].inputs == "proposals" and name not in uncounted:
                where = place(self, group.author, group.stage, group.slot, group.quotes)
                known = [score for score in group.scores if score is not None]
                if where is not None and known:
                    tried.setdefault(where, []).append((group.author, known))
        paid = []
        for name, group in self.played.items():
            if self.is_paid_late(group):
                earned = self._challenges(name, tried)
                paid.append(
                    msgspec.structs.replace(
                        group,
                        rewards=tuple(reward for reward, _ in earned),
                        why=tuple(why for _, why in earned),
                    )
                )
        self.played |= {Quote(group.record, group.slot): group for group in paid}
        return paid

    def _challenges(self, name: Quote, tried: Tried) -> list[tuple[int | None, str]]:
        author = self.header(name).author
        earned: list[tuple[int | None, str]] = []
        for request in self.requests(name):
            solvers = tried.get((request.seed_key, request.environment), []) if request else []
            scores = [known for solver, known in solvers if solver != author]
            earned.append(explain.challenge(request is not None, scores))
        return earned

    def own_groups(self, author: bytes) -> list[PlayedGroup]:
        return [group for group in self.played.values() if group.author == author]

    def refusals(self) -> Mapping[bytes, str]:
        """Why records were not counted, by record hash."""
        return {name: held.refused for name, held in self.records.items() if held.refused}
