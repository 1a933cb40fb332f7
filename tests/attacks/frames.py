"""What hostile peers write: gossipsub and Kademlia frames by hand, and the swarm's own messages."""

import time

from rlswarm import _core

SWARM = b"a" * 32
NAME = f"/rlswarm/{SWARM.hex()}"
RECORDS = f"{NAME}/1/records"
REVEALS = f"{NAME}/1/reveals"
VERSION = f"{NAME}/1"
KAD = f"{NAME}/kad/1.0.0"
PULL = f"{NAME}/pull/1"
MESHSUB = "/meshsub/1.1.0"
ZERO = bytes(32)
CHECKPOINT, STATUS = 3, 9
#: The longest announcement, and how much longer a whole frame may be (rust/net/src/behaviour.rs).
MAX_GOSSIP = 3 + 2048 + (16 << 10)
MAX_FRAME = MAX_GOSSIP + (64 << 10)
#: The byte before a chunk of a body in a response.
CHUNK = b"\x01"


def identity(seed: int) -> _core.Identity:
    return _core.Identity.from_seed(seed.to_bytes(32, "big"))


def author(seed: int) -> str:
    return identity(seed).public_key.hex()


def seal(
    seed: int,
    sequence: int,
    body: bytes,
    *,
    kind: int = STATUS,
    swarm: bytes = SWARM,
    late_ms: int = 0,
    persona: str = "",
) -> _core.Record:
    return _core.seal(
        identity(seed),
        swarm=swarm,
        kind=kind,
        round=0,
        lottery_root=ZERO,
        stage=0,
        slots=[],
        sequence=sequence,
        created_at_ms=int(time.time() * 1000) + late_ms,
        base=ZERO,
        adapter=ZERO,
        persona=persona,
        body=body,
    )


def announcement(record: _core.Record, *, attempt: int = 0, inline: bool = True) -> bytes:
    encoded = record.header.encoded
    head = bytes([attempt]) + len(encoded).to_bytes(2, "little") + encoded
    return head + record.stored if inline else head


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def framed(message: bytes) -> bytes:
    return varint(len(message)) + message


def publish(*messages: bytes, topic: str = RECORDS) -> bytes:
    """One frame: RPC { publish: [Message { data, topic }] }."""
    name = field(4, topic.encode())
    return framed(b"".join(field(2, field(2, data) + name) for data in messages))


def control(body: bytes) -> bytes:
    return framed(field(3, body))


def ihave(*ids: bytes) -> bytes:
    body = field(1, RECORDS.encode()) + b"".join(field(2, one) for one in ids)
    return control(field(1, body))


def iwant(*ids: bytes) -> bytes:
    return control(field(2, b"".join(field(1, one) for one in ids)))


def subscribe(*topics: str) -> bytes:
    return framed(b"".join(field(1, b"\x08\x01" + field(2, name.encode())) for name in topics))


def graft(topic: str = RECORDS) -> bytes:
    return control(field(3, field(1, topic.encode())))


def message_id(data: bytes, topic: str = RECORDS) -> bytes:
    name = topic.encode()
    return _core.blake3(len(name).to_bytes(8, "little") + name + data)[:20]


def kad_peers(*peers: tuple[bytes, bytes]) -> bytes:
    """An answer to FIND_NODE that names peers: pairs of PeerId bytes and multiaddress bytes."""
    closer = b"".join(field(8, field(1, name) + field(2, address)) for name, address in peers)
    return framed(b"\x08\x04" + closer)


def kad_store(key: bytes, value: bytes) -> bytes:
    """PUT_VALUE."""
    return framed(b"\x08\x00" + field(2, key) + field(3, field(1, key) + field(2, value)))
