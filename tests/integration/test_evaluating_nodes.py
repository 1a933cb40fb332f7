"""Held-out results over real libp2p, and what the command line makes of them afterwards."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, NodeProcess, write_manifest

from rlswarm._core import Identity, seal
from rlswarm.config.manifest import Evaluation, load_manifest
from rlswarm.game.held_out import Completion, Measured, encode_evaluation
from rlswarm.journal.journal import Journal
from rlswarm.network.transport import EVALUATION

pytestmark = pytest.mark.timeout(900)


def evaluated(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rlswarm", "model", "eval", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_results_are_signed_told_and_checked(tmp_path: Path, tiny_model: Path, start: Any) -> None:
    place = tmp_path / "swarm.toml"
    write_manifest(place, tiny_model, evaluation=Evaluation(every_rounds=1, tasks=8, seconds=1.5))
    first: NodeProcess = start(tmp_path / "a", place)
    address = first.wait_for("started")["addresses"][0]
    second: NodeProcess = start(tmp_path / "b", place, "--peer", address)
    told = second.wait_for("held_out", lambda d: not d["own"])
    assert told["problem"] == ""
    assert told["results"][0]["environment"] == "parity"
    mine = first.wait_for("held_out", lambda d: d["record"] == told["record"])
    assert (mine["own"], mine["results"]) == (True, told["results"])
    # The second is stopped just when it told what its newest policy is worth: a stop while it
    # learns would leave a newer checkpoint.
    before = len(second.all("held_out"))
    last = second.wait_for(
        "held_out",
        lambda d: (
            d["own"]
            and d in second.all("held_out")[before:]
            and d["round"] in [e["round"] for e in second.all("learned")[-1:]]
        ),
    )
    for node in (second, first):
        node.process.terminate()
    for node in (first, second):
        assert node.end() == 0

    swarm = ("--swarm", str(place))
    done = evaluated("--home", str(second.home), *swarm, "--check", last["record"][:16])
    assert done.returncode == 0, done.stderr
    checked = json.loads(done.stdout)
    assert checked["true"]
    assert checked["same_policy"]
    assert checked["equal"] == checked["drawn_again"] == last["results"][0]["count"]

    done = evaluated("--home", str(second.home), *swarm, "--tasks", "8")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["adapter"] == last["adapter"]
    if last["results"][0]["count"] == 8:
        assert measured["results"][0]["right"] == last["results"][0]["right"]


def test_a_false_record_is_called_so(tmp_path: Path, tiny_model: Path, parity: Path) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    swarm_id = load_manifest(tmp_path / "swarm.toml").swarm_id
    body = encode_evaluation([Measured(0, 0, 1, (Completion(bytes(4), ""),))])
    record = seal(
        Identity.generate(),
        swarm=swarm_id,
        kind=EVALUATION,
        round=0,
        lottery_root=bytes(32),
        stage=0,
        slots=[],
        sequence=0,
        created_at_ms=0,
        base=bytes(32),
        adapter=bytes(32),
        persona="",
        body=body,
    )
    journal = Journal(tmp_path / "journal.sqlite3", swarm_id)
    journal.record(record.header, 0.0, in_time=True, own=False, body=body)
    journal.close()
    home = ("--home", str(tmp_path), "--swarm", str(tmp_path / "swarm.toml"))
    done = evaluated(*home, "--check", record.header.hash.hex())
    assert done.returncode == 20, done.stderr
    checked = json.loads(done.stdout)
    assert not checked["same_policy"]
    assert checked["problem"] == "it claims 1 right answers of parity, but 0 are"
    done = evaluated(*home, "--check", "00" * 32)
    assert done.returncode == 12
    assert "no record whose hash begins with" in done.stderr
