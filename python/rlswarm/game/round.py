"""One round as one node knows it: records in, rebuilt prompts and recomputed rewards out.

No clock, no socket, no process: arrival times and scores are arguments. The node feeds it what
arrives; a replay feeds it the journal; both get the same result.
"""

from collections.abc import Mapping, Sequence

import msgspec

from rlswarm._core import Header
from rlswarm.game import rewards
from rlswarm.game.inputs import Quote, rank, shown_samples
from rlswarm.game.prompts import critique_prompt, revise_prompt
from rlswarm.game.rollouts import BodyError, Group, decode_body
from rlswarm.game.stages import Game, StageTimes, timetable
from rlswarm.prompt import Prompt
from rlswarm.scorer.messages import MICRO, Answer, Task
from rlswarm.worker.messages import Rollout

Slot = tuple[bytes, int]
"""(author's public key, slot number)."""


class PlayedGroup(msgspec.Struct, frozen=True):
    """A verified group: its prompt rebuilt and its rewards recomputed here."""

    record: bytes
    author: bytes
    stage: int
    slot: int
    environment: int
    seed: int
    quotes: tuple[Quote, ...]
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    scores: tuple[int | None, ...]
    """The environment's verdict on each text, in millionths; empty for critiques."""
    rewards: tuple[int | None, ...]
    """Millionths; None = unscorable for everybody."""

    @property
    def mean_reward(self) -> float | None:
        """As a plain number; None if nothing was scorable."""
        known = [reward for reward in self.rewards if reward is not None]
        return sum(known) / len(known) / MICRO if known else None


class HeldRecord(msgspec.Struct):
    """A header of this round and what became of it."""

    header: Header
    arrived: float
    """Unix seconds by the local clock."""
    in_time: bool
    groups: tuple[Group, ...] | None = None
    """None until the body came."""
    refused: str = ""
    """Why it was not counted, in one sentence; empty while nothing speaks against it."""
    judged: bool = False


