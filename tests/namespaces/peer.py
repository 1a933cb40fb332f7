"""One endpoint in one network namespace, driven by lines of JSON: [command, argument…] → answer."""

import json
import sys
import time

from rlswarm import _core

SWARM = b"n" * 32
ZERO = bytes(32)
CHECKPOINT = 3


class Peer:
    """The commands."""

    def __init__(self, seed: int, genesis_ms: int, options: dict[str, object]) -> None:
        self._identity = _core.Identity.from_seed(bytes([seed]) * 32)
        self._endpoint = _core.Endpoint(
            self._identity,
            SWARM,
            genesis_ms=genesis_ms,
            round_ms=3_600_000,
            **options,  # type: ignore[arg-type]
        )
        self._sequence = 0
        self._headers: set[str] = set()
        self._bodies: dict[str, str] = {}

    def name(self) -> str:
        return self._endpoint.peer_id

    def addresses(self) -> list[str]:
        return self._endpoint.addresses()

    def reachability(self) -> tuple[str, str]:
        return self._endpoint.reachability()

    def links(self) -> dict[str, bool]:
        """PeerId → whether it is reached only through a relay."""
        return {link.peer: link.relayed for link in self._endpoint.links()}

    def statistics(self) -> dict[str, int]:
        return self._endpoint.statistics()

    def announce(self, size: int) -> str:
        """A record with a body that travels only by request. Returns its hash."""
        self._sequence += 1
        record = _core.seal(
            self._identity,
            swarm=SWARM,
            kind=CHECKPOINT,
            round=0,
            lottery_root=ZERO,
            stage=0,
            slots=[],
            sequence=self._sequence,
            created_at_ms=int(time.time() * 1000),
            base=ZERO,
            adapter=ZERO,
            persona="",
            body=_core.uniforms(_core.blake3(self.name().encode()), self._sequence, size // 8),
        )
        self._endpoint.announce(record)
        return record.header.hash.hex()

    def fetch(self, record: str) -> None:
        self._endpoint.fetch(bytes.fromhex(record), 30_000)

    def has_header(self, record: str) -> bool:
        self._drain()
        return record in self._headers

    def has_body(self, record: str) -> bool:
        self._drain()
        return record in self._bodies

    def _drain(self) -> None:
        while events := self._endpoint.drain():
            for event in events:
                if event.header is None:
                    continue
                name = event.header.hash.hex()
                if event.kind == "header":
                    self._headers.add(name)
                elif event.kind == "body":
                    self._bodies[name] = _core.blake3(bytes(event.body)).hex()


def main() -> None:
    peer = Peer(*json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        answer = getattr(peer, command)(*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
