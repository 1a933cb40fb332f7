"""The endpoint over real sockets on loopback."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rlswarm import _core

SWARM = b"s" * 32
ZERO = bytes(32)
DEADLINE = 45.0
ROLLOUTS, STATUS = 1, 9
NO_NAME = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


class Node:
    """An endpoint that keeps every event it drained."""

    def __init__(self, seed: int, **options: object) -> None:
        self.identity = _core.Identity.from_seed(bytes([seed]) * 32)
        self.genesis = int(time.time() * 1000) - 1000
        settings: dict[str, object] = {"genesis_ms": self.genesis, "round_ms": 600_000}
        swarm = options.pop("swarm", SWARM)
        self.endpoint = _core.Endpoint(self.identity, swarm, **{**settings, **options})  # type: ignore[arg-type]
        self.peer_id = self.endpoint.peer_id
        self.events: list[_core.Event] = []
        self.sequence = 0

    @property
    def address(self) -> str:
        return self.endpoint.addresses()[0]

    def seal(self, body: bytes, kind: int = ROLLOUTS, **options: object) -> _core.Record:
        self.sequence += 1
        fields: dict[str, object] = {
            "swarm": SWARM,
            "kind": kind,
            "round": 0,
            "lottery_root": ZERO,
            "stage": 0,
            "slots": [0],
            "sequence": self.sequence,
            "created_at_ms": int(time.time() * 1000),
            "base": ZERO,
            "adapter": ZERO,
            "persona": "",
        }
        return _core.seal(self.identity, body=body, **{**fields, **options})  # type: ignore[arg-type]

    def find(
        self, kind: str, match: Callable[[_core.Event], bool] = lambda _: True
    ) -> _core.Event | None:
        while batch := self.endpoint.drain():
            self.events += batch
        return next((e for e in self.events if e.kind == kind and match(e)), None)

    def wait(self, kind: str, match: Callable[[_core.Event], bool] = lambda _: True) -> _core.Event:
        until(lambda: self.find(kind, match) is not None, f"{kind} at {self.peer_id}")
        event = self.find(kind, match)
        assert event is not None
        return event

    def wait_header(self, record: _core.Record) -> _core.Event:
        return self.wait("header", about(record))

    def wait_body(self, record: _core.Record) -> bytes:
        return self.wait("body", about(record)).body


def about(record: _core.Record) -> Callable[[_core.Event], bool]:
    return lambda event: event.header is not None and event.header.hash == record.header.hash


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.01)


@pytest.fixture
def start() -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(seed: int, **options: object) -> Node:
        nodes.append(Node(seed, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.endpoint.close()


@pytest.fixture
def pair(start: Callable[..., Node]) -> tuple[Node, Node]:
    one = start(1)
    two = start(2, peers=[one.address])
    joined(one, two)
    return one, two


def joined(*nodes: Node) -> None:
    for node in nodes:
        for other in nodes:
            if other is not node:
                until(lambda a=node, b=other: b.peer_id in a.endpoint.peers(), "all to join")


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


def test_third_node_is_found_and_fetchers_serve(start: Callable[..., Node]) -> None:
    one = start(1)
    two = start(2, peers=[one.address])
    three = start(3, peers=[one.address])
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


def test_late_node_learns_of_what_was_announced(start: Callable[..., Node]) -> None:
    one = start(1)
    alone = one.seal(b"to nobody yet", kind=STATUS)
    sealed = one.seal(b"secret")
    revealed = one.seal(b"told")
    for record in (alone, sealed, revealed):
        one.endpoint.announce(record)
    one.endpoint.reveal(revealed.header.hash)
    two = start(2, peers=[one.address])
    assert two.wait_body(alone) == b"to nobody yet"
    assert two.wait_body(revealed) == b"told"
    two.wait_header(sealed)
    assert two.find("body", about(sealed)) is None


def test_unreachable_peer_is_told_once_and_joined_when_it_appears(
    start: Callable[..., Node],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}"
    one = start(1, peers=[address])
    assert address in one.wait("unreachable").detail
    two = start(2, listen=[address])
    joined(one, two)
    assert len([e for e in one.events if e.kind == "unreachable"]) == 1
    two.endpoint.close()
    until(lambda: one.endpoint.peers() == [], "the peer to leave")
    again = start(2, listen=[address])
    joined(one, again)


def test_other_swarm_is_told_and_left(start: Callable[..., Node]) -> None:
    one = start(1)
    two = start(2, swarm=b"o" * 32, peers=[one.address])
    event = two.wait("other_swarm")
    assert event.peer == one.peer_id
    assert SWARM.hex() in event.detail
    assert one.wait("other_swarm").peer == two.peer_id
    assert one.endpoint.peers() == two.endpoint.peers() == []


def test_wake_is_called_for_what_arrives(start: Callable[..., Node]) -> None:
    woken = threading.Event()
    one = start(1)
    two = start(2, peers=[one.address], wake=woken.set)
    for kind in ("peer_joined", "header"):
        assert woken.wait(DEADLINE)
        woken.clear()
        if kind == "peer_joined":
            two.wait(kind)
            one.endpoint.announce(one.seal(b"x", kind=STATUS))
    two.wait("header")


def test_own_record_that_peers_would_refuse_is_an_error(start: Callable[..., Node]) -> None:
    one = start(1, author_quota=2000)
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


def test_taken_port(start: Callable[..., Node]) -> None:
    one = start(1)
    address = one.address.split("/p2p/")[0]
    with pytest.raises(_core.PortInUseError, match=address):
        start(2, listen=[address])


@pytest.mark.parametrize(
    "text", ["", "nonsense", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/9/quic-v1", "127.0.0.1:80"]
)
def test_bad_address(start: Callable[..., Node], text: str) -> None:
    for options in ({"listen": [text]}, {"peers": [text]}):
        with pytest.raises(_core.AddressError):
            start(1, **options)
    one = start(1)
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
