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
from typing import Any, Literal

import msgspec
import psutil

from rlswarm.config.manifest import Manifest, load_manifest, render_manifest
from rlswarm.config.presets import starter_manifest
from rlswarm.errors import StorageError
from rlswarm.identity.binding import Statement
from rlswarm.identity.node_keys import NodeKeys, make_keys
from rlswarm.identity.password import unlock
from rlswarm.identity.typed_data import Domain
from rlswarm.journal.journal import Journal
from rlswarm.network.libp2p import Libp2pTransport
from rlswarm.node.attachment import attach
from rlswarm.node.clock import SystemClock
from rlswarm.node.home import Home, default_home
from rlswarm.node.housekeeping import Housekeeping
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
    port: int | None = None
    public_addresses: list[str] | None = None
    swarm_key: Path | None = None
    relay: bool = False
    mdns: bool = True
    upnp: bool = True
    threads: int = 0
    processes: int = 1
    memory_bytes: int = 0
    dtype: Literal["", "float32", "bfloat16"] = ""
    sampler: str = ""
    """URL of an inference server that samples in the worker's place."""
    rounds: int | None = None
    evaluate: int = 0
    password_file: Path | None = None
    persona: str | None = None
    as_json: bool = False
    hold: bool = False
    """Load the model, then wait for a `Go` on stdin; stop when stdin closes. So `swarm up` opens
    its first round when every node is ready, and no node outlives it."""


class Go(msgspec.Struct):
    """What a held node is told on stdin, as one line of JSON."""

    peers: list[str]


def start_node(options: StartOptions) -> None:
    """Run a node until it is done or stopped. Raises RlswarmError if it can't live."""
    tell = _json_teller() if options.as_json else _line_teller()
    home = Home(options.home or default_home())
    try:
        manifest = _manifest(options, home, tell)
        make_keys(home.path)
        keys = unlock(home.path, options.password_file)
        asyncio.run(_run(options, home, manifest, keys, tell))
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
    options: StartOptions, home: Home, manifest: Manifest, keys: NodeKeys, tell: Tell
) -> None:
    playing = asyncio.create_task(_live(options, home, manifest, keys, tell))
    _on_signals(playing, tell)
    with contextlib.suppress(asyncio.CancelledError):
        await playing


async def _live(
    options: StartOptions, home: Home, manifest: Manifest, keys: NodeKeys, tell: Tell
) -> None:
    """Everything between the first child and the last; cancelling it stops the node in order."""

    def trouble(sentence: str) -> None:
        tell("trouble", {"message": sentence})

    def observe(event: str, data: dict[str, Any]) -> None:
        housekeeping.observe(event, data)
        tell(event, data)

    load = Load(
        model=options.model or manifest.model.name,
        checkpoints=str(home.checkpoints),
        lora=manifest.model.lora,
        full=manifest.model.full,
        rule=manifest.learning,
        temperature=manifest.model.temperature,
        threads=options.threads,
        memory_bytes=options.memory_bytes,
        sampler=options.sampler,
        dtype=options.dtype,
    )
    peers = options.peers or []
    async with contextlib.AsyncExitStack() as stack:
        worker = WorkerProcess(
            home.path / "worker.log",
            trouble,
            on_restart=lambda loaded: node.took_policy(loaded),
            processes=options.processes,
        )
        scorer = ScorerProcess(home.path / "scorer.log", trouble)
        stack.push_async_callback(_close_together, worker, scorer)
        if options.hold:
            gone = _line_of_parent(asyncio.current_task())
            await worker.load(load)
            tell("loaded", {})
            peers = [*peers, *msgspec.json.decode(await gone, type=Go).peers]
            assert options.manifest is not None
            manifest = load_manifest(options.manifest)
        network = attach(
            home.path,
            # A held node is one of a swarm on one machine.
            listen=options.listen or (["/ip4/127.0.0.1/tcp/0"] if options.hold else []),
            port=options.port,
            peers=[*peers, *manifest.bootstrap.addresses],
            public_addresses=options.public_addresses or [],
            swarm_key=options.swarm_key,
            relay=options.relay,
            mdns=options.mdns,
            upnp=options.upnp,
            note=lambda sentence: tell("note", {"message": sentence}),
        )
        transport = await Libp2pTransport.open(keys.identity, manifest, network)
        stack.push_async_callback(transport.close)
        housekeeping = Housekeeping(
            home.path, transport, manifest.swarm_id.hex(), manifest.name, trouble
        )
        stack.callback(housekeeping.close)
        keeping = asyncio.create_task(housekeeping.keep())
        stack.callback(keeping.cancel)
        journal = Journal(home.journal_file, manifest.swarm_id, trouble)
        stack.callback(journal.close)
        node = Node(
            manifest,
            keys.identity,
            transport=transport,
            worker=worker,
            scorer=scorer,
            journal=journal,
            clock=SystemClock(),
            load=load,
            statements=_statements(keys, manifest, trouble),
            observe=observe,
            rounds=options.rounds,
            evaluate=options.evaluate,
            persona=options.persona,
            born=psutil.Process().create_time(),
        )
        stack.callback(lambda: tell("stopped", node.summary()))
        await node.run()


def _statements(
    keys: NodeKeys, manifest: Manifest, trouble: Callable[[str], None]
) -> tuple[Statement, ...]:
    """What this node states of itself in the swarm: bound to its account, unless told otherwise."""
    domain = Domain.of_swarm(manifest.swarm_id)
    bound = keys.ensure_bound(domain)
    if bound is not None and bound.revoked:
        trouble(
            "this peer key was revoked: it can learn and teach but earns nothing; begin a new home "
            "with `rlswarm keys new --home FOLDER`"
        )
    elif bound is None or bound.binding is None:
        trouble(
            "no account is bound to this node in this swarm, so its work is credited to nobody; "
            "bind one with `rlswarm keys bind`"
        )
    return keys.stated(domain)


async def _close_together(worker: WorkerProcess, scorer: ScorerProcess) -> None:
    await asyncio.gather(worker.close(STOP_SECONDS), scorer.close(STOP_SECONDS))


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


def _line_of_parent(playing: "asyncio.Task[None] | None") -> "asyncio.Future[bytes]":
    """The first line on stdin; its end stops the node, so that none outlives its parent."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    read = bytearray()

    def readable() -> None:
        data = os.read(0, 65536)
        if not data:
            loop.remove_reader(0)
            if playing is not None:
                playing.cancel()
            return
        read.extend(data)
        if b"\n" in read and not line.done():
            line.set_result(bytes(read.split(b"\n")[0]))

    loop.add_reader(0, readable)
    return line


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
