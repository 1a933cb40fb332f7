"""Two places on this machine that share nothing but a wire, and what a node costs in one.

Each place is a network namespace with one end of a veth pair: whatever a node's processes send
crosses the wire and is counted there, and they are known by their namespace, whoever forked them.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "rlswarm-bench"
POLL_SECONDS = 0.5
"""Between two looks at the memory of a place; a shorter peak may be missed."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ArenaError(RuntimeError):
    """The places can't be made here; the message says what is missing."""


@dataclass(frozen=True)
class Reading:
    """What a place has used since it was made."""

    at: float
    """Monotonic seconds."""
    cpu: float
    """Seconds of user and system time of all processes, ended ones included."""
    sent: int
    """Bytes on the wire, headers included."""
    received: int

    def __sub__(self, before: "Reading") -> "Reading":
        return Reading(
            self.at - before.at,
            self.cpu - before.cpu,
            self.sent - before.sent,
            self.received - before.received,
        )


@dataclass(frozen=True)
class Place:
    """A network namespace with an address on the wire."""

    name: str
    address: str

    def processes(self) -> list[Path]:
        """The /proc folders of all processes in this namespace."""
        inode = Path("/run/netns", self.name).stat().st_ino
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and (folder / "ns/net").stat().st_ino == inode:
                    found.append(folder)
        return found

    def read(self) -> Reading:
        ticks = 0
        sent = received = 0
        for folder in self.processes():
            with contextlib.suppress(OSError):
                # utime, stime and those of ended children; the name before may hold spaces.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])
                received, sent = _on_wire((folder / "net/dev").read_text())
        return Reading(time.monotonic(), ticks / _TICKS, sent, received)

    def memory(self) -> tuple[int, int]:
        """Bytes now: the sums of resident and of proportional set sizes."""
        resident = proportional = 0
        for folder in self.processes():
            with contextlib.suppress(OSError):
                resident += int((folder / "statm").read_text().split()[1]) * _PAGE
                for line in (folder / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        proportional += int(line.split()[1]) * 1024
        return resident, proportional


def _on_wire(devices: str) -> tuple[int, int]:
    """(received, sent) bytes of the veth end in the text of /proc/net/dev."""
    for line in devices.splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "wire":
            fields = counters.split()
            return int(fields[0]), int(fields[8])
    return 0, 0


@contextlib.contextmanager
def two_places() -> Iterator[tuple[Place, Place]]:
    """Make both places and the wire between them, and take them away again.

    Raises ArenaError without root or iproute2.
    """
    names = [f"{PREFIX}-{os.getpid()}-{index}" for index in range(2)]
    places = [Place(name, f"10.91.7.{index + 1}") for index, name in enumerate(names)]
    try:
        for name in names:
            _ip("netns", "add", name)
        peer = ["peer", "name", "wire", "netns", names[1]]
        _ip("link", "add", "wire", "netns", names[0], "type", "veth", *peer)
        for place in places:
            _ip("-n", place.name, "address", "add", f"{place.address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                _ip("-n", place.name, "link", "set", device, "up")
        yield places[0], places[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise ArenaError("the `ip` command is missing; install iproute2") from None
    if done.returncode:
        raise ArenaError(
            f"`ip {' '.join(arguments)}` failed ({done.stderr.strip()}); "
            "counting bytes takes two network namespaces, which only root can make"
        )


@dataclass
class Mark:
    """Something a node said, and what its place had used when it did."""

    event: dict[str, Any]
    reading: Reading


class Player:
    """One node's main process in its place, with its marks and its peak memory."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.marks: list[Mark] = []
        self.peak_resident = self.peak_proportional = 0
        self._news = asyncio.Condition()
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._log: Path | None = None

    async def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.place.name),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                start_new_session=True,
                limit=1 << 24,
            )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]

    def tell(self, line: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def heard(self, event: str, count: int = 1, patience: float = 600.0) -> Mark:
        """The count-th mark of that event. Raises ArenaError if the node ends before, or on
        running out of patience (seconds)."""
        try:
            async with asyncio.timeout(patience), self._news:
                while len(found := [m for m in self.marks if m.event["event"] == event]) < count:
                    if self._ended:
                        raise ArenaError(f"a node ended early; its last words are in {self._log}")
                    await self._news.wait()
                return found[count - 1]
        except TimeoutError:
            raise ArenaError(f"no `{event}` within {patience:g} s; see {self._log}") from None

    async def over(self, patience: float = 1200.0) -> None:
        """Until the node has ended by itself. Raises ArenaError if it failed."""
        assert self._process is not None
        try:
            async with asyncio.timeout(patience):
                await self._tasks[0]
                code = await self._process.wait()
        except TimeoutError:
            raise ArenaError(f"a node plays on after {patience:g} s; see {self._log}") from None
        if code:
            raise ArenaError(f"a node ended with code {code}; see {self._log}")

    async def stop(self) -> None:
        """End every process of the place."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for kill in (15, 9):
            for folder in self.place.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(folder.name), kill)
            until = time.monotonic() + 10
            while self.place.processes() and time.monotonic() < until:
                await asyncio.sleep(0.1)
        if self._process is not None:
            await self._process.wait()

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                if line.startswith(b"{"):
                    reading = self.place.read()
                    async with self._news:
                        self.marks.append(Mark(json.loads(line), reading))
                        self._news.notify_all()
        finally:
            self._ended = True
            async with self._news:
                self._news.notify_all()

    async def _watch(self) -> None:
        while True:
            resident, proportional = await asyncio.to_thread(self.place.memory)
            self.peak_resident = max(self.peak_resident, resident)
            self.peak_proportional = max(self.peak_proportional, proportional)
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def two_players() -> AsyncIterator[tuple[Player, Player]]:
    with two_places() as places:
        players = Player(places[0]), Player(places[1])
        try:
            yield players
        finally:
            await asyncio.gather(*(player.stop() for player in players))
