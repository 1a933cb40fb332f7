"""``rlswarm rounds``: what a node's journal says about each round."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rlswarm.journal.journal import Journal

_HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="RLSWARM_HOME",
    help="Folder of the node.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group()
def rounds() -> None:
    """What happened in each round, and why."""


def _journal(home: Path | None) -> "Journal":
    from rlswarm.journal.journal import Journal
    from rlswarm.node.home import default_home

    return Journal.read((home or default_home()) / "journal.sqlite3")


@rounds.command("list")
@_HOME
@_JSON
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
@_HOME
@_JSON
def show(number: int, home: Path | None, as_json: bool) -> None:
    """The root of round NUMBER, each peer's verified work, and every group's rewards."""
    from rlswarm.names import animal_name
    from rlswarm.scorer.messages import MICRO

    journal = _journal(home)
    root, lines = journal.ledger_of(number)
    groups = journal.groups_of(number)
    journal.close()
    data: dict[str, Any] = {
        "round": number,
        "root": root.hex(),
        "peers": [
            {
                "peer_id": line.peer_id,
                "name": animal_name(line.peer_id),
                "groups": line.groups,
                "samples": line.samples,
                "credit": line.credit / MICRO,
                "adapter": line.adapter.hex(),
                "work": [
                    {"stage": w.stage, "environment": w.environment, "groups": w.groups}
                    for w in line.work
                ],
                "refused": dict(line.refused),
            }
            for line in lines
        ],
        "groups": [
            {
                "peer_id": group["peer_id"],
                "stage": group["stage"],
                "slot": group["slot"],
                "question": group["question"],
                "rewards": [None if r is None else r / MICRO for r in group["rewards"]],
            }
            for group in groups
        ],
    }
    if as_json:
        click.echo(json.dumps(data))
        return
    click.echo(f"round {number}, root {root.hex()}")
    for peer in data["peers"]:
        click.echo(
            f"\n{peer['name']} ({peer['peer_id']}): {peer['groups']} groups, "
            f"{peer['samples']} samples, credit {peer['credit']:.3f}"
        )
        for reason, count in peer["refused"].items():
            click.echo(f"  {count} not counted: {reason}")
        for group in data["groups"]:
            if group["peer_id"] == peer["peer_id"]:
                earned = " ".join("–" if r is None else f"{r:.2f}" for r in group["rewards"])
                question = " ".join(group["question"].split())[:60]
                click.echo(f"  stage {group['stage']} slot {group['slot']}  {earned}  {question}")
