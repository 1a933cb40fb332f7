"""What would keep a node from doing well here: one finding for each thing that it needs."""

import asyncio
import contextlib
import ctypes
import dataclasses
import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from rlswarm import _core
from rlswarm.config.manifest import Manifest
from rlswarm.errors import ModelError, RlswarmError
from rlswarm.identity.node_keys import PEER_KEY, has_keys, needs_password, open_keys
from rlswarm.network.libp2p import Libp2pTransport
from rlswarm.network.options import NetworkOptions, everywhere, is_free
from rlswarm.node.presence import worth_telling
from rlswarm.node.processes import ScorerProcess
from rlswarm.policy.inventory import known_models
from rlswarm.policy.memory import free_memory
from rlswarm.policy.source import BUNDLED, find
from rlswarm.scorer.messages import Open

DISK_LEAST, DISK_GOOD = 1e9, 5e9
MEMORY_LEAST, MEMORY_GOOD = 1e9, 2.5e9
"""Bytes. A 135M model with LoRA needs about 2 GB."""

CLOCK_LEAST = 1_735_689_600
"""2025-01-01: no clock is right that says less."""

NETWORK_SECONDS = 12.0
"""How long peers get to answer, and to test whether they can dial back."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the report."""

    what: str
    verdict: Literal["good", "poor", "bad"]
    """``poor`` can be lived with; ``bad`` stops a node."""
    text: str
    remedy: str = ""


async def examine(
    home: Path, manifest: Manifest, model: str, network: NetworkOptions
) -> AsyncIterator[Finding]:
    """Look at everything in turn, changing nothing."""
    yield check_home(home)
    yield check_keys(home)
    yield check_disk(home)
    yield check_memory(free_memory())
    yield check_model(model)
    yield await check_scorer(manifest)
    yield check_clock(time.time(), kernel_is_in_step())
    async for finding in check_network(manifest, network):
        yield finding


def check_home(home: Path) -> Finding:
    probe = home / f".probe-{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Finding("home", "bad", f"{home}: {error.strerror}", "choose another --home")
    return Finding("home", "good", f"{home} can be written")


def check_keys(home: Path) -> Finding:
    if not has_keys(home):
        return Finding("keys", "good", "none yet; made on first start")
    file = home / PEER_KEY
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Finding("keys", "poor", f"others can read {file}", f"chmod 600 {file}")
    try:
        if needs_password(home):
            return Finding("keys", "good", "encrypted; the password is asked for on start")
        keys = open_keys(home)
    except RlswarmError as error:
        return Finding("keys", "bad", str(error), "restore a backup: `rlswarm keys restore`")
    return Finding("keys", "good", keys.identity.peer_id)


def check_disk(home: Path) -> Finding:
    place = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free"
    if free < DISK_LEAST:
        return Finding("disk", "bad", text, f"free at least {DISK_LEAST / 1e9:.0f} GB at {place}")
    if free < DISK_GOOD:
        return Finding("disk", "poor", text, "journal and checkpoints grow; free some space")
    return Finding("disk", "good", text)


def check_memory(free: int) -> Finding:
    text = f"{free / 1e9:.1f} GB free"
    if free < MEMORY_LEAST:
        return Finding("memory", "bad", text, "close other programs, or use a larger machine")
    if free < MEMORY_GOOD:
        return Finding("memory", "poor", text, "choose a small model, or close other programs")
    return Finding("memory", "good", text)


def check_model(name: str) -> Finding:
    """Whether the model is here; nothing is downloaded."""
    is_hub_id = name != BUNDLED and not Path(name).expanduser().exists() and name.count("/") == 1
    if is_hub_id:
        if any(known.name == name for known in known_models()):
            return Finding("model", "good", f"{name} is in the hub's cache")
        remedy = "download it beforehand, or give --model FOLDER where there is no internet"
        return Finding("model", "poor", f"{name} is not here; downloaded on first start", remedy)
    try:
        return Finding("model", "good", f"{name} at {find(name)}")
    except ModelError as error:
        return Finding("model", "bad", str(error), "see `rlswarm model list`")


async def check_scorer(manifest: Manifest) -> Finding:
    """Start the confined process that runs the environments, as a node would."""
    scorer = ScorerProcess(Path(os.devnull), lambda sentence: None)
    try:
        opened = await scorer.open(Open(manifest.environments))
    except RlswarmError as error:
        return Finding("scorer", "bad", str(error), "see `rlswarm env list`")
    finally:
        with contextlib.suppress(RlswarmError):
            await scorer.close(5)
    declined = "; ".join(sentence for _, sentence in opened.mismatches)
    if len(opened.mismatches) == len(manifest.environments):
        return Finding("scorer", "bad", declined, "install the versions that the swarm uses")
    if declined:
        return Finding("scorer", "poor", f"declined here: {declined}", "see `rlswarm env list`")
    return Finding("scorer", "good", f"{len(manifest.environments)} environments, confined")


