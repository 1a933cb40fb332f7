"""The journal: one SQLite file in write-ahead mode, safe against kill -9 at any moment.

A journal that can no longer be written (a full disk) says so once through `on_trouble` and the
node goes on without it; nothing already written is lost.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from rlswarm._core import Header
from rlswarm.errors import JournalError
from rlswarm.game.rollouts import texts_of
from rlswarm.game.table import PlayedGroup
from rlswarm.ledger.ledger import Ledger, Line
from rlswarm.prompt import Prompt

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
  hash BLOB PRIMARY KEY, round INTEGER NOT NULL, kind INTEGER NOT NULL, stage INTEGER NOT NULL,
  peer_id TEXT NOT NULL, sequence INTEGER NOT NULL, own INTEGER NOT NULL,
  arrived REAL NOT NULL, in_time INTEGER NOT NULL, header BLOB NOT NULL, body BLOB, body_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_round ON records (round, stage, peer_id);
CREATE TABLE IF NOT EXISTS groups (
  record BLOB NOT NULL, slot INTEGER NOT NULL, round INTEGER NOT NULL, stage INTEGER NOT NULL,
  peer_id TEXT NOT NULL, environment INTEGER NOT NULL, seed INTEGER NOT NULL,
  question TEXT NOT NULL, prompt BLOB NOT NULL, scores BLOB NOT NULL, rewards BLOB NOT NULL,
  why BLOB NOT NULL,
  PRIMARY KEY (record, slot)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS groups_by_round ON groups (round);
CREATE TABLE IF NOT EXISTS ledgers (
  round INTEGER PRIMARY KEY, root BLOB NOT NULL, lines BLOB NOT NULL, decided REAL NOT NULL,
  basis BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, round INTEGER, kind TEXT NOT NULL,
  data TEXT NOT NULL
);
"""


class Basis(msgspec.Struct, frozen=True, array_like=True):
    """What a ledger was computed from, beside the headers that had come."""

    bodies: tuple[bytes, ...]
    """Hashes of the records whose bodies were here."""
    set_aside: tuple[tuple[bytes, str], ...]
    """(record hash, reason) of what only this node could not judge."""


class KeptRecord(msgspec.Struct, frozen=True):
    """A record as the journal kept it."""

    header: bytes
    """Encoded, signed."""
    arrived: float
    """Unix seconds by the node's clock."""
    in_time: bool
    body: bytes | None
    body_at: float | None


