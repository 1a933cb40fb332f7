"""A game is data: a list of stages with prompts, inputs, budgets and rewards."""

from collections.abc import Iterator
from typing import Literal

import msgspec

Inputs = Literal["task", "answers", "critiques", "family", "proposals", "arguments"]
Reward = Literal["correctness", "judgement", "improvement", "challenge"]

ANSWERING: tuple[Inputs, ...] = ("task", "proposals")
"""Inputs of the stage whose completions others read as answers."""

SCORED: tuple[Inputs, ...] = ("task", "proposals", "critiques")
"""Inputs of stages whose completions the environment scores."""

READING: tuple[Inputs, ...] = ("answers", "arguments")
"""Inputs of stages that read an answer of another peer."""

FROM_OTHERS: tuple[Inputs, ...] = (*READING, "proposals")
"""Inputs whose first quote is another peer's, in the order of the lottery."""


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of a round."""

    name: str
    inputs: Inputs
    """What a player is shown: its task; k answers of one peer's group; k of its own answers with
    the critiques of them; the kinds of tasks it may propose; a task that a peer proposed; one
    answer of a peer with the arguments about it."""
    reward: Reward
    """How a completion is paid (``rewards``)."""
    sides: bool = False
    """The lottery tells the player which side to argue: that the answer is right, or wrong."""
    ask: str = ""
    """What the player is told, before the answers it judges or after those it revises. Unused
    where an environment asks (``inputs`` "task" and "proposals")."""
    begin: str = ""
    """First words of the completion, put in the player's mouth."""
    marker: str = ""
    """What a well-formed answer says exactly once, before its end; empty asks for no form."""
    format: float = 0.0
    """What a well-formed and finished answer earns beside its reward."""
    window: float
    """Seconds in which headers must appear."""
    reveal: float
    """Seconds after the window in which bodies must arrive."""
    max_tokens: int
    """Length of one completion."""
    stop: tuple[str, ...] = ()
    """A completion ends after one of these."""
    slots: int = 0
    """Most groups that one peer may play here; 0 = the game's."""
    samples: int = 0
    """Completions in a group here; 0 = the game's `group_size`."""


