"""rlswarm and the other libp2p implementations on one machine, over real sockets."""

import base64
import os
import time
import warnings
from collections.abc import Iterator

import pytest

import peers
from rlswarm import _core

pytestmark = pytest.mark.interop

SWARM = b"i" * 32
NAME = f"/rlswarm/{SWARM.hex()}"
RECORDS = f"{NAME}/1/records"
VERSION = f"{NAME}/1"
KAD = f"{NAME}/kad/1.0.0"
TEST = "/rlswarm/test/1/large"
ZERO = bytes(32)
STATUS = 9
OTHERS = ["go", "js", "py"]
KIB = 1 << 10


def need(name: str) -> None:
    if why := peers.missing(name):
        warnings.warn(f"interoperability is not tested: {why}", stacklevel=2)
        pytest.skip(why)


def endpoint(seed: int, *addresses: str) -> _core.Endpoint:
    return _core.Endpoint(
        _core.Identity.from_seed(bytes([seed]) * 32),
        SWARM,
        genesis_ms=int(time.time() * 1000) - 1000,
        round_ms=600_000,
        peers=addresses,
    )


@pytest.fixture
def ours() -> Iterator[_core.Endpoint]:
    endpoint_ = endpoint(1)
    yield endpoint_
    endpoint_.close()


def seal(seed: int, sequence: int, body: bytes) -> _core.Record:
    return _core.seal(
        _core.Identity.from_seed(bytes([seed]) * 32),
        swarm=SWARM,
        kind=STATUS,
        round=0,
        lottery_root=ZERO,
        stage=0,
        slots=[],
        sequence=sequence,
        created_at_ms=int(time.time() * 1000),
        base=ZERO,
        adapter=ZERO,
        persona="",
        body=body,
    )


def announcement(record: _core.Record) -> bytes:
    """A gossip message as docs/reference/interop.md lays it out."""
    encoded = record.header.encoded
    return b"\0" + len(encoded).to_bytes(2, "little") + encoded + record.stored


def message_id(topic: str, data: bytes) -> str:
    name = topic.encode()
    return _core.blake3(len(name).to_bytes(8, "little") + name + data)[:20].hex()


def bodies(endpoint: _core.Endpoint) -> Iterator[bytes]:
    """Each body as it arrives."""
    deadline = time.monotonic() + peers.DEADLINE
    while time.monotonic() < deadline:
        for event in endpoint.drain():
            if event.kind == "body":
                yield event.body
        time.sleep(0.01)
    raise AssertionError("timed out: a body")


def meet(ours: _core.Endpoint, peer: peers.Peer, dialler: str) -> None:
    if dialler == "we":
        ours.dial(peer.address)
    else:
        peer.tell("dial", address=ours.addresses()[0])
    peers.until(lambda: peer.peer_id in ours.peers(), "the peer to join")
    agent = peer.wait("identified", peer=ours.peer_id)["agent"]
    assert agent == f"rlswarm/{_core.__version__}"
    peers.until(
        lambda: peer.ask("subscribers", "subscribers", topic=RECORDS)["count"] == 1,
        "our subscription",
    )


@pytest.mark.parametrize("dialler", ["we", "they"])
@pytest.mark.parametrize("name", OTHERS)
def test_records_travel_both_ways_under_one_name(
    name: str, dialler: str, ours: _core.Endpoint
) -> None:
    need(name)
    with peers.running(name, [RECORDS], "--version", VERSION) as peer:
        meet(ours, peer, dialler)
        for sequence, size in enumerate([600, 15 * KIB]):
            record = seal(1, sequence, os.urandom(size))
            ours.announce(record)
            sent = announcement(record)
            got = peer.wait("message", data=base64.b64encode(sent).decode())
            assert got["id"] == message_id(RECORDS, sent)
            theirs = os.urandom(size)
            peer.tell("publish", topic=RECORDS, data=announcement(seal(2, sequence, theirs)))
            assert next(bodies(ours)) == theirs
        assert ours.statistics()["rejected"] == 0


