"""Gradient checkpointing: layers whose inside is computed again in the backward pass.

transformers' own switch works in training mode only and drops the cache that passes share.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def recomputed(body: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Within it, forward passes hold only what goes into each layer; nothing if not `wanted`."""
    layers = [layer for layer in body.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not wanted:
        layers = []
    for layer in layers:
        # An attribute of the instance hides the method of the class.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
