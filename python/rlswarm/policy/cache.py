"""Where converted models and tokenizers are kept, and how they get there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from rlswarm._core import blake3
from rlswarm.errors import StorageError

PIECE = 64 << 20
"""Bytes hashed at once, so that hashing a file of many gigabytes holds only this much of it."""


def cache_folder() -> Path:
    """``RLSWARM_CACHE``, or the user's cache folder for rlswarm."""
    override = os.environ.get("RLSWARM_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("rlswarm"))


def file_digest(path: Path) -> bytes:
    """BLAKE3 over the concatenated BLAKE3 hashes of the file's pieces of 64 MiB. 32 bytes."""
    digests = bytearray()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digests += blake3(piece)
    return blake3(bytes(digests))


def cached_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, filled by `make` if it does not exist yet.

    `make` gets a temporary sibling, renamed when it is complete; of several processes that start
    at once one works and the others wait. Raises StorageError if the cache can't be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(folder.name + ".lock")):
            if folder.is_dir():
                return folder
            scratch = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
            try:
                make(scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"the model cache {folder.parent} can't be written ({error.strerror or error}); "
            "free some space or set RLSWARM_CACHE to another folder"
        ) from error
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; released by the system if the process dies."""
    try:
        import fcntl
    except ImportError:  # no such lock on Windows: work twice rather than not at all
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
