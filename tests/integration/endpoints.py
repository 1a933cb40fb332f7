"""Endpoints over real sockets, for the tests in this folder."""

import time
from collections.abc import Callable

from rlswarm import _core

SWARM = b"s" * 32
ZERO = bytes(32)
DEADLINE = 45.0
ROLLOUTS, CHECKPOINT, STATUS = 1, 3, 9


class Node:
    """An endpoint that keeps every event it drained."""

    def __init__(self, seed: int, **options: object) -> None:
        self.identity = _core.Identity.from_seed(bytes([seed]) * 32)
        self.genesis = int(time.time() * 1000) - 1000
        settings: dict[str, object] = {"genesis_ms": self.genesis, "round_ms": 600_000}
        swarm = options.pop("swarm", SWARM)
        self.endpoint = _core.Endpoint(self.identity, swarm, **{**settings, **options})  # type: ignore[arg-type]
        self.peer_id = self.endpoint.peer_id
        self.events: list[_core.Event] = []
        self.sequence = 0

    @property
    def address(self) -> str:
        return self.endpoint.addresses()[0]

    def seal(self, body: bytes, kind: int = ROLLOUTS, **options: object) -> _core.Record:
        self.sequence += 1
        fields: dict[str, object] = {
            "swarm": SWARM,
            "kind": kind,
            "round": 0,
            "lottery_root": ZERO,
            "stage": 0,
            "slots": [0],
            "sequence": self.sequence,
            "created_at_ms": int(time.time() * 1000),
            "base": ZERO,
            "adapter": ZERO,
            "persona": "",
        }
        return _core.seal(self.identity, body=body, **{**fields, **options})  # type: ignore[arg-type]

    def find(
        self, kind: str, match: Callable[[_core.Event], bool] = lambda _: True
    ) -> _core.Event | None:
        while batch := self.endpoint.drain():
            self.events += batch
        return next((e for e in self.events if e.kind == kind and match(e)), None)

    def wait(self, kind: str, match: Callable[[_core.Event], bool] = lambda _: True) -> _core.Event:
        until(lambda: self.find(kind, match) is not None, f"{kind} at {self.peer_id}")
        event = self.find(kind, match)
        assert event is not None
        return event

    def wait_header(self, record: _core.Record) -> _core.Event:
        return self.wait("header", about(record))

    def wait_body(self, record: _core.Record) -> memoryview:
        return self.wait("body", about(record)).body

    def link(self, other: "Node") -> _core.Link | None:
        return next((link for link in self.endpoint.links() if link.peer == other.peer_id), None)


def about(record: _core.Record) -> Callable[[_core.Event], bool]:
    return lambda event: event.header is not None and event.header.hash == record.header.hash


def until(done: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.01)


def joined(*nodes: Node) -> None:
    for node in nodes:
        for other in nodes:
            if other is not node:
                until(lambda a=node, b=other: b.peer_id in a.endpoint.peers(), "all to join")
