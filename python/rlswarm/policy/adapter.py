"""The low-rank adapter: A drawn from the swarm's seed and frozen, B trained from zero.

With one A on every node, averaging B averages the update itself (design §6).
"""

import json
import struct
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from rlswarm._core import blake3, prf, uniforms
from rlswarm.policy.facts import adapted_layers
from rlswarm.worker.messages import LoraShape


def attach(model: nn.Module, shape: LoraShape) -> nn.Module:
    """Wrap a transformers model in a peft LoRA whose only trainable numbers are the B matrices.

    Raises ModelError if the model has no such layers as `shape.targets` names.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    settings = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        target_modules=list(adapted_layers(dict(model.named_parameters()), shape)),
        lora_dropout=0.0,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),
        task_type="CAUSAL_LM",
    )
    wrapped: nn.Module = get_peft_model(model, settings)
    for name, parameter in wrapped.named_parameters():
        parameter.requires_grad_("lora_B" in name)
        # peft may follow the model's dtype; small updates need fp32.
        if "lora_" in name:
            parameter.data = parameter.data.float()
        if "lora_A" in name:
            parameter.data.copy_(_seeded(published_name(name), parameter.data, shape.seed))
        elif "lora_B" in name:
            parameter.data.zero_()
    return wrapped


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The B matrices [out, rank], fp32, by their published names, sorted."""
    found = {published_name(n): p for n, p in model.named_parameters() if "lora_B" in n}
    return dict(sorted(found.items()))


def published_name(name: str) -> str:
    """A parameter's name as peft writes it to ``adapter_model.safetensors``."""
    return name.replace(".default.", ".")


def canonical_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The one safetensors encoding of an adapter's B matrices.

    fp32 little-endian, names sorted, offsets in that order, compact JSON padded with spaces to 8
    bytes, no metadata. A follows from the manifest's seed and is not repeated.
    """
    header: dict[str, dict[str, object]] = {}
    body = bytearray()
    for name in sorted(tensors):
        data = tensors[name].detach().to("cpu", torch.float32).contiguous().numpy()
        start = len(body)
        body += data.astype("<f4", copy=False).tobytes()
        offsets = [start, len(body)]
        header[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def adapter_hash(tensors: Mapping[str, Tensor]) -> bytes:
    """BLAKE3 of `canonical_bytes`: the name of an adapter, and what it is pulled by."""
    return blake3(canonical_bytes(tensors))


def _seeded(name: str, like: Tensor, seed: int) -> Tensor:
    """Uniform in ±1/√(inputs), peft's own spread, from exact arithmetic on keyed BLAKE3.

    torch's generators may differ in the last bit between machines; this does not.
    """
    key = prf("rlswarm lora A", [seed.to_bytes(8, "little", signed=True), name.encode()])
    u = np.frombuffer(uniforms(key, 0, like.numel()), dtype="<f8")
    values = ((2.0 * u - 1.0) * like.shape[1] ** -0.5).astype(np.float32)
    return torch.from_numpy(values).view(like.shape)
