"""Real nodes as real processes, for the tests in this folder."""

import datetime
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rlswarm.config.manifest import Manifest, Model, Rounds, render_manifest
from rlswarm.game.presets import retimed
from rlswarm.game.stages import Game
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.worker.messages import LearningRule, LoraShape

PATIENCE = 180.0
"""Seconds after which a test gives up: a loaded machine is slow, never this slow."""


def write_manifest(
    path: Path, model: Path, *, lead: float = 0.0, environment: str = "parity", **changes: Any
) -> Manifest:
    """A swarm of the tiny model with short rounds, opening `lead` seconds from now."""
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lead)
    manifest = Manifest(
        name="test",
        genesis=now.replace(microsecond=0),
        rounds=Rounds(seconds=9.0, clock_offset=0.2, settle=0.6, staleness=2),
        game=Game(
            slots=2,
            group_size=4,
            stages=retimed("answer-critique-revise", [1.6, 1.4, 1.4], reveal=0.6, max_tokens=8),
        ),
        environments=(EnvironmentSpec(name=environment),),
        model=Model(name=str(model), lora=LoraShape(rank=2, targets=("q_proj", "v_proj"))),
        learning=LearningRule(learning_rate=1e-3),
    )
    manifest = msgspec.structs.replace(manifest, **changes)
    path.write_text(render_manifest(manifest))
    return manifest


class NodeProcess:
    """``rlswarm node start --json`` with its events as they come."""

    def __init__(
        self,
        home: Path,
        manifest: Path,
        *arguments: str,
        path: Sequence[Path] = (),
        python: str = sys.executable,
    ) -> None:
        self.home = home
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        environment = dict(os.environ)
        folders = [*map(str, path), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(f for f in folders if f)
        self.process = subprocess.Popen(
            [
                python,
                *("-m", "rlswarm", "node", "start", "--json", "--threads", "1"),
                *("--home", str(home), "--swarm", str(manifest)),
                *(() if "--listen" in arguments else ("--listen", "/ip4/127.0.0.1/tcp/0")),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        self.errors = ""
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def wait_for(
        self, event: str, condition: Callable[[dict[str, Any]], bool] = lambda data: True
    ) -> dict[str, Any]:
        """The first event of this kind that fulfils `condition`; fails after `PATIENCE`."""
        give_up = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for data in self.events:
                    if data["event"] == event and condition(data):
                        return data
                left = give_up - time.monotonic()
                if self.process.poll() is not None or left <= 0:
                    raise AssertionError(
                        f"no {event!r} came; code {self.process.poll()}, last events "
                        f"{self.events[-3:]}, errors {self.errors[-2000:]}"
                    )
                self._news.wait(min(left, 1.0))

    def all(self, event: str) -> list[dict[str, Any]]:
        with self._news:
            return [data for data in self.events if data["event"] == event]

    def end(self) -> int:
        """Wait for the exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(10)
        return code

    def kill(self) -> None:
        """kill -9 it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def children_of(pid: int) -> list[tuple[int, str]]:
    """(pid, command line) of the living children of a process."""
    import psutil

    try:
        return [
            (child.pid, " ".join(child.cmdline()))
            for child in psutil.Process(pid).children(recursive=True)
        ]
    except psutil.NoSuchProcess:
        return []


def child(node: NodeProcess, module: str) -> int:
    """Pid of a node's worker or scorer."""
    for pid, command in children_of(node.process.pid):
        if f"-m {module}" in command:
            return pid
    raise AssertionError(f"node has no child {module}: {children_of(node.process.pid)}")
