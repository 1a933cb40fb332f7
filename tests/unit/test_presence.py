"""Peer exchange: what a node tells of itself, and what it believes of others."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rlswarm import _core
from rlswarm.node.presence import MOST_ADDRESSES, MOST_LETTERS, Presence, Status, worth_telling


class World:
    """Stands in for the author and the transport."""

    def __init__(self) -> None:
        self.here = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1"]
        self.told: list[Status] = []
        self.learnt: list[tuple[str, list[str]]] = []
        self.works = True

    def addresses(self) -> list[str]:
        return list(self.here)

    def reachability(self) -> tuple[str, str]:
        return "unknown", ""

    def learn(self, peer_id: str, addresses: list[str]) -> None:
        self.learnt.append((peer_id, addresses))

    def seal(self, kind: int, number: int, body: bytes) -> bytes:
        assert kind == 9
        return body

    def announce(self, record: bytes, body: bytes, what: str) -> bool:
        if self.works:
            self.told.append(msgspec.msgpack.decode(body, type=Status))
        return self.works


def presence(world: World) -> Presence:
    stand_in: Any = world
    return Presence(stand_in, stand_in)


def test_told_once_until_something_changes() -> None:
    world = World()
    node = presence(world)
    node.tell(0)
    node.tell(1)
    assert [status.addresses for status in world.told] == [("/ip4/192.0.2.1/tcp/1",)]
    node.peer_joined()
    node.tell(2)
    world.here.append("/ip4/192.0.2.9/tcp/1")
    node.tell(3)
    assert len(world.told) == 3
    world.works = False
    world.here.pop()
    node.tell(4)
    world.works = True
    node.tell(5)
    assert len(world.told) == 4


def test_addresses_worth_telling() -> None:
    loopback = "/ip4/127.0.0.1/tcp/1"
    relayed = "/ip4/192.0.2.1/tcp/1/p2p/R/p2p-circuit/p2p/M"
    assert worth_telling([loopback]) == (loopback,)
    assert worth_telling([loopback, "/ip6/fe80::1/tcp/1"]) == (loopback,)
    assert worth_telling([loopback, "/ip4/10.0.0.1/tcp/1", relayed])[0] == relayed
    assert len(worth_telling([f"/ip4/192.0.2.{n}/tcp/1" for n in range(99)])) == MOST_ADDRESSES


HEADER: Any = _core.seal(
    _core.Identity.from_seed(bytes(32)),
    swarm=bytes(32),
    kind=9,
    round=0,
    lottery_root=bytes(32),
    stage=0,
    slots=[],
    sequence=0,
    created_at_ms=0,
    base=bytes(32),
    adapter=bytes(32),
    persona="",
    body=b"",
).header


def test_what_others_say_is_bounded() -> None:
    world = World()
    long = "/dns4/" + "x" * MOST_LETTERS
    body = msgspec.msgpack.encode(Status((long, *(f"/a/{n}" for n in range(99)))))
    presence(world).heard(HEADER, body)
    [(peer, addresses)] = world.learnt
    assert peer == HEADER.peer_id
    assert long not in addresses
    assert len(addresses) < MOST_ADDRESSES
    later = msgspec.msgpack.encode({"addresses": ["/a"], "something_new": 1})
    presence(world).heard(HEADER, later)
    assert world.learnt[-1][1] == ["/a"]


@given(st.binary(max_size=100))
def test_junk_teaches_nothing(junk: bytes) -> None:
    world = World()
    presence(world).heard(HEADER, junk)
    for _, addresses in world.learnt:
        assert all(isinstance(address, str) for address in addresses)
