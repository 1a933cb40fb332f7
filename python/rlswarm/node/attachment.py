"""How a node attaches to the network: addresses, port, keys and memories from its home."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rlswarm.errors import StorageError
from rlswarm.network.options import NetworkOptions, everywhere, kept_port, read_swarm_key
from rlswarm.network.peer_files import load_blocked, load_met


def met_file(home: Path) -> Path:
    """Peers met before, tried on the next start."""
    return home / "peers.json"


def blocked_file(home: Path) -> Path:
    """Peers never talked to, one PeerId a line."""
    return home / "blocked"


def attach(
    home: Path,
    *,
    listen: Sequence[str],
    port: int | None,
    peers: Sequence[str],
    public_addresses: Sequence[str] = (),
    swarm_key: Path | None = None,
    relay: bool = False,
    mdns: bool = True,
    upnp: bool = True,
    note: Callable[[str], None] = lambda sentence: None,
) -> NetworkOptions:
    """The options of a node whose home is `home`.

    Without `listen` it listens on all interfaces, on `port` or the one it had before. A
    ``swarm.key`` in the home makes the swarm private, as `swarm_key` does. Raises StorageError.
    """
    if swarm_key is None and (home / "swarm.key").is_file():
        swarm_key = home / "swarm.key"
    key = None if swarm_key is None else read_swarm_key(swarm_key)
    if key is not None:
        note(f"this swarm is private ({swarm_key}): only TCP, and only peers with the same key")
    if not listen:
        chosen = kept_port(home / "port") if port is None else port
        listen = everywhere(chosen, private=key is not None)
    try:
        blocked = load_blocked(blocked_file(home))
    except OSError as error:
        # Going on without the list would let in whom the owner shut out.
        raise StorageError(f"{blocked_file(home)} can't be read: {error.strerror}") from None
    return NetworkOptions(
        listen=tuple(listen),
        peers=tuple(peers),
        known=load_met(met_file(home)),
        public_addresses=tuple(public_addresses),
        swarm_key=key,
        relay=relay,
        mdns=mdns,
        upnp=upnp,
        blocked=blocked,
    )