class Round:
    """The state of one round."""

    def __init__(
        self, number: int, game: Game, opens: float, lottery: bytes, clock_offset: float
    ) -> None:
        self.number = number
        self.game = game
        self.lottery = lottery
        self.times: tuple[StageTimes, ...] = timetable(game, opens)
        self.records: dict[bytes, HeldRecord] = {}
        self.tasks: dict[Slot, Task] = {}
        self.played: dict[Quote, PlayedGroup] = {}
        self._offset = clock_offset
        self._first: dict[tuple[bytes, int], bytes] = {}

    # -- records in ---------------------------------------------------------------------------

    def add_header(self, header: Header, arrived: float) -> HeldRecord:
        """Note a header. It is in time if it came inside its stage's window.

        Of several records by one author for one stage only the one of lowest sequence counts.
        """
        if held := self.records.get(header.hash):
            return held
        held = HeldRecord(header, arrived, False)
        self.records[header.hash] = held
        if header.stage >= len(self.times):
            held.refused = f"the game has no stage {header.stage}"
            return held
        times = self.times[header.stage]
        held.in_time = times.opens - self._offset <= arrived <= times.closes + self._offset
        key = (header.author, header.stage)
        first = self.records.get(self._first.get(key, b""))
        if first is None:
            self._first[key] = header.hash
        elif header.sequence < first.header.sequence and first.groups is None:
            first.refused = "an earlier record of the same stage replaces it"
            self._first[key] = header.hash
        else:
            held.refused = "a second record of the same author for the same stage"
        return held

    def add_body(self, header: Header, body: bytes) -> bool:
        """Decode and check a body whose header is held. False (with a reason) if it is refused."""
        held = self.records[header.hash]
        if held.refused:
            return False
        if held.groups is not None:
            return True
        try:
            held.groups = decode_body(body, header.slots, self.game, self.game.stages[header.stage])
        except BodyError as error:
            held.refused = str(error)
            return False
        return True

    def missing_bodies(self, stage: int) -> list[Header]:
        """Headers of a stage that are worth pulling: in no dispute, body not here."""
        return [
            held.header
            for held in self.records.values()
            if held.header.stage == stage and held.groups is None and not held.refused
        ]

    def unjudged(self, stage: int) -> list[HeldRecord]:
        """Records of a stage with a body and no verdict yet."""
        return [
            held
            for held in self.records.values()
            if held.header.stage == stage
            and held.groups is not None
            and not held.judged
            and not held.refused
        ]

    # -- prompts, for the player and for its checkers -------------------------------------------

    def task_slot(self, author: bytes, stage: int, slot: int, quotes: Sequence[Quote]) -> Slot:
        """Whose task a group is about. Raises KeyError if the quoted record is not held."""
        if self.game.stages[stage].inputs == "answers":
            quoted = self.records[quotes[0].record].header
            return (quoted.author, quotes[0].slot)
        return (author, slot)

    def prompt(self, author: bytes, stage: int, slot: int, quotes: Sequence[Quote]) -> Prompt:
        """What `author` was asked. The tasks concerned must be in `tasks`.

        Raises KeyError if a quoted body is not held, BodyError if the quotes break the rules.
        """
        rules = self.game.stages[stage]
        task = self.tasks[self.task_slot(author, stage, slot, quotes)]
        if rules.inputs == "task":
            return task.prompt
        answers = self._quoted(author, quotes[0], "task")
        if rules.inputs == "answers":
            return critique_prompt(self.game, rules, task.question, answers)
        answered = self.records[quotes[0].record].header
        if answered.author != author or quotes[0].slot != slot:
            raise BodyError("a revision must quote the author's own answers to that task")
        critiques = []
        critics: set[bytes] = set()
        for quote in quotes[1:]:
            critic = self.records[quote.record].header.author
            if critic in critics:
                raise BodyError("a revision shows two critiques by the same critic")
            critics.add(critic)
            if self._group(quote).quotes != (quotes[0],):
                raise BodyError("a quoted critique is about other answers")
            critiques += self._quoted(author, quote, "answers")[:1]
        return revise_prompt(self.game, rules, task.prompt, answers, critiques)

    def _group(self, quote: Quote) -> Group:
        groups = self.records[quote.record].groups
        if groups is None:
            raise KeyError(quote.record)
        for group in groups:
            if group.slot == quote.slot:
                return group
        raise BodyError("a quoted record has no such slot")

    def _quoted(self, reader: bytes, quote: Quote, inputs: str) -> list[str]:
        """Texts of the shown samples of a quoted group, of a stage that takes `inputs`."""
        stage = self.records[quote.record].header.stage
        if stage >= len(self.times) or self.game.stages[stage].inputs != inputs:
            raise BodyError("a quoted record is of the wrong stage")
        rules = self.game.stages[stage]
        group = self._group(quote)
        order = shown_samples(self.lottery, reader, quote, self.game.group_size, self.game.shown)
        return [rules.begin + group.rollouts[sample].text for sample in order]

    # -- what a player is given -----------------------------------------------------------------

    def inputs(self, stage: int, reader: bytes, slots: int) -> list[tuple[int, tuple[Quote, ...]]]:
        """(slot, quotes) of the groups that `reader` plays in a stage: at most `slots`.

        A critic takes other peers' in-time answer groups in the order of the lottery, and its own
        only when there are no others. A reviser keeps its own answer slots.
        """
        rules = self.game.stages[stage]
        if rules.inputs == "task":
            return [(slot, ()) for slot in range(slots)]
        answers = self._quotable("task")
        if rules.inputs == "answers":
            others = [q for q in answers if self.records[q.record].header.author != reader]
            ranked = rank(self.lottery, reader, stage, others or answers)
            return [(slot, (quote,)) for slot, quote in enumerate(ranked[:slots])]
        critiques = self._quotable("answers")
        played = []
        own = [q for q in answers if self.records[q.record].header.author == reader]
        for answer in sorted(own, key=lambda q: q.slot)[:slots]:
            about = [q for q in critiques if self._group(q).quotes == (answer,)]
            chosen: list[Quote] = []
            seen: set[bytes] = set()
            for quote in rank(self.lottery, reader, stage, about):
                critic = self.records[quote.record].header.author
                if critic not in seen and len(chosen) < self.game.critics:
                    seen.add(critic)
                    chosen.append(quote)
            played.append((answer.slot, (answer, *chosen)))
        return played

    def _quotable(self, inputs: str) -> list[Quote]:
        return [
            Quote(held.header.hash, group.slot)
            for held in self.records.values()
            if held.in_time
            and not held.refused
            and held.groups is not None
            and self.game.stages[held.header.stage].inputs == inputs
            for group in held.groups
        ]

    # -- verdicts -------------------------------------------------------------------------------

    def to_score(self, held: HeldRecord) -> list[Answer]:
        """What the scorer must judge before `judge`: every text that answers a task."""
        header = held.header
        if self.game.stages[header.stage].inputs == "answers":
            return []
        assert held.groups is not None
        answers = []
        for group in held.groups:
            task = self.tasks[(header.author, group.slot)]
            answers += [Answer(task.environment, task.seed, r.text) for r in group.rollouts]
        return answers

    def judge(self, held: HeldRecord, scores: Sequence[int | None]) -> list[PlayedGroup]:
        """Rebuild the prompts of a record and recompute its rewards.

        `scores` answers `to_score`, in order. Groups that quote what is not held are left out
        (they can't be rebuilt here); a broken rule refuses the whole record.
        """
        header, rules = held.header, self.game.stages[held.header.stage]
        assert held.groups is not None
        verdicts = iter(scores)
        judged: list[PlayedGroup] = []
        about: set[Slot] = set()
        for group in held.groups:
            own = () if rules.inputs == "answers" else tuple(next(verdicts) for _ in group.rollouts)
            try:
                place = self.task_slot(header.author, header.stage, group.slot, group.quotes)
                if place in about:
                    raise BodyError("two groups of one record are about the same task")
                about.add(place)
                prompt = self.prompt(header.author, header.stage, group.slot, group.quotes)
                earned = self._rewards(header, group, own)
            except KeyError:
                continue
            except BodyError as error:
                held.refused, held.judged = str(error), True
                return []
            judged.append(
                PlayedGroup(
                    record=header.hash,
                    author=header.author,
                    stage=header.stage,
                    slot=group.slot,
                    environment=self.tasks[place].environment,
                    seed=self.tasks[place].seed,
                    quotes=group.quotes,
                    prompt=prompt,
                    rollouts=group.rollouts,
                    scores=own,
                    rewards=earned,
                )
            )
        held.judged = len(judged) == len(held.groups)
        self.played |= {Quote(played.record, played.slot): played for played in judged}
        return judged

    def _rewards(
        self, header: Header, group: Group, own: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        rules = self.game.stages[header.stage]
        if rules.reward == "correctness":
            return tuple(rewards.correctness(score) for score in own)
        quoted = self.played[group.quotes[0]]
        order = shown_samples(
            self.lottery, header.author, group.quotes[0], self.game.group_size, self.game.shown
        )
        shown = [quoted.scores[sample] for sample in order]
        if rules.reward == "improvement":
            return tuple(rewards.improvement(score, shown) for score in own)
        if any(score is None for score in shown):
            return tuple(None for _ in group.rollouts)
        truths = [score == MICRO for score in shown]
        return tuple(rewards.judgement(rules.begin + r.text, truths) for r in group.rollouts)

    def own_groups(self, author: bytes) -> list[PlayedGroup]:
        return [group for group in self.played.values() if group.author == author]

    def refusals(self) -> Mapping[bytes, str]:
        """Why records were not counted, by record hash."""
        return {name: held.refused for name, held in self.records.items() if held.refused}
