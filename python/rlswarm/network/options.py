"""How a node is attached to the network, as its owner chose."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from rlswarm.errors import StorageError

LOOPBACK = ("/ip4/127.0.0.1/", "/ip6/::1/")


@dataclass(frozen=True)
class NetworkOptions:
    """Everything that is not the swarm's business."""

    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    peers: tuple[str, ...] = ()
    """Addresses to stay connected to."""
    known: tuple[str, ...] = ()
    """Addresses of peers met in an earlier run, the best first."""
    public_addresses: tuple[str, ...] = ()
    swarm_key: str | None = None
    """Text of the swarm key of a private swarm."""
    relay: bool = False
    mdns: bool = True
    upnp: bool = True
    blocked: tuple[str, ...] = ()
    memory_limit: int | None = field(default=1 << 30)
    """Resident bytes of this process above which no connection is taken on."""

    @property
    def is_local(self) -> bool:
        """Whether it listens on this machine alone: then nobody outside is asked for anything."""
        return all(address.startswith(LOOPBACK) for address in self.listen)


def everywhere(port: int, *, private: bool) -> tuple[str, ...]:
    """All interfaces, IPv4 and IPv6, TCP and (unless the swarm is private) QUIC, on one port."""
    ways = [f"tcp/{port}"] if private else [f"tcp/{port}", f"udp/{port}/quic-v1"]
    return tuple(f"/{ip}/{way}" for way in ways for ip in ("ip4/0.0.0.0", "ip6/::"))


def kept_port(file: Path) -> int:
    """The port that this home used before, if it is free, else a free one, kept for next time: an
    address that peers remember should go on working. Raises StorageError."""
    try:
        kept = int(file.read_text())
    except (OSError, ValueError):
        kept = 0
    if 0 < kept < 65536 and is_free(kept):
        return kept
    port = _free_port()
    try:
        file.write_text(f"{port}\n")
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror}") from None
    return port


def is_free(port: int) -> bool:
    """Whether both TCP and UDP of a port can be bound on all interfaces."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", 0))
            port: int = probe.getsockname()[1]
        if is_free(port):
            return port


def read_swarm_key(file: Path) -> str:
    """The text of a ``swarm.key`` file. Raises StorageError."""
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StorageError(f"the swarm key {file} can't be read: {cause}") from None
