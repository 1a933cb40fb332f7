"""Every architecture that is said to work: loaded, sampled from, trained, and compared with plain
transformers. Tiny random weights; windows shorter than the prompts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rlswarm.errors import ModelError
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample, unpack_logprobs
from rlswarm.policy.source import resolve
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import GroupRequest, LearningRule, LoraShape, TrainGroup
from rlswarm.worker.passes import Piece, logprobs
from rlswarm.worker.step import Learner
from tiny_model import VOCABULARY, write_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
PROMPTS = tuple((ChatMessage("user", f"What is {n} times {n}, and why?"),) for n in (3, 4))


@dataclass(frozen=True)
class Kind:
    """A transformers config, and what ours should make of it."""

    name: str
    model_type: str
    options: dict[str, Any] = field(default_factory=dict)
    adapted: int = 16
    """Layers with an adapter."""


SLIDING = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"] * 2}
KINDS = [
    Kind("llama 3", "llama", {"rope_theta": 5e5, "tie_word_embeddings": False}),
    Kind("smollm2", "llama", {"tie_word_embeddings": True}),
    Kind("smollm3", "smollm3", {"no_rope_layers": [1, 1, 1, 0], "pad_token_id": 0}),
    Kind("qwen2.5", "qwen2", {"tie_word_embeddings": True}),
    Kind("qwen2 sliding", "qwen2", {"use_sliding_window": True, **SLIDING}),
    Kind("qwen3", "qwen3", {"head_dim": 32}),
    Kind("gemma 3", "gemma3_text", {"head_dim": 16, "query_pre_attn_scalar": 16, **SLIDING}),
    Kind("mistral", "mistral", {"sliding_window": 16}),
    Kind(
        "gpt2",
        "gpt2",
        {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 512, "tie_word_embeddings": True},
        adapted=8,
    ),
]


def make(folder: Path, model_type: str, options: dict[str, Any], template: bool = True) -> Path:
    """A model folder as `save_pretrained` writes it, weights wide enough to tell tokens apart."""
    sizes = SIZES if model_type != "gpt2" else {"vocab_size": VOCABULARY, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(model_type, **{**sizes, **options})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0 if "emb" not in name else 2.0)
            elif "bias" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    if not template:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        del settings["chat_template"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def alone(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probs of a completion by plain transformers, nothing shared, nothing cached."""
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    chosen = torch.tensor(completion)[:, None]
    found: torch.Tensor = logits.log_softmax(1).gather(1, chosen).squeeze(1)
    return found


def sampled(policy: Policy) -> tuple[list[Piece], list[TrainGroup]]:
    requests = [GroupRequest(p, bytes([n]) * 32, 3, 24) for n, p in enumerate(PROMPTS)]
    done = sample(policy, requests, deadline=1e9, clock=lambda: 0.0)
    pieces, groups = [], []
    for number, (prompt, rollouts) in enumerate(zip(PROMPTS, done.groups, strict=True)):
        pieces.append(
            Piece(
                number,
                policy.renderer.encode(prompt),
                tuple(np.frombuffer(r.tokens, "<u4").tolist() for r in rollouts),
                tuple(unpack_logprobs(r.logprobs) for r in rollouts),
                (1.0, 0.0, 0.0),
            )
        )
        groups.append(TrainGroup(prompt, rollouts, (1.0, 0.0, 0.0), "", 0))
    return pieces, groups


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_samples_and_learns_as_plain_transformers_computes(kind: Kind, tmp_path: Path) -> None:
    folder = make(tmp_path, kind.model_type, kind.options, template=kind.name != "gpt2")
    policy = load_policy(resolve(str(folder)), LoraShape(rank=4))
    assert len(policy.adapter) == kind.adapted
    assert policy.plan.dtype == "float32"
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pieces, groups = sampled(policy)
    assert min(len(piece.prompt) for piece in pieces) > 20  # longer than the windows above
    with torch.no_grad():
        ours = logprobs(policy, pieces, 1.0)
        theirs = torch.cat([alone(plain, p.prompt, c) for p in pieces for c in p.completions])
    drawn = torch.from_numpy(np.concatenate([b for p in pieces for b in p.behaviour]))
    assert theirs.std() > 0.3  # not a uniform policy, for which anything would agree
    assert torch.allclose(ours, theirs, atol=2e-4)
    assert torch.allclose(drawn, theirs, atol=1e-3)
    rule = LearningRule(learning_rate=1e-2)
    learner = Learner(policy, rule, temperature=1.0, clock=lambda: 0.0)
    before = policy.adapter_hash()
    outcome = learner.learn(groups, 0, 1e9)
    assert outcome.stepped and outcome.gradient_norm > 0
    assert policy.adapter_hash() != before
    after = logprobs(policy, pieces, 1.0)
    peft = torch.cat([alone(policy.model, p.prompt, c) for p in pieces for c in p.completions])
    assert torch.allclose(after, peft, atol=2e-4)
    assert not torch.allclose(after, theirs, atol=1e-3)


@pytest.mark.parametrize(
    ("model_type", "options", "reason"),
    [
        ("mamba", {}, "does not describe a decoder with attention|names its attention layers"),
        ("gpt_neox", {}, "name those to adapt in the manifest's `model.lora.targets`"),
        ("cohere", {"logit_scale": 0.25}, "models of type cohere don't work here"),
    ],
)
def test_what_would_go_wrong_is_refused(
    model_type: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = make(tmp_path, model_type, options)
    with pytest.raises(ModelError, match=reason):
        load_policy(resolve(str(folder)), LoraShape(rank=4))


def test_targets_named_in_the_manifest_open_other_architectures(tmp_path: Path) -> None:
    folder = make(tmp_path, "gpt_neox", {})
    shape = LoraShape(rank=4, targets=("query_key_value",))
    assert len(load_policy(resolve(str(folder)), shape).adapter) == 4


def test_a_models_own_code_is_never_run(tmp_path: Path) -> None:
    folder = make(tmp_path, "llama", {})
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match="can't be loaded"):
        load_policy(resolve(str(folder)), LoraShape(rank=4))


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4], KINDS[-1]], ids=lambda kind: kind.name)
def test_the_learning_attention_of_bf16_is_the_fused_one(kind: Kind, tmp_path: Path) -> None:
    folder = make(tmp_path, kind.model_type, kind.options)
    policy = load_policy(resolve(str(folder)), LoraShape(rank=4), dtype="bfloat16")
    pieces, _ = sampled(policy)
    with torch.no_grad():
        fused = logprobs(policy, pieces, 1.0)
    for parameter in policy.adapter.values():
        torch.nn.init.normal_(parameter, std=1e-4)  # so that queries want a gradient
    ours = logprobs(policy, pieces, 1.0)
    assert ours.requires_grad
    assert (ours - fused).abs().mean() < 0.02
