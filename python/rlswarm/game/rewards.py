"""What a completion earns: functions of (task, text, quoted texts) alone, in millionths.

Nothing that a sender claims enters here; the scores are the receiver's own. Integers, so that
every node computes the same bits.
"""

import re
from collections.abc import Sequence

from rlswarm.scorer.messages import MICRO

_VERDICT = re.compile(
    r"^\W*(?:answer\s+)?([A-H])\s*[:.)\-]*\s*(?:is\s+)?(right|correct|wrong|incorrect)\b"
    r"(?:[^0-9\n]{0,24}(\d{1,3})\s*%?)?",
    re.IGNORECASE | re.MULTILINE,
)

UNSURE = 75
"""Percent taken for a verdict that states no confidence."""

IMPROVEMENT = MICRO // 2
"""Weight of verified improvement in a revision's reward."""


def correctness(score: int | None) -> int | None:
    """An answer earns its environment's score; None (unscorable) earns nothing for anybody."""
    return score


def stated_probabilities(text: str, shown: int) -> list[int | None]:
    """Percent with which a critique calls each shown answer right; None where it says nothing.

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


def judgement(text: str, truths: Sequence[bool]) -> int:
    """Mean Brier score of a critique: 1 − (p − y)² for each answer it judges, 0 for one it skips.

    Proper (Brier 1950): saying what one believes maximises the expectation. Skipping earns less
    than the 0.75 of p = 1/2, so that an empty critique never pays.
    """
    total = 0
    stated = stated_probabilities(text, len(truths))
    for percent, truth in zip(stated, truths, strict=True):
        if percent is not None:
            distance = percent - (100 if truth else 0)
            total += MICRO - distance * distance * (MICRO // 10_000)
    return total // len(truths)


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
