"""The real transport: the Rust `Endpoint` on this process's event loop."""

import asyncio

from rlswarm import _core
from rlswarm.config.manifest import Manifest
from rlswarm.errors import AddressError, PortInUseError, RlswarmError
from rlswarm.network.transport import Arrival


class Libp2pTransport:
    """Start listening and dialling. Must be made on a running event loop.

    Raises AddressError for text that is no multiaddress, PortInUseError for a taken port.
    """

    def __init__(
        self,
        identity: _core.Identity,
        manifest: Manifest,
        *,
        listen: list[str],
        peers: list[str],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._closed = False
        try:
            self._endpoint = _core.Endpoint(
                identity,
                manifest.swarm_id,
                genesis_ms=manifest.genesis_ms,
                round_ms=round(manifest.rounds.seconds * 1000),
                listen=listen,
                peers=peers,
                staleness_rounds=manifest.rounds.staleness,
                clock_offset_ms=max(5000, round(manifest.rounds.clock_offset * 1000)),
                max_body_stored=manifest.limits.body_stored,
                max_body_raw=manifest.limits.body_raw,
                author_quota=manifest.limits.author_quota,
                wake=self._wake,
            )
        except _core.AddressError as error:
            raise AddressError(str(error)) from None
        except _core.PortInUseError as error:
            raise PortInUseError(str(error)) from None
        except _core.NetworkError as error:
            raise RlswarmError(f"the network can't be started: {error}") from None

    def _wake(self) -> None:
        """Called from a thread of the endpoint."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self._ready.set)

    @property
    def peer_id(self) -> str:
        return self._endpoint.peer_id

    def addresses(self) -> list[str]:
        return self._endpoint.addresses()

    def peers(self) -> list[str]:
        return self._endpoint.peers()

    def announce(self, record: _core.Record) -> None:
        self._endpoint.announce(record)

    def reveal(self, record_hash: bytes) -> None:
        self._endpoint.reveal(record_hash)

    def fetch(self, header: _core.Header, timeout: float) -> None:
        self._endpoint.fetch(header.hash, max(1, round(timeout * 1000)))

    async def receive(self, max_items: int = 1024) -> list[Arrival]:
        while True:
            self._ready.clear()
            if events := self._endpoint.drain(max_items):
                if len(events) == max_items:
                    self._ready.set()
                return [
                    Arrival(
                        kind=event.kind,  # type: ignore[arg-type] # the core promises these kinds
                        at=event.at_ms / 1000,
                        peer=event.peer,
                        header=event.header,
                        body=bytes(event.body),
                        detail=event.detail,
                    )
                    for event in events
                ]
            await self._ready.wait()

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._endpoint.close)
