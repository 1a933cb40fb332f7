"""The Rust core: records, hashes, Merkle trees and the libp2p endpoint.

All functions are pure except `Identity.generate` and everything on `Endpoint`. All hashes, keys
and ids are raw `bytes`; the length is 32 unless said otherwise.
"""

from collections.abc import Callable, Sequence
from typing import Final, Self, final

__all__ = [
    "AddressError",
    "CoreError",
    "Endpoint",
    "Event",
    "Header",
    "Identity",
    "KeyFileError",
    "Link",
    "NetworkError",
    "NoPeers",
    "PortInUseError",
    "QueueFull",
    "Record",
    "RecordError",
    "TooLarge",
    "__libp2p_version__",
    "__version__",
    "blake3",
    "decode_header",
    "merkle_leaf",
    "merkle_proof",
    "merkle_root",
    "merkle_verify",
    "open_body",
    "peer_id",
    "prf",
    "seal",
    "uniforms",
]

__version__: Final[str]
__libp2p_version__: Final[str]

class CoreError(Exception):
    """Base of every error raised by the Rust core."""

class RecordError(CoreError):
    """A record is malformed, oversized, of another swarm, or its signature is wrong."""

class AddressError(CoreError):
    """Text that is not a usable multiaddress or PeerId."""

class PortInUseError(CoreError):
    """The listen address is taken."""

class KeyFileError(CoreError):
    """Text that is neither an Ed25519 private key in PEM nor, where that is wanted, a swarm key."""

class NetworkError(CoreError):
    """The endpoint can't do what was asked (closed, queue full, body unknown)."""

class QueueFull(NetworkError):  # noqa: N818
    """The network is slower than the caller: try again soon."""

class NoPeers(NetworkError):  # noqa: N818
    """No peer is connected: try again when one has joined."""

class TooLarge(NetworkError):  # noqa: N818
    """A record is larger than the swarm allows, or its author's share of the round is spent."""

@final
class Identity:
    """An Ed25519 key pair (the peer key)."""

    @staticmethod
    def generate() -> Identity: ...
    @staticmethod
    def from_seed(seed: bytes) -> Identity:
        """Key from 32 secret bytes (tests and simulation). Raises ValueError on another length."""
    @staticmethod
    def from_pem(text: str) -> Identity:
        """Read a PKCS#8 PEM private key. Raises KeyFileError."""
    def to_pem(self) -> str: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def peer_id(self) -> str:
        """libp2p PeerId, base58 (starts with 12D3KooW)."""

def peer_id(public_key: bytes) -> str:
    """The PeerId that belongs to a 32-byte Ed25519 public key. Raises ValueError."""

def blake3(data: bytes) -> bytes: ...
def prf(domain: str, parts: Sequence[bytes]) -> bytes:
    """BLAKE3 derive_key(domain) over the parts, each prefixed by its length (u64 LE). 32 bytes."""

def uniforms(key: bytes, sample: int, count: int) -> bytes:
    """`count` numbers in the open interval (0, 1) as little-endian float64.

    Number t is (k + 1/2) / 2**52 with k the top 52 bits of the t-th little-endian u64 of the
    BLAKE3 XOF keyed by `key` over `sample` (u64 LE). A prefix never depends on `count`.
    """

