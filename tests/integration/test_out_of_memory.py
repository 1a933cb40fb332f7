"""A worker that really runs out of memory: restarted with half the micro-batch, the run goes on."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_model import write_tokenizer

LAYERS, WIDTH, INNER = 4, 128, 16384
"""Few parameters (25 M) and 0.8 MB of activations a token."""

RUN = """
import asyncio, json, resource, sys
from pathlib import Path
from rlswarm.node.processes import RestartedError, WorkerProcess
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import *

def data_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))

async def main(model, home):
    told, loads = [], []
    worker = WorkerProcess(Path(home) / "worker.log", told.append, loads.append)
    loads.append(await worker.load(Load(model, home, LoraShape(rank=2), LearningRule(), threads=1)))
    prompts = [(ChatMessage("user", f"{n}: " + "word " * 8),) for n in range(8)]
    requests = tuple(GroupRequest(p, bytes([n]) * 32, 8, 16) for n, p in enumerate(prompts))
    sampled = await worker.sample(Sample(requests, 100.0))
    groups = tuple(
        TrainGroup(p, g, (1.0, 0.0) * 4, "", 0) for p, g in zip(prompts, sampled.groups)
    )
    first = await worker.learn(Learn(0, groups[:1], 100.0))
    # From here on this process and its children have this much more data memory, and no more.
    limit = data_of(worker.pid) + int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.prlimit(worker.pid, resource.RLIMIT_DATA, (limit, limit))
    for attempt in range(4):
        try:
            learned = await worker.learn(Learn(1, groups, 100.0))
            break
        except RestartedError:
            pass
    await worker.close(10)
    print(json.dumps({
        "told": told,
        "micro_batches": [loaded.micro_batch for loaded in loads],
        "resumed": [loaded.resumed_round for loaded in loads],
        "adapters": [loaded.adapter.hex() for loaded in loads],
        "after_first": first.adapter.hex(),
        "stepped": learned.stepped, "used": learned.own_used, "steps": learned.steps,
    }))

asyncio.run(main(*sys.argv[1:3]))
"""


def wide_model(folder: Path) -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 259,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        spread = np.float32(columns**-0.5)
        return rng.standard_normal((rows, columns), dtype=np.float32) * spread

    weights = {"model.embed_tokens.weight": matrix(259, WIDTH), "model.norm.weight": np.ones(WIDTH)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            weights[f"{at}self_attn.{name}_proj.weight"] = matrix(WIDTH, WIDTH)
        weights[at + "mlp.gate_proj.weight"] = matrix(INNER, WIDTH)
        weights[at + "mlp.up_proj.weight"] = matrix(INNER, WIDTH)
        weights[at + "mlp.down_proj.weight"] = matrix(WIDTH, INNER)
        weights[at + "input_layernorm.weight"] = np.ones(WIDTH)
        weights[at + "post_attention_layernorm.weight"] = np.ones(WIDTH)
    tensors = {name: value.astype(np.float32) for name, value in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's memory")
def test_the_run_goes_on_with_smaller_passes(tmp_path: Path) -> None:
    model = wide_model(tmp_path / "model")
    spare = 48 << 20  # less than the largest pass takes, more than the smallest
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(model), str(tmp_path), str(spare)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ | {"MALLOC_ARENA_MAX": "2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert "out of memory" in said["told"][0] or "killed" in said["told"][0], said["told"]
    sizes = said["micro_batches"]
    assert len(sizes) > 1
    assert all(after == before // 2 for before, after in itertools.pairwise(sizes))
    # Nothing was lost: the restarted worker went on from the step before.
    assert said["resumed"][1:] == [0] * (len(sizes) - 1)
    assert set(said["adapters"][1:]) == {said["after_first"]}
    assert said["stepped"] and said["used"] > 0 and said["steps"] == 2
