"""Nodes behind NATs and on one wire, in network namespaces with real routers (nftables).

Two homes and one public relay. What must hold for every pair of NATs: the homes find each other,
records flow both ways, through the relay if need be. Where the NATs keep the source port, a hole is
punched and records flow without the relay.
"""

import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from net import (
    PORT,
    RELAY,
    Host,
    Internet,
    Nat,
    Transport,
    internet,
    refusal,
    until,
    way,
)

WHY_NOT = refusal()
if WHY_NOT:
    warnings.warn(f"NAT TESTS SKIPPED: {WHY_NOT}", stacklevel=1)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"NAT TESTS SKIPPED: {WHY_NOT}")

LARGE = 200_000
"""Bytes of a body that travels only by request, so straight from its author."""


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


def relay(net: Internet, transport: Transport, genesis: int) -> tuple[Host, str]:
    host = net.public().start(transport, genesis, relay=True)
    return host, f"/ip4/{RELAY}/{way(transport)}/p2p/{host.peer_id}"


def exchange(one: Host, two: Host) -> None:
    """A large body each way. Nobody else holds it, so it comes from its author."""
    for author, reader in ((one, two), (two, one)):
        record = author.ask("announce", LARGE)
        until(lambda r=reader, n=record: r.ask("has_header", n), "the header")
        reader.ask("fetch", record)
        until(lambda r=reader, n=record: r.ask("has_body", n), "the body")


def linked(one: Host, two: Host) -> bool:
    return two.peer_id in one.ask("links") and one.peer_id in two.ask("links")


def direct(one: Host, two: Host) -> bool:
    return one.ask("links").get(two.peer_id) is False and (
        two.ask("links").get(one.peer_id) is False
    )


@pytest.mark.parametrize("transport", ["tcp", "quic"])
@pytest.mark.parametrize(
    ("nats", "punched"),
    [(("cone", "cone"), True), (("cone", "symmetric"), False), (("symmetric", "symmetric"), False)],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_two_homes_and_a_relay(
    net: Internet, transport: Transport, nats: tuple[Nat, Nat], punched: bool
) -> None:
    genesis = int(time.time() * 1000) - 1000
    public, address = relay(net, transport, genesis)
    one, two = (net.home(nat).start(transport, genesis, peers=[address]) for nat in nats)
    until(lambda: linked(one, two), "the homes to find each other")
    exchange(one, two)
    for home in (one, two):
        assert home.ask("reachability")[0] == "relayed", home.ask("reachability")
    if punched:
        until(lambda: direct(one, two), "a hole to be punched")
        public.stop()
        until(lambda: public.peer_id not in one.ask("links"), "the relay to be missed")
        exchange(one, two)
    else:
        assert not direct(one, two)


def test_a_home_with_one_public_peer_takes_part(net: Internet) -> None:
    genesis = int(time.time() * 1000) - 1000
    public = net.public().start("tcp", genesis, public_addresses=[f"/ip4/{RELAY}/tcp/{PORT}"])
    address = f"/ip4/{RELAY}/tcp/{PORT}/p2p/{public.peer_id}"
    home = net.home("symmetric").start("tcp", genesis, peers=[address])
    until(lambda: linked(home, public), "to join")
    exchange(home, public)
    until(lambda: home.ask("reachability")[0] == "private", "the verdict")
    verdict, reason = home.ask("reachability")
    assert "5.5.11.2" in reason, (verdict, reason)


@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_a_forwarded_port_makes_a_home_public(net: Internet, transport: Transport) -> None:
    genesis = int(time.time() * 1000) - 1000
    _, address = relay(net, transport, genesis)
    home = net.home("forwarded").start(transport, genesis, peers=[address])
    until(lambda: home.ask("reachability")[0] == "public", "the verdict")
    outside = f"/ip4/5.5.11.2/{way(transport)}/"
    assert any(told.startswith(outside) for told in home.ask("addresses"))
    other = net.home("symmetric").start(transport, genesis, peers=[address])
    until(lambda: direct(other, home), "a direct connection")
    exchange(home, other)


def test_neighbours_find_each_other(net: Internet) -> None:
    genesis = int(time.time() * 1000) - 1000
    one, two = (host.start("tcp", genesis, mdns=True) for host in net.neighbours())
    until(lambda: linked(one, two), "neighbours to meet")
    exchange(one, two)


def test_one_address_can_not_keep_others_out(net: Internet) -> None:
    genesis = int(time.time() * 1000) - 1000
    public, address = relay(net, "tcp", genesis)
    net.home("cone").flood(RELAY, PORT, 300)
    time.sleep(1)
    homes = [net.home("cone").start("tcp", genesis, peers=[address]) for _ in range(2)]
    for home in homes:
        until(lambda h=home: linked(h, public), "to be let in beside the flood", 10)
    exchange(homes[0], public)
