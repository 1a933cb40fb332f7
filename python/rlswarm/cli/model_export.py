"""``rlswarm model export``: a trained policy as a folder that transformers or peft reads."""

from pathlib import Path

import click

from rlswarm.cli.options import home_option


@click.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@home_option("A node's folder.")
@click.option("--round", "number", type=int, help="A round's checkpoint [default: the newest].")
@click.option(
    "--model", envvar="RLSWARM_MODEL", help="Where the base model lies [default: as trained]."
)
@click.option("--adapter-only", is_flag=True, help="Write the adapter alone, in peft's format.")
def export(
    target: Path, home: Path | None, number: int | None, model: str | None, adapter_only: bool
) -> None:
    """Write a node's trained policy to the new folder TARGET.

    Weights with the adapter merged, tokenizer, chat template and configs: a folder that plain
    transformers loads. Or, with --adapter-only, a folder for peft's `PeftModel.from_pretrained`.
    The node may go on running.
    """
    from rlswarm.errors import ModelError
    from rlswarm.node.home import default_home
    from rlswarm.policy.export import export_adapter, export_full, export_merged
    from rlswarm.policy.source import resolve
    from rlswarm.worker.checkpoint import read_checkpoint

    saved = read_checkpoint((home or default_home()) / "checkpoints", number)
    name = model or saved.model
    files = resolve(name)
    if files.base != saved.base:
        raise ModelError(f"the checkpoint was not trained from {name}; name its base with --model")
    if saved.full and adapter_only:
        raise ModelError("all weights were trained, so there is no adapter to export")
    if saved.full:
        export_full(files, saved.weights, target)
    elif adapter_only:
        export_adapter(files, saved.lora, saved.weights, name, target)
    else:
        export_merged(files, saved.lora, saved.weights, target)
    click.echo(f"round {saved.round}, {saved.steps} steps", err=True)
    click.echo(str(target))
