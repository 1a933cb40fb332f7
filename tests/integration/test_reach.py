"""Every way to a peer, over real sockets on loopback."""

import os
import socket
from collections.abc import Callable

import pytest
from endpoints import CHECKPOINT, STATUS, Node, joined, until

from rlswarm import _core

Open = Callable[..., Node]

QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
KEY = "/key/swarm/psk/1.0.0/\n/base16/\n" + "ab" * 32 + "\n"
OTHER_KEY = KEY.replace("ab", "cd")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def exchange(one: Node, two: Node) -> None:
    """A record each way, and a body that is pulled."""
    for author, reader in ((one, two), (two, one)):
        small = author.seal(b"hello", kind=STATUS)
        author.endpoint.announce(small)
        assert reader.wait_body(small) == b"hello"
    body = os.urandom(600_000)
    large = one.seal(body, kind=CHECKPOINT)
    one.endpoint.announce(large)
    two.wait_header(large)
    two.endpoint.fetch(large.header.hash, 40_000)
    assert two.wait_body(large) == body


@pytest.mark.parametrize(
    "listen",
    [
        QUIC,
        pytest.param(
            "/ip6/::1/tcp/0", marks=pytest.mark.skipif(not has_ipv6(), reason="NO IPv6 HERE")
        ),
        pytest.param(
            "/ip6/::1/udp/0/quic-v1",
            marks=pytest.mark.skipif(not has_ipv6(), reason="NO IPv6 HERE"),
        ),
    ],
)
def test_records_travel_over(open_node: Open, listen: str) -> None:
    one = open_node(1, listen=[listen])
    assert one.address.startswith(listen.split("/0")[0])
    two = open_node(2, listen=[listen], peers=[one.address])
    joined(one, two)
    exchange(one, two)
    assert two.endpoint.statistics()["bytes_in"] > 600_000


def test_a_name_is_looked_up(open_node: Open) -> None:
    one = open_node(1)
    named = one.address.replace("/ip4/127.0.0.1/", "/dns4/localhost/")
    two = open_node(2, peers=[named])
    joined(one, two)


