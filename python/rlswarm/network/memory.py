"""Records between nodes of one process: for tests and simulation, on any clock."""

import asyncio
import random
from collections.abc import Callable
from functools import partial

from rlswarm._core import Header, Record, RecordError, decode_header, open_body
from rlswarm.network.transport import ROLLOUTS, Arrival


class MemoryNetwork:
    """A medium with latency and loss, seeded. Partitions are sets of peers that can't be reached.

    `latency` is a (shortest, longest) pair of seconds, `loss` the share of gossip messages that
    never arrive (a lost header can still be learnt of by no other way, as on a bad link).
    """

    def __init__(
        self,
        swarm: bytes,
        now: Callable[[], float],
        *,
        seed: int = 0,
        latency: tuple[float, float] = (0.01, 0.05),
        loss: float = 0.0,
        max_body: int = 16 << 20,
    ) -> None:
        self.swarm = swarm
        self.now = now
        self.max_body = max_body
        self._random = random.Random(seed)
        self._latency = latency
        self._loss = loss
        self._ports: dict[str, MemoryTransport] = {}
        self._cut: set[frozenset[str]] = set()

    def join(self, peer_id: str) -> "MemoryTransport":
        """A transport for a new node; everyone hears that it joined."""
        port = MemoryTransport(self, peer_id)
        for other in self._ports.values():
            other.deliver(Arrival("peer_joined", self.now(), peer=peer_id))
            port.deliver(Arrival("peer_joined", self.now(), peer=other.peer_id))
        self._ports[peer_id] = port
        return port

    def leave(self, peer_id: str) -> None:
        """A node is gone, as after kill -9."""
        if self._ports.pop(peer_id, None):
            for other in self._ports.values():
                other.deliver(Arrival("peer_left", self.now(), peer=peer_id))

    def cut(self, one: str, other: str) -> None:
        """Partition two peers from each other until `heal`."""
        self._cut.add(frozenset((one, other)))

    def heal(self) -> None:
        self._cut.clear()

    def reachable(self, sender: str) -> list["MemoryTransport"]:
        return [
            port
            for peer, port in self._ports.items()
            if peer != sender and frozenset((peer, sender)) not in self._cut
        ]

    def port(self, peer_id: str) -> "MemoryTransport | None":
        return self._ports.get(peer_id)

    def send(self, sender: str, receiver: "MemoryTransport", message: Callable[[], None]) -> None:
        """Deliver later, perhaps never."""
        if self._random.random() < self._loss:
            return
        delay = self._random.uniform(*self._latency)

        def arrive() -> None:
            if self._ports.get(receiver.peer_id) is receiver:
                message()

        asyncio.get_running_loop().call_later(delay, arrive)


class MemoryTransport:
    """One node's access to a `MemoryNetwork`; verifies what it is handed like the real one."""

    def __init__(self, network: MemoryNetwork, peer_id: str) -> None:
        self._network = network
        self._peer_id = peer_id
        self._arrived: asyncio.Queue[Arrival] = asyncio.Queue()
        self._records: dict[bytes, Record] = {}
        self._revealed: set[bytes] = set()
        self._headers: dict[bytes, Header] = {}
        self._delivered: set[bytes] = set()

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def addresses(self) -> list[str]:
        return []

    def peers(self) -> list[str]:
        return [port.peer_id for port in self._network.reachable(self._peer_id)]

    def reachability(self) -> tuple[str, str]:
        return "local", "everybody is in this process"

    def learn(self, peer_id: str, addresses: list[str]) -> None:
        """There is nothing to learn: everyone is in reach, or cut off."""

    def set_standing(self, peer_id: str, standing: float) -> None:
        """Of no effect: this medium passes everything on."""

    def deliver(self, arrival: Arrival) -> None:
        self._arrived.put_nowait(arrival)

    def announce(self, record: Record) -> None:
        self._records[record.header.hash] = record
        encoded = record.header.encoded
        # A header that commits travels alone; other kinds bring their body in the same message.
        stored = None if record.header.kind == ROLLOUTS else record.stored
        if stored is not None:
            self._revealed.add(record.header.hash)
        for port in self._network.reachable(self._peer_id):
            self._network.send(
                self._peer_id, port, partial(port.take_record, encoded, stored, self._peer_id)
            )

    def reveal(self, record_hash: bytes) -> None:
        self._revealed.add(record_hash)
        stored = self._records[record_hash].stored
        for port in self._network.reachable(self._peer_id):
            self._network.send(self._peer_id, port, partial(port.take_body, record_hash, stored))

    def fetch(self, header: Header, timeout: float) -> None:
        for port in self._network.reachable(self._peer_id):
            stored = port.served(header.hash)
            if stored is not None:
                self._network.send(port.peer_id, self, partial(self.take_body, header.hash, stored))
                return
        asyncio.get_running_loop().call_later(
            timeout,
            lambda: self.deliver(
                Arrival(
                    "fetch_failed", self._network.now(), header=header, detail="nobody serves it"
                )
            ),
        )

    def served(self, record_hash: bytes) -> bytes | None:
        """What a peer gets that asks for a body: None before the reveal."""
        if record_hash in self._revealed:
            return self._records[record_hash].stored
        return None

    def take_record(self, encoded: bytes, stored: bytes | None, sender: str) -> None:
        """A message from the medium; what is not a verified record of this swarm stops here."""
        try:
            header = decode_header(encoded, self._network.swarm)
        except RecordError:
            return
        if header.hash not in self._headers:
            self._headers[header.hash] = header
            self.deliver(Arrival("header", self._network.now(), peer=sender, header=header))
        if stored is not None:
            self.take_body(header.hash, stored)

    def take_body(self, record_hash: bytes, stored: bytes) -> None:
        header = self._headers.get(record_hash)
        if header is None or record_hash in self._delivered:
            return
        try:
            body = open_body(header, stored, self._network.max_body)
        except RecordError:
            return
        self._delivered.add(record_hash)
        self.deliver(Arrival("body", self._network.now(), header=header, body=body))

    async def receive(self, max_items: int = 1024) -> list[Arrival]:
        arrivals = [await self._arrived.get()]
        while len(arrivals) < max_items and not self._arrived.empty():
            arrivals.append(self._arrived.get_nowait())
        return arrivals

    async def close(self) -> None:
        self._network.leave(self._peer_id)
