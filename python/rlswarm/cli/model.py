"""``rlswarm model``: the models on this machine, and what training made of them."""

import json
from pathlib import Path

import click

from rlswarm.cli.main import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "list": (
            "rlswarm.cli.model:list_",
            "The models on this machine, and whether they work.",
        ),
        "export": (
            "rlswarm.cli.model_export:export",
            "A trained policy as a folder that plain transformers or peft loads.",
        ),
        "eval": (
            "rlswarm.cli.model_eval:eval_",
            "Accuracy on held-out tasks, with an interval; or check a peer's.",
        ),
    },
)
def model() -> None:
    """The models on this machine, and what training made of them."""


@click.command("list")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(folders: tuple[Path, ...], as_json: bool) -> None:
    """Models on this machine, and whether they can be used.

    The bundled one, those converted from GGUF, those in the hub's cache, and any in FOLDERS or
    right below them. Nothing is loaded or downloaded.
    """
    import msgspec

    from rlswarm.policy.inventory import known_models

    for known in known_models(folders):
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(known)))
            continue
        size = f"{known.bytes / 1e6:,.0f} MB"
        parameters = f"{known.parameters / 1e6:,.1f} M" if known.parameters else "?"
        remark = f"refused: {known.refusal}" if known.refusal else known.note
        click.echo(f"{known.name:<40}{known.source:<11}{parameters:>11}{size:>12}  {remark}")
