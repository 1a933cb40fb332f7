"""Whole swarms of real processes over real libp2p, with a tiny real model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import PATIENCE, NodeProcess, child, children_of, write_manifest

# Several processes that load torch and play rounds by the clock: a loaded machine needs longer.
pytestmark = pytest.mark.timeout(900)

FINISHED = {
    "peer_id",
    "rounds",
    "learn_steps",
    "own_groups_used",
    "external_groups_available",
    "external_groups_used",
    "mean_reward_first",
    "mean_reward_last",
    "heldout_before",
    "heldout_after",
    "node_peak_rss_mb",
    "worker_peak_rss_mb",
    "scorer_peak_rss_mb",
    "first_learn_step_s",
    "round_seconds_median",
    "roots",
}


def rlswarm(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rlswarm", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )


def swarm_up_until(event: str, folder: Path, model: Path) -> "subprocess.Popen[str]":
    """A running swarm of two nodes, one of which has just said `event`."""
    write_manifest(folder / "swarm.toml", model)
    swarm = subprocess.Popen(
        [
            *(sys.executable, "-m", "rlswarm", "swarm", "up", "--nodes", "2", "--rounds", "50"),
            *("--swarm", str(folder / "swarm.toml"), "--run-dir", str(folder / "run")),
            "--json",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert swarm.stdout is not None
    for line in swarm.stdout:
        if json.loads(line)["event"] == event:
            break
    return swarm


def test_swarm_up_runs_three_nodes_that_agree(
    tmp_path: Path, tiny_model: Path, parity: Path
) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    run = tmp_path / "run"
    done = rlswarm(
        *("swarm", "up", "--nodes", "3", "--rounds", "3", "--json", "--evaluate", "16"),
        *("--swarm", str(tmp_path / "swarm.toml"), "--run-dir", str(run)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "finished"
    assert len(last["nodes"]) == 3
    for node in last["nodes"]:
        assert set(node) >= FINISHED
        assert node["rounds"] == 3
        assert node["learn_steps"] >= 1
        assert node["own_groups_used"] > 0
        assert 0 < node["external_groups_used"] <= node["external_groups_available"]
        assert 0 <= node["heldout_after"]["low"] <= node["heldout_after"]["high"] <= 1
        assert node["heldout_before"]["count"] == node["heldout_after"]["count"] == 16
        assert node["node_peak_rss_mb"] <= 120
        assert node["scorer_peak_rss_mb"] <= 200
    # Each told the others which account it is bound to.
    told = [e for line in done.stdout.splitlines() if (e := json.loads(line))["event"] == "binding"]
    assert len({event["peer_id"] for event in told if event["state"] == "bound"}) == 3
    # Nodes that saw the same records print the same root: on a loaded machine a record may come
    # late to one of them, but not in every round.
    roots = [node["roots"] for node in last["nodes"]]
    same = [
        r for r in roots[0] if len({root[r] for root in roots}) == 1 and set(roots[0][r]) != {"0"}
    ]
    assert same
    shown = [
        rlswarm("rounds", "show", same[-1], "--home", str(run / f"node-{i}"), "--json")
        for i in range(3)
    ]
    data = [json.loads(one.stdout) for one in shown]
    assert len({one["root"] for one in data}) == 1
    assert data[0]["root"] == roots[0][same[-1]]
    assert len(data[0]["peers"]) == 3
    assert all(peer["groups"] > 0 for peer in data[0]["peers"])
    replayed = rlswarm("replay", str(run / "node-0"), "--json")
    assert replayed.returncode == 0, replayed.stderr + replayed.stdout
    assert len(replayed.stdout.splitlines()) == 3
    listed = rlswarm("rounds", "list", "--home", str(run / "node-0"))
    assert len(listed.stdout.splitlines()) == 3


def test_a_fourth_node_joins_by_address_and_a_killed_one_comes_back(
    tmp_path: Path, tiny_model: Path, start: Any
) -> None:
    manifest = tmp_path / "swarm.toml"
    write_manifest(manifest, tiny_model, lead=10)
    first: NodeProcess = start(tmp_path / "a", manifest)
    address = first.wait_for("started")["addresses"][0]
    second: NodeProcess = start(tmp_path / "b", manifest, "--peer", address)
    second.wait_for("learned", lambda d: d["external_used"] > 0)
    identity = second.wait_for("started")["peer_id"]
    second.kill()
    first.wait_for("peer_left", lambda d: d["peer_id"] == identity)

    # The survivor goes on; a newcomer catches up to the current round; the killed one resumes.
    played = first.all("round_opened")[-1]["round"]
    first.wait_for("learned", lambda d: d["round"] > played and d["stepped"])
    third: NodeProcess = start(tmp_path / "c", manifest, "--peer", address)
    again: NodeProcess = start(tmp_path / "b", manifest, "--peer", address)
    ready = again.wait_for("ready")
    assert again.wait_for("started")["peer_id"] == identity
    assert ready["resumed_round"] is not None
    joined = third.wait_for("learned", lambda d: d["external_used"] > 0)
    assert joined["round"] > played
    again.wait_for("learned", lambda d: d["external_used"] > 0)
    steps = again.wait_for("learned")
    assert steps["stepped"]

    # SIGTERM: in order, within ten seconds, with nothing left behind.
    family = [pid for node in (first, third, again) for pid, _ in children_of(node.process.pid)]
    began = time.monotonic()
    for node in (first, third, again):
        node.process.send_signal(signal.SIGTERM)
    assert [node.end() for node in (first, third, again)] == [0, 0, 0]
    assert time.monotonic() - began <= 12
    assert all(node.all("stopped") for node in (first, third, again))
    assert not [pid for pid in family if psutil.pid_exists(pid)]


def test_a_killed_worker_and_a_hanging_scorer_are_replaced(
    tmp_path: Path, tiny_model: Path, start: Any
) -> None:
    manifest = tmp_path / "swarm.toml"
    write_manifest(manifest, tiny_model)
    node: NodeProcess = start(tmp_path / "a", manifest)
    node.wait_for("learned")
    os.kill(child(node, "rlswarm.worker"), signal.SIGKILL)
    told = node.wait_for("trouble", lambda d: "worker" in d["message"])
    assert "the worker died (killed by SIGKILL" in told["message"]
    assert "restarting it from its last checkpoint" in told["message"]
    seen = len(node.all("learned"))
    node.wait_for("learned", lambda d: len(node.all("learned")) > seen and d["stepped"])

    os.kill(child(node, "rlswarm.scorer"), signal.SIGSTOP)
    told = node.wait_for("trouble", lambda d: "scorer" in d["message"])
    assert "no answer within" in told["message"]
    seen = len(node.all("learned"))
    node.wait_for("learned", lambda d: len(node.all("learned")) > seen and d["stepped"])
    assert node.process.poll() is None


def test_ctrl_c_stops_a_whole_swarm(tmp_path: Path, tiny_model: Path, parity: Path) -> None:
    swarm = swarm_up_until("learned", tmp_path, tiny_model)
    family = [pid for pid, _ in children_of(swarm.pid)]
    assert len(family) == 6
    swarm.send_signal(signal.SIGINT)
    assert swarm.stdout is not None
    rest = swarm.stdout.read()
    assert swarm.wait(PATIENCE) == 130
    last = json.loads(rest.splitlines()[-1])
    assert last["event"] == "finished"
    assert len(last["nodes"]) == 2
    assert not [pid for pid in family if psutil.pid_exists(pid)]


def test_no_node_outlives_a_swarm_that_was_killed(
    tmp_path: Path, tiny_model: Path, parity: Path
) -> None:
    swarm = swarm_up_until("ready", tmp_path, tiny_model)
    family = [pid for pid, _ in children_of(swarm.pid)]
    swarm.kill()
    swarm.wait()
    give_up = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in family):
        assert time.monotonic() < give_up
        time.sleep(0.2)
