"""``python benches/node``: a node's round here and in GenRL over hivemind, side by side.

Two nodes on this machine, each in its own network namespace with one thread for tensors, play the
same round: 4 prompts a node, learning from its own groups and the other node's. Runs take turns
between the systems; the first round of each warms up and is left out. Every finished run is a line
of the results file, and what is there is not run again.

Needs Linux, root (for the namespaces), iproute2, uv, the bundled model and 6 GB of disk.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import models
import ours
import theirs
from arena import ArenaError
from cells import (
    EQUAL_WORK,
    GENRL,
    OURS,
    RUNS,
    Case,
    RoundCost,
    System,
)
from results import Cell, append, load, rows, table

from rlswarm.bench.rows import line
from rlswarm.bench.rows import versions as own_versions
from rlswarm.errors import RlswarmError
from rlswarm.policy.cache import cache_folder

SHOWN = ("rlswarm", "torch", "transformers", "peft", "reasoning-gym")
ROUNDS = 2
"""The warm-up included."""

STRETCHES = (1.0, 2.0, 4.0)
"""Of our windows, until a round fits."""


def main() -> int:
    arguments = _arguments()
    # So that what kills us still lets us end the nodes and take the namespaces away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = [
        (case, system, turn)
        for turn in range(arguments.turns if arguments.full else 1)
        for case, systems in (RUNS if arguments.full else [(EQUAL_WORK, [OURS, GENRL])])
        for system in systems
    ]
    until = time.monotonic() + 60 * arguments.minutes
    try:
        for case, system, turn in wanted:
            if (case.name, system.name, turn) in {cell.key for cell in load(arguments.results)}:
                continue
            if time.monotonic() > until:
                break
            print(f"{case.name}: {system.name}, turn {turn + 1}", file=sys.stderr, flush=True)
            append(arguments.results, _run(case, system, turn, arguments.cache))
    except (ArenaError, RlswarmError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    cells = load(arguments.results)
    if arguments.json:
        for row in rows(cells):
            print(line(row))
    else:
        print(table(cells, GENRL.name))
    return 0


def _run(case: Case, system: System, turn: int, cache: Path) -> Cell:
    model = models.bundled()
    if case.equal:
        model = models.endless(model, cache / "endless")
    folder = Path(tempfile.mkdtemp(prefix="rlswarm-bench-"))
    versions = own_versions(*SHOWN)
    if system.kind == "rlswarm":
        costs = _our_costs(system, case, model, folder)
    else:
        python = theirs.environment(cache, versions["reasoning-gym"])
        versions = theirs.versions(python)
        costs = asyncio.run(theirs.play(python, system, case, model, folder, ROUNDS, turn))
    shutil.rmtree(folder)  # kept when a run fails, for its logs
    return Cell(case.name, system.name, turn, tuple(costs), versions)


def _our_costs(system: System, case: Case, model: Path, folder: Path) -> list[RoundCost]:
    """In windows as wide as this machine needs. Raises NotWholeError if none is wide enough."""
    for stretch in STRETCHES[:-1]:
        try:
            place = folder / str(stretch)
            return asyncio.run(ours.play(system, case, model, place, ROUNDS, stretch))
        except ours.NotWholeError as error:
            print(f"{error}; once more with wider windows", file=sys.stderr, flush=True)
    last = STRETCHES[-1]
    return asyncio.run(ours.play(system, case, model, folder / str(last), ROUNDS, last))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/node", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all cases and systems, in turns")
    parser.add_argument(
        "--turns", type=int, default=3, help="how often with --full [default: %(default)s]"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="begin no run after so many; 0 shows what is there",
    )
    parser.add_argument("--json", action="store_true", help="one row a line")
    parser.add_argument(
        "--cache",
        type=Path,
        default=cache_folder() / "bench",
        help="where GenRL's environment is made [default: %(default)s]",
    )
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results.jsonl", help="the cells"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
