"""The seam between a node and whatever carries its records.

`Libp2pTransport` is the real thing; `MemoryTransport` carries the same signed records between
nodes of one process on a virtual clock. A node can't tell them apart.
"""

from typing import Literal, Protocol

import msgspec

from rlswarm._core import Header, Record

ROLLOUTS = 1
"""The record kind whose body stays with its author until it is revealed."""

EVALUATION = 2
"""The record kind of held-out results."""

INLINE = 16 << 10
"""Stored bytes up to which a body is gossiped with its header, where it isn't held back."""

BINDING = 8
"""The record kind of statements about peer keys and accounts."""

STATUS = 9
"""The record kind of where a node is found."""


class Arrival(msgspec.Struct, frozen=True):
    """Something that came from the network, already verified."""

    kind: Literal[
        "header",
        "body",
        "fetch_failed",
        "peer_joined",
        "peer_left",
        "other_swarm",
        "unreachable",
        "reachability",
    ]
    at: float
    """Unix seconds by the local clock."""
    peer: str = ""
    """Who passed it on, or whom it is about."""
    header: Header | None = None
    body: bytes = b""
    """The raw body of ``body``."""
    detail: str = ""
    """Address or cause, for people."""


class Transport(Protocol):
    """Signed records in, verified records out. All methods are called on one event loop."""

    @property
    def peer_id(self) -> str: ...

    def addresses(self) -> list[str]:
        """Multiaddresses that other nodes can be given (empty in memory)."""
        ...

    def peers(self) -> list[str]:
        """PeerIds of the peers of this swarm that are connected now."""
        ...

    def reachability(self) -> tuple[str, str]:
        """Whether others can reach this node, in one word and in a sentence that says why."""
        ...

    def learn(self, peer_id: str, addresses: list[str]) -> None:
        """Note where a peer says that it is found, in a record that it signed."""
        ...

    def set_standing(self, peer_id: str, standing: float) -> None:
        """Let a peer's standing count in gossip, in [-3000, 100]; 0 is neither good nor bad."""
        ...

    def announce(self, record: Record) -> None:
        """Gossip an own record; a `rollouts` body stays here until `reveal`."""
        ...

    def reveal(self, record_hash: bytes) -> None:
        """Open the body of an own record to everyone."""
        ...

    def fetch(self, header: Header, timeout: float) -> None:
        """Ask for a body (seconds); it comes as an arrival ``body`` or ``fetch_failed``."""
        ...

    async def receive(self, max_items: int = 1024) -> list[Arrival]:
        """Wait for at least one arrival."""
        ...

    async def close(self) -> None: ...
