"""A small honest swarm under attack, and what became of it."""

import base64
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frames

import peers
from rlswarm import _core

HONEST, VICTIM = 1, 2
#: Honest records while an attack runs, and the pause between two.
RECORDS = 150
PAUSE = 0.02


@dataclass(frozen=True)
class Outcome:
    """What honest nodes have after an attack. `grown` is in MB, beyond what they held before it."""

    attack: str
    tried: str
    delivered: int
    lost: int
    let_in: int
    rejected: int
    ignored: int
    grown: float
    note: str = ""


class Siege:
    """Two honest nodes, one of which (the victim) is attacked while the other sends it records."""

    def __init__(self, stack: ExitStack, *, quota: int = 16 << 20) -> None:
        self.stack = stack
        self.genesis = int(time.time() * 1000) - 1000
        self.quota = quota
        self.victim = self.node(VICTIM)
        self.honest = self.endpoint(HONEST, self.victim.address)
        self.meet(self.honest)
        self.streams = 0

    def node(self, seed: int) -> peers.Peer:
        """An honest node in its own process."""
        command: list[str | Path] = [
            sys.executable, str(Path(__file__).parent / "victim.py"),
            "--swarm", frames.SWARM.hex(), "--genesis", str(self.genesis),
            "--seed", str(seed), "--quota", str(self.quota),
        ]  # fmt: skip
        node = peers.Peer("victim", command)
        self.stack.callback(node.close)
        return node

    def endpoint(self, seed: int, *addresses: str) -> _core.Endpoint:
        """An honest node in this process."""
        endpoint = _core.Endpoint(
            frames.identity(seed),
            frames.SWARM,
            genesis_ms=self.genesis,
            round_ms=600_000,
            peers=addresses,
            author_quota=16 << 20,
        )
        self.stack.callback(endpoint.close)
        return endpoint

    def meet(self, endpoint: _core.Endpoint) -> None:
        peers.until(lambda: self.victim.peer_id in endpoint.peers(), "the honest to meet")

    def attacker(self, *accept: str, version: str = frames.VERSION) -> peers.Peer:
        """A hostile peer, connected to the victim."""
        options = [word for name in accept for word in ("--accept", name)]
        peer = peers.Peer("attacker", peers.command("rust", [], *options, "--version", version))
        self.stack.callback(peer.close)
        peer.tell("dial", address=self.victim.address)
        peer.wait("identified", peer=self.victim.peer_id)
        return peer

    def open(self, attacker: peers.Peer, protocol: str = frames.MESHSUB) -> int:
        """A stream from an attacker to the victim."""
        self.streams += 1
        attacker.tell("open", stream=self.streams, peer=self.victim.peer_id, protocol=protocol)
        attacker.wait("opened", stream=self.streams)
        return self.streams

    def write(self, attacker: peers.Peer, stream: int, data: bytes, times: int = 1) -> None:
        attacker.tell("write", stream=stream, data=data, times=times)

    def state(self) -> dict[str, Any]:
        return self.victim.ask("state", "state")

    @contextmanager
    def honest_traffic(self) -> Iterator[None]:
        """Records from the honest node all the while; leaves when all were sent."""
        failures: list[Exception] = []

        def send() -> None:
            for sequence in range(RECORDS):
                try:
                    self.honest.announce(frames.seal(HONEST, sequence, os.urandom(400)))
                except _core.NetworkError as error:
                    failures.append(error)
                time.sleep(PAUSE)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            sender.join()
        assert not failures, failures[0]

    def outcome(
        self, attack: str, tried: str, before: dict[str, Any], note: str = "", more: int = 0
    ) -> Outcome:
        """Wait for the last honest record (`more` than the usual), and say what came of it all."""
        expected = RECORDS + more
        mine = frames.author(HONEST)
        deadline = time.monotonic() + 20
        while (state := self.state())["bodies"].get(mine, 0) < expected:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        delivered = state["bodies"].get(mine, 0)
        let_in = sum(count for who, count in state["headers"].items() if who != mine)
        statistics, earlier = state["statistics"], before["statistics"]
        return Outcome(
            attack,
            tried,
            delivered,
            expected - delivered,
            let_in,
            statistics["rejected"] - earlier["rejected"],
            statistics["ignored"] - earlier["ignored"],
            (state["peak"] - before["memory"]) / 1e6,
            note,
        )

    def forge(self, attacker: peers.Peer, seed: int, stored: bytes, raw: int) -> bytes:
        """An announcement whose signed header states `raw` bytes for this stored body."""
        self.streams += 1
        answer = attacker.ask(
            "forge", "forged",
            swarm=frames.SWARM, seed=seed.to_bytes(32, "big"), sequence=self.streams,
            created_at_ms=int(time.time() * 1000), stored=stored, raw=raw,
        )  # fmt: skip
        return base64.b64decode(answer["data"])


@contextmanager
def besieged(**options: int) -> Iterator[Siege]:
    with ExitStack() as stack:
        yield Siege(stack, **options)
