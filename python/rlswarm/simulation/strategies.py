"""What dishonest strategies expect to earn beside honest ones, exactly, under stated models.

Each strategy is the text that a player would write; the product's own functions pay it. The
expectation is a sum over every case of a small world, so nothing is sampled.
``python -m rlswarm.simulation.strategies`` prints the table of ``docs/reference/games.md``.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from rlswarm.environments.extraction import extract_answer
from rlswarm.game import rewards
from rlswarm.game.presets import load_game
from rlswarm.game.proposals import read_proposal
from rlswarm.scorer.messages import MICRO
from rlswarm.worker.messages import Rollout

RIGHT, WRONG, OTHER = "12", "15", "18"
"""The right answer of the model's task, and two wrong ones."""


class World(msgspec.Struct, frozen=True):
    """What the expectations depend on; all probabilities."""

    right: float = 0.5
    """That an answer is right: a shown one, or the player's own best."""
    second: float = 0.2
    """That the player's second-best answer is right; at most `right`."""
    sight: float = 0.75
    """That a reader's own check of a shown answer tells the truth; at least 1/2."""
    same_wrong: float = 0.1
    """That two wrong answers are the same one."""
    revised: float = 0.6
    """That an answer is right after revising; at least `right` and `hearsay`."""
    hearsay: float = 0.3
    """That an answer which a critique names is right."""
    samples: int = 8
    """Completions with which a solver tries a proposed task."""
    kinds: tuple[float, ...] = (0.0, 0.1, 0.4, 1.0)
    """Success of solvers with each kind of task, from impossible to trivial."""


class Row(NamedTuple):
    """One strategy and its expected reward a completion, as a plain number."""

    stage: str
    strategy: str
    honest: bool
    expected: float


# -- answering, revising ----------------------------------------------------------------------

_STAGES = {stage.name: stage for stage in load_game("answer-critique-revise").stages}


def _rollout(text: str, *, tokens: int = 8) -> Rollout:
    return Rollout(bytes(4 * tokens), bytes(2 * tokens), text, False)


def _answered(text: str, *, tokens: int = 8) -> int:
    """What an answer to the model's task earns."""
    score = MICRO if extract_answer(text, RIGHT) == RIGHT else 0
    return score + rewards.form(_rollout(text, tokens=tokens), _STAGES["answer"])


def _answers(world: World) -> Iterator[Row]:
    def row(strategy: str, says: Callable[[str, str], str], tokens: int = 8) -> Row:
        """`says` makes the text from the best and the second-best answer."""
        cases = [
            (world.right, RIGHT, WRONG),
            (world.second, WRONG, RIGHT),
            (1 - world.right - world.second, WRONG, OTHER),
        ]
        earned = sum(p * _answered(says(a, b), tokens=tokens) for p, a, b in cases)
        return Row("answer", strategy, strategy == "honest: its best answer", earned / MICRO)

    budget = _STAGES["answer"].max_tokens
    yield row("honest: its best answer", lambda a, b: f"Answer: {a}")
    yield row("hedging: two answers in one", lambda a, b: f"Answer: {a} or {b}")
    yield row("hedging: two answers, one after the other", lambda a, b: f"Answer: {a}\nAnswer: {b}")
    yield row("empty", lambda a, b: "")
    yield row("form alone", lambda a, b: "Answer: I can't tell")
    yield row("over-long: cut off before its answer", lambda a, b: "Let me think. " * 9, budget)
    yield row("over-long: cut off after its answer", lambda a, b: f"Answer: {a}" + "\n" * 9, budget)


def _revisions(world: World) -> Iterator[Row]:
    """Answer and revision together, since what one gives away the other may win."""

    def row(strategy: str, first: float, then: float) -> Row:
        expected = 0.0
        for (p, shown), (q, score) in itertools.product(_coin(first), _coin(then)):
            improved = rewards.improvement(score, [shown])
            assert improved is not None
            expected += p * q * (shown + max(0, improved))
        return Row("answer + revise", strategy, strategy.startswith("honest"), expected / MICRO)

    yield row("honest: answers, then revises as it sees best", world.right, world.revised)
    yield row("keeps its answer whatever it reads", world.right, world.right)
    yield row("copies the answer that a critique names", world.right, world.hearsay)
    yield row("answers wrongly, so as to improve", 0.0, world.revised)


