"""``rlswarm node``: start a node."""

from pathlib import Path
from typing import Literal

import click


@click.group()
def node() -> None:
    """Start a node of a swarm."""


@node.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="RLSWARM_HOME",
    help="Folder of this node's key, journal and checkpoints.",
)
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
    default=("/ip4/127.0.0.1/tcp/0",),
    show_default=True,
    metavar="MULTIADDR",
    help="Where to listen for peers.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads of the worker.")
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
    threads: int,
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
            threads=threads,
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
