"""Prompts of the later stages, built alike by the player and by everyone who checks it."""

from collections.abc import Sequence

from rlswarm.game.quoting import quote
from rlswarm.game.stages import Game, Stage
from rlswarm.prompt import ChatMessage, Prompt
from rlswarm.scorer.messages import EnvironmentSpec

LETTERS = "ABCDEFGH"
"""Names of shown answers; authors stay anonymous."""

EXAMPLE_SEEDS = (4711, 28, 903, 16)
"""Of the proposals that a proposer is shown."""


def critique_prompt(game: Game, stage: Stage, question: str, answers: Sequence[str]) -> Prompt:
    """Task and k anonymous answers; the critic says which are right and how sure it is.

    What all critiques share comes first, so that it is computed once for all of them.
    """
    return _prompt(f"{stage.ask}\n\n{_case(game, question, answers)}", stage)


def revise_prompt(
    game: Game, stage: Stage, task: Prompt, answers: Sequence[str], critiques: Sequence[str]
) -> Prompt:
    """The answer stage's own prompt, its last question followed by own answers and critiques."""
    said = "".join(
        f"\n\nA reader wrote about them:\n{quote(text, game.quote_chars)}" for text in critiques
    )
    last = task[-1]
    asked = (
        f"{last.content}\n\nAnswers given so far:\n{_answers(answers, game.quote_chars)}"
        f"{said}\n\n{stage.ask}"
    )
    return (*task[:-1], *_prompt(asked, stage))


def debate_prompt(
    game: Game,
    stage: Stage,
    question: str,
    answer: str,
    side: bool | None,
    arguments: Sequence[tuple[bool, str]],
) -> Prompt:
    """Task, one answer, the own `side` if there is one (True: the answer is right), and what was
    argued: (side, text) in the order of the debate."""
    said = "".join(
        f"\n\nThat {_claim(of)}, someone argues:\n{quote(text, game.quote_chars)}"
        for of, text in arguments
    )
    yours = "" if side is None else f"\n\nYour side: {_claim(side)}."
    return _prompt(f"{stage.ask}\n\n{_case(game, question, [answer])}{said}{yours}", stage)


def propose_prompt(stage: Stage, kinds: Sequence[EnvironmentSpec]) -> Prompt:
    """The kinds of tasks that may be proposed, numbered from 1, and one proposal of each of the
    first few: a small model takes the form from examples alone."""
    listed = "\n".join(
        f"Kind {number}: {spec.name}"
        + "".join(f", {key} {value}" for key, value in sorted(spec.config.items()))
        for number, spec in enumerate(kinds, start=1)
    )
    turns = [ChatMessage("user", f"{stage.ask}\n\nKinds of tasks:\n{listed}")]
    for number, seed in zip(range(1, len(kinds) + 1), EXAMPLE_SEEDS, strict=False):
        turns.append(ChatMessage("assistant", f"Kind {number}, seed {seed}"))
        turns.append(ChatMessage("user", "Another one."))
    return (*turns, *_prompt("", stage)[1:])


def as_persona(system: str, prompt: Prompt) -> Prompt:
    """The prompt as a node with this system prompt is asked it; empty changes nothing."""
    return (ChatMessage("system", system), *prompt) if system else prompt


def _claim(side: bool) -> str:
    return "answer A is right" if side else "answer A is wrong"


def _case(game: Game, question: str, answers: Sequence[str]) -> str:
    return (
        f"The task:\n{quote(question, 4 * game.quote_chars)}\n\n"
        f"{_answers(answers, game.quote_chars)}"
    )


def _answers(answers: Sequence[str], limit: int) -> str:
    return "\n".join(
        f"Answer {letter}:\n{quote(text, limit)}"
        for letter, text in zip(LETTERS, answers, strict=False)
    )


def _prompt(asked: str, stage: Stage) -> Prompt:
    prompt: Prompt = (ChatMessage("user", asked),)
    if stage.begin:
        prompt = (*prompt, ChatMessage("assistant", stage.begin))
    return prompt
