"""The endpoint over real sockets on loopback."""

import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from endpoints import DEADLINE, STATUS, SWARM, ZERO, Node, about, joined, until

from rlswarm import _core

NO_NAME = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_small_status_travels_in_one_message(pair: tuple[Node, Node]) -> None:
    one, two = pair
    record = one.seal(b"ready", kind=STATUS, persona="fox")
    one.endpoint.announce(record)
    event = two.wait_header(record)
    assert event.header == record.header
    assert event.peer == one.peer_id
    assert event.header is not None
    assert event.header.persona == "fox"
    assert two.wait_body(record) == b"ready"
    joined_event = two.wait("peer_joined")
    assert joined_event.peer == one.peer_id
    assert joined_event.detail == one.address
    # An announcement is told once, however often it is made.
    one.endpoint.announce(record)
    assert one.find("header") is None


def test_rollouts_stay_sealed_until_revealed(pair: tuple[Node, Node]) -> None:
    one, two = pair
    record = one.seal(b"answers" * 100)
    one.endpoint.announce(record)
    two.wait_header(record)
    two.endpoint.fetch(record.header.hash, 1000)
    failed = two.wait("fetch_failed", about(record))
    assert "hasn't revealed" in failed.detail
    assert two.find("body") is None
    one.endpoint.reveal(record.header.hash)
    assert two.wait_body(record) == b"answers" * 100
    before = len([e for e in two.events if e.kind == "body"])
    two.endpoint.fetch(record.header.hash, 1000)
    other = one.seal(b"after", kind=STATUS)
    one.endpoint.announce(other)
    two.wait_body(other)
    assert len([e for e in two.events if e.kind == "body"]) == before + 1


def test_large_body_is_pulled_in_chunks(pair: tuple[Node, Node]) -> None:
    one, two = pair
    body = os.urandom(1_500_000)
    record = one.seal(body)
    one.endpoint.announce(record)
    two.wait_header(record)
    two.endpoint.fetch(record.header.hash, 40_000)
    one.endpoint.reveal(record.header.hash)
    assert two.wait_body(record) == body
    checkpoint = one.seal(body[:300_000], kind=3)
    one.endpoint.announce(checkpoint)
    two.wait_header(checkpoint)
    assert two.find("body", about(checkpoint)) is None
    two.endpoint.fetch(checkpoint.header.hash, 40_000)
    assert two.wait_body(checkpoint) == body[:300_000]
    statistics = two.endpoint.statistics()
    assert statistics["bodies_in"] == 2
    assert statistics["headers_in"] == 2
    assert statistics["bytes_in"] > 1_800_000
    assert statistics["dropped"] == 0


def test_third_node_is_found_and_fetchers_serve(open_node: Callable[..., Node]) -> None:
    one = open_node(1)
    two = open_node(2, peers=[one.address])
    three = open_node(3, peers=[one.address])
    joined(one, two, three)
    body = os.urandom(100_000)
    record = one.seal(body, kind=3)
    one.endpoint.announce(record)
    two.wait_header(record)
    three.wait_header(record)
    two.endpoint.fetch(record.header.hash, 40_000)
    assert two.wait_body(record) == body
    one.endpoint.close()
    until(lambda: one.peer_id not in three.endpoint.peers(), "the author to leave")
    assert three.wait("peer_left").peer == one.peer_id
    three.endpoint.fetch(record.header.hash, 40_000)
    assert three.wait_body(record) == body


def test_late_node_learns_of_what_was_announced(open_node: Callable[..., Node]) -> None:
    one = open_node(1)
    alone = one.seal(b"to nobody yet", kind=STATUS)
    sealed = one.seal(b"secret")
    revealed = one.seal(b"told")
    for record in (alone, sealed, revealed):
        one.endpoint.announce(record)
    one.endpoint.reveal(revealed.header.hash)
    two = open_node(2, peers=[one.address])
    assert two.wait_body(alone) == b"to nobody yet"
    assert two.wait_body(revealed) == b"told"
    two.wait_header(sealed)
    assert two.find("body", about(sealed)) is None


