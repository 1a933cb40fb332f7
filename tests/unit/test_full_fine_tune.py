"""All weights trained: the step, the checkpoint, the way back to the base, the export."""

from pathlib import Path

import pytest
import torch
import transformers
from test_architectures import KINDS, Kind, alone, make, sampled
from test_model_export import IDS, export
from test_policy_memory import SMOLLM2
from test_worker_checkpoint import play

from rlswarm.policy.memory import Memory, plan
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import LearningRule, Load, LoraShape
from rlswarm.worker.service import Service


def started(model: Path, checkpoints: Path) -> Service:
    service = Service(clock=lambda: 0.0, peak_rss=lambda: 1)
    rule = LearningRule(learning_rate=1e-3)
    service.load(Load(str(model), str(checkpoints), LoraShape(), rule, threads=1, full=True))
    return service


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3], KINDS[-1]], ids=lambda kind: kind.name)
def test_the_gradient_is_that_of_plain_transformers(kind: Kind, tmp_path: Path) -> None:
    from rlswarm.worker.passes import logprobs

    folder = make(tmp_path, kind.model_type, kind.options)
    policy: Policy = load_policy(resolve(str(folder)), LoraShape(), full=True)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pieces, _ = sampled(policy)
    logprobs(policy, pieces, 1.0).sum().backward()
    torch.cat([alone(plain, p.prompt, c) for p in pieces for c in p.completions]).sum().backward()
    for name, parameter in plain.named_parameters():
        found = policy.adapter[name].grad
        assert found is not None and parameter.grad is not None
        assert (found - parameter.grad).norm() <= 2e-4 * parameter.grad.norm() + 1e-6, name


def test_it_trains_resumes_and_exports(tmp_path: Path) -> None:
    model = make(tmp_path / "model", "llama", KINDS[1].options)
    service = started(model, tmp_path / "home" / "checkpoints")
    first = [play(service, round).adapter for round in range(3)]
    assert len(set(first)) == 3
    again = started(model, tmp_path / "home" / "checkpoints")
    policy = again._policy()
    assert policy.adapter_hash() == first[-1]
    assert play(again, 3).adapter == play(service, 3).adapter
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        with policy.without_adapter():
            assert torch.equal(policy.model(IDS).logits, base(IDS).logits)
        wanted = policy.model(IDS).logits
        assert not torch.allclose(wanted, base(IDS).logits, atol=1e-3)
        assert export("--home", tmp_path / "home", tmp_path / "out").exit_code == 0
        exported = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        assert torch.allclose(exported(IDS).logits, wanted, atol=1e-6)
    refused = export("--home", tmp_path / "home", "--adapter-only", tmp_path / "other")
    assert "no adapter to export" in str(refused.exception)


def test_the_plan_counts_sixteen_bytes_a_parameter() -> None:
    free = Memory(16 << 30, bf16=True)
    lora, full = plan(SMOLLM2, free, wanted_dtype="float32"), plan(SMOLLM2, free, full=True)
    assert full.dtype == "float32"
    assert full.needed - lora.needed > 11 * SMOLLM2.parameters
