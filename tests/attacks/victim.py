"""An honest node in a process of its own: it takes in what comes, and tells what it has and holds.

Driven by JSON lines like the peers of other implementations (``tests/peers.py``).
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter

import psutil

from rlswarm import _core


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Victim:
    def __init__(self, options: argparse.Namespace) -> None:
        self.endpoint = _core.Endpoint(
            _core.Identity.from_seed(bytes([options.seed]) * 32),
            bytes.fromhex(options.swarm),
            genesis_ms=options.genesis,
            round_ms=600_000,
            author_quota=options.quota,
        )
        self.headers: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.failed: list[str] = []
        self.peak = 0
        say("ready", peer=self.endpoint.peer_id, addresses=self.endpoint.addresses())

    def take_in(self) -> None:
        process = psutil.Process()
        while True:
            for event in self.endpoint.drain():
                author = event.header.author.hex() if event.header else ""
                if event.kind == "header":
                    self.headers[author] += 1
                elif event.kind == "body":
                    self.bodies[author] += 1
                elif event.kind == "fetch_failed":
                    self.failed.append(event.detail)
            self.peak = max(self.peak, process.memory_info().rss)
            time.sleep(0.01)

    def obey(self) -> None:
        for line in sys.stdin:
            todo = json.loads(line)
            match todo["do"]:
                case "fetch":
                    self.endpoint.fetch(bytes.fromhex(todo["record"]), todo["timeout_ms"])
                case "dial":
                    self.endpoint.dial(todo["address"])
                case "state":
                    say(
                        "state",
                        headers=self.headers,
                        bodies=self.bodies,
                        failed=self.failed,
                        peers=self.endpoint.peers(),
                        memory=psutil.Process().memory_info().rss,
                        peak=self.peak,
                        statistics=self.endpoint.statistics(),
                    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--swarm", required=True)
    parser.add_argument("--genesis", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--quota", type=int, default=16 << 20)
    victim = Victim(parser.parse_args())
    threading.Thread(target=victim.take_in, daemon=True).start()
    victim.obey()
    victim.endpoint.close()


if __name__ == "__main__":
    main()
