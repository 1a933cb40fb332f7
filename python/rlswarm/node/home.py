"""A node's folder: its keys, its journal, its checkpoints; one node at a time."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

import platformdirs

from rlswarm.errors import StorageError


def default_home() -> Path:
    """Where a node lives unless told otherwise."""
    return Path(platformdirs.user_data_dir("rlswarm")) / "node"


class Home:
    """Open (or make) a home folder and hold it. Raises StorageError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock(path / "lock")
        except OSError as error:
            raise StorageError(f"the home {path} can't be used: {_cause(error)}") from None

    @staticmethod
    def _take_lock(path: Path) -> IO[str]:
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StorageError(
                f"the home {path.parent} is in use by another node (process {holder}); "
                "give this one its own --home"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    @property
    def journal_file(self) -> Path:
        return self.path / "journal.sqlite3"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def close(self) -> None:
        self._lock.close()


def _cause(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space or choose another --home"
    return error.strerror or str(error)