@final
class Header:
    """A verified, immutable record header (design §4)."""

    @property
    def hash(self) -> bytes:
        """The record's name: the digest that its author signed."""
    @property
    def encoded(self) -> bytes:
        """Canonical bytes with the signature, at most 2048."""
    @property
    def swarm(self) -> bytes: ...
    @property
    def kind(self) -> int:
        """1 rollouts, 2 evaluation, 3 checkpoint, 4 seen, 5 ledger, 6 attestation, 7 audit,
        8 binding, 9 status."""
    @property
    def round(self) -> int: ...
    @property
    def lottery_root(self) -> bytes: ...
    @property
    def stage(self) -> int: ...
    @property
    def slots(self) -> list[int]:
        """Task slots in the body, strictly increasing, at most 256, each below 65536."""
    @property
    def author(self) -> bytes:
        """Ed25519 public key."""
    @property
    def peer_id(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def created_at_ms(self) -> int:
        """Unix time in milliseconds, by the author's clock."""
    @property
    def base(self) -> bytes: ...
    @property
    def adapter(self) -> bytes: ...
    @property
    def persona(self) -> str:
        """At most 64 bytes of UTF-8; empty for none."""
    @property
    def body_stored(self) -> int:
        """Bytes of the stored (zstd) body."""
    @property
    def body_raw(self) -> int:
        """Bytes of the body before compression."""
    @property
    def body_hash(self) -> bytes:
        """BLAKE3 of the stored body."""

@final
class Record:
    """A header with its stored (compressed) body."""

    @property
    def header(self) -> Header: ...
    @property
    def stored(self) -> bytes: ...

def seal(
    identity: Identity,
    *,
    swarm: bytes,
    kind: int,
    round: int,
    lottery_root: bytes,
    stage: int,
    slots: Sequence[int],
    sequence: int,
    created_at_ms: int,
    base: bytes,
    adapter: bytes,
    persona: str,
    body: bytes,
) -> Record:
    """Compress (zstd level 1), hash and sign. Raises RecordError on a value out of range."""

def decode_header(encoded: bytes, swarm: bytes) -> Header:
    """Decode and verify one header. Raises RecordError: malformed, not canonical, other swarm,
    bad signature."""

def open_body(header: Header, stored: bytes, max_raw: int) -> bytes:
    """Check length and hash of a stored body and decompress it. Raises RecordError. Never
    allocates more than min(header.body_raw, max_raw)."""

def merkle_leaf(words: bytes) -> bytes:
    """OpenZeppelin standard leaf: keccak256(keccak256(words)), words = ABI encoding (n × 32)."""

def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the OpenZeppelin StandardMerkleTree over these leaf hashes (any order; sorted
    inside). The empty tree has the all-zero root."""

def merkle_proof(leaves: Sequence[bytes], leaf: bytes) -> list[bytes]:
    """Sibling path of `leaf`. Raises ValueError if it is not one of the leaves."""

def merkle_verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool: ...

@final
class Event:
    """Something that arrived from the network. `kind` says which fields are set:

    - ``header``: a new verified header (`header`, `peer` = who passed it on).
    - ``body``: a verified raw body that came inline, by reveal or by fetch (`header`, `body`).
    - ``fetch_failed``: a fetch gave up (`header`, `detail`).
    - ``peer_joined`` / ``peer_left``: a peer of this swarm (`peer`, `detail` = its address).
    - ``other_swarm``: a peer that belongs to another swarm, disconnected (`peer`, `detail`).
    - ``unreachable``: an address given at start can't be reached, tried again with back-off
      (`detail` = address and cause). Posted once per address until it is reached.
    - ``reachability``: it became known, or changed, whether others can reach this node (`detail` =
      a sentence; see `Endpoint.reachability`).
    """

    @property
    def kind(self) -> str: ...
    @property
    def at_ms(self) -> int:
        """Arrival by the local clock, Unix milliseconds."""
    @property
    def peer(self) -> str: ...
    @property
    def header(self) -> Header | None: ...
    @property
    def body(self) -> memoryview:
        """The bytes where they lie, without a copy; read-only."""
    @property
    def detail(self) -> str: ...

@final
class Link:
    """How a peer is connected."""

    @property
    def peer(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def relayed(self) -> bool:
        """Whether all connections to it lead through a relay."""
    @property
    def dialled(self) -> bool:
        """Whether this node dialled it."""

@final
class Endpoint:
    """One libp2p node of one swarm, on its own threads: TCP and QUIC, noise, yamux, gossipsub,
    Kademlia, identify, request-response, relays, hole punching, AutoNAT, UPnP and mDNS. No method
    waits for the network. `rlswarm.network.endpoint.Endpoint` is its face for asyncio."""

    def __new__(
        cls,
        identity: Identity,
        swarm: bytes,
        *,
        genesis_ms: int,
        round_ms: int,
        listen: Sequence[str] = ...,
        peers: Sequence[str] = ...,
        known: Sequence[str] = ...,
        public_addresses: Sequence[str] = ...,
        swarm_key: str | None = None,
        relay: bool = False,
        mdns: bool = False,
        upnp: bool = False,
        blocked: Sequence[str] = ...,
        memory_limit: int | None = None,
        staleness_rounds: int = 4,
        clock_offset_ms: int = 5000,
        max_body_stored: int = ...,
        max_body_raw: int = ...,
        author_quota: int = ...,
        wake: Callable[[], None] | None = None,
    ) -> Self:
        """Bind, listen and start dialling.

        - `listen`: /ip4/…/tcp/… or /ip4/…/udp/…/quic-v1, or the same with ip6; default a free TCP
          port on loopback. `public_addresses`: where anyone can reach this node, as its owner says.
        - `peers`: addresses to stay connected to, tried for ever with back-off. `known`: addresses
          of peers met in an earlier run, the best first, tried while there are few peers; those
          of no use are skipped.
        - `swarm_key`: text of the ``swarm.key`` of a private swarm; TCP only.
        - `relay`: pass connections on for nodes that can't be dialled. `mdns`: find peers on the
          local network. `upnp`: ask the router to forward the port.
        - `blocked`: PeerIds never talked to. `memory_limit`: resident bytes of the process above
          which no connection is taken on.
        - `max_body_stored` (default 4 MiB), `max_body_raw` (16 MiB): bytes of one body.
          `author_quota` (16 MiB): stored body bytes of one author in one round.
        - `wake` is called from a Rust-owned thread when the event queue turns from empty to
          non-empty (coalesced).

        Raises AddressError (any address or PeerId), KeyFileError (`swarm_key`), PortInUseError,
        NetworkError.
        """
    @property
    def peer_id(self) -> str: ...
    def addresses(self) -> list[str]:
        """Where it listens and where others reach it, with /p2p/PEERID, ready to be given to
        another node."""
    def peers(self) -> list[str]:
        """PeerIds of connected peers of this swarm."""
    def links(self) -> list[Link]:
        """How these peers are connected."""
    def reachability(self) -> tuple[str, str]:
        """Whether others can reach this node: ``public``, ``relayed`` (through a relay only),
        ``private`` (not at all; it dials out), ``local`` (it listens on loopback alone) or
        ``unknown`` (nobody has tried), and a sentence that says why."""
    def met(self) -> list[tuple[list[str], int]]:
        """At most 100 peers that were connected once, those met last first: addresses with
        /p2p/PEERID, and when they were last connected (Unix milliseconds). At most a second old."""
    def learn(self, peer: str, addresses: Sequence[str]) -> None:
        """Note where a peer says that it is found, in a record that it signed. At most eight usable
        addresses are kept, in place of its earlier word. Raises AddressError for a bad PeerId."""
    def set_standing(self, peer: str, standing: float) -> None:
        """Let a peer's standing count in gossip (gossipsub's P5), in [-3000, 100]: below -500 it
        isn't told of records, below -1000 it is sent none, below -2500 nothing it says is heard.
        Raises AddressError for a bad PeerId."""
    def block(self, peer: str) -> None:
        """Hang up and never talk to this peer again. Raises AddressError for a bad PeerId."""
    def unblock(self, peer: str) -> None: ...
    def blocked(self) -> list[str]: ...
    def dial(self, address: str) -> None:
        """Keep trying this address with back-off. Raises AddressError."""
    def announce(self, record: Record) -> None:
        """Gossip a record of our own. Bodies of kind `rollouts` are kept and neither sent nor
        served before `reveal`; other kinds travel in the same message up to 16 KiB stored and
        are served from now on. With no peers the record is kept and gossiped to the first that
        join while its round is current. A second time for the same record does nothing. Raises
        QueueFull, TooLarge (body or quota), or NetworkError for a record that peers would not take:
        another author's, or with a round or time out of bounds."""
    def reveal(self, record_hash: bytes) -> None:
        """Serve the body from now on, and gossip it if it has at most 16 KiB stored. Raises
        NetworkError for a record that was never announced here."""
    def fetch(self, record_hash: bytes, timeout_ms: int) -> None:
        """Pull a body by hash from its author and others that may have it; the result comes as
        a ``body`` or ``fetch_failed`` event. No-op if the body was already delivered. An
        author that isn't connected is dialled, if it is known where it is. Raises NoPeers if nobody
        is connected, QueueFull, NetworkError if the header is unknown."""
    def drain(self, max_items: int = 1024, max_bytes: int = 64 << 20) -> list[Event]:
        """Take what has arrived, without waiting. At least one event if there is any."""
    def statistics(self) -> dict[str, int]:
        """Counters: headers_in, bodies_in, rejected, ignored (messages), bytes_in, bytes_out (on
        the wire, all protocols), queue (events that wait), dropped (events lost because the queue
        was full), unsent (gossip that a slow peer's queue refused; it is sent again or pulled),
        holes_punched and holes_failed (direct connections made through a NAT, or not)."""
    def close(self) -> None:
        """Say goodbye and stop; at most one second. Idempotent; later calls raise
        NetworkError."""
