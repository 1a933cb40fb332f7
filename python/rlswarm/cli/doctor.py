"""``rlswarm doctor``: would a node do well here, and if not, why not?"""

from pathlib import Path

import click

from rlswarm.cli.options import home_option

MARKS = {"good": ("ok", "green"), "poor": ("!", "yellow"), "bad": ("x", "red")}


@click.command()
@home_option()
@click.option(
    "--swarm",
    "manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RLSWARM_SWARM",
    help="Manifest of the swarm [default: swarm.toml here or in the home, else a new one].",
)
@click.option("--model", envvar="RLSWARM_MODEL", help="As for `node start`.")
@click.option("--peer", "peers", multiple=True, metavar="MULTIADDR", help="A peer to look for.")
@click.option("--listen", multiple=True, metavar="MULTIADDR", help="As for `node start`.")
@click.option("--port", type=click.IntRange(1, 65535), envvar="RLSWARM_PORT", help="As there.")
@click.option(
    "--swarm-key",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RLSWARM_SWARM_KEY",
    help="As for `node start`.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def doctor(
    home: Path | None,
    manifest: Path | None,
    model: str | None,
    peers: tuple[str, ...],
    listen: tuple[str, ...],
    port: int | None,
    swarm_key: Path | None,
    as_json: bool,
) -> None:
    """Look at everything that a node needs here: one line each, with what to do.

    Ends with code 19 if something would stop a node; what it can live with is marked ! only.
    """
    import asyncio
    import contextlib
    import datetime

    import msgspec

    from rlswarm.config.manifest import load_manifest
    from rlswarm.config.presets import starter_manifest
    from rlswarm.errors import DoctorError
    from rlswarm.node.attachment import attach
    from rlswarm.node.doctor import Finding, examine
    from rlswarm.node.home import default_home

    place = home or default_home()
    found = next((p for p in (Path("swarm.toml"), place / "swarm.toml") if p.is_file()), None)
    if file := manifest or found:
        swarm = load_manifest(file)
    else:
        swarm = starter_manifest("home", datetime.datetime.now(datetime.UTC))
    with contextlib.suppress(OSError):  # said below
        place.mkdir(parents=True, exist_ok=True)
    network = attach(
        place,
        listen=listen,
        port=port,
        peers=[*peers, *swarm.bootstrap.addresses],
        swarm_key=swarm_key,
    )

    async def run() -> int:
        bad = 0
        async for finding in examine(place, swarm, model or swarm.model.name, network):
            bad += finding.verdict == "bad"
            show(finding)
        return bad

    def show(finding: Finding) -> None:
        if as_json:
            click.echo(msgspec.json.encode(finding).decode())
            return
        mark, colour = MARKS[finding.verdict]
        click.echo(f"{click.style(f'{mark:<3}', fg=colour)}{finding.what:<11}{finding.text}")
        if finding.remedy:
            click.echo(f"{'':<14}-> {finding.remedy}")

    if bad := asyncio.run(run()):
        raise DoctorError(f"{bad} of these would stop a node; see the lines marked x")
