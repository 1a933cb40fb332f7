"""Finished cells as JSON lines, and what they say: rows with ratios."""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cells import RUNS, RoundCost

from rlswarm.bench.rows import Row


@dataclass(frozen=True)
class Cell:
    """One run of one system: two nodes, their measured rounds."""

    case: str
    system: str
    turn: int
    """Which of the interleaved runs."""
    costs: tuple[RoundCost, ...]
    """Of both nodes' rounds."""
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.case, self.system, self.turn


def load(file: Path) -> list[Cell]:
    """The cells of a results file; none if there is none."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        Cell(**(line | {"costs": tuple(RoundCost(**cost) for cost in line["costs"])}))
        for line in lines
    ]


def append(file: Path, cell: Cell) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(cell)) + "\n")


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    of: Callable[[RoundCost], float | None]
    digits: int


METRICS = (
    Metric("cpu", "s/round", lambda c: c.cpu, 1),
    Metric("cpu sampling", "s/round", lambda c: c.sample_cpu, 1),
    Metric("cpu gathering", "s/round", lambda c: c.gather_cpu, 1),
    Metric("cpu learning", "s/round", lambda c: c.learn_cpu, 1),
    Metric("work", "s/round", lambda c: c.work_seconds, 1),
    Metric("peak rss", "MB", lambda c: c.peak_resident / 1e6, 0),
    Metric("peak pss", "MB", lambda c: c.peak_proportional / 1e6, 0),
    Metric("sent", "kB/round", lambda c: c.sent / 1e3, 0),
    Metric("received", "kB/round", lambda c: c.received / 1e3, 0),
    Metric("tokens sampled", "1/round", lambda c: c.tokens, 0),
    Metric("own groups learned", "1/round", lambda c: c.own_groups, 0),
    Metric("peer groups learned", "1/round", lambda c: c.peer_groups, 0),
    Metric("idle", "cores", lambda c: c.idle_cores, 3),
)


def rows(cells: list[Cell]) -> Iterator[Row]:
    """In the order of the cases, systems and metrics."""
    for case, systems in RUNS:
        for system in systems:
            mine = [c for c in cells if (c.case, c.system) == (case.name, system.name)]
            for metric in METRICS:
                values = [
                    value
                    for cell in mine
                    for cost in cell.costs
                    if (value := metric.of(cost)) is not None
                ]
                if values:
                    yield Row(
                        bench="node",
                        case=case.name,
                        system=system.name,
                        metric=metric.name,
                        value=round(statistics.median(values), 4),
                        min=round(min(values), 4),
                        max=round(max(values), 4),
                        unit=metric.unit,
                        versions=mine[-1].versions,
                    )


def table(cells: list[Cell], original: str) -> str:
    """Markdown: a table a case, medians with the range and how often the original's."""
    found = list(rows(cells))
    lines: list[str] = []
    for case in dict.fromkeys(row.case for row in found):
        here = [row for row in found if row.case == case]
        systems = list(dict.fromkeys(row.system for row in here))
        lines += [f"**{case}**", "", f"| a node and round | {' | '.join(systems)} |"]
        lines.append("| --- " * (len(systems) + 1) + "|")
        for metric in METRICS:
            figures = {row.system: row for row in here if row.metric == metric.name}
            if not figures:
                continue
            base = figures.get(original)
            texts = [_figure(figures.get(system), base, metric.digits) for system in systems]
            lines.append(f"| {metric.name}, {metric.unit} | {' | '.join(texts)} |")
        lines.append("")
    return "\n".join(lines)


def _figure(row: Row | None, base: Row | None, digits: int) -> str:
    """A median, its range, and how many times less or more it is than the original's."""
    if row is None or row.value is None or row.min is None or row.max is None:
        return "-"
    text = f"{row.value:.{digits}f}"
    if row.max > row.min:
        text += f" ({row.min:.{digits}f}-{row.max:.{digits}f})"
    if base is None or base is row or not base.value or not row.value:
        return text
    if base.value > row.value:
        return f"{text}, {base.value / row.value:.1f}x less"
    return f"{text}, {row.value / base.value:.1f}x more" if row.value > base.value else text
