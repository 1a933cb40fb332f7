"""Difficulty that follows measured success, as a pure function of what ledgers counted.

An environment may come in levels, from easy to hard. A group teaches most where about half of
its answers are right, and nothing where all or none are. So the swarm works at the hardest level
that it has not shown to be too hard, and steps on when a level has become easy. Every node
computes the same level from the same counts, in integers alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MILLION = 1_000_000

CONVINCING = 64
"""Completions that a level must have been tried with before its success says anything."""
HARDER_ABOVE = 700_000
"""Millionths of success above which a level has taught what it can."""
EASIER_BELOW = 150_000
"""Millionths of success below which too few groups hold a right answer."""


@dataclass(frozen=True, slots=True)
class LevelCount:
    """What ledgers counted of one level: completions judged, and those that were right."""

    judged: int
    right: int

    def __post_init__(self) -> None:
        """Raises ValueError for counts that can't be."""
        if not 0 <= self.right <= self.judged:
            raise ValueError(f"{self.right} right of {self.judged} judged can't be")

    @property
    def success(self) -> int | None:
        """Millionths, rounded down; None while too few were judged to say."""
        return self.right * MILLION // self.judged if self.judged >= CONVINCING else None


def choose_level(counts: Sequence[LevelCount]) -> int:
    """The level to play, 0 = the easiest, from one count a level.

    The hardest level that was tried decides: mastered, the next one is tried; too hard, the one
    below it is played, and so on down, until its counts have left the span of ledgers and it may be
    tried again. Levels below it need no counts: those were mastered long ago. Nothing tried means
    the easiest. Raises ValueError without levels.
    """
    if not counts:
        raise ValueError("a curriculum needs at least one level")
    level = max((at for at, count in enumerate(counts) if count.judged), default=0)
    success = counts[level].success
    if success is not None and success > HARDER_ABOVE:
        return min(level + 1, len(counts) - 1)
    while level and success is not None and success < EASIER_BELOW:
        level -= 1
        success = counts[level].success
    return level
