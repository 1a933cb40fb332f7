"""A node's events as lines for people."""

from collections.abc import Callable
from typing import Any


def line(event: str, data: dict[str, Any]) -> str:
    """One line, or nothing for events that only machines want."""
    describe = _LINES.get(event)
    return describe(data) if describe else ""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _started(data: dict[str, Any]) -> str:
    where = "".join(f"\n  {address}" for address in data["addresses"])
    return f"node {data['name']} ({data['peer_id']}) of swarm {data['swarm'][:16]}{where}"


def _stage(data: dict[str, Any]) -> str:
    rate = data["tokens"] / data["seconds"] if data["seconds"] else 0.0
    return (
        f"round {data['round']} {data['stage']}: {data['groups']} groups, "
        f"{data['tokens']} tokens at {rate:.0f}/s"
    )


def _learned(data: dict[str, Any]) -> str:
    return (
        f"round {data['round']} learned from {data['own_used']}/{data['own_groups']} own and "
        f"{data['external_used']}/{data['external_groups']} peers' groups "
        f"in {data['seconds']:.1f} s"
    )


def _round(data: dict[str, Any]) -> str:
    return (
        f"round {data['round']} done: reward {_percent(data['mean_reward'])}, "
        f"{data['peers']} peers, root {data['root'][:16]}…"
    )


def _evaluation(data: dict[str, Any]) -> str:
    when = "before" if data["when"].endswith("before") else "after"
    return (
        f"held-out accuracy {when}: {data['accuracy']:.3f} "
        f"(95% interval {data['low']:.3f} to {data['high']:.3f}, {data['count']} tasks)"
    )


def _held_out(data: dict[str, Any]) -> str:
    who = "here" if data["own"] else f"at {data['name']}"
    if data["problem"]:
        return f"round {data['round']}: the held-out results {who} are not true: {data['problem']}"
    shown = ", ".join(
        f"{r['environment']} {r['accuracy']:.3f} ({r['low']:.3f} to {r['high']:.3f}, "
        f"{r['count']} tasks)"
        for r in data["results"]
    )
    return f"round {data['round']}: held-out accuracy {who}: {shown}"


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "started": _started,
    "ready": lambda d: (
        f"ready after {d['seconds']:.1f} s: {d['plan']}"
        + ("" if d["resumed_round"] is None else f"; resumed after round {d['resumed_round']}")
    ),
    "peer_joined": lambda d: f"peer {d['name']} joined ({d['peers']} now)",
    "peer_left": lambda d: f"peer {d['name']} left ({d['peers']} now)",
    "reachability": lambda d: d["message"],
    "binding": lambda d: (
        f"peer {d['name']} is {d['state']}" + (f" to {d['account']}" if d["account"] else "")
    ),
    "stage": _stage,
    "stage_skipped": lambda d: f"round {d['round']} {d['stage']}: left out, {d['reason']}",
    "learned": _learned,
    "learn_skipped": lambda d: f"round {d['round']}: nothing learned, {d['reason']}",
    "round": _round,
    "evaluation": _evaluation,
    "held_out": _held_out,
    "trouble": lambda d: f"trouble: {d['message']}",
    "note": lambda d: d["message"],
    "stopping": lambda d: d["message"],
    "stopped": lambda d: f"stopped after {d['rounds']} rounds, {d['learn_steps']} learning steps",
}
