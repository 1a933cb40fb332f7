"""How many different answers a swarm gives: within a group, and among peers on the same task."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from rlswarm.game.stages import ANSWERING, Game
from rlswarm.game.table import PlayedGroup

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


class Diversity(msgspec.Struct, frozen=True):
    """Of the answers of one round, as far as a node knows them."""

    groups: int
    within: float | None
    """Mean number of different answers in a group; None without groups."""
    shared_tasks: int
    """Tasks that more than one peer answered (the overlap)."""
    across: float | None
    """Mean number of different answers to a shared task, over all its peers' groups."""


def committed(text: str, marker: str) -> str:
    """The answer that a completion commits to, for comparing: what follows the last `marker`,
    else the last line that says anything; in small letters, without spaces and signs around it.

    >>> committed("3 + 4 = 7. Answer:  Seven.", "Answer:")
    'seven'
    """
    said = text.rpartition(marker)[2] if marker else text
    lines = [line for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0] if marker and marker in text else lines[-1]
    minus = "-" if re.match(r"\s*-\s*\d", line) else ""
    return minus + _EDGES.sub("", " ".join(line.casefold().split()))


def distinct(texts: Iterable[str], marker: str) -> int:
    """How many different answers these completions commit to."""
    return len({committed(text, marker) for text in texts})


def diversity(game: Game, played: Iterable[PlayedGroup]) -> Diversity:
    """Over the groups of the answering stage among `played`."""
    answers = [group for group in played if game.stages[group.stage].inputs in ANSWERING]
    marker = game.answering.marker
    within = [distinct((r.text for r in group.rollouts), marker) for group in answers]
    tasks: dict[tuple[int, int], list[PlayedGroup]] = {}
    for group in answers:
        tasks.setdefault((group.environment, group.seed), []).append(group)
    shared = [same for same in tasks.values() if len({group.author for group in same}) > 1]
    across = [distinct((r.text for g in same for r in g.rollouts), marker) for same in shared]
    return Diversity(len(answers), _mean(within), len(shared), _mean(across))


def _mean(counts: Sequence[int]) -> float | None:
    return round(sum(counts) / len(counts), 3) if counts else None