def test_all_interfaces_on_both_transports(open_node: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = [
        f"/{ip}/{way}" for ip in ("ip4/0.0.0.0", "ip6/::") for way in ("tcp/{0}", "udp/{0}/quic-v1")
    ]
    one = open_node(1, listen=[text.format(port) for text in both])
    for way in (f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/udp/{port}/quic-v1"):
        assert f"{way}/p2p/{one.peer_id}" in one.endpoint.addresses()
    for listen in (f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/udp/{port}/quic-v1"):
        with pytest.raises(_core.PortInUseError, match="taken"):
            open_node(2, listen=[listen])


def test_private_swarm(open_node: Open) -> None:
    one = open_node(1, swarm_key=KEY)
    two = open_node(2, swarm_key=KEY, peers=[one.address])
    joined(one, two)
    exchange(one, two)
    for stranger in (
        open_node(3, swarm_key=OTHER_KEY, peers=[one.address]),
        open_node(4, peers=[one.address]),
    ):
        detail = stranger.wait("unreachable").detail
        assert one.peer_id in detail
        assert stranger.endpoint.peers() == []
    assert (
        "swarm is private"
        in open_node(5, swarm_key=OTHER_KEY, peers=[one.address]).wait("unreachable").detail
    )


def test_private_swarm_says_what_it_can_not_do(open_node: Open) -> None:
    with pytest.raises(_core.AddressError, match="TCP only"):
        open_node(1, swarm_key=KEY, listen=[QUIC])
    with pytest.raises(_core.AddressError, match="TCP only"):
        open_node(1, swarm_key=KEY, peers=["/ip4/127.0.0.1/udp/9/quic-v1"])
    for text in ("", "secret", KEY.replace("base16", "base64"), KEY.replace("ab", "zz")):
        with pytest.raises(_core.KeyFileError, match="three lines wanted"):
            open_node(1, swarm_key=text)


def test_known_peers_bring_a_node_back_without_bootstrap(open_node: Open) -> None:
    bootstrap = open_node(1)
    two = open_node(2, peers=[bootstrap.address])
    three = open_node(3, peers=[bootstrap.address])
    joined(bootstrap, two, three)
    until(lambda: len(three.endpoint.met()) == 2, "both to be noted")
    known = [address for addresses, _ in three.endpoint.met() for address in addresses]
    assert any(two.peer_id in address for address in known)
    gone = bootstrap.address
    bootstrap.endpoint.close()
    three.endpoint.close()
    again = open_node(3, peers=[gone], known=["nonsense", "/ip4/127.0.0.1/tcp/9", *known])
    assert gone in again.wait("unreachable").detail
    joined(two, again)
    exchange(two, again)


def test_a_lone_node_keeps_trying_its_old_peers(open_node: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    listen = f"/ip4/127.0.0.1/tcp/{port}"
    friend = _core.Identity.from_seed(bytes([2]) * 32).peer_id
    alone = open_node(1, known=[f"{listen}/p2p/{friend}"])
    record = alone.seal(b"made alone", kind=STATUS)
    alone.endpoint.announce(record)
    until(lambda: alone.endpoint.statistics()["bytes_out"] == 0, "nobody to be there")
    two = open_node(2, listen=[listen])
    joined(alone, two)
    assert two.wait_body(record) == b"made alone"


def test_fetch_dials_an_author_that_is_not_connected(open_node: Open) -> None:
    author = open_node(1)
    middle = open_node(2, peers=[author.address])
    joined(author, middle)
    body = os.urandom(100_000)
    record = author.seal(body, kind=CHECKPOINT)
    author.endpoint.announce(record)
    middle.wait_header(record)
    author.endpoint.block(middle.peer_id)
    until(lambda: author.endpoint.peers() == [], "the author to hang up")
    reader = open_node(3, peers=[middle.address])
    joined(middle, reader)
    reader.wait_header(record)
    reader.endpoint.fetch(record.header.hash, 40_000)
    reader.endpoint.learn(author.peer_id, [author.address, "nonsense", middle.address])
    assert reader.wait_body(record) == body


def test_blocked_peer_stays_out(open_node: Open) -> None:
    one = open_node(1)
    two = open_node(2, peers=[one.address])
    joined(one, two)
    one.endpoint.block(two.peer_id)
    until(lambda: one.endpoint.peers() == [], "the peer to be gone")
    blocked = one.endpoint.blocked()
    assert blocked == [two.peer_id]
    one.endpoint.close()
    again = open_node(1, blocked=blocked, peers=[two.address])
    again.wait("unreachable")
    assert again.endpoint.peers() == []
    again.endpoint.unblock(two.peer_id)
    joined(again, two)
    for call in (again.endpoint.block, again.endpoint.unblock):
        with pytest.raises(_core.AddressError, match="not a PeerId"):
            call("nobody")


def test_standing_silences_a_peer(open_node: Open) -> None:
    one = open_node(1)
    two = open_node(2, peers=[one.address])
    joined(one, two)
    exchange(one, two)
    one.endpoint.set_standing(two.peer_id, -9e9)
    three = open_node(3, peers=[one.address, two.address])
    joined(one, two, three)
    # What it says is not heard by the one that silenced it, though others pass on its records.
    record = two.seal(b"heard by way of another", kind=STATUS)
    two.endpoint.announce(record)
    three.wait_header(record)
    assert one.wait_header(record).peer == three.peer_id
    one.endpoint.set_standing(two.peer_id, float("nan"))
    heard = two.seal(b"heard again", kind=STATUS)
    two.endpoint.announce(heard)
    one.wait_header(heard)


def test_through_a_relay_and_what_it_says(open_node: Open) -> None:
    relay = open_node(1, relay=True)
    hidden = open_node(2, peers=[relay.address])
    event = hidden.wait("reachability", lambda e: "relay" in e.detail)
    assert relay.peer_id in event.detail
    assert hidden.endpoint.reachability()[0] == "relayed"
    through = next(a for a in hidden.endpoint.addresses() if "p2p-circuit" in a)
    other = open_node(3, peers=[through], listen=[])
    joined(hidden, other)
    assert relay.endpoint.reachability()[0] in ("local", "public")


def test_public_address_is_told_to_others(open_node: Open) -> None:
    public = "/dns4/swarm.example.org/tcp/4001"
    one = open_node(1, public_addresses=[public])
    assert one.endpoint.reachability()[0] == "public"
    assert f"{public}/p2p/{one.peer_id}" in one.endpoint.addresses()
    two = open_node(2, peers=[one.address])
    joined(one, two)
    until(
        lambda: any(public in a for known, _ in two.endpoint.met() for a in known),
        "the address to be learnt",
    )


def test_loopback_says_so(open_node: Open) -> None:
    one = open_node(1)
    until(lambda: one.endpoint.reachability()[0] == "local", "a verdict")
    assert "loopback" in one.endpoint.reachability()[1]