class Journal:
    """Open or make the journal at `path`.

    Raises JournalError if the file is not a journal, is damaged, or is of another swarm.
    """

    def __init__(
        self,
        path: Path,
        swarm: bytes | None = None,
        on_trouble: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.path = path
        self._on_trouble = on_trouble
        self._troubled = False
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._check_meta(
                "schema", str(SCHEMA_VERSION).encode(), "was written by another version"
            )
            if swarm is not None:
                self._check_meta("swarm", swarm, "belongs to another swarm; use another --home")
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"the journal {path} can't be used ({error}); move it away to begin a new one"
            ) from None

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Open an existing journal. Raises JournalError if there is none."""
        if not path.is_file():
            raise JournalError(f"there is no journal at {path}; has a node been started there?")
        return cls(path)

    def _check_meta(self, key: str, value: bytes, complaint: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        if self._meta(key) != value:
            raise JournalError(f"the journal {self.path} {complaint}")

    def _meta(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        self._db.close()

    # -- writing --------------------------------------------------------------------------------

    def _write(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        try:
            self._db.execute("BEGIN")
            self._db.executemany(sql, rows)
            self._db.execute("COMMIT")
            self._troubled = False
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if not self._troubled:
                self._troubled = True
                self._on_trouble(f"the journal can't be written ({error}); free some disk space")

    def record(
        self,
        header: Header,
        arrived: float,
        *,
        in_time: bool,
        own: bool,
        body: bytes | None,
        body_at: float | None = None,
    ) -> None:
        """A record, or its body once that came (at `body_at`, or with the header)."""
        row = (
            header.hash,
            header.round,
            header.kind,
            header.stage,
            header.peer_id,
            header.sequence,
            own,
            arrived,
            in_time,
            header.encoded,
            body,
            None if body is None else arrived if body_at is None else body_at,
        )
        self._write(
            "INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "
            "ON CONFLICT (hash) DO UPDATE SET body = coalesce(body, excluded.body), "
            "body_at = coalesce(body_at, excluded.body_at)",
            [row],
        )

    def groups(self, number: int, played: Iterable[tuple[PlayedGroup, str]]) -> None:
        """Verified groups with their authors' peer ids."""
        self._write(
            "INSERT OR REPLACE INTO groups VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    group.record,
                    group.slot,
                    number,
                    group.stage,
                    peer_id,
                    group.environment,
                    group.seed,
                    group.question,
                    msgspec.msgpack.encode(group.prompt),
                    msgspec.msgpack.encode(group.scores),
                    msgspec.msgpack.encode(group.rewards),
                    msgspec.msgpack.encode(group.why),
                )
                for group, peer_id in played
            ],
        )

    def ledger(self, ledger: Ledger, decided: float, basis: Basis) -> None:
        """A round's ledger and what it rests on; `decided` in Unix seconds."""
        row = (
            ledger.round,
            ledger.root,
            msgspec.msgpack.encode(ledger.lines),
            decided,
            msgspec.msgpack.encode(basis),
        )
        self._write("INSERT OR REPLACE INTO ledgers VALUES (?,?,?,?,?)", [row])

    def manifest(self, text: str) -> None:
        """The manifest (TOML) of this journal's swarm, so that a replay needs nothing else."""
        self._write("INSERT OR IGNORE INTO meta VALUES ('manifest', ?)", [(text.encode(),)])

    def event(self, at: float, kind: str, data: dict[str, Any], number: int | None = None) -> None:
        """Something that happened, as JSON."""
        self._write(
            "INSERT INTO events (at, round, kind, data) VALUES (?,?,?,?)",
            [(at, number, kind, json.dumps(data, sort_keys=True))],
        )

    # -- reading --------------------------------------------------------------------------------

    def next_sequence(self) -> int:
        """One more than the highest sequence number of an own record."""
        (highest,) = self._db.execute("SELECT max(sequence) FROM records WHERE own").fetchone()
        return 0 if highest is None else int(highest) + 1

    @property
    def swarm(self) -> bytes:
        """Id of the swarm that this journal is of. Raises JournalError if it is of none yet."""
        swarm = self._meta("swarm")
        if swarm is None:
            raise JournalError(f"the journal {self.path} is of no swarm; no node has used it yet")
        return swarm

    def kept_manifest(self) -> str:
        """The manifest as TOML. Raises JournalError if none was kept."""
        text = self._meta("manifest")
        if text is None:
            raise JournalError(f"the journal {self.path} holds no manifest; name it with --swarm")
        return text.decode()

    def own_peer_id(self) -> str:
        """Whose journal this is. Raises JournalError if its node has made no record yet."""
        row = self._db.execute("SELECT peer_id FROM records WHERE own LIMIT 1").fetchone()
        if row is None:
            raise JournalError(f"the node of the journal {self.path} has made no record yet")
        return str(row[0])

    def rounds(self) -> list[tuple[int, bytes, tuple[Line, ...]]]:
        """(number, root, lines) of every round with a ledger, oldest first."""
        rows = self._db.execute("SELECT round, root, lines FROM ledgers ORDER BY round")
        return [(number, root, _lines(lines)) for number, root, lines in rows]

    def ledger_of(self, number: int) -> tuple[bytes, tuple[Line, ...]]:
        """(root, lines) of a round. Raises JournalError if this node has no ledger of it."""
        row = self._db.execute(
            "SELECT root, lines FROM ledgers WHERE round = ?", (number,)
        ).fetchone()
        if row is None:
            known = [n for n, _, _ in self.rounds()]
            span = f"it has rounds {known[0]} to {known[-1]}" if known else "it has none yet"
            raise JournalError(f"this journal has no ledger of round {number}; {span}")
        return row[0], _lines(row[1])

    def basis_of(self, number: int) -> Basis:
        """What a round's ledger was computed from. Raises JournalError."""
        row = self._db.execute("SELECT basis FROM ledgers WHERE round = ?", (number,)).fetchone()
        if row is None:
            raise JournalError(f"this journal has no ledger of round {number}")
        return msgspec.msgpack.decode(row[0], type=Basis)

    def records_of(self, number: int, kind: int) -> list[KeptRecord]:
        """A round's records of a kind, in the order in which their headers came."""
        rows = self._db.execute(
            "SELECT header, arrived, in_time, body, body_at FROM records "
            "WHERE round = ? AND kind = ? ORDER BY arrived, sequence, peer_id",
            (number, kind),
        )
        return [
            KeptRecord(header, arrived, bool(in_time), body, body_at)
            for header, arrived, in_time, body, body_at in rows
        ]

    def bodies(self, kind: int) -> list[bytes]:
        """Bodies of all records of a kind, in the order in which they came."""
        rows = self._db.execute(
            "SELECT body FROM records WHERE kind = ? AND body IS NOT NULL ORDER BY arrived", (kind,)
        )
        return [body for (body,) in rows]

    def record_named(self, digits: str) -> tuple[bytes, bytes | None]:
        """(encoded header, body) of the one record whose hash begins with these hexadecimal
        digits. Raises JournalError if there is none, or more than one."""
        wanted = digits.lower()
        rows = self._db.execute(
            "SELECT header, body FROM records WHERE substr(hex(hash), 1, ?) = upper(?) LIMIT 2",
            (len(wanted), wanted),
        ).fetchall()
        if len(rows) != 1 or not wanted:
            many = "more than one record" if rows else "no record"
            raise JournalError(f"this journal has {many} whose hash begins with {digits!r}")
        header, body = rows[0]
        return header, body

    def groups_of(self, number: int) -> list[dict[str, Any]]:
        """Verified groups of a round: prompts, completions, and rewards in millionths with their
        reasons."""
        rows = self._db.execute(
            "SELECT record, slot, g.stage, g.peer_id, environment, seed, question, prompt, scores, "
            "rewards, why, body FROM groups g JOIN records ON hash = record WHERE g.round = ? "
            "ORDER BY g.stage, g.peer_id, slot",
            (number,),
        )
        return [
            {
                "record": record,
                "slot": slot,
                "stage": stage,
                "peer_id": peer_id,
                "environment": environment,
                "seed": seed,
                "question": question,
                "prompt": msgspec.msgpack.decode(prompt, type=Prompt),
                "scores": msgspec.msgpack.decode(scores),
                "rewards": msgspec.msgpack.decode(rewards),
                "why": msgspec.msgpack.decode(why),
                "texts": texts_of(body, slot),
            }
            for (
                record,
                slot,
                stage,
                peer_id,
                environment,
                seed,
                question,
                prompt,
                scores,
                rewards,
                why,
                body,
            ) in rows
        ]

    def stages_of(self, number: int) -> list[str]:
        """Names of the stages of a round that this node has been in, in their order."""
        rows = self._db.execute(
            "SELECT data FROM events WHERE kind IN ('stage', 'stage_skipped') AND round = ? "
            "ORDER BY id",
            (number,),
        )
        return [str(json.loads(data)["stage"]) for (data,) in rows]

    def events_of(self, kind: str) -> list[tuple[float, int | None, dict[str, Any]]]:
        """(time, round, data) of all events of a kind, oldest first."""
        rows = self._db.execute(
            "SELECT at, round, data FROM events WHERE kind = ? ORDER BY id", (kind,)
        )
        return [(at, number, json.loads(data)) for at, number, data in rows]


def _lines(encoded: bytes) -> tuple[Line, ...]:
    return msgspec.msgpack.decode(encoded, type=tuple[Line, ...])
