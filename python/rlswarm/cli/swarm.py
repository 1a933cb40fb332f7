"""``rlswarm swarm``: make, inspect or run a whole swarm."""

import json
from pathlib import Path

import click

from rlswarm.cli.options import json_option


@click.group()
def swarm() -> None:
    """Make, inspect or run a whole swarm."""


@swarm.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="swarm.toml")
@click.option("--name", default="swarm", show_default=True, help="Name of the swarm.")
@click.option("--model", help="Hub id, folder or .gguf file of the base model.")
@click.option(
    "--game",
    default="answer-critique-revise",
    show_default=True,
    metavar="NAME",
    help="answer-critique-revise, solve, propose-solve-evaluate, debate, or a TOML file.",
)
@click.option(
    "--pace",
    type=click.FloatRange(0.1, 1000),
    default=1.0,
    show_default=True,
    help="Factor on every window; 1 suits three nodes of a 135M model on two cores.",
)
@click.option("--peer", "peers", multiple=True, metavar="MULTIADDR", help="A bootstrap address.")
@click.option("--force", is_flag=True, help="Overwrite PATH.")
def new(
    path: Path,
    name: str,
    model: str | None,
    game: str,
    pace: float,
    peers: tuple[str, ...],
    force: bool,
) -> None:
    """Write a manifest to PATH, ready for `rlswarm node start`."""
    import datetime

    import msgspec

    from rlswarm.cli.opening import opened_as_in_a_node
    from rlswarm.config.manifest import render_manifest
    from rlswarm.config.presets import BUNDLED_MODEL, starter_manifest
    from rlswarm.errors import StorageError

    if path.exists() and not force:
        raise StorageError(f"{path} exists; choose another path or add --force")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    manifest = starter_manifest(
        name, now, model=model or BUNDLED_MODEL, game=game, pace=pace, bootstrap=peers
    )
    opened = opened_as_in_a_node(manifest.environments)
    marked = tuple(
        msgspec.structs.replace(spec, fingerprint=mark, version=version)
        for spec, mark, version in zip(
            manifest.environments, opened.fingerprints, opened.versions, strict=True
        )
    )
    manifest = msgspec.structs.replace(manifest, environments=marked)
    try:
        path.write_text(render_manifest(manifest), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from None
    click.echo(f"wrote {path}, swarm {manifest.swarm_id.hex()}", err=True)


@swarm.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="swarm.toml")
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Check a manifest and say what it means."""
    from rlswarm.config.manifest import load_manifest

    manifest = load_manifest(path)
    personas = [persona.name for persona in manifest.personas]
    data = {
        "swarm": manifest.swarm_id.hex(),
        "name": manifest.name,
        "genesis": manifest.genesis.isoformat(),
        "round_seconds": manifest.rounds.seconds,
        "stages": [
            {"name": s.name, "window": s.window, "reveal": s.reveal, "tokens": s.max_tokens}
            for s in manifest.game.stages
        ],
        "slots": manifest.game.slots,
        "group_size": manifest.game.group_size,
        "environments": [
            {"name": spec.name, "weight": spec.weight, "config": spec.config}
            for spec in manifest.environments
        ],
        "model": manifest.model.name,
        "personas": personas,
    }
    if as_json:
        click.echo(json.dumps(data))
        return
    stages = " → ".join(
        f"{s.name} ({s.window:g} + {s.reveal:g} s, ≤ {s.max_tokens} tokens)"
        for s in manifest.game.stages
    )
    spent = sum(s.window + s.reveal for s in manifest.game.stages)
    weights = ", ".join(f"{spec.name} ×{spec.weight}" for spec in manifest.environments)
    click.echo(f"{manifest.name}, swarm {manifest.swarm_id.hex()}")
    click.echo(f"opened   {manifest.genesis.isoformat()}")
    click.echo(f"round    {manifest.rounds.seconds:g} s: {stages},")
    click.echo(f"         then {manifest.rounds.seconds - spent:g} s to learn and settle")
    click.echo(
        f"slots    up to {manifest.game.slots} a stage, {manifest.game.group_size} samples each"
    )
    click.echo(f"tasks    {weights}")
    click.echo(f"model    {manifest.model.name}")
    if personas:
        click.echo(f"personas {', '.join(personas)}")


@swarm.command()
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--model", help="Hub id, folder or .gguf file [default: the bundled model].")
@click.option(
    "--swarm",
    "manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings to use; genesis is set anew [default: built in].",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of this run [default: runs/TIME].",
)
@click.option(
    "--evaluate",
    type=click.IntRange(0),
    default=48,
    show_default=True,
    help="Held-out tasks of each environment, measured at the end.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def up(
    nodes: int,
    rounds: int,
    model: str | None,
    manifest: Path | None,
    run_dir: Path | None,
    evaluate: int,
    as_json: bool,
) -> None:
    """Run a whole swarm on this machine and show it live."""
    from rlswarm.cli.up import UpOptions, run_swarm

    run_swarm(
        UpOptions(
            nodes=nodes,
            rounds=rounds,
            model=model,
            manifest=manifest,
            run_dir=run_dir,
            evaluate=evaluate,
            as_json=as_json,
        )
    )