def test_unreachable_peer_is_told_once_and_joined_when_it_appears(
    open_node: Callable[..., Node],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}"
    one = open_node(1, peers=[address])
    assert address in one.wait("unreachable").detail
    two = open_node(2, listen=[address])
    joined(one, two)
    assert len([e for e in one.events if e.kind == "unreachable"]) == 1
    two.endpoint.close()
    until(lambda: one.endpoint.peers() == [], "the peer to leave")
    again = open_node(2, listen=[address])
    joined(one, again)


def test_other_swarm_is_told_and_left(open_node: Callable[..., Node]) -> None:
    one = open_node(1)
    two = open_node(2, swarm=b"o" * 32, peers=[one.address])
    event = two.wait("other_swarm")
    assert event.peer == one.peer_id
    assert SWARM.hex() in event.detail
    assert one.wait("other_swarm").peer == two.peer_id
    assert one.endpoint.peers() == two.endpoint.peers() == []


def test_wake_is_called_for_what_arrives(open_node: Callable[..., Node]) -> None:
    woken = threading.Event()
    one = open_node(1)
    two = open_node(2, peers=[one.address], wake=woken.set)
    for kind in ("peer_joined", "header"):
        assert woken.wait(DEADLINE)
        woken.clear()
        if kind == "peer_joined":
            two.wait(kind)
            one.endpoint.announce(one.seal(b"x", kind=STATUS))
    two.wait("header")


def test_own_record_that_peers_would_refuse_is_an_error(open_node: Callable[..., Node]) -> None:
    one = open_node(1, author_quota=2000)
    foreign = _core.Identity.from_seed(b"f" * 32)
    record = one.seal(b"x")
    wrong = {
        "not of this node": _core.seal(
            foreign,
            swarm=SWARM,
            kind=STATUS,
            round=0,
            lottery_root=ZERO,
            stage=0,
            slots=[],
            sequence=0,
            created_at_ms=one.genesis,
            base=ZERO,
            adapter=ZERO,
            persona="",
            body=b"",
        ),
        "round": one.seal(b"x", round=99),
        "swarm": one.seal(b"x", swarm=b"o" * 32),
        "quota": one.seal(os.urandom(3000)),
        "time": one.seal(b"x", created_at_ms=1),
    }
    for what, bad in wrong.items():
        with pytest.raises(_core.NetworkError):
            one.endpoint.announce(bad)
            pytest.fail(what)
    for call in (
        lambda: one.endpoint.reveal(record.header.hash),
        lambda: one.endpoint.fetch(record.header.hash, 10),
    ):
        with pytest.raises(_core.NetworkError, match="no record of this hash"):
            call()


def test_taken_port(open_node: Callable[..., Node]) -> None:
    one = open_node(1)
    address = one.address.split("/p2p/")[0]
    with pytest.raises(_core.PortInUseError, match=address):
        open_node(2, listen=[address])


@pytest.mark.parametrize(
    "text", ["", "nonsense", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/9", "127.0.0.1:80"]
)
def test_bad_address(open_node: Callable[..., Node], text: str) -> None:
    for options in ({"listen": [text]}, {"peers": [text]}):
        with pytest.raises(_core.AddressError):
            open_node(1, **options)
    one = open_node(1)
    with pytest.raises(_core.AddressError):
        one.endpoint.dial(text)
    one.endpoint.dial(one.address)
    one.endpoint.dial(f"/ip4/127.0.0.1/tcp/9/p2p/{NO_NAME}")


def test_close_is_quick_and_final(pair: tuple[Node, Node]) -> None:
    one, two = pair
    begun = time.monotonic()
    one.endpoint.close()
    assert time.monotonic() - begun < 1.5
    one.endpoint.close()
    for call in (one.endpoint.drain, one.endpoint.peers, one.endpoint.statistics):
        with pytest.raises(_core.NetworkError, match="closed"):
            call()
    assert two.wait("peer_left").peer == one.peer_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_is_refused_in_the_child(pair: tuple[Node, Node]) -> None:
    one, two = pair
    child = os.fork()
    if child == 0:
        try:
            one.endpoint.drain()
        except _core.NetworkError as error:
            del one
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    record = one.seal(b"parent lives on", kind=STATUS)
    one.endpoint.announce(record)
    assert two.wait_body(record) == b"parent lives on"
