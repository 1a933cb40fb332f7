"""What `swarm up` shows: a live table while it runs, an honest one at the end."""

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rlswarm.config.manifest import Manifest
from rlswarm.game.stages import timetable
from rlswarm.node.lines import line


class NodeRow:
    """The last things that one node said."""

    def __init__(self) -> None:
        self.name = "…"
        self.state = "starting"
        self.peers = 0
        self.rate: float | None = None
        self.first: float | None = None
        self.last: dict[str, float | None] = {}
        self.own_used = 0
        self.external_used = 0
        self.external_available = 0
        self.memory: tuple[int, int, int] = (0, 0, 0)

    def event(self, event: str, data: dict[str, Any]) -> None:
        if event == "loaded":
            self.state = "loaded"
        elif event == "started":
            self.name, self.state = data["name"], "joining"
        elif event == "ready":
            self.state = "ready"
        elif event in ("peer_joined", "peer_left"):
            self.peers = data["peers"]
        elif event == "round_opened":
            self.state, self.peers = "answering", data["peers"]
        elif event == "stage":
            self.state = f"{data['stage']} done"
            if data["seconds"]:
                self.rate = data["tokens"] / data["seconds"]
        elif event == "stage_skipped":
            self.state = f"{data['stage']} left out"
        elif event == "learned":
            self.state = "learned"
            self.own_used += data["own_used"]
            self.external_used += data["external_used"]
        elif event == "round":
            self.last = data["rewards"]
            if self.first is None:
                self.first = data["mean_reward"]
            self.external_available = data["external_available"]
            self.memory = (data["node_rss"], data["worker_rss"], data["scorer_rss"])
        elif event == "evaluation":
            self.state = "measuring"
        elif event == "stopped":
            self.state = "finished"


class View:
    """A live view on a terminal; plain lines elsewhere. Used as a context manager."""

    def __init__(self, manifest: Manifest, nodes: int, rounds: int, run: Path) -> None:
        self._manifest = manifest
        self._rounds = rounds
        self._run = run
        self._rows = [NodeRow() for _ in range(nodes)]
        self._notes: list[str] = []
        self._way_in = ""
        self._open = False
        self._console = Console(stderr=True)
        self._live = (
            Live(get_renderable=self._render, console=self._console, refresh_per_second=4)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> "View":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def opened(self, manifest: Manifest) -> None:
        """All nodes are ready; `manifest` says when round 0 opens."""
        self._manifest = manifest
        self._open = True

    def event(self, index: int, event: str, data: dict[str, Any]) -> None:
        """Take in what node `index` said."""
        row = self._rows[index]
        row.event(event, data)
        if event == "started" and index == 0 and data["addresses"]:
            self._way_in = data["addresses"][0]
        if event == "trouble":
            self._notes = [*self._notes[-2:], f"{row.name}: {data['message']}"]
        if self._live is None and (text := line(event, data)):
            sys.stderr.write(f"[{index}] {text}\n")
            sys.stderr.flush()

    def _render(self) -> Group:
        parts: list[Any] = [Panel(self._clock(), title=f"swarm {self._manifest.name}")]
        parts.append(self._table())
        if self._way_in:
            parts.append(
                Text(
                    f"join from another terminal: rlswarm node start --home /tmp/guest "
                    f"--swarm {self._run / 'swarm.toml'} --peer {self._way_in}",
                    style="dim",
                )
            )
        parts += [Text(note, style="yellow") for note in self._notes]
        return Group(*parts)

    def _clock(self) -> str:
        """Round, stage and what is left of it."""
        now = time.time()
        if not self._open:
            return "every node loads its model"
        number = self._manifest.round_at(now)
        if number < 0:
            return f"round 0 opens in {self._manifest.opens(0) - now:.0f} s"
        if number >= self._rounds:
            return f"all {self._rounds} rounds played, measuring held-out accuracy"
        head = f"round {number + 1} of {self._rounds}"
        times = timetable(self._manifest.game, self._manifest.opens(number))
        for stage, span in zip(self._manifest.game.stages, times, strict=True):
            if now < span.closes:
                return f"{head} · {stage.name} · {span.closes - now:.0f} s left"
            if now < span.reveals:
                return f"{head} · {stage.name} · revealing"
        left = self._manifest.opens(number + 1) - now
        return f"{head} · learn and settle · {left:.0f} s left"

    def _table(self) -> Table:
        table = Table()
        stages = [stage.name for stage in self._manifest.game.stages]
        table.add_column("node", no_wrap=True)
        table.add_column("doing", no_wrap=True)
        table.add_column("peers", justify="right")
        table.add_column("tokens/s", justify="right")
        for name in stages:
            table.add_column(f"{name}\nreward", justify="right")
        table.add_column("learned from\nown + peers'", justify="right", no_wrap=True)
        table.add_column("peak MB node/\nworker/scorer", justify="right", no_wrap=True)
        for row in self._rows:
            table.add_row(
                row.name,
                row.state,
                str(row.peers),
                "–" if row.rate is None else f"{row.rate:.0f}",
                *(_number(row.last.get(name)) for name in stages),
                f"{row.own_used} + {row.external_used} of {row.external_available}",
                "/".join(f"{value / 1e6:.0f}" for value in row.memory),
            )
        return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _accuracy(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "–"
    return f"{measured['accuracy']:.3f} ({measured['low']:.3f}–{measured['high']:.3f})"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"


def final_table(
    summaries: list[dict[str, Any]], run: Path, manifest: Path, *, interrupted: bool
) -> None:
    """What the run came to, on stdout."""
    from rlswarm.names import animal_name

    console = Console(width=None if sys.stdout.isatty() else 118)
    table = Table(title="interrupted: what was done so far" if interrupted else "what was learned")
    for column in (
        "node",
        "answers'\nfirst → last",
        "held-out accuracy\nbefore (95%)",
        "held-out accuracy\nafter (95%)",
        "learned from\nown + peers'",
        "peak MB node/\nworker/scorer",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for summary in summaries:
        table.add_row(
            animal_name(summary["peer_id"]),
            f"{_number(summary['mean_reward_first'])} → {_number(summary['mean_reward_last'])}",
            _accuracy(summary["heldout_before"]),
            _accuracy(summary["heldout_after"]),
            f"{summary['own_groups_used']} + {summary['external_groups_used']}",
            f"{summary['node_peak_rss_mb']:.0f}/{summary['worker_peak_rss_mb']:.0f}/"
            f"{summary['scorer_peak_rss_mb']:.0f}",
        )
    console.print(table)
    console.print(
        "rounds: "
        + ", ".join(str(summary["rounds"]) for summary in summaries)
        + " · learning steps: "
        + ", ".join(str(summary["learn_steps"]) for summary in summaries)
        + " · first step after: "
        + ", ".join(_seconds(summary["first_learn_step_s"]) for summary in summaries)
    )
    agreed = _agreement(summaries)
    if agreed:
        console.print(agreed)
    console.print(f"run folder: {run}   (rlswarm rounds show 0 --home {run / 'node-0'})")


def _agreement(summaries: list[dict[str, Any]]) -> str:
    """In how many rounds all nodes computed the same ledger root."""
    if len(summaries) < 2:
        return ""
    shared = set.intersection(*(set(summary["roots"]) for summary in summaries))
    same = sum(1 for r in shared if len({summary["roots"][r] for summary in summaries}) == 1)
    return f"ledger roots: the same on all {len(summaries)} nodes in {same} of {len(shared)} rounds"
