"""``rlswarm node``: start a node, see how it does, and choose whom it talks to."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from rlswarm.cli.options import home_option


@click.group()
def node() -> None:
    """Start a node of a swarm, and see how it does."""


@node.command()
@home_option("Folder of this node's key, journal and checkpoints.")
@click.option(
    "--swarm",
    "manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RLSWARM_SWARM",
    help="Manifest of the swarm [default: swarm.toml here or in the home].",
)
@click.option(
    "--model",
    envvar="RLSWARM_MODEL",
    help="Hub id, folder or .gguf file of the swarm's base model [default: as in the manifest].",
)
@click.option("--peer", "peers", multiple=True, metavar="MULTIADDR", help="A peer to dial.")
@click.option(
    "--listen",
    multiple=True,
    metavar="MULTIADDR",
    help="Where to listen for peers [default: all interfaces, TCP and QUIC].",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    envvar="RLSWARM_PORT",
    help="Port to listen on [default: a free one, kept in the home].",
)
@click.option(
    "--public-address",
    "public_addresses",
    multiple=True,
    metavar="MULTIADDR",
    help="Where anyone can reach this node, e.g. /dns4/NAME/tcp/PORT.",
)
@click.option(
    "--swarm-key",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RLSWARM_SWARM_KEY",
    help="Key file of a private swarm; TCP only [default: swarm.key in the home, if there].",
)
@click.option("--relay", is_flag=True, help="Pass on connections for nodes behind a NAT.")
@click.option("--mdns/--no-mdns", default=True, help="Find peers on the local network.")
@click.option("--upnp/--no-upnp", default=True, help="Ask the router to forward the port.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads of the worker.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes of the worker, one for each GPU; started by accelerate.",
)
@click.option(
    "--memory",
    type=click.IntRange(0),
    default=0,
    metavar="MB",
    help="Memory that the worker may use [default: what is free].",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Numbers that the worker computes with [default: as machine and model suggest].",
)
@click.option(
    "--sampler",
    envvar="RLSWARM_SAMPLER",
    default="",
    metavar="URL",
    help="A vLLM, SGLang or llama.cpp server that samples for this node (unseeded).",
)
@click.option("--rounds", type=click.IntRange(1), help="Stop after so many rounds.")
@click.option(
    "--evaluate",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="At the end measure accuracy on N held-out tasks of each environment.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password of encrypted keys; else RLSWARM_PASSWORD, the keyring, a prompt.",
)
@click.option("--persona", metavar="NAME", help="One of the manifest's [default: drawn by key].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.option("--hold", is_flag=True, hidden=True, help="Load, then wait for a line on stdin.")
def start(
    home: Path | None,
    manifest: Path | None,
    model: str | None,
    peers: tuple[str, ...],
    listen: tuple[str, ...],
    port: int | None,
    public_addresses: tuple[str, ...],
    swarm_key: Path | None,
    relay: bool,
    mdns: bool,
    upnp: bool,
    threads: int,
    processes: int,
    memory: int,
    dtype: Literal["float32", "bfloat16"] | None,
    sampler: str,
    rounds: int | None,
    evaluate: int,
    password_file: Path | None,
    persona: str | None,
    as_json: bool,
    hold: bool,
) -> None:
    """Join a swarm, or train alone until a peer appears.

    The key is made on first start. SIGINT or SIGTERM stops the node within ten seconds; a second
    signal stops it at once and loses nothing that was committed.
    """
    from rlswarm.node.start import StartOptions, start_node

    start_node(
        StartOptions(
            home=home,
            manifest=manifest,
            model=model,
            peers=list(peers),
            listen=list(listen),
            port=port,
            public_addresses=list(public_addresses),
            swarm_key=swarm_key,
            relay=relay,
            mdns=mdns,
            upnp=upnp,
            threads=threads,
            processes=processes,
            memory_bytes=memory * 1_000_000,
            dtype=dtype or "",
            sampler=sampler,
            rounds=rounds,
            evaluate=evaluate,
            password_file=password_file,
            persona=persona,
            as_json=as_json,
            hold=hold,
        )
    )


@node.command()
@home_option()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(home: Path | None, as_json: bool) -> None:
    """How the node that runs here does: peers, addresses, and whether others can reach it."""
    import msgspec

    from rlswarm.errors import NotRunningError
    from rlswarm.node.home import default_home
    from rlswarm.node.housekeeping import read_status

    place = home or default_home()
    found = read_status(place)
    if found is None:
        raise NotRunningError(f"no node runs in {place}; start one with `rlswarm node start`")
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo(f"{found.name} ({found.peer_id}), process {found.pid}")
    click.echo(f"swarm      {found.swarm_name} ({found.swarm[:16]})")
    click.echo(f"round      {'none yet' if found.round is None else found.round}")
    click.echo(f"reachable  {found.reachability}: {found.reachability_reason}")
    for label, lines in (
        ("address", found.addresses),
        (
            "peer",
            [f"{p.name} at {p.address}{' (relayed)' if p.relayed else ''}" for p in found.peers],
        ),
        ("blocked", found.blocked),
    ):
        for text in lines:
            click.echo(f"{label:<11}{text}")
    if not found.peers:
        click.echo("peer       none: it trains alone and keeps trying")


@node.command()
@click.argument("peer_ids", nargs=-1, required=True, metavar="PEERID...")
@home_option()
def block(peer_ids: tuple[str, ...], home: Path | None) -> None:
    """Never talk to these peers; a running node hangs up within seconds."""
    _change_blocked(home, lambda before: [*before, *(p for p in peer_ids if p not in before)])


@node.command()
@click.argument("peer_ids", nargs=-1, required=True, metavar="PEERID...")
@home_option()
def unblock(peer_ids: tuple[str, ...], home: Path | None) -> None:
    """Talk to these peers again."""
    _change_blocked(home, lambda before: [p for p in before if p not in peer_ids])


def _change_blocked(home: Path | None, change: Callable[[list[str]], list[str]]) -> None:
    from rlswarm.errors import StorageError
    from rlswarm.network.peer_files import load_blocked, save_blocked
    from rlswarm.node.attachment import blocked_file
    from rlswarm.node.home import default_home

    file = blocked_file(home or default_home())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_blocked(file, change(list(load_blocked(file))))
    except OSError as error:
        raise StorageError(f"{file} can't be changed: {error.strerror}") from None
