"""``rlswarm bench``: measurements beside the nearest peers."""

import subprocess
import sys
from pathlib import Path

import click

from rlswarm.cli.main import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "kernels": ("rlswarm.cli.bench:kernels", "Head and policy loss, beside TRL and Liger."),
        "sampling": ("rlswarm.cli.bench:sampling", "Sampling, beside transformers' generate."),
        "node": ("rlswarm.cli.bench:node", "A node's round, beside GenRL over hivemind."),
    },
)
def bench() -> None:
    """Measurements beside the nearest peers. Each takes a few minutes; --full takes its time."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--full", is_flag=True, help="Every shape; goes on where it stopped.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("benches/kernels/results.jsonl"),
    show_default=True,
    help="Where --full keeps what it has measured.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads."
)
def kernels(as_json: bool, full: bool, results: Path, threads: int) -> None:
    """The head of a language model with a policy loss, forward and backward, on the CPU.

    Ours beside plain torch, TRL's fused head, Liger's fused loss and torch's chunked cross-entropy:
    the same inputs, each in its own process, in turns. Peers that aren't installed are "absent":
    pip install trl==1.16.0 liger-kernel.
    """
    from rlswarm.bench.kernels import default_cases, full_cases, run, table
    from rlswarm.bench.rows import line

    cases = full_cases(threads) if full else default_cases(threads)
    rows = []
    for row in run(cases, results if full else None):
        rows.append(row)
        if as_json:
            click.echo(line(row))
    if not as_json:
        click.echo(table(rows))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--full", is_flag=True, help="More shapes, fp32 and bf16; half an hour.")
def sampling(as_json: bool, full: bool) -> None:
    """Tokens a second on what the demo asks of SmolLM2-135M, beside transformers' generate.

    The same weights, prompts and threads, in turns. Needs the demo's model, which `make demo`
    fetches.
    """
    from rlswarm.bench.rows import line
    from rlswarm.bench.sampling import default_cases, full_cases, run, table

    rows = []
    for row in run(full_cases() if full else default_cases()):
        rows.append(row)
        if as_json:
            click.echo(line(row))
    if not as_json:
        click.echo(table(rows))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--full", is_flag=True, help="All cases and systems, in turns.")
@click.option(
    "--turns", type=click.IntRange(1), default=3, show_default=True, help="How often, with --full."
)
@click.option(
    "--minutes", type=click.FloatRange(0), help="Begin no run after so many; 0 shows what is there."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("benches/node/results.jsonl"),
    show_default=True,
    help="The finished runs, which are not run again.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where GenRL's environment is made, 6 GB [default: rlswarm's cache folder].",
)
def node(
    as_json: bool,
    full: bool,
    turns: int,
    minutes: float | None,
    results: Path,
    cache: Path | None,
) -> None:
    """A round of two nodes with SmolLM2-135M, ours and GenRL over hivemind in turns.

    Run it in a checkout, as root on Linux: each node gets its own network namespace, so that its
    bytes can be counted. Needs iproute2, uv and the bundled model.
    """
    folder = Path("benches/node")
    if not (folder / "__main__.py").is_file():
        raise click.UsageError("there is no benches/node here; run this in a checkout of rlswarm")
    options = ["--turns", str(turns), "--results", str(results)]
    options += ["--json"] if as_json else []
    options += ["--full"] if full else []
    options += [] if minutes is None else ["--minutes", str(minutes)]
    options += [] if cache is None else ["--cache", str(cache)]
    done = subprocess.run([sys.executable, str(folder), *options], check=False)
    click.get_current_context().exit(done.returncode)
