"""``rlswarm replay``: what a journal says, computed again."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rlswarm.config.manifest import Manifest
    from rlswarm.journal.journal import Journal
    from rlswarm.node.replay import Replayed


@click.command()
@click.argument("home", type=click.Path(path_type=Path, file_okay=False))
@click.option("--round", "number", type=int, help="Only this round [default: all of them].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a round.")
def replay(home: Path, number: int | None, as_json: bool) -> None:
    """Compute tasks, rewards and ledgers again from the journal in HOME, a node's folder.

    Nothing is taken from the journal but the signed records, when they came, and the manifest.
    Ends with 16 if a root or a reward is not what the journal says.
    """
    from rlswarm.config.manifest import parse_manifest
    from rlswarm.errors import ReplayError
    from rlswarm.journal.journal import Journal

    journal = Journal.read(home / "journal.sqlite3")
    manifest = parse_manifest(journal.kept_manifest(), "the manifest in the journal")
    if manifest.swarm_id != journal.swarm:
        raise ReplayError("the manifest in the journal is not that of the journal's swarm")
    numbers = [n for n, _, _ in journal.rounds()] if number is None else [number]
    wrong = asyncio.run(_replay(journal, manifest, numbers, as_json))
    journal.close()
    if wrong:
        rounds = ", ".join(map(str, wrong))
        raise ReplayError(f"the journal in {home} does not hold in round {rounds}")


async def _replay(
    journal: Journal, manifest: Manifest, numbers: list[int], as_json: bool
) -> list[int]:
    """Replay rounds and print each. Returns those that differ."""
    from rlswarm.errors import ReplayError
    from rlswarm.node.processes import ScorerProcess
    from rlswarm.node.replay import replay_round
    from rlswarm.scorer.messages import Open

    with tempfile.TemporaryDirectory() as folder:
        scorer = ScorerProcess(
            Path(folder) / "scorer.log", lambda sentence: click.echo(sentence, err=True)
        )
        try:
            opened = await scorer.open(Open(manifest.environments, tokenizer=""))
            if opened.mismatches:
                raise ReplayError(
                    f"this machine can't judge every environment: {opened.mismatches[0][1]}"
                )
            wrong = []
            for number in numbers:
                replayed = await replay_round(journal, manifest, scorer, number)
                _print(replayed, as_json)
                if not replayed.same:
                    wrong.append(number)
            return wrong
        finally:
            await scorer.close(5.0)


def _print(replayed: Replayed, as_json: bool) -> None:
    if as_json:
        data = {
            "round": replayed.number,
            "same": replayed.same,
            "root": replayed.root.hex(),
            "recorded": replayed.recorded.hex(),
            "groups": replayed.groups,
            "differing": list(replayed.differing),
        }
        click.echo(json.dumps(data))
        return
    verdict = "the same root" if replayed.recorded == replayed.root else "ANOTHER ROOT"
    click.echo(f"{replayed.number:>6}  {replayed.root.hex()}  {verdict}, {replayed.groups} groups")
    for name in replayed.differing:
        click.echo(f"        other rewards than recorded: {name}")
