"""``rlswarm env``: the environments that tasks come from."""

import contextlib
import json
from collections.abc import Iterator

import click


@click.group()
def env() -> None:
    """The environments that tasks come from."""


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
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


@env.command()
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--shots", type=click.IntRange(0, 16), default=0, help="Worked examples in prompts.")
@click.option("--config", default="{}", help="Options as a JSON object.")
def show(name: str, count: int, shots: int, config: str) -> None:
    """Options, fingerprint and some tasks of environment NAME."""
    from rlswarm.environments.fingerprint import fingerprint
    from rlswarm.environments.registry import environment_options, open_environment

    try:
        chosen = json.loads(config)
        if not isinstance(chosen, dict):
            raise ValueError
    except ValueError:
        raise click.BadParameter("must be a JSON object", param_hint="--config") from None
    environment = open_environment(name, chosen, shots)
    click.echo(f"{environment.version}")
    for option, default in environment_options(name).items():
        click.echo(f"  {option} = {json.dumps(chosen.get(option, default), default=str)}")
    click.echo(f"fingerprint {fingerprint(lambda: open_environment(name, chosen, shots))}")
    for seed in range(count):
        item = environment.generate(seed)
        click.echo(f"\n--- seed {seed}")
        for message in environment.prompt(item):
            click.echo(f"{message.role}: {message.content}")
        click.echo(f"right answer: {item.reference}")


@env.command()
@click.argument("name")
def prepare(name: str) -> None:
    """Compile or fetch, once, what environment NAME needs on this machine."""
    from rlswarm.environments.preparation import prepare_sandbox

    if name != "code":
        raise click.BadParameter(f"{name} needs no preparation", param_hint="NAME")
    with _working("Compiling the sandbox's Python (a few minutes, once)"):
        path, made = prepare_sandbox()
    click.echo(f"{'compiled' if made else 'already there'}: {path}", err=True)


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
