"""The Rust endpoint for asyncio: what waits, waits here, and nothing else does."""

import asyncio
from collections.abc import Callable
from typing import Self

from rlswarm import _core

RETRY = 0.01
"""Seconds between attempts while the queue of outgoing messages is full."""

Open = Callable[[Callable[[], None]], _core.Endpoint]
"""Makes the endpoint, given its `wake`."""


class Endpoint:
    """One `_core.Endpoint` on one event loop; make it with `Endpoint.open`.

    >>> async with await Endpoint.open(lambda wake: _core.Endpoint(…, wake=wake)) as endpoint:
    ...     await endpoint.announce(record, patience=2.0)
    ...     for event in await endpoint.recv_many():
    ...         ...

    `core` has everything that needs no waiting: addresses, peers, links, standing, counters.
    """

    def __init__(self) -> None:
        self.core: _core.Endpoint
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._closed = False

    @classmethod
    async def open(cls, make: Open) -> Self:
        """Bind and listen, in a thread. Raises what `_core.Endpoint` raises."""
        endpoint = cls()
        endpoint.core = await asyncio.to_thread(make, endpoint._wake)
        return endpoint

    def _wake(self) -> None:
        """Called from a thread of the endpoint, and perhaps while the loop is being closed."""
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def recv_many(
        self, max_items: int = 1024, max_bytes: int = 64 << 20
    ) -> list[_core.Event]:
        """Wait for events and take what has arrived: one at least, else as many as fit into the
        bounds (body bytes). Bodies are views, not copies. For one task at a time. Raises
        NetworkError once the endpoint is closed."""
        while True:
            self._ready.clear()
            if events := self.core.drain(max_items, max_bytes):
                return events
            await self._ready.wait()

    async def announce(self, record: _core.Record, *, patience: float = 0.0) -> None:
        """Gossip a record, waiting up to `patience` seconds for room in the queue. Raises
        QueueFull, TooLarge, NetworkError."""
        await self._when_room(lambda: self.core.announce(record), patience)

    async def reveal(self, record_hash: bytes, *, patience: float = 0.0) -> None:
        """Serve and gossip a body from now on, waiting like `announce`. Raises QueueFull,
        NetworkError."""
        await self._when_room(lambda: self.core.reveal(record_hash), patience)

    async def fetch(self, record_hash: bytes, timeout: float, *, patience: float = 0.0) -> None:
        """Have a body pulled within `timeout` seconds; it comes as an event. Raises NoPeers,
        QueueFull, NetworkError."""
        milliseconds = max(1, round(timeout * 1000))
        await self._when_room(lambda: self.core.fetch(record_hash, milliseconds), patience)

    async def _when_room(self, command: Callable[[], None], patience: float) -> None:
        give_up = self._loop.time() + patience
        while True:
            try:
                return command()
            except _core.QueueFull:
                if self._loop.time() >= give_up:
                    raise
            await asyncio.sleep(RETRY)

    async def close(self) -> None:
        """Say goodbye and stop, within a second; whoever waits in `recv_many` gets NetworkError."""
        self._closed = True
        await asyncio.to_thread(self.core.close)
        self._ready.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
