"""Checkpoints: exact, atomic, and never the end of training."""

import resource
import signal
from pathlib import Path

import pytest
import torch

from rlswarm.errors import ModelError
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
    TrainGroup,
)
from rlswarm.worker.service import Service
from tiny_model import make_tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "model")


def started(model: Path, checkpoints: Path, rank: int = 4) -> tuple[Service, Loaded]:
    torch.manual_seed(0)
    service = Service(clock=lambda: 0.0, peak_rss=lambda: 1)
    rule = LearningRule(learning_rate=1e-2)
    loaded = service.load(Load(str(model), str(checkpoints), LoraShape(rank=rank), rule, threads=1))
    return service, loaded


def play(service: Service, round: int) -> Learned:
    """One round: sample, reward every other sample, learn."""
    prompt = (ChatMessage("user", f"Round {round}?"),)
    request = GroupRequest(prompt, bytes([round]) * 32, 4, 10)
    (group,) = service.sample(Sample((request,), 60.0), 0.0).groups
    rewards = (1.0, 0.0, 1.0, 0.0)
    return service.learn(Learn(round, (TrainGroup(prompt, group, rewards, "", 0),), 60.0), 0.0)


def rounds_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_run_reaches_the_same_weights(model: Path, tmp_path: Path) -> None:
    whole, _ = started(model, tmp_path / "whole")
    uninterrupted = [play(whole, round).adapter for round in range(5)]
    first, fresh = started(model, tmp_path / "cut")
    assert (fresh.resumed_round, fresh.steps) == (None, 0)
    for round in range(3):
        play(first, round)
    second, resumed = started(model, tmp_path / "cut")
    assert (resumed.resumed_round, resumed.steps) == (2, 3)
    assert resumed.adapter == uninterrupted[2]
    assert [play(second, round).adapter for round in (3, 4)] == uninterrupted[3:]


def test_the_last_two_are_kept(model: Path, tmp_path: Path) -> None:
    service, _ = started(model, tmp_path / "c")
    for round in range(4):
        assert play(service, round).checkpoint_error == ""
    assert rounds_in(tmp_path / "c") == [
        f"round-{round:012d}.{kind}" for round in (2, 3) for kind in ("json", "safetensors")
    ]


@pytest.mark.parametrize("damage", ["flip", "cut", "no json", "bad json", "old json", "no tensors"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    model: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service, _ = started(model, tmp_path / "c")
    adapters = [play(service, round).adapter for round in range(2)]
    tensors = tmp_path / "c" / "round-000000000001.safetensors"
    about = tensors.with_suffix(".json")
    data = bytearray(tensors.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
        tensors.write_bytes(data)
    elif damage == "cut":
        tensors.write_bytes(data[:-100])
    elif damage == "no json":
        about.unlink()
    elif damage == "bad json":
        about.write_text("{")
    elif damage == "old json":
        about.write_text('{"round": 1}')
    else:
        tensors.unlink()
    _, loaded = started(model, tmp_path / "c")
    assert loaded.resumed_round == 0
    assert loaded.adapter == adapters[0]
    assert ("skipping the checkpoint" in capsys.readouterr().err) == (damage != "no json")


def test_a_full_disk_is_reported_and_training_goes_on(model: Path, tmp_path: Path) -> None:
    service, _ = started(model, tmp_path / "c")
    kept = play(service, 0).adapter
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        outcome = play(service, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert outcome.stepped
    assert outcome.adapter != kept
    assert "could not be written" in outcome.checkpoint_error
    assert rounds_in(tmp_path / "c") == [f"round-{0:012d}.json", f"round-{0:012d}.safetensors"]
    _, loaded = started(model, tmp_path / "c")
    assert loaded.adapter == kept
    assert play(service, 2).checkpoint_error == ""


def test_checkpoints_of_something_else_are_not_overwritten(model: Path, tmp_path: Path) -> None:
    service, _ = started(model, tmp_path / "c")
    play(service, 0)
    with pytest.raises(ModelError, match="another model or adapter"):
        started(model, tmp_path / "c", rank=8)
    with pytest.raises(ModelError, match="another model or adapter"):
        started(make_tiny_model(tmp_path / "other", seed=1), tmp_path / "c")
