"""Checkpoints that are whole or absent: adapter, optimizer, random state, round.

One is a pair of files: ``round-N.safetensors``, then ``round-N.json``, which holds the BLAKE3 hash
of the first and so commits it. Each is written to a temporary file, synced and renamed.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load, save
from torch import Tensor

from rlswarm._core import blake3
from rlswarm.errors import ModelError, StorageError
from rlswarm.worker.messages import LoraShape
from rlswarm.worker.step import Learner

KEPT = 2
"""Checkpoints kept in the folder."""

_ADAPTER = "adapter/"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one policy in one folder."""

    folder: Path
    lora: LoraShape
    model: str
    """Name of the base model, for whoever exports one later."""
    full: bool = False
    """Whether all weights are trained."""

    def save(self, learner: Learner, round: int) -> None:
        """Write the state after `round` and drop all but the newest `KEPT`.

        Raises StorageError (disk full, no permission); earlier checkpoints then stay.
        """
        data = save(_tensors(learner))
        about = {
            "round": round,
            "steps": learner.steps,
            "model": self.model,
            "full": self.full,
            "base": learner.policy.base.hex(),
            "lora": msgspec.to_builtins(self.lora),
            "optimizer_step": _optimizer_step(learner),
            "blake3": blake3(data).hex(),
        }
        path = self.folder / f"round-{round:012d}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, data)
            _write(path.with_suffix(".json"), json.dumps(about).encode())
        except OSError as error:
            for scratch in self.folder.glob(".*.part"):
                scratch.unlink(missing_ok=True)
            raise StorageError(
                f"the checkpoint of round {round} could not be written to {self.folder} "
                f"({error.strerror or error})"
            ) from error
        _sweep(self.folder)

    def resume(self, learner: Learner) -> int | None:
        """Restore the newest whole checkpoint; returns its round, None if there is none.

        Says on stderr which ones it had to skip. Raises ModelError if it belongs to another model
        or adapter shape.
        """
        for about, data in _whole(self.folder):
            same = about["base"] == learner.policy.base.hex()
            same = same and about["full"] == self.full
            same = same and msgspec.convert(about["lora"], LoraShape) == self.lora
            if not same:
                raise ModelError(
                    f"the checkpoints in {self.folder} belong to another model or adapter; "
                    "remove them or name another folder"
                )
            _restore(learner, load(data), about)
            return int(about["round"])
        return None


@dataclass(frozen=True)
class SavedPolicy:
    """What a checkpoint says about the policy."""

    round: int
    steps: int
    model: str
    base: bytes
    lora: LoraShape
    full: bool
    weights: dict[str, Tensor]
    """The trained tensors by published name."""


def read_checkpoint(folder: Path, round: int | None = None) -> SavedPolicy:
    """The newest whole checkpoint in `folder`, or that of `round`. Raises ModelError."""
    for about, data in _whole(folder):
        if round in (None, about["round"]):
            weights = {
                name.removeprefix(_ADAPTER): tensor
                for name, tensor in load(data).items()
                if name.startswith(_ADAPTER)
            }
            return SavedPolicy(
                round=about["round"],
                steps=about["steps"],
                model=about["model"],
                base=bytes.fromhex(about["base"]),
                lora=msgspec.convert(about["lora"], LoraShape),
                full=about["full"],
                weights=weights,
            )
    there = ", ".join(str(int(path.stem.split("-")[1])) for path in _newest_first(folder))
    raise ModelError(
        f"there is no checkpoint of round {round} in {folder}; those of {there} are there"
        if there and round is not None
        else f"there is no checkpoint in {folder}; a node writes one after each learning step"
    )


_FIELDS = {"round", "steps", "model", "base", "lora", "full", "blake3"}
"""What is read of a checkpoint's description."""


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*.json"), reverse=True)


def _sweep(folder: Path) -> None:
    """Remove all but the newest `KEPT` checkpoints, and what killed saves left behind."""
    kept = {path.stem for path in _newest_first(folder)[:KEPT]}
    # Older first and the hash first: what a kill leaves is never taken for a checkpoint.
    for path in sorted([*folder.glob("round-*"), *folder.glob(".round-*.part")]):
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def _whole(folder: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    for path in _newest_first(folder):
        try:
            about: dict[str, Any] = json.loads(path.read_bytes())
            data = path.with_suffix(".safetensors").read_bytes()
            if not about.keys() >= _FIELDS:
                raise ValueError("written by another version of rlswarm")
            if blake3(data).hex() != about["blake3"]:
                raise ValueError("its hash differs")
        except (OSError, ValueError) as error:
            print(f"skipping the checkpoint {path}: {error}", file=sys.stderr)
            continue
        yield about, data


def _tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random_cuda"] = torch.cuda.get_rng_state()
    for name, parameter in learner.policy.adapter.items():
        tensors[_ADAPTER + name] = parameter.detach()
        for moment in _MOMENTS:
            if state := learner.optimizer.state.get(parameter):
                tensors[f"{moment}/{name}"] = state[moment]
    return tensors


def _restore(learner: Learner, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    step = float(about["optimizer_step"])
    for name, parameter in learner.policy.adapter.items():
        with torch.no_grad():
            parameter.copy_(tensors[_ADAPTER + name])
        if f"exp_avg/{name}" in tensors:
            moments = {m: tensors[f"{m}/{name}"].to(parameter.device) for m in _MOMENTS}
            learner.optimizer.state[parameter] = {"step": torch.tensor(step), **moments}
    torch.set_rng_state(tensors["random"])
    if "random_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random_cuda"])
    learner.steps = int(about["steps"])


def _optimizer_step(learner: Learner) -> float:
    """AdamW's own counter: the same for all parameters, as each step moves all of them."""
    return max((float(state["step"]) for state in learner.optimizer.state.values()), default=0.0)


def _write(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError:  # Windows can't sync a folder
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
