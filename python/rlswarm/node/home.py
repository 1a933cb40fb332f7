"""A node's folder: its key, its journal, its checkpoints; one node at a time."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

import platformdirs

from rlswarm import _core
from rlswarm.errors import KeyFileError, StorageError


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
    def key_file(self) -> Path:
        return self.path / "identity.pem"

    @property
    def journal_file(self) -> Path:
        return self.path / "journal.sqlite3"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def identity(self) -> _core.Identity:
        """The node's key, made on first use (mode 0600). Raises KeyFileError, StorageError."""
        if self.key_file.exists():
            return read_identity(self.key_file)
        identity = _core.Identity.generate()
        part = self.key_file.with_suffix(".part")
        try:
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(identity.to_pem())
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.key_file)
        except OSError as error:
            raise StorageError(
                f"the key {self.key_file} can't be written: {_cause(error)}"
            ) from None
        return identity

    def close(self) -> None:
        self._lock.close()


def read_identity(path: Path) -> _core.Identity:
    """Read a key file. Raises KeyFileError with what is wrong and what to do."""
    remedy = "restore it from a backup, or move it away to get a new identity"
    try:
        return _core.Identity.from_pem(path.read_text(encoding="ascii"))
    except (_core.KeyFileError, UnicodeDecodeError) as error:
        raise KeyFileError(
            f"the key file {path} holds no Ed25519 private key ({error}); {remedy}"
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} can't be read: {_cause(error)}") from None


def _cause(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space or choose another --home"
    return error.strerror or str(error)