@pytest.mark.parametrize("name", OTHERS)
def test_a_peer_passes_records_on_between_others(name: str, ours: _core.Endpoint) -> None:
    """Two of us that never met, with another implementation in the middle."""
    need(name)
    with peers.running(name, [RECORDS], "--version", VERSION) as peer:
        meet(ours, peer, "we")
        far = endpoint(3)
        try:
            far.dial(peer.address)
            peers.until(
                lambda: peer.ask("subscribers", "subscribers", topic=RECORDS)["count"] == 2,
                "both subscriptions",
            )
            # Before the mesh is built a message goes nowhere further.
            body = b""
            deadline = time.monotonic() + peers.DEADLINE
            sequence = 0
            while not body and time.monotonic() < deadline:
                sequence += 1
                ours.announce(seal(1, sequence, b"passed on"))
                time.sleep(0.5)
                body = next((e.body for e in far.drain() if e.kind == "body"), b"")
            assert body == b"passed on"
        finally:
            far.close()


@pytest.mark.parametrize("size", [60 * KIB, 900_000])
@pytest.mark.parametrize("name", OTHERS)
def test_large_messages_where_the_limit_is_raised(name: str, size: int) -> None:
    """Our gossip settings with a limit of 1 MiB; a swarm's own is 18 KiB."""
    need("rust")
    need(name)
    with peers.running("rust", [TEST]) as rust, peers.running(name, [TEST]) as peer:
        rust.tell("dial", address=peer.address)
        for one in (rust, peer):
            peers.until(
                lambda one=one: one.ask("subscribers", "subscribers", topic=TEST)["count"] == 1,
                "the subscription",
            )
        for sender, receiver in ((rust, peer), (peer, rust)):
            data = os.urandom(size)
            sender.tell("publish", topic=TEST, data=data)
            got = receiver.wait("message", data=base64.b64encode(data).decode())
            assert got["id"] == message_id(TEST, data)


@pytest.mark.parametrize("name", OTHERS)
def test_a_swarm_refuses_large_messages_and_goes_on(name: str, ours: _core.Endpoint) -> None:
    need(name)
    with peers.running(name, [RECORDS], "--version", VERSION) as peer:
        meet(ours, peer, "we")
        peer.tell("publish", topic=RECORDS, data=os.urandom(60 * KIB))
        peers.until(lambda: ours.statistics()["rejected"] == 1, "the refusal")
        peer.tell("publish", topic=RECORDS, data=announcement(seal(2, 1, b"small")))
        assert next(bodies(ours)) == b"small"


# py-libp2p's cache names messages by author and number, whatever function it is given.
@pytest.mark.parametrize("name", ["go", "js"])
def test_they_answer_for_a_message_by_the_name_we_give_it(name: str, ours: _core.Endpoint) -> None:
    """A third peer asks for a record by the id that we computed, as gossip's repair does."""
    need("rust")
    need(name)
    with (
        peers.running(name, [RECORDS], "--version", VERSION) as peer,
        peers.running("rust", [], "--accept", "/meshsub/1.1.0") as third,
    ):
        meet(ours, peer, "we")
        record = seal(1, 1, b"asked for by name")
        ours.announce(record)
        sent = announcement(record)
        peer.wait("message", data=base64.b64encode(sent).decode())
        third.tell("dial", address=peer.address)
        theirs = third.wait("incoming", peer=peer.peer_id)["stream"]
        third.tell("open", stream=1, peer=peer.peer_id, protocol="/meshsub/1.1.0")
        third.wait("opened", stream=1)
        # RPC { control: ControlMessage { iwant: [ControlIWant { messageIDs: [id] }] } }
        identifier = bytes.fromhex(message_id(RECORDS, sent))
        iwant = field(2, field(1, identifier))
        third.tell("write", stream=1, data=framed(field(3, iwant)))
        answered = b""
        deadline = time.monotonic() + peers.DEADLINE
        while sent not in answered:
            assert time.monotonic() < deadline, f"{name} does not know the message by our name"
            answered += base64.b64decode(third.ask("read", "data", stream=theirs, most=1)["data"])


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def framed(rpc: bytes) -> bytes:
    return varint(len(rpc)) + rpc


def test_js_kademlia_finds_us_by_our_protocol(ours: _core.Endpoint) -> None:
    need("js")
    far = endpoint(3, ours.addresses()[0])
    try:
        peers.until(lambda: far.peer_id in ours.peers(), "the far node to join")
        with peers.running("js", [RECORDS], "--version", VERSION, "--kad", KAD) as peer:
            meet(ours, peer, "they")
            found = peer.ask("find", "found", peer=far.peer_id)
            assert any(far.addresses()[0].startswith(one) for one in found["addresses"])
    finally:
        far.close()
