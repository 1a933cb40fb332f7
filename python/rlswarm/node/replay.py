"""A round again, from the journal alone: tasks regenerated, rewards and ledger recomputed."""

import msgspec

from rlswarm._core import RecordError, decode_header
from rlswarm.config.manifest import Manifest
from rlswarm.game.inputs import Quote
from rlswarm.game.round import Round
from rlswarm.journal.journal import Journal
from rlswarm.ledger.ledger import compute_ledger
from rlswarm.network.transport import ROLLOUTS
from rlswarm.node.judge import Judge
from rlswarm.node.processes import Scorer
from rlswarm.node.rounds import Rounds


class Replayed(msgspec.Struct, frozen=True):
    """What came of one round."""

    number: int
    recorded: bytes
    """Root in the journal."""
    root: bytes
    """Root computed now."""
    groups: int
    """Groups whose rewards were computed now."""
    differing: tuple[str, ...]
    """Groups whose rewards are not those in the journal, named for people."""

    @property
    def same(self) -> bool:
        return self.recorded == self.root and not self.differing


async def replay_round(
    journal: Journal, manifest: Manifest, scorer: Scorer, number: int
) -> Replayed:
    """Recompute a round. `scorer` must have opened the manifest's environments.

    Raises JournalError if the journal has no such round, ScorerError.
    """
    recorded, _ = journal.ledger_of(number)
    state = Rounds(manifest)[number]
    _take_in(state, journal, manifest.swarm_id)
    judge = Judge(manifest, b"", scorer)
    await judge.judge(state, len(state.times) - 1)
    root = compute_ledger(manifest.swarm_id, state).root
    return Replayed(number, recorded, root, len(state.played), _differing(state, journal))


def _take_in(state: Round, journal: Journal, swarm: bytes) -> None:
    """Headers and bodies in the order in which they came to the node that kept them."""
    basis = journal.basis_of(state.number)
    bodies, set_aside = set(basis.bodies), dict(basis.set_aside)
    steps = []
    for kept in journal.records_of(state.number, ROLLOUTS):
        try:
            header = decode_header(kept.header, swarm)
        except RecordError:
            continue  # not signed by its author: it proves nothing
        steps.append((kept.arrived, 0, header, kept))
        if kept.body is not None and kept.body_at is not None and header.hash in bodies:
            steps.append((kept.body_at, 1, header, kept))
    for _, step, header, kept in sorted(steps, key=lambda s: s[:2]):
        held = state.add_header(header, kept.arrived)
        if step == 0:
            held.in_time = kept.in_time
        elif kept.body is not None and state.add_body(header, kept.body):
            reason = set_aside.get(header.hash)
            if reason is not None:
                held.refused, held.set_aside = reason, True


def _differing(state: Round, journal: Journal) -> tuple[str, ...]:
    found = []
    for row in journal.groups_of(state.number):
        group = state.played.get(Quote(row["record"], row["slot"]))
        if group is not None and list(group.rewards) != list(row["rewards"]):
            stage = state.game.stages[row["stage"]].name
            found.append(f"{stage}, slot {row['slot']} of {row['peer_id']}")
    return tuple(found)
