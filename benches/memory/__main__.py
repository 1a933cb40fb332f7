"""The planner's estimate beside the worker's measured peak: ``python benches/memory``.

Each case is a real worker process that loads a model, samples, and learns from passes as large as
its plan allows. One model is real; the others have random weights of published shapes, since only
sizes matter here. Rows go to ``results.jsonl``; cases that are there already are not run again
unless ``--again`` is given.
"""

import argparse
import itertools
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from rlswarm.pipes import frame, frame_length
from rlswarm.policy.source import BUNDLED, resolve
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import (
    GroupRequest,
    Learn,
    Learned,
    LearningRule,
    Load,
    Loaded,
    LoraShape,
    Reply,
    Sample,
    Sampled,
    TrainGroup,
)

RESULTS = Path(__file__).with_name("results.jsonl")

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    },
    "gpt2-small": {"model_type": "gpt2", "tie_word_embeddings": True, "dtype": "float32"},
}
"""Configs as published, whatever else is the architecture's default."""


@dataclass(frozen=True)
class Case:
    model: str
    dtype: str
    micro_batch: int
    full: bool = False

    def __str__(self) -> str:
        kind = "full fine-tune" if self.full else "LoRA"
        return f"{self.model} {self.dtype} {kind} micro-batch {self.micro_batch}"


CASES = [
    Case(model, dtype, micro_batch)
    for (model, dtype), micro_batch in itertools.product(
        [(BUNDLED, "bfloat16"), ("qwen2.5-0.5b", "bfloat16"), ("gpt2-small", "float32")], [64, 16]
    )
] + [Case(BUNDLED, "float32", 64, full=True)]


class Worker:
    """A worker process, asked one thing at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlswarm.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._replies = msgspec.msgpack.Decoder(Reply)

    def ask(self, message: msgspec.Struct) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(frame(message))
        self.process.stdin.flush()
        body = self.process.stdout.read(frame_length(self.process.stdout.read(4)))
        return self._replies.decode(body)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def random_model(name: str, folder: Path) -> Path:
    """A folder of random weights in this shape, written by a process of its own."""
    place = folder / name
    if not place.is_dir():
        script = (
            "import json, sys, torch, transformers\n"
            "options = json.loads(sys.argv[1])\n"
            "dtype = getattr(torch, options['dtype'])\n"
            "config = transformers.AutoConfig.for_model(**options)\n"
            "model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)\n"
            "model.save_pretrained(sys.argv[2])\n"
        )
        subprocess.run([sys.executable, "-c", script, json.dumps(SHAPES[name]), place], check=True)
        for file in resolve(BUNDLED).folder.glob("tokenizer*"):
            (place / file.name).write_bytes(file.read_bytes())
    return place


def measure(case: Case, folder: Path, threads: int) -> tuple[int, int, int]:
    """Bytes estimated, peak at load, peak after sampling and learning."""
    model = case.model if case.model == BUNDLED else str(random_model(case.model, folder))
    worker = Worker()
    try:
        with tempfile.TemporaryDirectory() as checkpoints:
            load = Load(
                model,
                checkpoints,
                LoraShape(),
                LearningRule(),
                threads=threads,
                micro_batch=case.micro_batch,
                dtype=case.dtype,
                full=case.full,
            )
            loaded = worker.ask(load)
            assert isinstance(loaded, Loaded), loaded
            prompts = [
                (ChatMessage("user", f"Question {n}: how much is {n} plus {3 * n}? " * 6),)
                for n in range(6)
            ]
            requests = tuple(GroupRequest(p, bytes([n]) * 32, 8, 24) for n, p in enumerate(prompts))
            sampled = worker.ask(Sample(requests, 300.0))
            assert isinstance(sampled, Sampled), sampled
            groups = tuple(
                TrainGroup(p, g, (1.0, 0.0) * 4, "", 0)
                for p, g in zip(prompts, sampled.groups, strict=True)
            )
            for round in range(2):
                learned = worker.ask(Learn(round, groups, 300.0))
                assert isinstance(learned, Learned) and learned.stepped, learned
            return loaded.needed, loaded.peak_rss, learned.peak_rss
    finally:
        worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", type=Path, help="where random models are kept")
    parser.add_argument("--again", action="store_true", help="run what has a result already")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if RESULTS.is_file():
        for line in RESULTS.read_text().splitlines():
            row = json.loads(line)
            rows[row["case"], row["metric"]] = row
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    versions |= {"python": platform.python_version(), "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            if options.only not in str(case):
                continue
            if options.again or (str(case), "peak_rss") not in rows:
                values = measure(case, options.models or Path(scratch), options.threads)
                metrics = zip(("estimate", "peak_rss_at_load", "peak_rss"), values, strict=True)
                for metric, value in metrics:
                    rows[str(case), metric] = {
                        "bench": "memory",
                        "case": str(case),
                        "system": "rlswarm",
                        "metric": metric,
                        "value": value,
                        "min": value,
                        "max": value,
                        "unit": "bytes",
                        "versions": versions,
                    }
                RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
            estimate = rows[str(case), "estimate"]["value"]
            peak = rows[str(case), "peak_rss"]["value"]
            at_load = rows[str(case), "peak_rss_at_load"]["value"]
            print(
                f"{case!s:<58} estimated {estimate / 1e9:.2f} GB, measured {peak / 1e9:.2f} GB "
                f"(load {at_load / 1e9:.2f}), ratio {estimate / peak:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
