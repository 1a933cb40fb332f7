"""``rlswarm bench kernels``: head and policy loss, forward and backward, beside the peers."""

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from rlswarm.bench.kernel_systems import SYSTEMS
from rlswarm.bench.rows import Row, append, read, versions

MODELS = {
    "SmolLM2-135M": (576, 49152),
    "Qwen2.5-0.5B": (896, 151936),
    "Qwen2.5-1.5B": (1536, 151936),
}
"""Width and vocabulary of the head."""

RUNS = 3
"""Timed runs of each system, taken in turns: A B C A B C A B C."""


class Case(msgspec.Struct, frozen=True):
    model: str
    rows: int
    dtype: str
    trained: bool
    threads: int
    masked: float = 0.2
    """Share of rows that are padding."""

    @property
    def name(self) -> str:
        head = "trained" if self.trained else "frozen"
        return (
            f"{self.model} {head} head, {self.dtype}, {self.rows} rows, "
            f"{self.masked:.0%} masked, {self.threads} thread{'s' * (self.threads > 1)}"
        )


def default_cases(threads: int) -> list[Case]:
    """Frozen heads in fp32: what a node on a CPU does. A few minutes."""
    rows = {"SmolLM2-135M": 1024, "Qwen2.5-0.5B": 512, "Qwen2.5-1.5B": 256}
    return [Case(model, rows[model], "float32", False, threads) for model in MODELS]


def full_cases(threads: int) -> list[Case]:
    """Every shape, frozen and trained, fp32 and bf16."""
    choices = itertools.product(("float32", "bfloat16"), (False, True), MODELS)
    rows = {"SmolLM2-135M": 2048, "Qwen2.5-0.5B": 1024, "Qwen2.5-1.5B": 512}
    return [Case(model, rows[model], dtype, trained, threads) for dtype, trained, model in choices]


def run(cases: Iterable[Case], results: Path | None) -> Iterator[Row]:
    """Measure case by case; those that `results` already holds are read, not measured again."""
    known = read(results) if results else []
    tags = versions("rlswarm", "torch", "trl", "liger-kernel")
    for case in cases:
        rows = [row for row in known if row.case == case.name]
        if not rows:
            rows = _measure(case, tags)
            if results:
                append(results, rows)
        yield from rows


def _measure(case: Case, tags: dict[str, str]) -> list[Row]:
    width, vocabulary = MODELS[case.model]
    request = {**msgspec.to_builtins(case), "width": width, "vocabulary": vocabulary}
    processes = {system: _Process({**request, "system": system}) for system in SYSTEMS}
    try:
        first = {system: process.start() for system, process in processes.items()}
        running = {s: p for s, p in processes.items() if "peak_bytes" in first[s]}
        timed: dict[str, list[float]] = {system: [] for system in running}
        worked: dict[str, list[float]] = {system: [] for system in running}
        for _ in range(RUNS):
            for system, process in running.items():
                answer = process.ask("run")
                timed[system].append(answer["seconds"])
                worked[system].append(answer["cpu"])
    finally:
        for process in processes.values():
            process.end()
    found = []
    for system in SYSTEMS:
        answer = first[system]
        values: dict[str, tuple[list[float], str]] = {
            "time": (timed.get(system, []), "s"),
            "CPU time": (worked.get(system, []), "s"),
            "peak extra memory": (_some(answer.get("peak_bytes"), 1 / 2**20), "MiB"),
            "log-prob error": (_some(answer.get("errors", {}).get("logprob")), "nat"),
            "gradient error": (_some(answer.get("errors", {}).get("gradient")), "relative"),
        }
        for metric, (numbers, unit) in values.items():
            if not numbers and metric != "time":
                continue
            low, high = min(numbers, default=None), max(numbers, default=None)
            middle = statistics.median(numbers) if numbers else None
            found.append(Row("kernels", case.name, system, metric, middle, low, high, unit, tags))
    return found


def _some(value: float | None, factor: float = 1.0) -> list[float]:
    return [] if value is None else [value * factor]


class _Process:
    """One system in one case. Processes wait for each other: only one ever works."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        """What the first run took and how exact it was; "absent" if the system isn't installed."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rlswarm.bench.kernel_systems"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self.ask(json.dumps(self._request))

    def ask(self, request: str) -> dict[str, Any]:
        assert self._process is not None
        to, back = self._process.stdin, self._process.stdout
        assert to is not None and back is not None
        return _exchange(to, back, request)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _exchange(to: IO[str], back: IO[str], request: str) -> dict[str, Any]:
    try:
        to.write(request + "\n")
        to.flush()
        answer = back.readline()
    except BrokenPipeError:
        answer = ""
    return json.loads(answer) if answer else {"absent": "the process died"}


def table(rows: list[Row]) -> str:
    """The rows as text, with the ratio of each system's best time and of its memory to ours."""
    lines = []
    for case, group in itertools.groupby(rows, key=lambda row: row.case):
        values = {(row.system, row.metric): row for row in group}
        lines += ["", case, _HEADER]
        best = values["rlswarm", "time"].min, values["rlswarm", "peak extra memory"].value
        for system in SYSTEMS:
            seconds = values.get((system, "time"))
            if seconds is None or seconds.value is None:
                lines.append(f"{system:<26}absent")
                continue
            memory = values[system, "peak extra memory"].value
            cells = (
                f"{seconds.value:8.3f} {seconds.min:8.3f} {seconds.max:8.3f}",
                f"{values[system, 'CPU time'].min:8.3f}",
                _ratio(seconds.min, best[0]),
                f"{memory:9.0f}",
                _ratio(memory, best[1]),
                _error(values.get((system, "log-prob error"))),
                _error(values.get((system, "gradient error"))),
            )
            lines.append(f"{system:<26}" + " ".join(cells))
    return "\n".join(lines)


def _ratio(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:7.2f}" if theirs and ours else " " * 7


_HEADER = (
    f"{'':<26}{'seconds':>8} {'min':>8} {'max':>8} {'CPU min':>8} {'× ours':>7} {'MiB':>9} "
    f"{'× ours':>7} {'log-prob':>9} {'gradient':>9}"
)
"""Times are compared by their minimum: what else the machine does only ever adds."""


def _error(row: Row | None) -> str:
    return f"{'–':>9}" if row is None or row.value is None else f"{row.value:9.1e}"
