"""From options to a running node: home, key, manifest, transport, children, signals."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlswarm.config.manifest import Manifest, load_manifest, render_manifest
from rlswarm.config.presets import starter_manifest
from rlswarm.errors import StorageError
from rlswarm.journal.journal import Journal
from rlswarm.network.libp2p import Libp2pTransport
from rlswarm.node.clock import SystemClock
from rlswarm.node.home import Home, default_home
from rlswarm.node.node import Node
from rlswarm.node.processes import ScorerProcess, WorkerProcess
from rlswarm.worker.messages import Load

STOP_SECONDS = 8.0
"""What the children get to finish their step; the whole stop takes at most ten seconds."""


@dataclass(frozen=True)
class StartOptions:
    """As on the command line."""

    home: Path | None = None
    manifest: Path | None = None
    model: str | None = None
    peers: list[str] | None = None
    listen: list[str] | None = None
    threads: int = 0
    memory_bytes: int = 0
    rounds: int | None = None
    evaluate: int = 0
    as_json: bool = False
    stdin_is_parent: bool = False


def start_node(options: StartOptions) -> None:
    """Run a node until it is done or stopped. Raises RlswarmError if it can't live."""
    tell = _json_teller() if options.as_json else _line_teller()
    home = Home(options.home or default_home())
    try:
        manifest = _manifest(options, home, tell)
        identity = home.identity()
        asyncio.run(_run(options, home, manifest, identity, tell))
    finally:
        home.close()


def _manifest(options: StartOptions, home: Home, tell: "Tell") -> Manifest:
    """The manifest asked for, or the one lying here or at home, or a new swarm of one."""
    if options.manifest is not None:
        return load_manifest(options.manifest)
    for place in (Path("swarm.toml"), home.path / "swarm.toml"):
        if place.is_file():
            return load_manifest(place)
    place = home.path / "swarm.toml"
    manifest = starter_manifest("home", datetime.datetime.now(datetime.UTC))
    try:
        place.write_text(render_manifest(manifest), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the manifest {place} can't be written: {error.strerror}") from None
    tell("note", {"message": f"no manifest was named, so a new swarm begins here: {place}"})
    return manifest


Tell = Callable[[str, dict[str, Any]], None]


async def _run(
    options: StartOptions, home: Home, manifest: Manifest, identity: Any, tell: Tell
) -> None:
    transport = Libp2pTransport(
        identity,
        manifest,
        listen=options.listen or ["/ip4/127.0.0.1/tcp/0"],
        peers=[*(options.peers or []), *manifest.bootstrap.addresses],
    )

    def trouble(sentence: str) -> None:
        tell("trouble", {"message": sentence})

    journal = Journal(home.journal_file, manifest.swarm_id, trouble)
    worker = WorkerProcess(
        home.path / "worker.log", trouble, on_restart=lambda loaded: node.took_policy(loaded)
    )
    scorer = ScorerProcess(home.path / "scorer.log", trouble)
    node = Node(
        manifest,
        identity,
        transport=transport,
        worker=worker,
        scorer=scorer,
        journal=journal,
        clock=SystemClock(),
        load=Load(
            model=options.model or manifest.model.name,
            checkpoints=str(home.checkpoints),
            lora=manifest.model.lora,
            rule=manifest.learning,
            temperature=manifest.model.temperature,
            threads=options.threads,
            memory_bytes=options.memory_bytes,
        ),
        observe=tell,
        rounds=options.rounds,
        evaluate=options.evaluate,
    )
    playing = asyncio.create_task(node.run())
    _on_signals(playing, tell)
    if options.stdin_is_parent:
        _stop_with_parent(playing)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await playing
    finally:
        await asyncio.gather(
            worker.close(STOP_SECONDS), scorer.close(STOP_SECONDS), transport.close()
        )
        journal.close()
    tell("stopped", node.summary())


def _on_signals(playing: "asyncio.Task[None]", tell: Tell) -> None:
    """The first signal stops in order, the second at once."""
    loop = asyncio.get_running_loop()
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(128 + signal.SIGINT)
        tell("stopping", {"message": "stopping; once more to stop at once"})
        playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _stop_with_parent(playing: "asyncio.Task[None]") -> None:
    """Stop when stdin closes, so that no node outlives a swarm that was killed."""

    def readable() -> None:
        if not os.read(0, 1024):
            asyncio.get_running_loop().remove_reader(0)
            playing.cancel()

    asyncio.get_running_loop().add_reader(0, readable)


def _json_teller() -> Tell:
    def tell(event: str, data: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"event": event, **data}) + "\n")
        sys.stdout.flush()

    return tell


def _line_teller() -> Tell:
    from rlswarm.node.lines import line

    def tell(event: str, data: dict[str, Any]) -> None:
        if text := line(event, data):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    return tell
