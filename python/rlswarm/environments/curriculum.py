"""Difficulty that follows measured success, as a pure function of what a ledger counted.

An environment may come in levels, from easy to hard. A group teaches most where about half of
its answers are right, and nothing where all or none are. So the swarm works at the hardest level
that it has not shown to be too hard, and steps on when a level has become easy. Every node
computes the same level from the same counts, in integers alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MILLION = 1_000_000

CONVINCING = 64
"""Completions that a level must have been tried with before its success says anything."""
HARDER_ABOVE = 700_000
"""Millionths of success above which a level has taught what it can."""
EASIER_BELOW = 150_000
"""Millionths of success below which too few groups hold a right answer."""


@dataclass(frozen=True, slots=True)
class LevelCount:
    """What a ledger counted of one level: completions judged, and those that were right."""

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

    Walks up from the easiest as long as levels are mastered; a level that is too hard sends the
    swarm back to the one below it, until the ledger's span of rounds has moved on and its counts
    with it. An untried level is tried. Raises ValueError without levels.
    """
    if not counts:
        raise ValueError("a curriculum needs at least one level")
    for level, count in enumerate(counts):
        success = count.success
        if success is None:
            return level
        if success < EASIER_BELOW:
            return max(0, level - 1)
        if success <= HARDER_ABOVE:
            return level
    return len(counts) - 1


def config_at(
    config: Mapping[str, Any], levels: Sequence[Mapping[str, Any]], counts: Sequence[LevelCount]
) -> dict[str, Any]:
    """The environment's config for the next rounds: `config` with the chosen level's entries over
    it. Raises ValueError unless there is one count for each level."""
    if len(levels) != len(counts):
        raise ValueError(f"{len(levels)} levels, but counts of {len(counts)}")
    return {**config, **levels[choose_level(counts)]}
