"""Two processes that are one worker (gloo, CPU) do what one process does."""

import asyncio
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from rlswarm.node.processes import WorkerProcess
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import (
    GroupRequest,
    Learn,
    Learned,
    LearningRule,
    Load,
    LoraShape,
    Sample,
    Sampled,
    TrainGroup,
)
from tiny_model import make_tiny_model

TOLERANCE = 2e-4
"""Of the trained weights, relative: sums of gradients in another order, then one AdamW step."""


async def played(model: Path, home: Path, processes: int) -> tuple[list[Sampled], list[Learned]]:
    """Two rounds of a worker, and its orderly end."""
    home.mkdir()
    told: list[str] = []
    worker = WorkerProcess(home / "worker.log", told.append, lambda _: None, processes)
    load = Load(str(model), str(home), LoraShape(rank=4), LearningRule(), threads=processes)
    await worker.load(load)
    prompts = [(ChatMessage("user", f"What is {n} times {n}?"),) for n in range(3)]
    requests = tuple(GroupRequest(p, bytes([n]) * 32, 4, 12) for n, p in enumerate(prompts))
    sampled, learned = [], []
    for round in range(2):
        sampled.append(await worker.sample(Sample(requests, 60.0)))
        groups = tuple(
            TrainGroup(p, g, (1.0, 0.0, 0.0, 1.0), "", 0)
            for p, g in zip(prompts, sampled[-1].groups, strict=True)
        )
        learned.append(await worker.learn(Learn(round, groups, 60.0)))
    assert worker.pid is not None
    family = psutil.Process(worker.pid).children(recursive=True)
    assert sum("rlswarm.worker" in " ".join(p.cmdline()) for p in family) == (
        processes if processes > 1 else 0
    )
    await worker.close(30)
    assert not told
    assert not [process for process in family if process.is_running()]
    return sampled, learned


@pytest.mark.timeout(280)
def test_two_processes_make_the_update_of_one(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    one_sampled, one = asyncio.run(played(model, tmp_path / "one", 1))
    two_sampled, two = asyncio.run(played(model, tmp_path / "two", 2))
    assert two_sampled[0].groups == one_sampled[0].groups
    for alone, together in zip(one, two, strict=True):
        assert sorted(together.used) == sorted(alone.used) == [0, 1, 2]
        assert together.stepped and together.tokens == alone.tokens
        assert together.gradient_norm == pytest.approx(alone.gradient_norm, rel=1e-4)
        assert together.loss == pytest.approx(alone.loss, rel=1e-3, abs=1e-6)
    wanted, found = (
        load_file(tmp_path / name / f"round-{0:012d}.safetensors") for name in ("one", "two")
    )
    for name in wanted:
        if name.startswith("adapter/"):
            error = np.linalg.norm(found[name] - wanted[name]) / np.linalg.norm(wanted[name])
            assert error < TOLERANCE, name
