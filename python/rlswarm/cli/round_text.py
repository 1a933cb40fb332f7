"""A round as text for people: `rlswarm rounds show`."""

from collections.abc import Iterator
from typing import Any

from rlswarm.node.lines import line


def lines_of(data: dict[str, Any], *, full: bool) -> Iterator[str]:
    """The lines of a round (the data of ``rounds show --json``); `full` prints every prompt and
    completion with the reason of its reward."""
    yield f"round {data['round']}, root {data['root']}"
    if data["diversity"]:
        yield _diversity(data["diversity"])
    for told in data["held_out"]:
        yield line("held_out", told)
    for peer in data["peers"]:
        yield ""
        yield (
            f"{peer['name']} ({peer['peer_id']}): {peer['groups']} groups, "
            f"{peer['samples']} samples, credit {peer['credit']:.3f}"
        )
        for reason, count in peer["refused"].items():
            yield f"  {count} not counted: {reason}"
        if not full:
            for group in data["groups"]:
                if group["peer_id"] == peer["peer_id"]:
                    yield _short(group)
    if full:
        for group in data["groups"]:
            yield from _whole(group)


def _diversity(measured: dict[str, Any]) -> str:
    said = f"{measured['within']} different answers in a group, on average"
    if measured["shared_tasks"]:
        said += (
            f"; {measured['across']} among the peers on each of "
            f"{measured['shared_tasks']} shared tasks"
        )
    return said


def _short(group: dict[str, Any]) -> str:
    earned = " ".join(_number(reward) for reward in group["rewards"])
    question = " ".join(group["question"].split())[:60]
    return f"  {group['stage_name'] or group['stage']} slot {group['slot']}  {earned}  {question}"


def _whole(group: dict[str, Any]) -> Iterator[str]:
    name = group["stage_name"] or f"stage {group['stage']}"
    yield ""
    yield f"── {name} · {group['name']} · slot {group['slot']} ──"
    for turn in group["prompt"]:
        yield f"{turn['role']}:"
        yield from (f"    {text}" for text in turn["content"].split("\n"))
    for number, (text, reward, why) in enumerate(
        zip(group["completions"], group["rewards"], group["why"], strict=True), start=1
    ):
        yield f"  {number}. earns {_number(reward)}: {why}"
        yield from (f"        {row}" for row in text.split("\n"))


def _number(reward: float | None) -> str:
    return "–" if reward is None else f"{reward:.2f}"
