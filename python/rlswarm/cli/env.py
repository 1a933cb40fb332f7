"""``rlswarm env``: the environments that tasks come from."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlswarm.cli.options import json_option

if TYPE_CHECKING:
    from rlswarm.environments.environment import Environment, Item


@click.group()
def env() -> None:
    """The environments that tasks come from."""


@env.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All environments installed here, and why some are refused."""
    from rlswarm.environments.registry import list_environments

    for listing in list_environments():
        if as_json:
            data = {"name": listing.name, "source": listing.source, "refusal": listing.refusal}
            click.echo(json.dumps(data))
        else:
            refused = f"  refused: {listing.refusal}" if listing.refusal else ""
            click.echo(f"{listing.name:<32}{listing.source}{refused}")


_NAME = click.argument("name", required=False)
_PATH = click.option("--path", metavar="FILE.py:CLASS", help="An environment not installed yet.")
_SHOTS = click.option(
    "--shots", type=click.IntRange(0, 16), default=0, help="Worked examples in prompts."
)
_CONFIG = click.option("--config", default="{}", help="Options as a JSON object.")


@env.command()
@_NAME
@_PATH
@click.option("--count", type=click.IntRange(1, 1000), default=3, show_default=True)
@_SHOTS
@_CONFIG
def show(name: str | None, path: str | None, count: int, shots: int, config: str) -> None:
    """Options, fingerprint and some tasks of environment NAME."""
    from rlswarm.cli.opening import opened_as_in_a_node
    from rlswarm.environments.fingerprint import fingerprint
    from rlswarm.environments.registry import environment_options
    from rlswarm.scorer.messages import EnvironmentSpec

    chosen = _parsed(config)
    environment = _open(name, path, chosen, shots)
    click.echo(f"{environment.version}")
    options = environment_options(name) if name else {}
    for option, default in options.items():
        click.echo(f"  {option} = {json.dumps(chosen.get(option, default), default=str)}")
    if name is None:
        mark = fingerprint(lambda: _open(name, path, chosen, shots))
    else:
        spec = EnvironmentSpec(name, shots=shots, config=chosen)
        (mark,) = opened_as_in_a_node((spec,)).fingerprints
    click.echo(f"fingerprint {mark}")
    for seed in range(count):
        item = environment.generate(seed)
        click.echo(f"\n--- seed {seed}")
        _ask(environment, item)
        click.echo(f"right answer: {item.reference}")


@env.command()
@_NAME
@_PATH
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="The first task's.")
@click.option("--count", type=click.IntRange(1, 1000), default=3, show_default=True)
@_SHOTS
@_CONFIG
def play(
    name: str | None, path: str | None, seed: int, count: int, shots: int, config: str
) -> None:
    """Answer tasks of environment NAME and see the score.

    An answer ends with an empty line, or with the end of the input.
    """
    from rlswarm.environments.environment import FULL_SCORE

    environment = _open(name, path, _parsed(config), shots)
    total = played = 0
    for number in range(seed, seed + count):
        item = environment.generate(number)
        click.echo(f"\n--- seed {number}")
        _ask(environment, item)
        answer = _typed_answer()
        if answer is None:
            break
        score = environment.score(answer, item)
        played += 1
        total += score or 0
        shown = "unscorable" if score is None else f"{score / FULL_SCORE:g}"
        click.echo(f"score: {shown}    right answer: {item.reference}")
    if played:
        click.echo(f"\n{total / FULL_SCORE:g} of {played}")


@env.command()
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="The folder above.")
def new(name: str, into: Path) -> None:
    """Write a new environment NAME: one file that works at once."""
    from rlswarm.environments.new_environment import write_new

    file, kind = write_new(name, into)
    click.echo(str(file))
    click.echo(
        f"Try it:      rlswarm env play --path {file}:{kind}\n"
        f"Install it:  pip install -e {file.parent}   (then it is environment {name})",
        err=True,
    )


@env.command()
@click.argument("name", type=click.Choice(["code", "maths"]))
@click.option(
    "--from", "source", help="Problems: a .jsonl or .parquet file, or hub:OWNER/NAME[/SUBSET]."
)
def prepare(name: str, source: str | None) -> None:
    """Compile or fetch, once, what environment NAME needs on this machine."""
    if name == "code":
        from rlswarm.environments.preparation import prepare_sandbox

        with _working("Compiling the sandbox's Python (a few minutes, once)"):
            path, made = prepare_sandbox()
        click.echo(f"{'compiled' if made else 'already there'}: {path}", err=True)
    if source:
        from rlswarm.environments.problem_import import import_problems

        imported = import_problems(name, source, _counted)
        click.echo(f"{imported.kept} problems kept, {imported.dropped} left out", err=True)
        click.echo(json.dumps({"problems": imported.digest, "source": source}))
    elif name == "maths":
        click.echo("nothing to do: the problems that ship need no preparation", err=True)


def _parsed(config: str) -> dict[str, Any]:
    try:
        chosen = json.loads(config)
        if not isinstance(chosen, dict):
            raise ValueError
    except ValueError:
        raise click.BadParameter("must be a JSON object", param_hint="--config") from None
    return chosen


def _open(name: str | None, path: str | None, config: dict[str, Any], shots: int) -> "Environment":
    from rlswarm.environments.file_environment import open_file
    from rlswarm.environments.registry import open_environment

    if (name is None) == (path is None):
        raise click.UsageError("Give either NAME or --path.")
    if path is not None:
        return open_file(path, config, shots)
    assert name is not None
    return open_environment(name, config, shots)


def _ask(environment: "Environment", item: "Item") -> None:
    for message in environment.prompt(item):
        click.echo(f"{message.role}: {message.content}")


def _typed_answer() -> str | None:
    """Lines up to an empty one; None where the input has ended. Bytes that are no UTF-8 stay
    as such, to be scored as a node would score them."""
    stream = sys.stdin.buffer
    lines: list[bytes] = []
    while line := stream.readline():
        if not line.strip() and lines:
            break
        lines.append(line)
    return b"".join(lines).decode(errors="surrogateescape") if lines else None


def _counted(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows, with their number so far on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        rows, "Reading problems", console=console, transient=True, disable=not console.is_terminal
    )


@contextlib.contextmanager
def _working(what: str) -> Iterator[None]:
    """A moving line with the time taken so far, on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        click.echo(f"{what} ...", err=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield
