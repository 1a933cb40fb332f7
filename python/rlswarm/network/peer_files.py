"""What a node remembers of its peers between runs: where they were met, and whom it blocks."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

MOST_PEERS = 100
MOST_ADDRESSES = 8
MOST_BYTES = 1 << 20
"""A longer file is not one of ours."""

MOST_BLOCKED = 10_000


class MetPeer(msgspec.Struct, frozen=True):
    """One line of the cache."""

    addresses: tuple[str, ...]
    seen: int
    """When it was last connected, Unix milliseconds."""


class _Cache(msgspec.Struct, frozen=True):
    peers: tuple[MetPeer, ...] = ()


_DECODER = msgspec.json.Decoder(_Cache)


def load_met(file: Path) -> tuple[str, ...]:
    """Addresses of peers met before, those met last first. Nothing from a file that is absent,
    damaged or too long: the cache is a convenience, never a reason to fail."""
    try:
        if file.stat().st_size > MOST_BYTES:
            return ()
        peers = _DECODER.decode(file.read_bytes()).peers
    except (OSError, msgspec.MsgspecError):
        return ()
    latest = sorted(peers, key=lambda peer: -peer.seen)[:MOST_PEERS]
    return tuple(address for peer in latest for address in peer.addresses[:MOST_ADDRESSES])


def save_met(file: Path, met: Iterable[tuple[list[str], int]]) -> None:
    """Write the cache so that a crash leaves the old or the new one. Raises OSError."""
    peers = tuple(MetPeer(tuple(addresses[:MOST_ADDRESSES]), seen) for addresses, seen in met)
    write_whole(file, msgspec.json.encode(_Cache(peers[:MOST_PEERS])))


def load_blocked(file: Path) -> tuple[str, ...]:
    """PeerIds that the owner blocked: one a line, # begins a comment. Raises OSError."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))[:MOST_BLOCKED]


def save_blocked(file: Path, blocked: Iterable[str]) -> None:
    """Write the list, whole. Raises OSError."""
    write_whole(file, "".join(f"{peer}\n" for peer in blocked).encode())


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file in one step. Raises OSError."""
    part = file.with_name(file.name + ".part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
