"""The node's transport over real sockets."""

import asyncio
import datetime
import os
import time

from rlswarm import _core
from rlswarm.config.manifest import Manifest
from rlswarm.config.presets import starter_manifest
from rlswarm.network.libp2p import Libp2pTransport
from rlswarm.network.options import NetworkOptions
from rlswarm.network.transport import Arrival

CHECKPOINT = 3


def seal(identity: _core.Identity, manifest: Manifest, body: bytes) -> _core.Record:
    return _core.seal(
        identity,
        swarm=manifest.swarm_id,
        kind=CHECKPOINT,
        round=manifest.round_at(time.time()),
        lottery_root=bytes(32),
        stage=0,
        slots=[],
        sequence=1,
        created_at_ms=int(time.time() * 1000),
        base=bytes(32),
        adapter=bytes(32),
        persona="",
        body=body,
    )


class Ear:
    """Keeps what arrived, so that it can be asked for in any order."""

    def __init__(self, transport: Libp2pTransport) -> None:
        self._transport = transport
        self._heard: list[Arrival] = []

    async def wait(self, kind: str) -> Arrival:
        while True:
            for arrival in self._heard:
                if arrival.kind == kind:
                    return arrival
            self._heard += await self._transport.receive()


async def main() -> None:
    manifest = starter_manifest("test", datetime.datetime.now(datetime.UTC))
    author, reader = (_core.Identity.from_seed(bytes([n]) * 32) for n in (1, 2))
    one = await Libp2pTransport.open(author, manifest, NetworkOptions())
    address = one.addresses()[0]
    two = await Libp2pTransport.open(reader, manifest, NetworkOptions(peers=(address,)))
    ear = Ear(two)
    await ear.wait("peer_joined")
    assert (await ear.wait("reachability")).detail == two.reachability()[1]
    body = os.urandom(100_000)
    record = seal(author, manifest, body)
    one.announce(record)
    header = (await ear.wait("header")).header
    assert header == record.header
    await one.close()
    await ear.wait("peer_left")

    # Nobody is there to ask; it is asked as soon as somebody is.
    two.fetch(header, 30.0)
    again = await Libp2pTransport.open(
        author, manifest, NetworkOptions(listen=(address.split("/p2p/")[0],))
    )
    again.announce(record)
    assert (await ear.wait("body")).body == body
    await asyncio.gather(again.close(), two.close())


def test_a_fetch_with_nobody_there_waits_for_a_peer() -> None:
    asyncio.run(asyncio.wait_for(main(), 60))
