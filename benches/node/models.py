"""The model of a case: the bundled one, or the same without an end, so that lengths are equal."""

import json
import shutil
import sys
from pathlib import Path

from rlswarm.config.presets import BUNDLED_MODEL
from rlswarm.policy.gguf import convert
from rlswarm.policy.source import find

NEVER_DRAWN = "<jupyter_script>"
"""A control token of SmolLM2's pre-training that its chats never contain."""


def bundled() -> Path:
    """Folder of SmolLM2-135M-Instruct, converted if need be. Raises RlswarmError."""
    path = find(BUNDLED_MODEL)
    return convert(path, lambda line: print(line, file=sys.stderr)) if path.is_file() else path


def endless(model: Path, folder: Path) -> Path:
    """The same weights with another end token, so that each completion has all its tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        place = folder / file.name
        if file.suffix == ".safetensors":
            place.unlink(missing_ok=True)
            place.symlink_to(file)
        else:
            shutil.copyfile(file, place)
    end = _token_id(folder / "tokenizer.json")
    _change(folder / "tokenizer_config.json", eos_token=NEVER_DRAWN)
    for name in ("config.json", "generation_config.json"):
        _change(folder / name, eos_token_id=end)
    return folder


def _token_id(tokenizer: Path) -> int:
    added = json.loads(tokenizer.read_text(encoding="utf-8"))["added_tokens"]
    return int(next(token["id"] for token in added if token["content"] == NEVER_DRAWN))


def _change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | values, indent=2), encoding="utf-8")
