"""The difficulty of every environment in a round, from the ledgers that the round's lottery names.

Whoever holds these ledgers finds the same levels, and so regenerates every task.
"""

from collections.abc import Sequence

from rlswarm.game.curriculum import LevelCount, choose_level
from rlswarm.game.stages import Game
from rlswarm.ledger.ledger import Ledger
from rlswarm.scorer.messages import EnvironmentSpec

SPAN = 8
"""Ledgers whose counts decide: long enough to convince, short enough to follow a policy."""


def no_round_is_sealed(number: int) -> Sequence[Ledger]:
    """What the lottery of every round names as long as rounds are not sealed: nothing."""
    return ()


def levels(
    ledgers: Sequence[Ledger], game: Game, environments: Sequence[EnvironmentSpec]
) -> tuple[int, ...]:
    """One level for each environment; 0 where there is none to choose.

    `ledgers` are the one that the lottery names and those that it builds on, newest first; without
    any, every environment is at its first level. Only answers to own tasks count: what comes after
    critiques says little about how hard a task is.
    """
    answering = {index for index, stage in enumerate(game.stages) if stage.inputs == "task"}
    work = [
        entry
        for ledger in ledgers[:SPAN]
        for line in ledger.lines
        for entry in line.work
        if entry.stage in answering
    ]
    chosen = []
    for index, spec in enumerate(environments):
        counts = [
            LevelCount(sum(entry.samples for entry in found), sum(entry.right for entry in found))
            for level in range(len(spec.levels))
            for found in [[w for w in work if (w.environment, w.level) == (index, level)]]
        ]
        chosen.append(choose_level(counts) if counts else 0)
    return tuple(chosen)
