"""``rlswarm model eval``: how good a policy is on held-out tasks, and whether a claim is true."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rlswarm.config.manifest import Manifest
    from rlswarm.game.held_out import Completion, Measured
    from rlswarm.node.processes import Scorer, Worker
    from rlswarm.scorer.messages import Opened
    from rlswarm.worker.messages import Loaded


@click.command("eval")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="RLSWARM_HOME",
    help="A node's folder: its newest checkpoint is measured [default: the untrained model].",
)
@click.option(
    "--swarm",
    "manifest_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RLSWARM_SWARM",
    help="Manifest that names the environments [default: swarm.toml here or in the home].",
)
@click.option("--model", envvar="RLSWARM_MODEL", help="Instead of the manifest's base model.")
@click.option("--tasks", type=click.IntRange(1, 4096), help="By environment [default: manifest's].")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads of the worker.")
@click.option(
    "--check",
    metavar="RECORD",
    help="Check an evaluation record of the home's journal, named by its hash or the first digits "
    "of it: score its answers again and, if this is the policy that gave them, draw them again.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def eval_(
    home: Path | None,
    manifest_path: Path | None,
    model: str | None,
    tasks: int | None,
    threads: int,
    check: str | None,
    as_json: bool,
) -> None:
    """Accuracy on held-out tasks by environment, with a 95% Wilson interval.

    The tasks, and the uniforms that draw the answers, are the same on every machine and every time.
    A check exits with 20 if the record is not true.
    """
    from rlswarm.config.manifest import load_manifest
    from rlswarm.errors import EvaluationError

    place = manifest_path or (Path("swarm.toml") if Path("swarm.toml").is_file() else None)
    if place is None and home is not None:
        place = home / "swarm.toml"
    if place is None:
        raise click.UsageError("Name a manifest with --swarm: it says what is measured.")
    bench = _Bench(load_manifest(place), home, model, threads)
    if check is None:
        data = asyncio.run(_measure(bench, tasks or bench.manifest.evaluation.tasks))
        click.echo(json.dumps(data) if as_json else _accuracy_lines(data))
        return
    if home is None:
        raise click.UsageError("Name the folder of the node that has the record with --home.")
    data = asyncio.run(_check(bench, home, check))
    click.echo(json.dumps(data) if as_json else _check_lines(data))
    if not data["true"]:
        raise EvaluationError(f"the record is not true: {data['problem']}")


@dataclass(frozen=True)
class _Bench:
    """What is measured, and with what."""

    manifest: "Manifest"
    home: Path | None
    model: str | None
    threads: int

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[tuple["Worker", "Loaded", "Scorer", "Opened"]]:
        """A worker with the policy and a scorer with the environments. Raises RlswarmError."""
        from rlswarm.node.processes import ScorerProcess, WorkerProcess
        from rlswarm.scorer.messages import Open
        from rlswarm.worker.messages import Load

        def trouble(sentence: str) -> None:
            click.echo(sentence, err=True)

        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            worker = WorkerProcess(folder / "worker.log", trouble, lambda loaded: None)
            stack.push_async_callback(worker.close, 5.0)
            scorer = ScorerProcess(folder / "scorer.log", trouble)
            stack.push_async_callback(scorer.close, 5.0)
            loaded = await worker.load(
                Load(
                    model=self.model or self.manifest.model.name,
                    checkpoints=str((self.home or folder) / "checkpoints"),
                    lora=self.manifest.model.lora,
                    full=self.manifest.model.full,
                    rule=self.manifest.learning,
                    temperature=self.manifest.model.temperature,
                    threads=self.threads,
                )
            )
            opened = await scorer.open(Open(self.manifest.environments, loaded.tokenizer))
            for _, sentence in opened.mismatches:
                trouble(sentence)
            yield worker, loaded, scorer, opened


async def _measure(bench: _Bench, count: int) -> dict[str, Any]:
    from rlswarm.game.held_out import pooled
    from rlswarm.node.evaluation import measure

    rules = bench.manifest.game.answering
    results: list[Measured] = []
    async with bench.open() as (worker, loaded, scorer, opened):
        left_out = {index for index, _ in opened.mismatches}
        for index, spec in enumerate(bench.manifest.environments):
            if index in left_out:
                continue
            if not opened.held_out[index]:
                click.echo(f"{spec.name} has too few distinct prompts to hold any out", err=True)
                continue
            with _answering(spec.name, count) as answered:
                results.append(
                    await measure(worker, scorer, index, count, rules, answered=answered)
                )
    return {
        "base": loaded.base.hex(),
        "adapter": loaded.adapter.hex(),
        "after_round": loaded.resumed_round,
        "results": [
            {
                "environment": bench.manifest.environments[result.environment].name,
                **result.accuracy.as_data(),
            }
            for result in results
        ],
        "all": pooled(results).as_data() if results else None,
    }


async def _check(bench: _Bench, home: Path, prefix: str) -> dict[str, Any]:
    from rlswarm._core import decode_header
    from rlswarm.errors import JournalError
    from rlswarm.game.held_out import decode_evaluation
    from rlswarm.game.rollouts import BodyError
    from rlswarm.journal.journal import Journal
    from rlswarm.network.transport import EVALUATION
    from rlswarm.node.evaluation import held_out_tasks, score

    manifest, rules = bench.manifest, bench.manifest.game.answering
    journal = Journal.read(home / "journal.sqlite3")
    encoded, body = journal.record_named(prefix)
    journal.close()
    header = decode_header(encoded, manifest.swarm_id)
    if header.kind != EVALUATION or body is None:
        raise JournalError(f"the record {header.hash.hex()} is no evaluation with a body")
    data: dict[str, Any] = {
        "record": header.hash.hex(),
        "peer_id": header.peer_id,
        "round": header.round,
        "adapter": header.adapter.hex(),
        "true": True,
        "problem": "",
        "same_policy": False,
        "drawn_again": 0,
        "equal": 0,
        "results": [],
    }
    async with bench.open() as (worker, loaded, scorer, _):
        data["same_policy"] = (header.base, header.adapter) == (loaded.base, loaded.adapter)
        try:
            measured = decode_evaluation(
                body, len(manifest.environments), manifest.evaluation.tasks, rules
            )
            for result in measured:
                name = manifest.environments[result.environment].name
                tasks = await held_out_tasks(scorer, result.environment, manifest.evaluation.tasks)
                right, whole = await score(scorer, result, tasks, spelt=header.base == loaded.base)
                found = {"environment": name, "start": result.start, "scored_right": right}
                data["results"].append({**found, **result.accuracy.as_data()})
                if not whole:
                    raise BodyError(f"{name} can't be judged on this machine in time")
                if right != result.right:
                    raise BodyError(
                        f"it claims {result.right} right answers of {name}, but {right} are"
                    )
                if data["same_policy"]:
                    again = await _draw_again(worker, result, tasks, rules)
                    data["drawn_again"] += len(again)
                    data["equal"] += sum(
                        one.tokens == other.tokens
                        for one, other in zip(result.completions, again, strict=True)
                    )
        except BodyError as error:
            data |= {"true": False, "problem": str(error)}
    return data


async def _draw_again(
    worker: "Worker", result: "Measured", tasks: Any, rules: Any
) -> list["Completion"]:
    from rlswarm.node.evaluation import BATCH, sample_answers

    chosen = tasks[result.start : result.start + len(result.completions)]
    again: list[Completion] = []
    for start in range(0, len(chosen), BATCH):
        drawn = await sample_answers(worker, chosen[start : start + BATCH], rules)
        assert drawn is not None, "ten minutes were too short for a batch"
        again += drawn
    return again


def _accuracy_lines(data: dict[str, Any]) -> str:
    trained = data["after_round"]
    lines = [
        f"base {data['base'][:16]}…, adapter {data['adapter'][:16]}… "
        + ("(untrained)" if trained is None else f"(after round {trained})")
    ]
    everything = [{"environment": "all", **data["all"]}] if data["all"] else []
    for result in [*data["results"], *everything]:
        lines.append(
            f"{result['environment']:<28}{result['accuracy']:.3f}   95% interval "
            f"{result['low']:.3f} to {result['high']:.3f}   {result['right']} of {result['count']}"
        )
    return "\n".join(lines)


def _check_lines(data: dict[str, Any]) -> str:
    lines = [
        f"record {data['record'][:16]}…, round {data['round']}, {data['peer_id']}, "
        f"adapter {data['adapter'][:16]}…"
    ]
    for result in data["results"]:
        lines.append(
            f"{result['environment']}: says {result['right']} of {result['count']} are right; "
            f"scored again {result['scored_right']}"
        )
    if not data["same_policy"]:
        lines.append("the policy loaded here is another one, so its answers were not drawn again")
    elif data["drawn_again"]:
        lines.append(
            f"drawn again: {data['equal']} of {data['drawn_again']} answers are equal token by "
            "token"
        )
    if data["true"]:
        lines.append("true")
    return "\n".join(lines)


@contextlib.contextmanager
def _answering(name: str, count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=count)
        yield lambda answers: progress.advance(bar, answers)
