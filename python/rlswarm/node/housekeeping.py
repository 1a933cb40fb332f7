"""What a running node keeps in its home for others to read, and for its own next start."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rlswarm._core import CoreError
from rlswarm.names import animal_name
from rlswarm.network.libp2p import Libp2pTransport
from rlswarm.network.peer_files import load_blocked, save_met, write_whole
from rlswarm.node.attachment import blocked_file, met_file

EVERY = 2.0
"""Seconds between looks."""

CACHE_EVERY = 30.0
"""Seconds between writes of the peers met."""


class PeerStatus(msgspec.Struct, frozen=True):
    peer_id: str
    name: str
    address: str
    relayed: bool


class NodeStatus(msgspec.Struct, frozen=True):
    """What ``rlswarm node status`` shows."""

    pid: int
    peer_id: str
    name: str
    swarm: str
    swarm_name: str
    started: float
    updated: float
    """Unix seconds, like `started`."""
    round: int | None
    addresses: tuple[str, ...]
    reachability: str
    reachability_reason: str
    peers: tuple[PeerStatus, ...]
    blocked: tuple[str, ...]
    traffic: dict[str, int]


def status_file(home: Path) -> Path:
    return home / "status.json"


class Housekeeping:
    """Run `keep` beside the node; call `close` at the end."""

    def __init__(
        self,
        home: Path,
        transport: Libp2pTransport,
        swarm: str,
        swarm_name: str,
        trouble: Callable[[str], None],
    ) -> None:
        self._home = home
        self._transport = transport
        self._swarm = swarm
        self._swarm_name = swarm_name
        self._trouble = trouble
        self._failing: set[str] = set()
        self._started = time.time()
        self._round: int | None = None
        self._blocked = set(transport.endpoint.core.blocked())
        self._cached_at = time.monotonic()

    def observe(self, event: str, data: dict[str, Any]) -> None:
        """Of all events only the number of the round matters here."""
        if event == "round_opened":
            self._round = data["round"]

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(EVERY)

    def close(self) -> None:
        """Write down what the next start needs; the status is gone with the node."""
        self._attempt("the peers met", self._save_met)
        self._attempt("the status", lambda: status_file(self._home).unlink(missing_ok=True))

    def _look(self) -> None:
        self._attempt("the list of blocked peers", self._read_blocked)
        self._attempt("the status", lambda: write_whole(status_file(self._home), self._encoded()))
        if time.monotonic() - self._cached_at >= CACHE_EVERY:
            self._cached_at = time.monotonic()
            self._attempt("the peers met", self._save_met)

    def _attempt(self, what: str, work: Callable[[], None]) -> None:
        """A disk that fails degrades service; it is said once until it works again."""
        try:
            work()
        except (OSError, CoreError) as error:
            if what not in self._failing:
                self._trouble(f"{what} in {self._home} can't be kept up: {error}")
            self._failing.add(what)
        else:
            self._failing.discard(what)

    def _save_met(self) -> None:
        if met := self._transport.endpoint.core.met():
            save_met(met_file(self._home), met)

    def _read_blocked(self) -> None:
        wanted = set(load_blocked(blocked_file(self._home)))
        before, self._blocked = self._blocked, wanted
        for peer in wanted - before:
            self._transport.endpoint.core.block(peer)
        for peer in before - wanted:
            self._transport.endpoint.core.unblock(peer)

    def _encoded(self) -> bytes:
        core = self._transport.endpoint.core
        verdict, reason = core.reachability()
        return msgspec.json.encode(
            NodeStatus(
                pid=os.getpid(),
                peer_id=core.peer_id,
                name=animal_name(core.peer_id),
                swarm=self._swarm,
                swarm_name=self._swarm_name,
                started=self._started,
                updated=time.time(),
                round=self._round,
                addresses=tuple(core.addresses()),
                reachability=verdict,
                reachability_reason=reason,
                peers=tuple(
                    PeerStatus(link.peer, animal_name(link.peer), link.address, link.relayed)
                    for link in core.links()
                ),
                blocked=tuple(sorted(self._blocked)),
                traffic=core.statistics(),
            )
        )


def read_status(home: Path) -> NodeStatus | None:
    """The status of the node that lives in `home`, or None if none runs there."""
    try:
        status = msgspec.json.decode(status_file(home).read_bytes(), type=NodeStatus)
        os.kill(status.pid, 0)
    except PermissionError:
        return status
    except (OSError, msgspec.MsgspecError):
        return None
    return status