class Game(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules, as in the manifest."""

    slots: int = 4
    """Most groups that one peer may play in one stage."""
    group_size: int = 8
    """G: completions in a group."""
    overlap: float = 0.25
    """Share of slots whose task is the same for the whole cohort."""
    shown: int = 2
    """k: samples of a group that a later stage is shown."""
    critics: int = 2
    """Most critiques that a reviser is shown, one a critic."""
    skips: int = 4
    """Better-ranked groups that a player may pass over without losing credit."""
    quote_chars: int = 240
    """Characters of a quoted text that a prompt keeps."""
    stages: tuple[Stage, ...]

    @property
    def answering(self) -> Stage:
        """The stage whose completions answer tasks; its budget is the one held-out tasks get."""
        return next(stage for stage in self.stages if stage.inputs in ANSWERING)

    def slots_of(self, stage: int) -> int:
        """Most groups that one peer may play in a stage."""
        return self.stages[stage].slots or self.slots

    def samples_of(self, stage: int) -> int:
        """Completions in a group of a stage."""
        return self.stages[stage].samples or self.group_size

    def first_turn(self, stage: int) -> int:
        """The stage whose lottery ranks this one's inputs: the turns of a debate share it, so
        that a debater stays with its answers and its side."""
        if not self.stages[stage].sides:
            return stage
        return next(index for index, rules in enumerate(self.stages) if rules.sides)


class StageTimes(msgspec.Struct, frozen=True):
    """When one stage of one round opens, closes and is revealed (Unix seconds)."""

    opens: float
    closes: float
    """End of the window: later headers earn nothing, bodies may now be shown."""
    reveals: float
    """Reveal deadline: the next stage builds on the bodies that arrived until now."""


def timetable(game: Game, opens: float) -> tuple[StageTimes, ...]:
    """The stages of a round that opens at `opens` (Unix seconds), back to back."""
    times = []
    for stage in game.stages:
        closes = opens + stage.window
        times.append(StageTimes(opens, closes, closes + stage.reveal))
        opens = closes + stage.reveal
    return tuple(times)


_REWARDS: dict[Inputs, tuple[Reward, ...]] = {
    "task": ("correctness",),
    "proposals": ("correctness",),
    "critiques": ("improvement", "correctness"),
    "answers": ("judgement",),
    "arguments": ("judgement",),
    "family": ("challenge",),
}


def mistakes(game: Game) -> Iterator[str]:
    """What is wrong with a game, one sentence each; nothing if it can be played."""
    if not game.stages:
        yield "`game.stages` is empty; a game has at least one stage"
    if len({stage.name for stage in game.stages}) < len(game.stages):
        yield "two stages of `game.stages` have the same name"
    if not 1 <= game.slots <= 256:
        yield "`game.slots` must be between 1 and 256"
    if not 2 <= game.group_size <= 256:
        yield "`game.group_size` must be between 2 and 256"
    if not 0 <= game.overlap <= 1:
        yield "`game.overlap` must be between 0 and 1"
    if min(game.critics, game.skips) < 0 or game.quote_chars < 1:
        yield "`game.critics` and `game.skips` can't be negative, `game.quote_chars` not below 1"
    if sum(stage.inputs in ANSWERING for stage in game.stages) != 1:
        yield 'a game needs exactly one stage with `inputs = "task"` or `inputs = "proposals"`'
    earlier: list[Stage] = []
    for index, stage in enumerate(game.stages):
        for mistake in _stage_mistakes(game, index, stage, earlier):
            yield f"stage `{stage.name}`: {mistake}"
        earlier.append(stage)


def _stage_mistakes(game: Game, index: int, stage: Stage, earlier: list[Stage]) -> Iterator[str]:
    if stage.window <= 0 or stage.reveal <= 0 or stage.max_tokens < 1:
        yield "`window`, `reveal` and `max_tokens` must be positive"
    if not 0 <= stage.slots <= 256:
        yield "`slots` must be between 0 and 256"
    if not 2 <= game.samples_of(index) <= 256:
        yield "`samples` must be between 2 and 256, or 0 for the game's `group_size`"
    if not 0 <= stage.format <= 0.1:
        yield "`format` must be between 0 and 0.1; a form is worth little"
    if stage.format and (not stage.marker or stage.inputs not in SCORED):
        yield "`format` pays for a `marker` in an answer to a task; it has none"
    if stage.reward not in _REWARDS[stage.inputs]:
        known = " or ".join(f'"{reward}"' for reward in _REWARDS[stage.inputs])
        yield f'`inputs = "{stage.inputs}"` can only be paid by {known}'
    if stage.sides and stage.inputs not in READING:
        yield '`sides` needs an answer to argue about: `inputs = "answers"` or "arguments"'
    if stage.inputs in ANSWERING and not 1 <= game.shown <= min(8, game.samples_of(index)):
        yield "`game.shown` must be between 1 and 8, and at most the samples of its groups"

    def none(what: str, *inputs: Inputs, sides: bool = False) -> str:
        if any(s.inputs in inputs and s.sides == sides for s in earlier):
            return ""
        needed = " or ".join(f'`inputs = "{name}"`' for name in inputs)
        return f"it needs {what}, but no earlier stage makes them ({needed})"

    if stage.inputs in (*READING, "critiques") and (mistake := none("answers", *ANSWERING)):
        yield mistake
    if stage.inputs == "critiques" and (mistake := none("critiques", *READING)):
        yield mistake
    if stage.inputs == "proposals" and (mistake := none("proposals", "family")):
        yield mistake
    if stage.inputs == "arguments" and not any(s.sides for s in earlier):
        yield "it needs arguments, but no earlier stage makes them (`sides = true`)"
    if stage.inputs == "family" and not any(
        later.inputs == "proposals" for later in game.stages[index + 1 :]
    ):
        yield 'nobody would solve what it proposes; a later stage needs `inputs = "proposals"`'
