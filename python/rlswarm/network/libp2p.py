"""The real transport: the Rust `Endpoint` on this process's event loop."""

import asyncio
import time
from collections.abc import Callable
from typing import Self

from rlswarm import _core
from rlswarm.config.manifest import Manifest
from rlswarm.errors import AddressError, KeyFileError, PortInUseError, RlswarmError
from rlswarm.network.endpoint import Endpoint
from rlswarm.network.options import NetworkOptions
from rlswarm.network.transport import Arrival

MOST_WAITING = 256
"""Fetches that wait for a peer to join."""


class Libp2pTransport:
    """Start listening and dialling with `Libp2pTransport.open`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._waiting: list[tuple[float, _core.Header]] = []

    @classmethod
    async def open(
        cls, identity: _core.Identity, manifest: Manifest, options: NetworkOptions
    ) -> Self:
        """Raises AddressError for text that is no multiaddress or PeerId, PortInUseError for a
        taken port, KeyFileError for a swarm key that is none."""

        def make(wake: Callable[[], None]) -> _core.Endpoint:
            return _core.Endpoint(
                identity,
                manifest.swarm_id,
                genesis_ms=manifest.genesis_ms,
                round_ms=round(manifest.rounds.seconds * 1000),
                listen=options.listen,
                peers=options.peers,
                known=options.known,
                public_addresses=options.public_addresses,
                swarm_key=options.swarm_key,
                relay=options.relay,
                mdns=options.mdns and not options.is_local,
                upnp=options.upnp and not options.is_local,
                blocked=options.blocked,
                memory_limit=options.memory_limit,
                staleness_rounds=manifest.rounds.staleness,
                clock_offset_ms=max(5000, round(manifest.rounds.clock_offset * 1000)),
                max_body_stored=manifest.limits.body_stored,
                max_body_raw=manifest.limits.body_raw,
                author_quota=manifest.limits.author_quota,
                wake=wake,
            )

        try:
            return cls(await Endpoint.open(make))
        except _core.AddressError as error:
            raise AddressError(str(error)) from None
        except _core.PortInUseError as error:
            raise PortInUseError(str(error)) from None
        except _core.KeyFileError as error:
            raise KeyFileError(f"the swarm key is none: {error}") from None
        except _core.NetworkError as error:
            raise RlswarmError(f"the network can't be started: {error}") from None

    @property
    def peer_id(self) -> str:
        return self.endpoint.core.peer_id

    def addresses(self) -> list[str]:
        return self.endpoint.core.addresses()

    def peers(self) -> list[str]:
        return self.endpoint.core.peers()

    def reachability(self) -> tuple[str, str]:
        return self.endpoint.core.reachability()

    def learn(self, peer_id: str, addresses: list[str]) -> None:
        self.endpoint.core.learn(peer_id, addresses)

    def set_standing(self, peer_id: str, standing: float) -> None:
        self.endpoint.core.set_standing(peer_id, standing)

    def announce(self, record: _core.Record) -> None:
        self.endpoint.core.announce(record)

    def reveal(self, record_hash: bytes) -> None:
        self.endpoint.core.reveal(record_hash)

    def fetch(self, header: _core.Header, timeout: float) -> None:
        try:
            self.endpoint.core.fetch(header.hash, max(1, round(timeout * 1000)))
        except _core.NoPeers:
            # Somebody may join while it is still of use.
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((time.monotonic() + timeout, header))

    def _fetch_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = time.monotonic()
        for give_up, header in waiting:
            if give_up > now:
                self.fetch(header, give_up - now)

    async def receive(self, max_items: int = 1024) -> list[Arrival]:
        arrivals = []
        for event in await self.endpoint.recv_many(max_items):
            if event.kind == "peer_joined":
                self._fetch_waiting()
            arrivals.append(
                Arrival(
                    kind=event.kind,  # type: ignore[arg-type] # the core promises these kinds
                    at=event.at_ms / 1000,
                    peer=event.peer,
                    header=event.header,
                    body=bytes(event.body),
                    detail=event.detail,
                )
            )
        # However much waits, the node's other work gets its turn.
        await asyncio.sleep(0)
        return arrivals

    async def close(self) -> None:
        await self.endpoint.close()
