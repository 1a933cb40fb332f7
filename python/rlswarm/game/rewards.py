"""What a completion earns: functions of (task, text, quoted texts) alone, in millionths.

Nothing that a sender claims enters here; the scores are the receiver's own. Integers, so that
every node computes the same bits. `docs/reference/games.md` gives an example of each formula.
"""

import re
from collections.abc import Sequence

from rlswarm.game.proposals import VALID
from rlswarm.game.stages import Stage
from rlswarm.scorer.messages import MICRO
from rlswarm.worker.messages import Rollout

_VERDICT = re.compile(
    r"^\W*(?:answer\s+)?([A-H])\s*[:.)\-]*\s*(?:is\s+)?(right|correct|wrong|incorrect)\b"
    r"(?:[^0-9\n]{0,24}(\d{1,3})\s*%?)?",
    re.IGNORECASE | re.MULTILINE,
)

UNSURE = 75
"""Percent taken for a verdict that states no confidence."""

IMPROVEMENT = MICRO // 2
"""Weight of verified improvement in a revision's reward."""


def finished(rollout: Rollout, stage: Stage) -> bool:
    """Whether a completion ended by itself, as far as its tokens and text can tell: below the
    stage's budget of tokens, or at one of its stop strings. The sender's word for it is not
    asked."""
    within = len(rollout.tokens) // 4 < stage.max_tokens
    return within or any(stop in rollout.text for stop in stage.stop)


def well_formed(rollout: Rollout, stage: Stage) -> bool:
    """Whether a finished answer says the stage's marker exactly once, with something after it."""
    if rollout.text.count(stage.marker or "\0") != 1:
        return False
    return bool(rollout.text.partition(stage.marker)[2].strip()) and finished(rollout, stage)


def form(rollout: Rollout, stage: Stage) -> int:
    """What the form of an answer earns: once, and little."""
    return round(stage.format * MICRO) if well_formed(rollout, stage) else 0


def stated_probabilities(text: str, shown: int) -> list[int | None]:
    """Percent with which a text calls each shown answer right; None where it says nothing.

    The first verdict on a letter counts. "right 80%" states 80, "wrong 80%" states 20. The
    confidence is clamped to 50..100: a verdict can't deny itself.
    """
    stated: list[int | None] = [None] * shown
    for letter, verdict, percent in _VERDICT.findall(text):
        index = ord(letter.upper()) - ord("A")
        if index < shown and stated[index] is None:
            sure = min(100, max(50, int(percent))) if percent else UNSURE
            stated[index] = sure if verdict.lower() in ("right", "correct") else 100 - sure
    return stated


def brier(percent: int | None, truth: bool) -> int:
    """1 − (p − y)² for a stated percentage, 0 for none (Brier 1950)."""
    if percent is None:
        return 0
    distance = percent - (100 if truth else 0)
    return MICRO - distance * distance * (MICRO // 10_000)


def judgement(text: str, truths: Sequence[bool]) -> int:
    """Mean Brier score of a text that judges answers: a critique, an argument, a verdict.

    Proper: saying what one believes maximises the expectation. Skipping an answer earns 0, less
    than the 0.75 of p = 1/2, so that an empty critique never pays.
    """
    stated = stated_probabilities(text, len(truths))
    return sum(brier(p, y) for p, y in zip(stated, truths, strict=True)) // len(truths)


def improvement(score: int | None, shown: Sequence[int | None]) -> int | None:
    """A revision earns its score plus half of what it gained over the answers it was shown.

    Between −0.5 and 1.5. The shown answers are the same for a whole group, so the second term
    never changes which completion of a group is better; it pays those who had something to mend.
    """
    if score is None:
        return None
    known = [value for value in shown if value is not None]
    if not known:
        return score
    gained = score - sum(known) // len(known)
    return score + gained * IMPROVEMENT // MICRO


def challenge(valid: bool, solved: Sequence[Sequence[int]]) -> int:
    """A proposal earns 0.1 for its form and 0.9 · 4s(1 − s) for how hard it proved.

    `solved` holds, for every other peer that tried the task, the scores of its completions; s is
    the mean over peers of their mean score, one vote a peer. It peaks where half of the answers
    are right; a trivial task, an impossible one and one that nobody tried earn the form alone.
    Which proposals are tried is drawn by lottery, so that luck is the same for every text.
    """
    if not valid:
        return 0
    peers = [sum(scores) // len(scores) for scores in solved if scores]
    if not peers:
        return VALID
    s = sum(peers) // len(peers)
    return VALID + (MICRO - VALID) * 4 * s * (MICRO - s) // MICRO**2
