"""The journal: written once, read back, and survived when it can't be."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rlswarm._core import Identity, seal
from rlswarm.errors import JournalError
from rlswarm.journal.journal import Basis, Journal, KeptRecord
from rlswarm.ledger.ledger import Ledger, Line, Work

SWARM = b"s" * 32
IDENTITY = Identity.from_seed(b"k" * 32)
BASIS = Basis((b"b" * 32,), ((b"c" * 32, "the scorer could not judge it here"),))


def record(sequence: int = 0):  # type: ignore[no-untyped-def]
    return seal(
        IDENTITY,
        swarm=SWARM,
        kind=1,
        round=5,
        lottery_root=bytes(32),
        stage=0,
        slots=[0],
        sequence=sequence,
        created_at_ms=1,
        base=bytes(32),
        adapter=bytes(32),
        persona="",
        body=b"body",
    )


def ledger(number: int = 5) -> Ledger:
    line = Line(
        peer=IDENTITY.public_key,
        peer_id=IDENTITY.peer_id,
        work=(Work(0, 0, 2, 16),),
        credit=1_250_000,
        adapter=bytes(32),
        refused=(("no body came", 1),),
    )
    return Ledger(SWARM, number, (line,), b"r" * 32)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    journal = Journal(path, SWARM)
    sealed = record()
    journal.record(sealed.header, 12.5, in_time=True, own=True, body=None)
    journal.record(sealed.header, 12.5, in_time=True, own=True, body=b"body", body_at=13.5)
    journal.ledger(ledger(), 20.0, BASIS)
    journal.event(1.0, "note", {"b": 1, "a": "ä"}, 5)
    journal.close()
    again = Journal.read(path)
    assert again.records_of(5, 1) == [KeptRecord(sealed.header.encoded, 12.5, True, b"body", 13.5)]
    assert again.basis_of(5) == BASIS
    assert again.ledger_of(5) == (b"r" * 32, ledger().lines)
    assert again.rounds() == [(5, b"r" * 32, ledger().lines)]
    assert again.events_of("note") == [(1.0, 5, {"a": "ä", "b": 1})]


def test_sequence_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SWARM)
    assert journal.next_sequence() == 0
    journal.record(record(41).header, 1.0, in_time=True, own=True, body=None)
    journal.close()
    assert Journal(tmp_path / "j", SWARM).next_sequence() == 42


def test_a_journal_of_another_swarm_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j", SWARM).close()
    with pytest.raises(JournalError, match="another swarm; use another --home"):
        Journal(tmp_path / "j", b"t" * 32)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"this is no database, but it is long enough to look at" * 40)
    with pytest.raises(JournalError, match="move it away"):
        Journal(tmp_path / "j", SWARM)


def test_a_round_that_is_not_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SWARM)
    with pytest.raises(JournalError, match="it has none yet"):
        journal.ledger_of(3)
    journal.ledger(ledger(7), 1.0, BASIS)
    with pytest.raises(JournalError, match="no ledger of round 3; it has rounds 7 to 7"):
        journal.ledger_of(3)


def test_no_journal_at_all(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="has a node been started there"):
        Journal.read(tmp_path / "none")


def test_a_full_disk_is_said_once_and_survived(tmp_path: Path) -> None:
    said: list[str] = []
    journal = Journal(tmp_path / "j", SWARM, said.append)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    for n in range(3):
        journal.event(1.0, "big", {"text": "x" * 200_000}, n)
    assert len(said) == 1
    assert "full" in said[0]
    assert "free some disk space" in said[0]
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.event(2.0, "small", {})
    assert journal.events_of("small") == [(2.0, None, {})]
    assert journal.events_of("big") == []


def test_kill_9_loses_nothing_that_was_written(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from rlswarm.journal.journal import Basis, Journal, KeptRecord
journal = Journal(Path({str(tmp_path / "j")!r}), {SWARM!r})
for n in range(10**9):
    journal.event(float(n), "tick", {{"n": n}})
    print(n, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    seen = -1
    for line in child.stdout:
        seen = int(line)
        if seen >= 200:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    ticks = [data["n"] for _, _, data in Journal.read(tmp_path / "j").events_of("tick")]
    assert ticks == list(range(len(ticks)))
    assert len(ticks) > seen


def test_a_second_reader_sees_a_running_nodes_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SWARM)
    journal.ledger(ledger(), 1.0, BASIS)
    reader = Journal.read(tmp_path / "j")
    assert reader.ledger_of(5)[0] == b"r" * 32
    journal.ledger(ledger(6), 1.0, BASIS)
    assert [number for number, _, _ in reader.rounds()] == [5, 6]
    assert isinstance(journal._db, sqlite3.Connection)
