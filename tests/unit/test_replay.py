"""A journal's rounds come out the same elsewhere, and a changed journal is found out."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rlswarm.errors import JournalError
from rlswarm.journal.journal import Journal
from rlswarm.node.replay import Replayed, replay_round
from rlswarm.scorer.messages import Open
from rlswarm.simulation.swarm import (
    InProcessScorer,
    SimulatedSwarm,
    simulate,
    simulated_manifest,
)

MANIFEST = simulated_manifest()
ROUNDS = 3


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Journals of three nodes on a bad network: headers come late, bodies are lost."""
    folder = tmp_path_factory.mktemp("homes")

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=ROUNDS)
        await swarm.finish()
        for number, journal in enumerate(sorted(swarm._folder.glob("*.sqlite3"))):
            (folder / f"node-{number}").mkdir()
            with sqlite3.connect(journal) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(journal, folder / f"node-{number}" / "journal.sqlite3")

    simulate(script, manifest=MANIFEST, seed=4, loss=0.1, latency=(0.01, 0.9))
    return sorted(folder.iterdir())


def replay(home: Path) -> list[Replayed]:
    async def main() -> list[Replayed]:
        scorer, journal = InProcessScorer(), Journal.read(home / "journal.sqlite3")
        await scorer.open(Open(MANIFEST.environments))
        return [
            await replay_round(journal, MANIFEST, scorer, number)
            for number, _, _ in journal.rounds()
        ]

    return asyncio.run(main())


def test_every_node_can_replay_its_own_view(homes: list[Path]) -> None:
    """On a bad network nodes differ in what they saw; each journal replays to its own roots."""
    views = [replay(home) for home in homes]
    for view in views:
        assert len(view) == ROUNDS
        assert all(replayed.same for replayed in view)
        assert all(replayed.groups > 0 for replayed in view)
    assert len({view[-1].root for view in views}) > 1, "the network was too good for this test"


def command(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rlswarm", "replay", str(home), "--json", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_another_machine_reaches_the_same_roots(homes: list[Path], tmp_path: Path) -> None:
    """A copy of the journal, another locale, time zone and hash seed: only it and the package."""
    shutil.copytree(homes[0], tmp_path / "copy")
    done = command(
        tmp_path / "copy", LC_ALL="tr_TR.UTF-8", TZ="Asia/Kathmandu", PYTHONHASHSEED="12345"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["round"] for row in rows] == list(range(ROUNDS))
    assert all(row["same"] and row["root"] == row["recorded"] for row in rows)


@pytest.fixture
def copy(homes: list[Path], tmp_path: Path) -> Path:
    shutil.copytree(homes[0], tmp_path / "copy")
    return tmp_path / "copy"


def change(home: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(home / "journal.sqlite3") as db:
        assert db.execute(sql, values).rowcount > 0


def test_a_changed_reward_is_found(copy: Path) -> None:
    with sqlite3.connect(copy / "journal.sqlite3") as db:
        record, slot, rewards = db.execute(
            "SELECT record, slot, rewards FROM groups WHERE round = 1 AND stage = 0"
        ).fetchone()
    forged = [1_000_000 - reward for reward in msgspec.msgpack.decode(rewards)]
    change(
        copy,
        "UPDATE groups SET rewards = ? WHERE record = ? AND slot = ?",
        *(msgspec.msgpack.encode(forged), record, slot),
    )
    view = replay(copy)
    assert [replayed.same for replayed in view] == [True, False, True]
    assert "answer, slot" in view[1].differing[0]


def test_a_changed_record_or_root_is_found(copy: Path) -> None:
    change(copy, "UPDATE records SET header = zeroblob(100) WHERE round = 0 AND stage = 0")
    change(copy, "UPDATE ledgers SET root = zeroblob(32) WHERE round = 2")
    done = command(copy)
    assert done.returncode == 16
    assert done.stderr.strip() == f"error: the journal in {copy} does not hold in round 0, 2"


def test_what_can_not_be_replayed(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no ledger of round 9"):
        asyncio.run(
            replay_round(Journal.read(copy / "journal.sqlite3"), MANIFEST, InProcessScorer(), 9)
        )
    assert command(tmp_path / "nowhere").returncode == 12
    change(copy, "DELETE FROM meta WHERE key = 'manifest'")
    done = command(copy)
    assert done.returncode == 12
    assert "no manifest" in done.stderr
