"""Problems from a file or a hub data set, written once to the cache in our own form.

Runs in a person's command, never in the scorer: it reads any path, needs the network for a hub
data set, and imports heavy packages.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rlswarm._core import blake3
from rlswarm.environments.code_environment import CodeProblem
from rlswarm.environments.environment import UnusableEnvironmentError
from rlswarm.environments.maths_environment import MathsProblem, can_be_judged
from rlswarm.environments.problem_file import LINE_LIMIT, lines_digest, problem_path
from rlswarm.errors import StorageError

HUB = "hub:"
"""Sources: ``hub:OWNER/NAME[/SUBSET][:SPLIT][@REVISION]``, or a .jsonl or .parquet file."""

_HUB_SOURCE = re.compile(
    r"hub:(?P<id>[\w.-]+/[\w.-]+|/[^:@]+)(?:/(?P<subset>[\w.-]+))??"
    r"(?::(?P<split>\w+))?(?:@(?P<revision>[\w.-]+))?"
)
_QUESTIONS = ("question", "problem", "prompt")
_ANSWERS = ("answer", "final_answer", "solution", "reward_model")
_GSM8K_ANSWER = "####"
_DAPO_FRAME = re.compile(
    r"\ASolve the following math problem step by step\..*?\n\n(?P<problem>.*?)"
    r"(?:\n\nRemember to put your answer on its own line after \"Answer:\"\.)?\s*\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought."""

    digest: str
    """For the config's `problems`."""
    kept: int
    dropped: int
    """Repeated, too long, or not gradable."""


def import_problems(
    name: str, source: str, progress: Callable[[Iterable[Any]], Iterable[Any]]
) -> Imported:
    """Write the problems of `source`, for environment `name`, to the cache.

    Raises UnusableEnvironmentError for a source that can't be read or holds no problem, and
    StorageError for a cache that can't be written.
    """
    read = {"maths": _maths_problem, "code": _code_problem}[name]
    seen: set[bytes] = set()
    hashes: list[bytes] = []
    dropped = 0
    folder = problem_path("").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
    except OSError as error:
        raise StorageError(f"{folder} can't be written: {error}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for row in progress(_rows(source)):
                problem = read(row)
                line = msgspec.json.encode(problem) + b"\n" if problem else b""
                key = blake3(problem.question.encode()) if problem else b""
                if problem is None or key in seen or len(line) > LINE_LIMIT:
                    dropped += 1
                    continue
                seen.add(key)
                hashes.append(blake3(line))
                file.write(line)
        if not hashes:
            raise UnusableEnvironmentError(
                f"{source} holds no problem for {name}: see docs/reference/environments.md for "
                "the columns it needs."
            )
        digest = lines_digest(hashes)
        Path(temporary).replace(problem_path(digest))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return Imported(digest, len(hashes), dropped)


def _rows(source: str) -> Iterator[Mapping[str, Any]]:
    try:
        if source.startswith(HUB):
            yield from _hub_rows(source)
        elif source.endswith(".parquet"):
            yield from _parquet_rows(Path(source))
        else:
            yield from _json_rows(Path(source))
    except ModuleNotFoundError as error:
        raise UnusableEnvironmentError(
            f"{source} needs a package that is not installed ({error.name}); install it with "
            "`pip install 'rlswarm[maths]'`."
        ) from error
    except (OSError, ValueError) as error:
        raise UnusableEnvironmentError(f"{source} can't be read: {error}") from error


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = msgspec.json.decode(line)
                except msgspec.DecodeError as error:
                    raise ValueError(f"line {number}: {error}.") from error
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no JSON object.")
                yield row


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
        yield from batch.to_pylist()


def _hub_rows(source: str) -> Iterator[Mapping[str, Any]]:
    match = _HUB_SOURCE.fullmatch(source)
    if match is None:
        raise ValueError("a hub source is hub:OWNER/NAME[/SUBSET][:SPLIT][@REVISION].")
    import datasets

    yield from datasets.load_dataset(
        match["id"], match["subset"], split=match["split"] or "train", revision=match["revision"]
    )


def _maths_problem(row: Mapping[str, Any]) -> MathsProblem | None:
    question = _text(_first(row, _QUESTIONS))
    answer = _text(_first(row, _ANSWERS))
    if question is None or answer is None:
        return None
    framed = _DAPO_FRAME.match(question)
    question = (framed["problem"] if framed else question).strip()
    answer = answer.rpartition(_GSM8K_ANSWER)[2].strip()
    if not question or not can_be_judged(answer):
        return None
    return MathsProblem(question, answer)


def _code_problem(row: Mapping[str, Any]) -> CodeProblem | None:
    try:
        problem = msgspec.convert(row, CodeProblem)
    except msgspec.ValidationError:
        return None
    return problem if problem.tests and problem.question.strip() else None


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(value: Any) -> str | None:
    """A column's text: plain, a chat's first user turn, or a reward model's ground truth."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return _text(value.get("ground_truth"))
    if isinstance(value, list):
        turns = (turn for turn in value if isinstance(turn, dict) and turn.get("role") == "user")
        return _text(next(turns, {}).get("content"))
    return None
