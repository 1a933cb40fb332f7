"""The end of a round: its ledger, and what came of it."""

import statistics
from collections.abc import Iterable
from typing import Any

import msgspec

from rlswarm.game.diversity import diversity
from rlswarm.game.round import Round
from rlswarm.game.stages import ANSWERING
from rlswarm.game.table import PlayedGroup
from rlswarm.journal.journal import Basis, Journal
from rlswarm.ledger.ledger import Ledger, compute_ledger
from rlswarm.node.report import Report
from rlswarm.node.tally import Tally


def decide_ledger(
    swarm: bytes, state: Round, *, journal: Journal, tally: Tally, report: Report, now: float
) -> Ledger:
    """The ledger of a round whose records are judged, noted and told."""
    ledger = compute_ledger(swarm, state)
    held = sorted(state.records.items())
    basis = Basis(
        bodies=tuple(name for name, record in held if record.groups is not None),
        set_aside=tuple((name, record.refused) for name, record in held if record.set_aside),
    )
    journal.ledger(ledger, now, basis)
    tally.roots[state.number] = ledger.root.hex()
    report(
        "ledger",
        state.number,
        root=ledger.root.hex(),
        peers=sum(1 for line in ledger.lines if line.work),
        groups=sum(line.groups for line in ledger.lines),
    )
    return ledger


def earned(state: Round, author: bytes) -> dict[str, Any]:
    """`mean_reward` of an author's answers (None without any), `rewards` by stage, and the
    `diversity` of everybody's answers."""
    own = state.own_groups(author)
    stages = state.game.stages
    return {
        "mean_reward": _mean(g for g in own if stages[g.stage].inputs in ANSWERING),
        "rewards": {
            rules.name: _mean(g for g in own if g.stage == index)
            for index, rules in enumerate(stages)
        },
        "diversity": msgspec.to_builtins(diversity(state.game, state.played.values())),
    }


def _mean(groups: Iterable[PlayedGroup]) -> float | None:
    known = [group.mean_reward for group in groups if group.mean_reward is not None]
    return round(statistics.fmean(known), 4) if known else None
