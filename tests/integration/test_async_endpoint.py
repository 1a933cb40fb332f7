"""The face of the endpoint for asyncio."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import numpy as np
import pytest
from endpoints import STATUS, SWARM, Node, joined, until

from rlswarm import _core
from rlswarm.network.endpoint import Endpoint

Open = Callable[..., Node]

LONGEST = 0.5
"""Seconds for which the loop may stand still: far above what a loaded machine needs, far below the
seconds for which the consumer is stalled."""


def opener(seed: int, **options: object) -> Callable[[Callable[[], None]], _core.Endpoint]:
    def make(wake: Callable[[], None]) -> _core.Endpoint:
        return _core.Endpoint(
            _core.Identity.from_seed(bytes([seed]) * 32),
            SWARM,
            genesis_ms=int(time.time() * 1000) - 1000,
            round_ms=600_000,
            wake=wake,
            **options,  # type: ignore[arg-type]
        )

    return make


def test_events_are_waited_for_and_bodies_are_views(open_node: Open) -> None:
    author = open_node(1)

    async def read() -> memoryview:
        async with await Endpoint.open(opener(2, peers=[author.address])) as endpoint:
            while True:
                for event in await endpoint.recv_many(max_items=16):
                    if event.kind == "peer_joined":
                        author.endpoint.announce(author.seal(b"view", kind=STATUS))
                    elif event.kind == "body":
                        return event.body

    body = asyncio.run(asyncio.wait_for(read(), 30))
    assert body == b"view"
    assert body.readonly
    assert bytes(np.frombuffer(body, dtype=np.uint8)) == b"view"
    with pytest.raises(TypeError):
        body[0] = 0


def test_recv_many_is_bounded(open_node: Open) -> None:
    author = open_node(1)
    reader = open_node(2, peers=[author.address])
    joined(author, reader)
    records = [author.seal(bytes([n]) * 1000, kind=STATUS) for n in range(40)]
    for record in records:
        author.endpoint.announce(record)
    reader.wait_body(records[-1])
    more = [author.seal(bytes([n]) * 1000, kind=STATUS) for n in range(40)]
    for record in more:
        author.endpoint.announce(record)
    until(lambda: reader.endpoint.statistics()["queue"] == 80, "all to wait")
    assert len(reader.endpoint.drain(max_items=3)) == 3
    assert sum(len(event.body) for event in reader.endpoint.drain(max_bytes=5000)) <= 5000


def test_closing_ends_the_wait() -> None:
    async def wait() -> None:
        endpoint = await Endpoint.open(opener(1))
        with contextlib.suppress(TimeoutError):  # what it says of itself at the start
            while True:
                await asyncio.wait_for(endpoint.recv_many(), 0.3)
        waiting = asyncio.create_task(endpoint.recv_many())
        await asyncio.sleep(0)
        await endpoint.close()
        with pytest.raises(_core.NetworkError, match="closed"):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(wait())


def test_back_pressure_is_an_exception(open_node: Open) -> None:
    lone = open_node(1, author_quota=200_000)
    other = open_node(2, peers=[lone.address])
    joined(lone, other)
    seen = other.seal(np.random.default_rng(2).bytes(40_000), kind=3)
    large = lone.seal(np.random.default_rng(0).bytes(300_000), kind=3)
    with pytest.raises(_core.TooLarge, match="quota"):
        lone.endpoint.announce(large)
    other.endpoint.announce(seen)
    lone.wait_header(seen)
    other.endpoint.close()
    lone.wait("peer_left")
    with pytest.raises(_core.NoPeers):
        lone.endpoint.fetch(seen.header.hash, 1000)
    with pytest.raises(_core.QueueFull):
        for _ in range(100_000):
            lone.endpoint.dial(f"/ip4/127.0.0.1/tcp/9/p2p/{other.peer_id}")


def test_nothing_blocks_the_loop_while_the_consumer_is_stalled(open_node: Open) -> None:
    """The consumer never drains; its queue overflows; every call still answers at once."""
    author = open_node(1)

    async def stalled() -> float:
        endpoint = await Endpoint.open(opener(2, peers=[author.address]))
        core = endpoint.core
        loop = asyncio.get_running_loop()
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                before = loop.time()
                await asyncio.sleep(0.005)
                worst = max(worst, loop.time() - before - 0.005)

        watching = asyncio.create_task(watch())
        bodies = np.random.default_rng(1).bytes(15_000)
        give_up = loop.time() + 4
        while loop.time() < give_up:
            for _ in range(20):
                try:
                    author.endpoint.announce(author.seal(bodies, kind=STATUS))
                except _core.NetworkError:
                    break
            await asyncio.sleep(0.01)
            core.peers(), core.links(), core.addresses(), core.statistics(), core.met()
            core.reachability(), core.set_standing(author.peer_id, 1.0)
            core.learn(author.peer_id, [author.address])
        assert core.statistics()["queue"] > 100
        watching.cancel()
        await endpoint.close()
        return worst

    assert asyncio.run(stalled()) < LONGEST
