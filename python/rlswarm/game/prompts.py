"""Prompts of the later stages, built alike by the player and by everyone who checks it."""

from collections.abc import Sequence

from rlswarm.game.quoting import quote
from rlswarm.game.stages import Game, Stage
from rlswarm.prompt import ChatMessage, Prompt

LETTERS = "ABCDEFGH"
"""Names of shown answers; authors stay anonymous."""


def _answers(answers: Sequence[str], limit: int) -> str:
    return "\n".join(
        f"Answer {letter}:\n{quote(text, limit)}"
        for letter, text in zip(LETTERS, answers, strict=False)
    )


def critique_prompt(game: Game, stage: Stage, question: str, answers: Sequence[str]) -> Prompt:
    """Task and k anonymous answers; the critic says which are right and how sure it is.

    What all critiques share comes first, so that it is computed once for all of them.
    """
    asked = (
        f"{stage.ask}\n\nThe task:\n{quote(question, 4 * game.quote_chars)}\n\n"
        f"{_answers(answers, game.quote_chars)}"
    )
    return _prompt(asked, stage)


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


def _prompt(asked: str, stage: Stage) -> Prompt:
    prompt: Prompt = (ChatMessage("user", asked),)
    if stage.begin:
        prompt = (*prompt, ChatMessage("assistant", stage.begin))
    return prompt
