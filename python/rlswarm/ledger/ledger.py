"""From verified groups to a Merkle root: a pure function, the same bits on every node.

A ledger line becomes a leaf in OpenZeppelin's standard format, with the ABI words of `LEAF`:
`credit` is in millionths and `work` the hash of the counts by stage and environment.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rlswarm._core import blake3, merkle_leaf, merkle_root
from rlswarm.game.inputs import Quote, skipped
from rlswarm.game.presenting import heard, sources
from rlswarm.game.round import Round
from rlswarm.game.stages import FROM_OTHERS
from rlswarm.game.table import HeldRecord, PlayedGroup
from rlswarm.scorer.messages import MICRO


class Work(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Verified work of one kind."""

    stage: int
    environment: int
    groups: int
    samples: int
    level: int = 0
    """Of the environment's difficulty in this round."""
    right: int = 0
    """Samples with full credit from the environment; 0 where it judges none, as in critiques."""


class Line(msgspec.Struct, frozen=True):
    """One peer's part in a round."""

    peer: bytes
    """Ed25519 public key."""
    peer_id: str
    work: tuple[Work, ...]
    credit: int
    """Millionths: the positive rewards of every counted sample, summed."""
    adapter: bytes
    """The policy that its first counted header named."""
    refused: tuple[tuple[str, int], ...] = ()
    """(reason, groups) of what was seen and not counted. Not part of the root."""

    @property
    def groups(self) -> int:
        return sum(work.groups for work in self.work)

    @property
    def samples(self) -> int:
        return sum(work.samples for work in self.work)


class Ledger(msgspec.Struct, frozen=True):
    swarm: bytes
    round: int
    lines: tuple[Line, ...]
    """Sorted by peer."""
    root: bytes
    """32 bytes; all zero if nothing was counted."""


LEAF = (
    ("swarm", "bytes32"),
    ("round", "uint256"),
    ("peer", "bytes32"),
    ("groups", "uint256"),
    ("samples", "uint256"),
    ("credit", "uint256"),
    ("adapter", "bytes32"),
    ("work", "bytes32"),
)
"""(name, Solidity type) of the words of a leaf."""


def leaf_words(swarm: bytes, number: int, line: Line) -> tuple[bytes, ...]:
    """The words of a line, 32 bytes each, as `LEAF` names them."""

    def word(value: int) -> bytes:
        return value.to_bytes(32, "big")

    return (
        swarm,
        word(number),
        line.peer,
        word(line.groups),
        word(line.samples),
        word(line.credit),
        line.adapter,
        work_hash(line.work),
    )


def work_hash(work: tuple[Work, ...]) -> bytes:
    """BLAKE3 of the counts by stage and environment, 32 bytes."""
    return blake3(msgspec.msgpack.encode(work))


def leaf(swarm: bytes, number: int, line: Line) -> bytes:
    """Leaf hash of a line (OpenZeppelin StandardMerkleTree)."""
    return merkle_leaf(b"".join(leaf_words(swarm, number, line)))


def compute_ledger(swarm: bytes, state: Round) -> Ledger:
    """The ledger over the records that this node accepted in a round.

    A group counts if its header came in time, its body was verified, its prompt could be rebuilt,
    its slots were taken in order, its inputs were not chosen, and something in it was scorable.
    Proposers are paid by the groups that count.
    """
    reasons = uncounted(state)
    state.settle(reasons)
    lines = []
    authors = sorted({held.header.author for held in state.records.values()})
    for author in authors:
        held = [h for h in state.records.values() if h.header.author == author]
        counted = [
            group
            for group in state.own_groups(author)
            if Quote(group.record, group.slot) not in reasons
        ]
        refused: dict[str, int] = {}
        for name, reason in reasons.items():
            if state.records[name.record].header.author == author:
                refused[reason] = refused.get(reason, 0) + 1
        lines.append(
            Line(
                peer=author,
                peer_id=held[0].header.peer_id,
                work=_work(counted, state.levels),
                credit=sum(max(0, reward or 0) for g in counted for reward in g.rewards),
                adapter=_adapter(state.records, counted),
                refused=tuple(sorted(refused.items())),
            )
        )
    leaves = [leaf(swarm, state.number, line) for line in lines if line.work]
    return Ledger(
        swarm=swarm,
        round=state.number,
        lines=tuple(lines),
        root=merkle_root(leaves) if leaves else bytes(32),
    )


def _work(groups: Iterable[PlayedGroup], levels: Sequence[int]) -> tuple[Work, ...]:
    """`levels` of the round by environment; empty = all at the first."""
    kinds: dict[tuple[int, int], list[PlayedGroup]] = {}
    for group in groups:
        kinds.setdefault((group.stage, group.environment), []).append(group)
    return tuple(
        Work(
            stage=stage,
            environment=environment,
            groups=len(found),
            samples=sum(len(group.rollouts) for group in found),
            level=levels[environment] if 0 <= environment < len(levels) else 0,
            right=sum(score == MICRO for group in found for score in group.scores),
        )
        for (stage, environment), found in sorted(kinds.items())
    )


def _adapter(records: Mapping[bytes, HeldRecord], counted: list[PlayedGroup]) -> bytes:
    headers = [records[group.record].header for group in counted]
    return min(headers, key=lambda h: (h.stage, h.sequence)).adapter if headers else bytes(32)


def uncounted(state: Round) -> dict[Quote, str]:
    """Why a group that was seen is not counted."""
    reasons: dict[Quote, str] = {}
    for held in state.records.values():
        reason = held.refused or (
            "no body came" if held.groups is None else "" if held.in_time else "header came late"
        )
        for position, slot in enumerate(held.header.slots):
            name = Quote(held.header.hash, slot)
            group = state.played.get(name)
            if reason:
                reasons[name] = reason
            elif group is None:
                reasons[name] = "its prompt can't be rebuilt from the records held here"
            elif slot != position:
                reasons[name] = "a slot before it was left out"
            elif all(reward is None for reward in group.rewards):
                reasons[name] = "nothing in it was scorable"
    _refuse_chosen_inputs(state, reasons)
    return reasons


_OWN = {
    "answers": "a critique of own answers",
    "arguments": "a verdict on own answers",
    "proposals": "an answer to an own proposal",
}


def _refuse_chosen_inputs(state: Round, reasons: dict[Quote, str]) -> None:
    """Players must take what others made in the lottery's order, and not their own."""
    for stage, rules in enumerate(state.game.stages):
        by_player: dict[bytes, list[tuple[Quote, PlayedGroup]]] = {}
        for name, group in state.played.items():
            if group.stage == stage and name not in reasons and group.quotes:
                by_player.setdefault(group.author, []).append((name, group))
        counted = [q for q in sources(state, stage) if q in state.played and q not in reasons]
        for player, groups in by_player.items():
            passed_over = 0
            if rules.inputs in FROM_OTHERS:
                for name, group in groups:
                    if state.header(group.quotes[0]).author == player:
                        reasons[name] = _OWN[rules.inputs]
                chosen = [g.quotes[0] for name, g in groups if name not in reasons]
                others = [q for q in counted if state.header(q).author != player]
                turn = state.game.first_turn(stage)
                passed_over += skipped(state.lottery, player, turn, chosen, others)
            for _, group in groups:
                best = heard(state, stage, player, group.quotes[0])
                passed_over += sum(q not in group.quotes and q not in reasons for q in best)
            if passed_over > state.game.skips:
                for name, _ in groups:
                    reasons.setdefault(name, "what the lottery ranked better was passed over")
