"""A node's network as its owner sees it: real processes, commands and files."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import PATIENCE, NodeProcess, write_manifest

Start = Callable[..., NodeProcess]


def rlswarm(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlswarm", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def status(home: Path) -> dict[str, Any]:
    answer = rlswarm("node", "status", "--home", home, "--json")
    assert answer.returncode == 0, answer.stderr
    shown: dict[str, Any] = json.loads(answer.stdout)
    return shown


def wait_for(home: Path, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    give_up = time.monotonic() + PATIENCE
    while not condition(shown := status(home)):
        assert time.monotonic() < give_up, shown
        time.sleep(0.5)
    return shown


def test_status_block_and_return_without_bootstrap(
    tmp_path: Path, tiny_model: Path, start: Start
) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    manifest = tmp_path / "swarm.toml"
    one = start(tmp_path / "one", manifest)
    started = one.wait_for("started")
    two = start(tmp_path / "two", manifest, "--peer", started["addresses"][0])
    two.wait_for("peer_joined")
    two.wait_for("reachability", lambda e: e["verdict"] == "local")
    home = tmp_path / "two"
    shown = wait_for(home, lambda s: bool(s["peers"]))
    assert shown["peers"][0]["peer_id"] == started["peer_id"]
    assert not shown["peers"][0]["relayed"]
    assert shown["reachability"] == "local"
    assert started["name"] in rlswarm("node", "status", "--home", home).stdout

    assert rlswarm("node", "block", started["peer_id"], "--home", home).returncode == 0
    blocked = wait_for(home, lambda s: not s["peers"])
    assert blocked["blocked"] == [started["peer_id"]]
    assert rlswarm("node", "unblock", started["peer_id"], "--home", home).returncode == 0
    wait_for(home, lambda s: bool(s["peers"]))

    two.process.send_signal(signal.SIGTERM)
    assert two.end() == 0
    gone = rlswarm("node", "status", "--home", home)
    assert gone.returncode == 18
    assert "no node runs" in gone.stderr

    # No --peer any more: the peers met before are enough.
    again = start(home, manifest)
    assert again.wait_for("peer_joined")["peer_id"] == started["peer_id"]


def test_doctor(tmp_path: Path, tiny_model: Path, parity: Path) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    look = ("doctor", "--home", tmp_path / "home", "--swarm", tmp_path / "swarm.toml", "--json")
    loopback = ("--listen", "/ip4/127.0.0.1/tcp/0")
    answer = rlswarm(*look, *loopback, "--peer", "/ip4/127.0.0.1/tcp/9")
    findings = {f["what"]: f for f in map(json.loads, answer.stdout.splitlines())}
    assert answer.returncode == 0, answer.stderr
    assert findings["scorer"]["verdict"] == "good"
    assert "tcp/9" in findings["peers"]["text"]
    assert findings["reachable"]["text"].startswith("only this machine")
    assert all(f["remedy"] for f in findings.values() if f["verdict"] != "good")

    bad = rlswarm(*look, *loopback, "--model", tmp_path / "absent")
    assert bad.returncode == 19
    findings = {f["what"]: f for f in map(json.loads, bad.stdout.splitlines())}
    assert findings["model"]["verdict"] == "bad"
