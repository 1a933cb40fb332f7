"""What lies on the table in one round: the rules, the records that came, the tasks they are about.

No clock, no socket, no process: arrival times are arguments.
"""

from collections.abc import Mapping, Sequence

import msgspec

from rlswarm._core import Header
from rlswarm.game.inputs import Quote, sample_order
from rlswarm.game.proposals import read_proposal
from rlswarm.game.rollouts import BodyError, Group, decode_body
from rlswarm.game.stages import Game, Inputs, StageTimes, timetable
from rlswarm.prompt import Prompt
from rlswarm.scorer.messages import MICRO, EnvironmentSpec, SlotRequest, Task
from rlswarm.worker.messages import Rollout

Slot = tuple[bytes, int]
"""Where a task is: (author's public key, slot number), or (key of a proposed task, its kind)."""


NO_ENVIRONMENT = 0xFFFF
"""Stands for the environment of a proposal, which is not about a task yet."""


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
    """The environment's verdict on each text, in millionths; empty where it has none."""
    rewards: tuple[int | None, ...]
    """Millionths; None = unscorable for everybody."""
    why: tuple[str, ...] = ()
    """How each reward came about, in words."""
    question: str = ""
    """The task that the group is about; empty for a proposal."""

    @property
    def teaches(self) -> bool:
        """Whether its completions differ in what they achieved. Advantages are relative to the
        group's spread, so a group that differs in form alone would teach form at full strength."""
        return len(set(self.scores or self.rewards)) > 1

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
    scored_slots: frozenset[int] = frozenset()
    """Groups whose texts the scorer was last asked to judge; more may become known meanwhile."""
    set_aside: bool = False
    """Refused for a reason that holds only here: a checker elsewhere must take it as given."""


class Table:
    """Records in; what they quote and propose, found again."""

    def __init__(
        self,
        number: int,
        game: Game,
        opens: float,
        lottery: bytes,
        clock_offset: float,
        *,
        beacon: bytes = bytes(32),
        environments: Sequence[EnvironmentSpec] = (),
        personas: Mapping[str, str] | None = None,
        levels: Sequence[int] = (),
    ) -> None:
        """`opens` and `clock_offset` in seconds, `lottery` and `beacon` 32 bytes. `personas` maps
        the manifest's names to system prompts; without any, nobody has one."""
        self.number = number
        self.game = game
        self.lottery = lottery
        self.environments = tuple(environments)
        self.levels = tuple(levels)
        """Of each environment's difficulty; empty = none has levels."""
        self.personas = dict(personas or {"": ""})
        self.times: tuple[StageTimes, ...] = timetable(game, opens)
        self.records: dict[bytes, HeldRecord] = {}
        self.tasks: dict[Slot, Task] = {}
        self.proposed: dict[Slot, SlotRequest] = {}
        """Tasks that the proposals of this round name."""
        self.played: dict[Quote, PlayedGroup] = {}
        """Groups that were verified here."""
        self._beacon = beacon
        self._offset = clock_offset
        self._first: dict[tuple[bytes, int], bytes] = {}
        self._proposals: dict[Quote, tuple[SlotRequest | None, ...]] = {}

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
        if header.persona not in self.personas:
            held.refused = "its persona is not in the manifest"
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
            held.groups = decode_body(body, header.slots, self.game, header.stage)
        except BodyError as error:
            held.refused = str(error)
            return False
        if self.game.stages[header.stage].inputs == "family":
            self._add_proposals(header, held.groups)
        return True

    def _add_proposals(self, header: Header, groups: Sequence[Group]) -> None:
        begin = self.game.stages[header.stage].begin
        for group in groups:
            requests = tuple(
                read_proposal(
                    self._beacon, header.author, begin + rollout.text, len(self.environments)
                )
                for rollout in group.rollouts
            )
            self._proposals[Quote(header.hash, group.slot)] = requests
            self.proposed |= {(r.seed_key, r.environment): r for r in requests if r is not None}

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

    # -- what quotes stand for ------------------------------------------------------------------

    def header(self, quote: Quote) -> Header:
        """Of the quoted record. Raises KeyError if it is not held."""
        return self.records[quote.record].header

    def rules_of(self, quote: Quote) -> Inputs:
        """Inputs of the stage that a quoted record is of. Raises KeyError, BodyError."""
        stage = self.header(quote).stage
        if stage >= len(self.times):
            raise BodyError("a quoted record is of no stage of this game")
        return self.game.stages[stage].inputs

    def group(self, quote: Quote) -> Group:
        """The quoted group. Raises KeyError if its body is not held, BodyError if there is none."""
        groups = self.records[quote.record].groups
        if groups is None:
            raise KeyError(quote.record)
        for group in groups:
            if group.slot == quote.slot:
                return group
        raise BodyError("a quoted record has no such slot")

    def quotable(self, *inputs: Inputs, sides: bool = False) -> list[Quote]:
        """In-time groups of the stages that take one of `inputs`, as quotes."""
        return [
            Quote(held.header.hash, group.slot)
            for held in self.records.values()
            if held.in_time
            and not held.refused
            and held.groups is not None
            and self.game.stages[held.header.stage].inputs in inputs
            and self.game.stages[held.header.stage].sides == sides
            for group in held.groups
        ]

    def shown(self, quote: Quote) -> list[int]:
        """Indices of the samples of a quoted group that readers are shown: the same for all, so
        that what one writes about answers A and B makes sense to the next."""
        size = self.game.samples_of(self.header(quote).stage)
        return sample_order(self.lottery, self._named(quote), size)[: self.game.shown]

    def _named(self, quote: Quote) -> list[bytes]:
        header = self.header(quote)
        return [header.author, bytes([header.stage]), quote.slot.to_bytes(2, "little")]

    def text(self, quote: Quote, sample: int) -> str:
        """What a sample of a quoted group said, with the words put in its mouth."""
        begin = self.game.stages[self.header(quote).stage].begin
        return begin + self.group(quote).rollouts[sample].text

    def proposal(self, reader: bytes, quote: Quote) -> int | None:
        """Index of the sample that a reader must solve: the first in the lottery's order that
        is a proposal; None if none of the group is."""
        requests = self._proposals.get(quote, ())
        for sample in sample_order(self.lottery, [reader, *self._named(quote)], len(requests)):
            if requests[sample] is not None:
                return sample
        return None

    def requests(self, quote: Quote) -> tuple[SlotRequest | None, ...]:
        """The tasks that the samples of a proposing group name; None where one names none."""
        return self._proposals[quote]
