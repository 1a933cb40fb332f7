"""Nodes tell each other which account they belong to, and believe nothing that is not signed."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rlswarm._core import Identity, blake3, seal
from rlswarm.identity.account import Account
from rlswarm.identity.binding import Bound, Statement
from rlswarm.identity.node_keys import NodeKeys
from rlswarm.identity.typed_data import Domain
from rlswarm.network.transport import BINDING
from rlswarm.simulation.swarm import SimulatedNode, SimulatedSwarm, simulate, simulated_manifest

MANIFEST = simulated_manifest()
DOMAIN = Domain.of_swarm(MANIFEST.swarm_id)
OWNER = Account(b"\1" * 32)


def keys_of(folder: Path, number: int) -> NodeKeys:
    """The keys that the simulated swarm of seed 0 gives its node of that number."""
    seed = blake3(bytes(8) + number.to_bytes(8, "little"))
    return NodeKeys(folder, Ed25519PrivateKey.from_private_bytes(seed), OWNER, ())


def bound(keys: NodeKeys) -> tuple[Statement, ...]:
    keys.ensure_bound(DOMAIN)
    return keys.stated(DOMAIN)


def known(node: SimulatedNode, keys: NodeKeys) -> Bound | None:
    return node.node._bindings.of(keys.identity.public_key)


def test_late_comers_and_restarted_nodes_know_every_account(tmp_path: Path) -> None:
    keys = [keys_of(tmp_path, number) for number in range(3)]
    own = [bound(k) for k in keys]

    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=4, statements=own[0])
        second = swarm.add(rounds=4, statements=own[1])
        await swarm.clock.sleep_until(swarm.clock.now() + 20)
        swarm.add(rounds=2, statements=own[2])
        await swarm.kill(second)
        swarm.add(rounds=2, key=1, statements=own[1])
        await swarm.finish()
        for node in swarm.nodes:
            if node is not second:
                for k, statements in zip(keys, own, strict=True):
                    assert known(node, k) == Bound(statements[0], 0), node.node.identity.peer_id

    simulate(script, manifest=MANIFEST)


def test_a_revocation_reaches_everybody(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, 0)
    bound(keys)
    release = keys.draft_release(DOMAIN, for_ever=True)
    keys.add(release.signed_by_account(OWNER.sign(release.digest)))

    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=2, statements=keys.stated(DOMAIN))
        other = swarm.add(rounds=2)
        await swarm.finish()
        held = known(other, keys)
        assert held is not None
        assert held.revoked
        told = [data for event, data in other.events if event == "binding"]
        assert [event["state"] for event in told][-1] == "revoked"

    simulate(script, manifest=MANIFEST)


def test_statements_of_a_stranger_about_others_change_nothing(tmp_path: Path) -> None:
    """A hostile peer sends a forged binding, one for another swarm, and rubbish."""
    keys, thief = keys_of(tmp_path, 0), Identity.from_seed(b"\x66" * 32)
    (true,) = bound(keys)
    forged = msgspec.structs.replace(true, account=Account(b"\2" * 32).address, nonce=7)
    elsewhere = NodeKeys(tmp_path, keys.peer_key, Account(b"\3" * 32), ())
    elsewhere.ensure_bound(Domain(1, b"c" * 20))

    async def script(swarm: SimulatedSwarm) -> None:
        port = swarm.network.join(thief.peer_id)
        swarm.add(rounds=2, statements=(true,))
        other = swarm.add(rounds=2)
        await swarm.clock.sleep_until(swarm.clock.now() + 3)
        bodies = (
            msgspec.msgpack.encode([forged]),
            msgspec.msgpack.encode(elsewhere.statements),
            msgspec.msgpack.encode([true] * 5_000),
            b"\xc1 rubbish",
        )
        for sequence, body in enumerate(bodies):
            port.announce(
                seal(
                    thief,
                    swarm=MANIFEST.swarm_id,
                    kind=BINDING,
                    round=0,
                    lottery_root=bytes(32),
                    stage=0,
                    slots=[],
                    sequence=sequence,
                    created_at_ms=0,
                    base=bytes(32),
                    adapter=bytes(32),
                    persona="",
                    body=body,
                )
            )
        await swarm.finish()
        assert known(other, keys) == Bound(true, 0)
        assert other.error is None

    simulate(script, manifest=MANIFEST)
