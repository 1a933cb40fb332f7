"""What a model folder's files say about the model, before any of it is loaded. Needs no torch."""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rlswarm.errors import ModelError
from rlswarm.policy.source import weight_files
from rlswarm.worker.messages import LoraShape

_TARGETS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),  # Llama and all that followed it
    ("attn.c_attn", "attn.c_proj"),  # GPT-2
)
"""Attention's projections, by family of architectures."""

_ALIASES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "intermediate_size": "n_inner",
}
"""GPT-2's names for what everybody else calls otherwise."""

_BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Causal masks that old GPT-2 files carry as if they were weights."""


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a decoder."""

    parameters: int
    layers: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    adapter: int
    """Trainable numbers: the B matrices of the adapter."""
    frozen_adapter: int
    """Numbers in the frozen A matrices."""
    stored: int
    """Bytes of the weight files."""
    gated: bool = True
    """Whether the feed-forward layers have a gate, as in Llama."""


def model_facts(folder: Path, lora: LoraShape) -> ModelFacts:
    """Read config and safetensors headers, no weights. Raises ModelError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        shapes |= _shapes(file)
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(_BUFFERS)}
    targets = adapted_layers(shapes, lora)
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        sizes: dict[str, Any] = {n: config.get(n, config.get(o)) for n, o in _ALIASES.items()}
        hidden, heads = int(sizes["hidden_size"]), int(sizes["num_attention_heads"])
        trained = frozen = 0
        for name, shape in shapes.items():
            if _is_target(name, targets) and len(shape) == 2:
                # GPT-2 keeps its matrices transposed.
                out, into = shape if ".c_" not in name else reversed(shape)
                trained += out * lora.rank
                frozen += into * lora.rank
        return ModelFacts(
            parameters=sum(prod(shape) for shape in shapes.values()),
            layers=int(sizes["num_hidden_layers"]),
            hidden=hidden,
            inner=int(sizes["intermediate_size"] or 4 * hidden),
            heads=heads,
            key_heads=int(config.get("num_key_value_heads") or heads),
            head_width=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            adapter=trained,
            frozen_adapter=frozen,
            stored=sum(file.stat().st_size for file in weight_files(folder)),
            gated=any("gate" in name for name in shapes),
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder / 'config.json'} does not describe a decoder with attention ({error!r})"
        ) from error


def adapted_layers(names: Iterable[str], lora: LoraShape) -> tuple[str, ...]:
    """The ends of the names of the layers that get an adapter: `lora.targets`, or attention's
    projections where it names none. `names` are those of all weights. Raises ModelError."""
    families = (lora.targets,) if lora.targets else _TARGETS
    weights = list(names)
    for targets in families:
        if any(_is_target(name, targets) for name in weights):
            return targets
    if lora.targets:
        raise ModelError(f"this model has no layers named {', '.join(lora.targets)} to adapt")
    raise ModelError(
        "this model names its attention layers in a way not known here; name those to adapt in "
        "the manifest's `model.lora.targets`"
    )


def _is_target(name: str, targets: tuple[str, ...]) -> bool:
    return name.endswith(tuple(f".{target}.weight" for target in targets))


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor shapes from a safetensors header."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 100 << 20:
                raise ValueError("header too long")
            header: dict[str, Any] = json.loads(stream.read(length))
        return {n: tuple(e["shape"]) for n, e in header.items() if n != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ModelError(f"{file} is not a safetensors file ({error})") from error
