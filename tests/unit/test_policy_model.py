"""Loading a model, its adapter, and the shared-prefix layout."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.errors import ModelError, NotEnoughMemoryError
from rlswarm.policy.adapter import adapter_hash, canonical_bytes
from rlswarm.policy.forest import Forest, shared_length
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import LoraShape
from tiny_model import make_tiny_model

CPU = torch.device("cpu")


def loaded(folder: Path, seed: int = 0) -> Policy:
    return load_policy(resolve(str(folder)), LoraShape(rank=4, seed=seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def frozen_parts(policy: Policy) -> dict[str, torch.Tensor]:
    return {n: p.detach() for n, p in policy.model.named_parameters() if "lora_A" in n}


def test_a_fresh_adapter_changes_nothing_and_only_b_is_trained(folder: Path) -> None:
    policy = loaded(folder)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(policy.model(ids).logits, plain(ids).logits)
    wanting = [n for n, p in policy.model.named_parameters() if p.requires_grad]
    assert len(wanting) == len(policy.adapter) == 8
    assert all("lora_B" in name for name in wanting)


def test_every_node_draws_the_same_a_from_the_seed(folder: Path) -> None:
    first, second, other = loaded(folder), loaded(folder), loaded(folder, seed=1)
    mine = frozen_parts(first)
    assert all(torch.equal(a, frozen_parts(second)[n]) for n, a in mine.items())
    assert not any(torch.equal(a, frozen_parts(other)[n]) for n, a in mine.items())
    name, matrix = next(iter(mine.items()))
    assert matrix.abs().max() <= 64**-0.5, name
    assert matrix.abs().max() > 0.9 * 64**-0.5


def test_canonical_bytes_are_plain_safetensors_in_one_order() -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(1, 2, dtype=torch.bfloat16)}
    data = canonical_bytes(tensors)
    assert data == canonical_bytes(dict(reversed(tensors.items())))
    back = safetensors.torch.load(data)
    assert torch.equal(back["b"], tensors["b"])
    assert back["a"].dtype == torch.float32
    changed = {**tensors, "b": tensors["b"] + 1e-6}
    assert adapter_hash(changed) != adapter_hash(tensors)


def test_too_little_memory_is_refused_before_loading(folder: Path) -> None:
    with pytest.raises(NotEnoughMemoryError, match="needs about"):
        load_policy(resolve(str(folder)), LoraShape(), memory_bytes=100 << 20)


def test_unknown_targets_are_a_model_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="no layers named nothing"):
        load_policy(resolve(str(folder)), LoraShape(targets=("nothing",)))


def test_a_corrupt_model_is_a_model_error(tmp_path: Path) -> None:
    broken = make_tiny_model(tmp_path)
    (broken / "config.json").write_text("{")
    with pytest.raises(ModelError):
        loaded(broken)


def test_a_forest_computes_what_separate_sequences_compute(folder: Path) -> None:
    policy = loaded(folder)
    root, left, right = [5, 6, 7], [10, 11], [20, 21, 22]
    forest = Forest(CPU)
    trunk = forest.branch()
    forest.extend(trunk, 3)
    a, b = forest.branch(trunk), forest.branch(trunk)
    # Interleaved, as sampling lays them out.
    places: dict[int, list[int]] = {a: [], b: []}
    ids = list(root)
    for branch, token in [(a, 10), (b, 20), (b, 21), (a, 11), (b, 22)]:
        places[branch] += forest.extend(branch, 1)
        ids.append(token)
    mask = forest.mask(0, len(forest), torch.float32)
    with torch.no_grad():
        together = policy.hidden(torch.tensor([ids]), forest.positions(0), mask)
        for branch, own in ((a, left), (b, right)):
            alone = policy.body(torch.tensor([root + own])).last_hidden_state[0]
            assert torch.allclose(together[places[branch]], alone[3:], atol=1e-5)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_shared_length_leaves_each_prompt_a_token(prompts: list[list[int]]) -> None:
    shared = shared_length(prompts)
    assert all(len(prompt) > shared for prompt in prompts)
    assert all(prompt[:shared] == prompts[0][:shared] for prompt in prompts)
    longer = shared + 1
    assert any(len(p) <= longer or p[:longer] != prompts[0][:longer] for p in prompts)
