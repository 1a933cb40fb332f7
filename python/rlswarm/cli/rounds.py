"""``rlswarm rounds``: what a node's journal says about each round."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlswarm.cli.options import home_option, json_option

if TYPE_CHECKING:
    from rlswarm.journal.journal import Journal


@click.group()
def rounds() -> None:
    """What happened in each round, and why."""


def _journal(home: Path | None) -> "Journal":
    from rlswarm.journal.journal import Journal
    from rlswarm.node.home import default_home

    return Journal.read((home or default_home()) / "journal.sqlite3")


@rounds.command("list")
@home_option()
@json_option
def list_(home: Path | None, as_json: bool) -> None:
    """One line a round: root, peers, verified groups."""
    journal = _journal(home)
    for number, root, lines in journal.rounds():
        peers = sum(1 for line in lines if line.work)
        groups = sum(line.groups for line in lines)
        if as_json:
            data = {"round": number, "root": root.hex(), "peers": peers, "groups": groups}
            click.echo(json.dumps(data))
        else:
            click.echo(f"{number:>6}  {root.hex()}  {peers} peers  {groups} groups")
    journal.close()


@rounds.command()
@click.argument("number", type=int)
@home_option()
@click.option("--full", is_flag=True, help="Every prompt and completion, and why each reward.")
@click.option("--stage", help="Only this stage, by name.")
@click.option("--peer", help="Only this peer's groups, by animal name or peer id.")
@json_option
def show(
    number: int, home: Path | None, full: bool, stage: str | None, peer: str | None, as_json: bool
) -> None:
    """The root of round NUMBER, each peer's verified work, and every group's rewards."""
    from rlswarm.cli.round_text import lines_of

    journal = _journal(home)
    data = _round(journal, number)
    journal.close()
    data["groups"] = [
        group
        for group in data["groups"]
        if (stage is None or group["stage_name"] == stage)
        and (peer is None or peer in (group["peer_id"], group["name"]))
    ]
    if as_json:
        click.echo(json.dumps(data))
        return
    for line in lines_of(data, full=full):
        click.echo(line)


def _round(journal: "Journal", number: int) -> dict[str, Any]:
    """Everything that the journal knows of a round."""
    from rlswarm.names import animal_name
    from rlswarm.scorer.messages import MICRO

    root, lines = journal.ledger_of(number)
    stages = journal.stages_of(number)
    ends = {told: data for _, told, data in journal.events_of("round")}
    return {
        "round": number,
        "root": root.hex(),
        "diversity": ends.get(number, {}).get("diversity"),
        "peers": [
            {
                "peer_id": line.peer_id,
                "name": animal_name(line.peer_id),
                "groups": line.groups,
                "samples": line.samples,
                "credit": line.credit / MICRO,
                "adapter": line.adapter.hex(),
                "work": [
                    {
                        "stage": w.stage,
                        "environment": w.environment,
                        "level": w.level,
                        "groups": w.groups,
                        "right": w.right,
                    }
                    for w in line.work
                ],
                "refused": dict(line.refused),
            }
            for line in lines
        ],
        "held_out": [told for _, of, told in journal.events_of("held_out") if of == number],
        "groups": [
            {
                "peer_id": group["peer_id"],
                "name": animal_name(group["peer_id"]),
                "stage": group["stage"],
                "stage_name": stages[group["stage"]] if group["stage"] < len(stages) else "",
                "slot": group["slot"],
                "question": group["question"],
                "prompt": [{"role": t.role, "content": t.content} for t in group["prompt"]],
                "completions": group["texts"],
                "rewards": [None if r is None else r / MICRO for r in group["rewards"]],
                "why": group["why"],
            }
            for group in journal.groups_of(number)
        ],
    }
