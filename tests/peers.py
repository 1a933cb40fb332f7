"""Peers of other libp2p implementations, and the way to drive them all: lines of JSON.

Each is a process that takes commands on its standard input and tells events on its standard
output. ``python tests/peers.py`` installs what they need (npm, Go and pip packages, once).
"""

import base64
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HERE = ROOT / "tests" / "interop"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
#: Built with the extension: our gossip settings without our rules.
TESTPEER = TARGET / "release" / "rlswarm-testpeer"
#: What was installed, outside of the repository's files.
BUILT = TARGET / "interop"
NODE = HERE / "js" / "node_modules" / "node" / "bin" / "node"
GO = BUILT / "gopeer"
PYTHON = BUILT / "py" / "bin" / "python"
DEADLINE = 30.0


class Peer:
    """One running peer. Every event is kept in `events`."""

    def __init__(self, name: str, command: list[str | Path]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE
        )
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        ready = self.wait("ready")
        self.peer_id: str = ready["peer"]
        self.address: str = ready["addresses"][0]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def tell(self, do: str, **fields: object) -> None:
        """Send one command. Bytes travel as base64."""
        assert self.process.stdin is not None
        text = {
            key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for key, value in fields.items()
        }
        self.process.stdin.write(json.dumps({"do": do, **text}).encode() + b"\n")
        self.process.stdin.flush()

    def find(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """All events so far that have these fields."""
        while not self._lines.empty():
            self.events.append(json.loads(self._lines.get()))
        wanted = {"event": event, **fields}
        return [one for one in self.events if wanted.items() <= one.items()]

    def wait(self, event: str, *, within: float = DEADLINE, **fields: object) -> dict[str, Any]:
        """The first event that has these fields."""
        until(lambda: bool(self.find(event, **fields)), f"{event} {fields} at {self.name}", within)
        return self.find(event, **fields)[0]

    def ask(self, do: str, answer: str, **fields: object) -> dict[str, Any]:
        """Send a command and return the event that answers it."""
        before = len(self.find(answer))
        self.tell(do, **fields)
        until(lambda: len(self.find(answer)) > before, f"{answer} at {self.name}")
        return self.find(answer)[before]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def until(done: Callable[[], bool], what: str, within: float = DEADLINE) -> None:
    """Wait for something to become true. Raises AssertionError when it takes too long."""
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.01)


def command(name: str, topics: list[str], *options: str) -> list[str | Path]:
    """How to start the peer `name` (rust, go, js or py)."""
    each = [word for topic in topics for word in ("--topic", topic)]
    return {
        "rust": [TESTPEER, *each, *options],
        "go": [GO, "-topics", ",".join(topics), *options],
        "js": [NODE, HERE / "js" / "peer.mjs", *each, *options],
        "py": [PYTHON, HERE / "py" / "peer.py", *each, *options],
    }[name]


@contextmanager
def running(name: str, topics: list[str], *options: str) -> Iterator[Peer]:
    peer = Peer(name, command(name, topics, *options))
    try:
        yield peer
    finally:
        peer.close()


def missing(name: str) -> str | None:
    """Why the peer `name` can't run, or None."""
    program = {"rust": TESTPEER, "go": GO, "js": NODE, "py": PYTHON}[name]
    if program.exists():
        return None
    if name == "rust":
        return "build the Rust workspace first: cargo build --release --workspace"
    return f"the {name} peer is not installed: python tests/peers.py"


def install() -> None:
    """Install everything whose tool is here, and say what is left out."""
    BUILT.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, str, list[str | Path], Path]] = [
        ("js", "npm", ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], HERE / "js"),
        ("go", "go", ["go", "build", "-o", GO, "."], HERE / "go"),
    ]
    for name, tool, step, folder in steps:
        if shutil.which(tool):
            subprocess.run(step, cwd=folder, check=True)
        else:
            print(f"no {tool} here: interoperability with {name}-libp2p is not tested")
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", BUILT / "py"], check=True)
    requirements = HERE / "py" / "requirements.txt"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv:
        step = [uv, "pip", "install", "--quiet", "--python", PYTHON, "-r", requirements]
    else:
        step = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            PYTHON,
            "install",
            "-q",
            "-r",
            requirements,
        ]
    subprocess.run(step, check=True)


if __name__ == "__main__":
    install()
