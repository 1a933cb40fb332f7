"""The memory planner, without any model."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.errors import ModelError, NotEnoughMemoryError
from rlswarm.policy.facts import ModelFacts, model_facts
from rlswarm.policy.memory import GIB, Memory, free_memory, plan
from rlswarm.worker.messages import LoraShape
from tiny_model import make_tiny_model

SMOLLM2 = ModelFacts(
    parameters=134_515_008,
    layers=30,
    hidden=576,
    inner=1536,
    heads=9,
    key_heads=3,
    head_width=64,
    vocabulary=49152,
    adapter=737_280,
    frozen_adapter=1_105_920,
    stored=538_090_408,
)


def test_a_laptop_gets_fp32_within_two_gigabytes() -> None:
    chosen = plan(SMOLLM2, Memory(8 * GIB))
    assert chosen.dtype == "float32"
    assert chosen.needed < 2.0e9
    assert "float32, micro-batch" in str(chosen)


def test_half_the_width_where_fp32_does_not_fit_and_on_a_gpu() -> None:
    large = replace(SMOLLM2, parameters=10**9)
    assert plan(large, Memory(8 * GIB)).dtype == "float32"
    assert plan(large, Memory(4 * GIB)).dtype == "bfloat16"
    assert plan(SMOLLM2, Memory(8 * GIB, gpu=True)).dtype == "bfloat16"
    assert plan(SMOLLM2, Memory(8 * GIB, bf16=True)).dtype == "bfloat16"
    assert plan(replace(SMOLLM2, parameters=10**6), Memory(8 * GIB, bf16=True)).dtype == "float32"


def test_refuses_with_the_number_needed_and_what_is_free() -> None:
    with pytest.raises(NotEnoughMemoryError, match=r"needs about 1\.\d GiB .* 0\.5 GiB are free"):
        plan(SMOLLM2, Memory(GIB // 2))


@given(st.integers(GIB, 64 * GIB), st.booleans())
def test_a_plan_stays_within_what_is_free_and_more_memory_never_refuses(
    free: int, gpu: bool
) -> None:
    try:
        chosen = plan(SMOLLM2, Memory(free, gpu))
    except NotEnoughMemoryError:
        assert free < 1.8 * GIB
        return
    assert chosen.needed <= free
    assert chosen.micro_batch >= 1
    assert plan(SMOLLM2, Memory(2 * free, gpu)).micro_batch >= chosen.micro_batch


def test_an_asked_for_micro_batch_is_kept() -> None:
    assert plan(SMOLLM2, Memory(8 * GIB), micro_batch=3).micro_batch == 3


def test_an_asked_for_dtype_is_kept_or_refused() -> None:
    assert plan(SMOLLM2, Memory(8 * GIB, bf16=True), wanted_dtype="float32").dtype == "float32"
    assert plan(SMOLLM2, Memory(8 * GIB), wanted_dtype="bfloat16").dtype == "bfloat16"
    with pytest.raises(NotEnoughMemoryError):
        plan(replace(SMOLLM2, parameters=10**9), Memory(4 * GIB), wanted_dtype="float32")


def test_facts_come_from_headers_alone(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    facts = model_facts(folder, LoraShape(rank=4))
    assert facts.parameters == 90624
    assert (facts.layers, facts.hidden, facts.heads, facts.key_heads) == (2, 64, 4, 2)
    assert facts.adapter == 2 * 4 * (64 + 32 + 32 + 64)
    assert facts.frozen_adapter == 2 * 4 * 4 * 64
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="not a safetensors file"):
        model_facts(folder, LoraShape())


def test_the_machine_has_memory() -> None:
    assert free_memory() > 0
