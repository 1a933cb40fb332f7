"""Problems from a file: one JSON object a line, read one at a time.

A manifest names a file by its hash alone, never by a path: manifests come from strangers and must
not choose files to read here, and a hash means the same problems on every node. The files lie in
the cache, where ``rlswarm env prepare`` puts them, or ship with the package.
"""

import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from rlswarm._core import blake3
from rlswarm.environments.cache import cache_folder
from rlswarm.environments.environment import UnusableEnvironmentError

PROBLEMS_KEY = "problems"
"""Config: hex BLAKE3 of the file; without it, the shipped problems."""
SOURCE_KEY = "source"
"""Config: where people get the file, as `rlswarm env prepare` takes it. Said, never opened."""

FILE_LIMIT = 256 << 20
"""Bytes of a problem file."""
LINE_LIMIT = 64 << 10
"""Bytes of one problem."""

_HASH = re.compile(r"[0-9a-f]{64}")

Problem = TypeVar("Problem")


class ProblemFile(Generic[Problem]):
    """The problems of a file by number. Holds 8 bytes a problem in memory."""

    def __init__(self, path: Path, kind: type[Problem]) -> None:
        """Raises OSError, and ValueError for a file that is empty, too large or torn."""
        if path.stat().st_size > FILE_LIMIT:
            raise ValueError(f"it is over the limit of {FILE_LIMIT >> 20} MiB")
        self._decoder = msgspec.json.Decoder(kind)
        self._starts = array("Q")
        pieces: list[bytes] = []
        self._file = path.open("rb")
        position = 0
        while line := self._file.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise ValueError(f"line {len(self._starts) + 1} is over {LINE_LIMIT >> 10} KiB")
            pieces.append(blake3(line))
            self._starts.append(position)
            position += len(line)
        if not self._starts:
            raise ValueError("it holds no problems")
        self.digest = lines_digest(pieces)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Problem:
        """Raises msgspec.DecodeError for a line of another form."""
        self._file.seek(self._starts[index])
        return self._decoder.decode(self._file.readline(LINE_LIMIT))


def lines_digest(line_hashes: list[bytes]) -> str:
    """Hex BLAKE3 over the BLAKE3 hashes of a file's lines, so that no file is held whole."""
    return blake3(b"".join(line_hashes)).hex()


def problem_path(digest: str) -> Path:
    """Where a file of this hash is kept."""
    return cache_folder() / "problems" / f"{digest}.jsonl"


def open_problems(
    name: str, config: Mapping[str, Any], kind: type[Problem], shipped: Path
) -> ProblemFile[Problem]:
    """The problems that a config means. Raises UnusableEnvironmentError."""
    wanted = config.get(PROBLEMS_KEY, "")
    source = config.get(SOURCE_KEY, "")
    if not isinstance(source, str) or not isinstance(wanted, str):
        raise UnusableEnvironmentError(f"{name}: problems and source must be texts.")
    if wanted and not _HASH.fullmatch(wanted):
        raise UnusableEnvironmentError(
            f"{name}: problems must be the file's hash as `rlswarm env prepare {name}` prints it."
        )
    path = problem_path(wanted) if wanted else shipped
    try:
        problems = ProblemFile(path, kind)
    except FileNotFoundError:
        raise UnusableEnvironmentError(
            f"{name}: this swarm's problems are not on this machine; fetch them with "
            f"`rlswarm env prepare {name} --from {source or 'FILE'}`."
        ) from None
    except (OSError, ValueError) as error:
        raise UnusableEnvironmentError(f"{name}: {path.name} can't be used: {error}.") from error
    if wanted not in ("", problems.digest):
        raise UnusableEnvironmentError(
            f"{name}: {path} was changed after it was prepared; prepare it again."
        )
    return problems


def check_keys(name: str, config: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raises UnusableEnvironmentError for an option that the environment does not have."""
    for key in config:
        if key not in known:
            raise UnusableEnvironmentError(
                f"{name} has no option {key}; it has {', '.join(sorted(known))}."
            )
