"""``rlswarm model export``: read back by plain transformers and plain peft."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from click.testing import CliRunner, Result
from test_architectures import KINDS, make
from test_worker_checkpoint import play, started

from rlswarm.cli.main import cli
from rlswarm.errors import ModelError, StorageError

IDS = torch.arange(3, 60)[None]


@pytest.fixture(params=[KINDS[0], KINDS[-1]], ids=lambda kind: kind.name)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A node's home after two rounds, and the logits of its policy."""
    model = make(tmp_path / "model", request.param.model_type, request.param.options)
    service, _ = started(model, tmp_path / "home" / "checkpoints")
    for round in range(2):
        assert play(service, round).stepped
    with torch.no_grad():
        logits: torch.Tensor = service._policy().model(IDS).logits
    return tmp_path / "home", logits


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["model", "export", *map(str, arguments)])


def test_plain_transformers_and_peft_load_what_was_trained(
    home: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    folder, wanted = home
    result = export("--home", folder, tmp_path / "merged")
    assert result.exit_code == 0, result.output
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        assert torch.allclose(merged(IDS).logits, wanted, atol=1e-4)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert not torch.allclose(base(IDS).logits, wanted, atol=1e-2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")
    turn = [{"role": "user", "content": "hi"}]
    assert "<|im_start|>user\nhi" in tokenizer.apply_chat_template(turn, tokenize=False)
    assert (tmp_path / "merged" / "generation_config.json").is_file()
    assert not list((tmp_path / "merged").glob("*.bin"))

    from peft import PeftModel

    assert export("--home", folder, "--adapter-only", tmp_path / "adapter").exit_code == 0
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.allclose(adapted(IDS).logits, wanted, atol=1e-5)


def test_what_stands_in_the_way_is_said(home: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    folder, _ = home
    assert isinstance(export("--home", tmp_path, tmp_path / "out").exception, ModelError)
    missing = export("--home", folder, "--round", "7", tmp_path / "out").exception
    assert "no checkpoint of round 7" in str(missing) and "1, 0 are there" in str(missing)
    (tmp_path / "taken").mkdir()
    taken = export("--home", folder, tmp_path / "taken").exception
    assert isinstance(taken, StorageError) and "exists already" in str(taken)
    other = make(tmp_path / "other", "llama", {"tie_word_embeddings": True})
    wrong = export("--home", folder, "--model", other, tmp_path / "out").exception
    assert "was not trained from" in str(wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_half_written(
    home: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = home

    def full(source: Path, target: Path) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(shutil, "copyfile", full)
    failed = export("--home", folder, tmp_path / "out").exception
    assert isinstance(failed, StorageError) and "No space left" in str(failed)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
