"""The ledger: a pure function of the records held."""

import msgspec

from rlswarm._core import blake3, merkle_leaf, merkle_proof, merkle_root, merkle_verify
from rlswarm.ledger.ledger import Ledger, Line, Work, compute_ledger, leaf
from rlswarm.simulation.swarm import SimulatedSwarm, simulate


def played() -> tuple[SimulatedSwarm, Ledger]:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=1)
        await swarm.finish()

    swarm = simulate(script)
    return swarm, compute_ledger(swarm.manifest.swarm_id, swarm.nodes[0].node._rounds[0])


def test_every_line_proves_itself_under_the_root() -> None:
    swarm, ledger = played()
    leaves = [leaf(ledger.swarm, ledger.round, line) for line in ledger.lines]
    assert ledger.root == merkle_root(leaves)
    for one in leaves:
        assert merkle_verify(ledger.root, one, merkle_proof(leaves, one))
    forged = msgspec.structs.replace(ledger.lines[0], credit=ledger.lines[0].credit + 1)
    assert not merkle_verify(
        ledger.root, leaf(ledger.swarm, ledger.round, forged), merkle_proof(leaves, leaves[0])
    )
    assert ledger.root.hex() == swarm.nodes[0].node.tally.roots[0]


def test_credit_is_the_sum_of_positive_rewards() -> None:
    swarm, ledger = played()
    state = swarm.nodes[0].node._rounds[0]
    for line in ledger.lines:
        earned = sum(max(0, r or 0) for g in state.own_groups(line.peer) for r in g.rewards)
        assert line.credit == earned
        assert line.groups == 9
        assert line.samples == 9 * 4
        assert [work.stage for work in line.work] == [0, 1, 2]


def test_order_of_arrival_does_not_matter() -> None:
    swarm, ledger = played()
    state = swarm.nodes[0].node._rounds[0]
    state.records = dict(reversed(state.records.items()))
    state.played = dict(reversed(state.played.items()))
    assert compute_ledger(swarm.manifest.swarm_id, state) == ledger


def test_a_header_that_came_late_is_not_counted() -> None:
    swarm, ledger = played()
    state = swarm.nodes[0].node._rounds[0]
    late = next(h for h in state.records.values() if h.header.stage == 2)
    late.in_time = False
    again = compute_ledger(swarm.manifest.swarm_id, state)
    (line,) = [line for line in again.lines if line.peer == late.header.author]
    assert dict(line.refused) == {"header came late": 3}
    assert line.groups == 6
    assert again.root != ledger.root


def test_the_leaf_is_the_documented_abi_encoding() -> None:
    line = Line(peer=b"p" * 32, peer_id="x", work=(Work(0, 1, 2, 16),), credit=7, adapter=b"a" * 32)
    words = (
        b"s" * 32
        + (9).to_bytes(32, "big")
        + b"p" * 32
        + (2).to_bytes(32, "big")
        + (16).to_bytes(32, "big")
        + (7).to_bytes(32, "big")
        + b"a" * 32
        + blake3(msgspec.msgpack.encode(((0, 1, 2, 16, 0, 0),)))
    )
    assert leaf(b"s" * 32, 9, line) == merkle_leaf(words)