def check_clock(now: float, in_step: bool | None) -> Finding:
    """`in_step`: whether the kernel's clock follows a time server; None if that is unknown."""
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < CLOCK_LEAST:
        return Finding("clock", "bad", text, "set the clock: rounds are windows of real time")
    if in_step is False:
        remedy = "switch on a time server (e.g. `timedatectl set-ntp true`)"
        return Finding("clock", "poor", f"{text}, not known to follow a time server", remedy)
    return Finding("clock", "good", text)


def kernel_is_in_step() -> bool | None:
    """Whether Linux says that its clock is synchronised (adjtimex); None elsewhere."""
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # An empty request reads only; struct timex has at most 256 bytes.
        state = libc.adjtimex(ctypes.create_string_buffer(256))
    except (OSError, AttributeError):
        return None
    unsynchronised = 5
    return None if state < 0 else bool(state != unsynchronised)


async def check_network(manifest: Manifest, network: NetworkOptions) -> AsyncIterator[Finding]:
    """Listen as the node would, under a key of its own, and see who answers."""
    taken = [port for port in _ports(network) if not is_free(port)]
    if taken:
        yield Finding(
            "port",
            "poor",
            f"{', '.join(map(str, taken))} is in use, perhaps by a node that runs here; the "
            "rest was looked at on another port",
            "choose another --port, or stop the other program",
        )
        listen = everywhere(0, private=network.swarm_key is not None)
        network = dataclasses.replace(network, listen=listen)
    network = dataclasses.replace(network, public_addresses=(), relay=False)
    try:
        transport = await Libp2pTransport.open(_core.Identity.generate(), manifest, network)
    except RlswarmError as error:
        yield Finding("port", "bad", str(error), "choose another --port or --listen")
        return
    try:
        if not taken:
            yield Finding("port", "good", ", ".join(network.listen))
        joined, unreachable = await _wait_for_peers(transport, network)
        addresses = worth_telling([a.split("/p2p/")[0] for a in transport.addresses()])
        yield Finding("addresses", "good", ", ".join(addresses))
        yield _peers_found(network, joined, unreachable)
        verdict, reason = transport.reachability()
        yield Finding(
            "reachable", "good" if verdict == "public" else "poor", reason, _HELP[verdict]
        )
    finally:
        await transport.close()


_HELP = {
    "public": "",
    "relayed": "forward the port (TCP and UDP) in the router to be reached directly",
    "private": "nothing need be done to take part; a forwarded port helps others in",
    "local": "use --port or --listen, or nothing if all nodes are on this machine",
    "unknown": "ask again while a peer that is public (--relay or --public-address) is connected",
}


def _ports(network: NetworkOptions) -> list[int]:
    """Ports on all interfaces that the node would bind."""
    found = {
        int(parts[4]) for a in network.listen if (parts := a.split("/"))[2] in ("0.0.0.0", "::")
    }
    return sorted(found - {0})


def _peers_found(network: NetworkOptions, joined: int, unreachable: list[str]) -> Finding:
    if joined:
        return Finding("peers", "good", f"{joined} answered")
    if unreachable:
        remedy = "ask for a current address of the swarm; a node trains alone until one answers"
        return Finding("peers", "poor", f"can't reach {'; '.join(unreachable)}", remedy)
    if network.peers or network.known:
        remedy = "check the addresses; a node trains alone until one answers"
        return Finding("peers", "poor", "nobody answered in time", remedy)
    remedy = "name one with --peer, or in the manifest's [bootstrap], to join others"
    return Finding("peers", "poor", "no peer is known; a node would train alone", remedy)


async def _wait_for_peers(
    transport: Libp2pTransport, network: NetworkOptions
) -> tuple[int, list[str]]:
    """Until peers and a verdict are there, none can come any more, or time is up: (peers met,
    addresses that failed)."""
    joined: set[str] = set()
    unreachable: list[str] = []

    def settled() -> bool:
        if joined:
            return transport.reachability()[0] not in ("unknown", "private")
        others = bool(network.known) or (network.mdns and not network.is_local)
        return not others and len(unreachable) >= len(network.peers)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NETWORK_SECONDS):
            while not settled():
                for arrival in await transport.receive():
                    if arrival.kind == "peer_joined":
                        joined.add(arrival.peer)
                    elif arrival.kind == "unreachable":
                        unreachable.append(arrival.detail)
    return len(joined), unreachable
