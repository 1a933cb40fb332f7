"""A game is data: a list of stages with prompts, inputs, budgets and rewards."""

from typing import Literal

import msgspec


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of a round."""

    name: str
    inputs: Literal["task", "answers", "critiques"]
    """What a player is shown: its task; k answers of one peer's group; k of its own answers with
    the critiques of them."""
    reward: Literal["correctness", "judgement", "improvement"]
    """How a completion is paid (``rewards``)."""
    ask: str = ""
    """What the player is told, before the answers it judges or after those it revises. Unused for
    ``inputs = "task"``."""
    begin: str = ""
    """First words of the completion, put in the player's mouth."""
    window: float
    """Seconds in which headers must appear."""
    reveal: float
    """Seconds after the window in which bodies must arrive."""
    max_tokens: int
    """Length of one completion."""
    stop: tuple[str, ...] = ()
    """A completion ends after one of these."""


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


def answer_critique_revise(
    *, answer: float, critique: float, revise: float, reveal: float, answer_tokens: int
) -> tuple[Stage, ...]:
    """The game of three stages; windows and reveals in seconds, tokens per completion."""
    return (
        Stage(
            name="answer",
            inputs="task",
            reward="correctness",
            window=answer,
            reveal=reveal,
            max_tokens=answer_tokens,
        ),
        Stage(
            name="critique",
            inputs="answers",
            reward="judgement",
            ask=(
                "Below are a task and answers to it. For each answer say whether it is right or "
                "wrong and how sure you are in percent, one line each, for example:\n"
                "A: right 80%\nB: wrong 60%\nThen give the reason in one sentence."
            ),
            begin="A:",
            window=critique,
            reveal=reveal,
            max_tokens=max(24, answer_tokens),
        ),
        Stage(
            name="revise",
            inputs="critiques",
            reward="improvement",
            ask="Using what helps and ignoring what is wrong, answer the task again.",
            window=revise,
            reveal=reveal,
            max_tokens=answer_tokens,
        ),
    )


def solve(*, answer: float, reveal: float, answer_tokens: int) -> tuple[Stage, ...]:
    """The classic setting: one stage, every peer answers its own tasks."""
    return answer_critique_revise(
        answer=answer, critique=1, revise=1, reveal=reveal, answer_tokens=answer_tokens
    )[:1]
