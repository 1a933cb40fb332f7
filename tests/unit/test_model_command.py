"""``rlswarm model list``."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from click.testing import CliRunner

from rlswarm.cli.main import cli
from tiny_model import make_tiny_model


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(cli, ["model", "list", "--json", *arguments])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLSWARM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_folders_are_listed_with_what_stands_against_them(tmp_path: Path) -> None:
    good = make_tiny_model(tmp_path / "models" / "good")
    pickled = make_tiny_model(tmp_path / "models" / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "x.gguf").write_bytes(b"GGUF")
    rows = listed(str(tmp_path / "models"))
    assert rows[str(good)]["parameters"] == 90624 and rows[str(good)]["refusal"] == ""
    assert "pickled weights are never loaded" in rows[str(pickled)]["refusal"]
    assert rows[str(tmp_path / "models" / "x.gguf")]["source"] == "gguf"
    assert len([row for row in rows.values() if row["source"] == "folder"]) == 2
    assert listed(str(good))[str(good)]["bytes"] > 4 * 90624


def test_conversions_and_hub_snapshots_are_listed(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "cache" / "models" / "some-model-v1")
    repository = tmp_path / "hub" / "models--someone--tiny"
    make_tiny_model(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    rows = listed()
    assert rows["some-model-v1"]["source"] == "converted"
    assert rows["someone/tiny"]["source"] == "hub" and rows["someone/tiny"]["parameters"] == 90624
    plain = CliRunner().invoke(cli, ["model", "list"]).stdout
    assert "someone/tiny" in plain and "0.1 M" in plain
