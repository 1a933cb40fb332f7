"""Full fine-tuning: every weight is trained, in fp32."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from torch import nn


def everything(model: nn.Module) -> dict[str, nn.Parameter]:
    """All weights, tied ones once, by their names, sorted; all want a gradient from now on."""
    model.requires_grad_(True)
    return dict(sorted(model.named_parameters()))


@contextmanager
def published_weights(model: nn.Module, folder: Path) -> Iterator[None]:
    """Within it the model has the weights that `folder` holds, which it was loaded from."""
    base = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    published = dict(base.named_parameters())
    trained = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.data = published[name].data.to(parameter.device)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = trained[name]