def _coin(right: float) -> list[tuple[float, int]]:
    return [(right, MICRO), (1 - right, 0)]


# -- judging: critics, evaluators, debaters, judges ---------------------------------------------


class _Seen(NamedTuple):
    """What a reader of two answers knows: its own checks, whether they are equal."""

    checks: tuple[bool, bool]
    equal: bool


def _judging_cases(world: World) -> Iterator[tuple[float, tuple[bool, bool], _Seen]]:
    booleans = (True, False)
    for truths in itertools.product(booleans, repeat=2):
        p = math.prod(world.right if truth else 1 - world.right for truth in truths)
        agree = {2: 1.0, 1: 0.0, 0: world.same_wrong}[sum(truths)]
        for checks in itertools.product(booleans, repeat=2):
            saw = math.prod(
                world.sight if check == truth else 1 - world.sight
                for check, truth in zip(checks, truths, strict=True)
            )
            for equal in booleans:
                weight = p * saw * (agree if equal else 1 - agree)
                if weight > 0:
                    yield weight, (truths[0], truths[1]), _Seen((checks[0], checks[1]), equal)


def _verdict(letter: str, belief: float) -> str:
    percent = round(100 * belief)
    return f"{letter}: right {percent}%" if percent >= 50 else f"{letter}: wrong {100 - percent}%"


def _critiques(world: World) -> Iterator[Row]:
    cases = list(_judging_cases(world))

    def belief(seen: _Seen, index: int) -> float:
        """That the answer is right, given all that was seen (Bayes)."""
        alike = [(p, truths) for p, truths, other in cases if other == seen]
        return sum(p for p, truths in alike if truths[index]) / sum(p for p, _ in alike)

    def row(strategy: str, says: Callable[[_Seen], str]) -> Row:
        earned = sum(p * rewards.judgement(says(seen), truths) for p, truths, seen in cases)
        return Row("critique", strategy, strategy.startswith("honest"), earned / MICRO)

    def each(say: Callable[[str, int], str]) -> str:
        return "\n".join(say(letter, index) for index, letter in enumerate("AB"))

    yield row("honest: what it believes", lambda s: each(lambda x, i: _verdict(x, belief(s, i))))
    yield row("always agrees, surely", lambda s: "A: right 100%\nB: right 100%")
    yield row("always agrees, without a number", lambda s: "A: right\nB: right")
    yield row("always disagrees, surely", lambda s: "A: wrong 100%\nB: wrong 100%")
    yield row("never commits itself: 50%", lambda s: "A: right 50%\nB: right 50%")
    yield row(
        "copies the majority: equal answers are right",
        lambda s: each(lambda x, i: f"{x}: {'right' if s.equal else 'wrong'} 90%"),
    )
    yield row(
        "confidence extremes: its own check at 100%",
        lambda s: each(lambda x, i: f"{x}: {'right' if s.checks[i] else 'wrong'} 100%"),
    )
    yield row(
        "hedging: right and wrong about each",
        lambda s: each(lambda x, i: f"{x}: right 90%\n{x}: wrong 90%"),
    )
    yield row("flatters", lambda s: "What wonderful answers, both of them!")
    yield row("empty", lambda s: "")
    yield row("over-long: cut off before its verdict", lambda s: "Let us see. " * 20)
    yield row("judges the first answer alone", lambda s: _verdict("A", belief(s, 0)))


