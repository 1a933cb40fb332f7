"""A local swarm: N node processes, started, watched and stopped together."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from rlswarm.cli.view import View, final_table
from rlswarm.config.manifest import Manifest, load_manifest, render_manifest
from rlswarm.config.presets import BUNDLED_MODEL, starter_manifest
from rlswarm.errors import RlswarmError, StorageError

OPENING_SECONDS = 2.5
"""From the last node's readiness to the first round: for nodes to find each other."""

STOP_SECONDS = 12.0
"""A node stops within ten seconds; after this it is killed."""


@dataclass(frozen=True)
class UpOptions:
    """As on the command line."""

    nodes: int
    rounds: int
    model: str | None
    manifest: Path | None
    run_dir: Path | None
    evaluate: int
    as_json: bool


class NodeFailedError(RlswarmError):
    """A node of the swarm ended with an error; its exit code becomes ours."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class RunningNode:
    """A node process and the last things it said."""

    index: int
    home: Path
    process: asyncio.subprocess.Process | None = None
    summary: dict[str, Any] | None = None
    addresses: list[str] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def go(self, peers: list[str]) -> None:
        """Let a loaded node join the swarm."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps({"peers": peers}).encode() + b"\n")


def run_swarm(options: UpOptions) -> None:
    """Run the swarm to its end. Raises RlswarmError, or KeyboardInterrupt after a clean stop."""
    if not asyncio.run(_run(options)):
        raise KeyboardInterrupt


def _prepare(options: UpOptions) -> tuple[Path, Path, Manifest]:
    """(run folder, manifest file, manifest): made, written and checked."""
    now = datetime.datetime.now(datetime.UTC)
    run = options.run_dir or Path("runs") / now.strftime("%Y%m%d-%H%M%S")
    if options.manifest is not None:
        manifest = load_manifest(options.manifest)
    else:
        manifest = starter_manifest("demo", now, model=options.model or BUNDLED_MODEL)
    path = run / "swarm.toml"
    try:
        run.mkdir(parents=True, exist_ok=True)
        manifest = _open_at(path, manifest, now)
        if options.run_dir is None:
            latest = run.parent / "latest"
            latest.unlink(missing_ok=True)
            latest.symlink_to(run.name)
    except OSError as error:
        raise StorageError(f"the run folder {run} can't be used: {error.strerror}") from None
    return run, path, manifest


def _open_at(path: Path, manifest: Manifest, when: datetime.datetime) -> Manifest:
    """Write the manifest of the same swarm with another genesis."""
    manifest = msgspec.structs.replace(manifest, genesis=when)
    path.write_text(render_manifest(manifest), encoding="utf-8")
    return manifest


async def _run(options: UpOptions) -> bool:
    """True if the swarm played all its rounds, False if it was interrupted."""
    run, path, manifest = _prepare(options)
    nodes = [RunningNode(i, run / f"node-{i}") for i in range(options.nodes)]
    view = None if options.as_json else View(manifest, options.nodes, options.rounds, run)
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)

    def said(node: RunningNode, event: str, data: dict[str, Any]) -> None:
        if event == "loaded":
            node.loaded.set()
        elif event == "started":
            node.addresses = data["addresses"]
            node.started.set()
        elif event == "stopped":
            node.summary = data
        if view is not None:
            view.event(node.index, event, data)
        else:
            _emit({"event": event, "node": node.index, **data})

    async def live() -> None:
        """All nodes. Round 0 opens when all are ready; the first is the others' way in."""
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(_node(options, path, node, said))
            for node in nodes:
                await node.loaded.wait()
            now = datetime.datetime.now(datetime.UTC)
            opened = _open_at(path, manifest, now + datetime.timedelta(seconds=OPENING_SECONDS))
            if view is not None:
                view.opened(opened)
            nodes[0].go([])
            await nodes[0].started.wait()
            for node in nodes[1:]:
                node.go(nodes[0].addresses[:1])

    living = asyncio.create_task(live())
    stopping = asyncio.create_task(interrupted.wait())
    with view or contextlib.nullcontext():
        await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not living.done():
            await _stop(nodes)
            await asyncio.wait({living}, timeout=STOP_SECONDS)
    stopping.cancel()
    failure = living.exception() if living.done() else None
    if failure is not None and not interrupted.is_set():
        await _stop(nodes)
        raise _first_failure(failure)
    summaries = [node.summary for node in nodes if node.summary is not None]
    if view is None:
        _emit({"event": "finished", "nodes": summaries, "run": str(run)})
    else:
        final_table(summaries, run, path, interrupted=interrupted.is_set())
    return not interrupted.is_set()


def _first_failure(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _node(options: UpOptions, manifest: Path, node: RunningNode, said: Any) -> None:
    """One node from start to end. Raises NodeFailedError."""
    node.home.mkdir(parents=True, exist_ok=True)
    log = node.home / "node.log"
    threads = max(1, (os.cpu_count() or 1) // options.nodes)
    arguments = ["--home", str(node.home), "--swarm", str(manifest), "--json"]
    arguments += ["--hold", "--threads", str(threads)]
    arguments += ["--rounds", str(options.rounds), "--evaluate", str(options.evaluate)]
    if options.model:
        arguments += ["--model", options.model]
    with log.open("ab") as errors:
        node.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rlswarm",
            "node",
            "start",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # A terminal's Ctrl-C must reach the nodes once, through us.
            start_new_session=True,
            limit=1 << 24,
        )
    assert node.process.stdout is not None
    async for text in node.process.stdout:
        data = json.loads(text)
        said(node, data.pop("event"), data)
    code = await node.process.wait()
    if code != 0:
        last = log.read_text(errors="replace").strip().splitlines()
        words = last[-1].removeprefix("error: ") if last else "it left no message"
        raise NodeFailedError(f"node {node.index} ended with code {code}: {words}", abs(code))


async def _stop(nodes: list[RunningNode]) -> None:
    """Ask every node to stop, wait, then insist."""
    running = [n.process for n in nodes if n.process and n.process.returncode is None]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    ends = [asyncio.create_task(process.wait()) for process in running]
    if ends:
        await asyncio.wait(ends, timeout=STOP_SECONDS)
    for process in running:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def _emit(data: dict[str, Any]) -> None:
    click.echo(json.dumps(data))