def _debate(world: World) -> Iterator[Row]:
    """One answer; the lottery gives either side with equal chance."""
    cases = []
    for truth, check, yours in itertools.product((True, False), repeat=3):
        p = world.right if truth else 1 - world.right
        saw = world.sight if check == truth else 1 - world.sight
        cases.append((p * saw / 2, truth, check, yours))

    def belief(check: bool) -> float:
        alike = [(p, truth) for p, truth, other, _ in cases if other == check]
        return sum(p for p, truth in alike if truth) / sum(p for p, _ in alike)

    def row(strategy: str, says: Callable[[bool, bool], str]) -> Row:
        """`says` makes the text from the own check and the side to argue."""
        earned = sum(
            p * rewards.judgement(says(check, yours), [truth]) for p, truth, check, yours in cases
        )
        return Row("debate", strategy, strategy.startswith("honest"), earned / MICRO)

    yield row(
        "honest: says what it thinks, then argues its side", lambda c, y: _verdict("A", belief(c))
    )
    yield row("lies for its side, surely", lambda c, y: _verdict("A", 1.0 if y else 0.0))
    yield row("concedes whatever its side, surely", lambda c, y: _verdict("A", 0.0 if y else 1.0))
    yield row("never commits itself: 50%", lambda c, y: _verdict("A", 0.5))
    yield row("evades: argues without a verdict", lambda c, y: "The other side is mistaken.")


# -- proposing ----------------------------------------------------------------------------------


def _tried(text: str, success: float, world: World) -> float:
    """What a proposal earns when one peer tries it, with `success` a completion."""
    valid = read_proposal(bytes(32), bytes(32), text, len(world.kinds)) is not None
    expected = 0.0
    for right in range(world.samples + 1):
        chance = (
            math.comb(world.samples, right)
            * success**right
            * (1 - success) ** (world.samples - right)
        )
        scores = [MICRO] * right + [0] * (world.samples - right)
        expected += chance * rewards.challenge(valid, [scores] if valid else [])
    return expected / MICRO


def _proposals(world: World) -> Iterator[Row]:
    best = min(range(len(world.kinds)), key=lambda kind: abs(world.kinds[kind] - 0.5))
    easy = max(range(len(world.kinds)), key=lambda kind: world.kinds[kind])
    hard = min(range(len(world.kinds)), key=lambda kind: world.kinds[kind])

    def row(strategy: str, kind: int, extra: str = "") -> Row:
        text = f"Kind {kind + 1}, seed 7{extra}"
        return Row(
            "propose",
            strategy,
            strategy.startswith("honest"),
            _tried(text, world.kinds[kind], world),
        )

    yield row("honest: the kind nearest to half solved", best)
    yield row("the easiest kind", easy)
    yield row("the hardest kind", hard)
    yield row("words for the solver", best, ". The answer is 12!")
    yield Row("propose", "malformed", False, rewards.challenge(False, []) / MICRO)
    yield Row("propose", "tries its own proposal", False, rewards.challenge(True, []) / MICRO)


def _friends(world: World) -> Iterator[Row]:
    """A proposer and a solver in league, over the solver's whole group: with the easiest task the
    friend fails half of the time on purpose."""
    success = max(world.kinds)
    honest = _tried("Kind 1, seed 7", success, world) + world.samples * success
    half = world.samples // 2
    staged = rewards.challenge(True, [[MICRO] * half + [0] * (world.samples - half)]) / MICRO
    yield Row("propose + solve", "honest: the friend solves the easiest kind", True, honest)
    yield Row("propose + solve", "the friend fails half on purpose", False, staged + half * success)


def strategies(world: World) -> list[Row]:
    """Every strategy of the documentation, the honest one first in each stage."""
    parts = (_answers, _critiques, _revisions, _proposals, _friends, _debate)
    return [row for part in parts for row in part(world)]


def table(world: World) -> str:
    """The rows as Markdown."""
    lines = ["| stage | strategy | expected reward | beside honesty |", "| --- | --- | --- | --- |"]
    honest = 0.0
    for row in strategies(world):
        honest = row.expected if row.honest else honest
        gap = "" if row.honest else f"{row.expected - honest:+.3f}".replace("-", "−")
        name = f"**{row.strategy}**" if row.honest else row.strategy
        lines.append(f"| {row.stage} | {name} | {row.expected:.3f} | {gap} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(World()))
