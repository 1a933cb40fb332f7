"""What each attention layer may see, in the form in which transformers takes it.

Every model here gets its masks whole from us, since a forest's tokens are no plain sequence. Layers
with a sliding window get one of their own: a token sees its ancestors at fewer than `window`
positions before it, as it would in a sequence by itself.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rlswarm.errors import ModelError

Masks = Tensor | dict[str, Tensor]
"""One additive mask [1, 1, queries, keys], or one for each kind of layer."""

_KINDS = {"full_attention", "sliding_attention"}


class Layout(Protocol):
    """Tokens of several sequences in one row, and what each of them may see."""

    def mask(self, start: int, stop: int, dtype: torch.dtype, window: int = 0) -> Tensor:
        """Additive mask [1, 1, stop − start, stop]: queries at places start..stop, keys 0..stop."""
        ...


@dataclass(frozen=True)
class AttentionKinds:
    """The kinds of attention layers of a model."""

    window: int = 0
    """Positions that a sliding layer sees, the token's own included; 0 without such layers."""
    mixed: bool = False
    """Whether some layers slide and others see everything."""

    def masks(self, layout: Layout, start: int, stop: int, dtype: torch.dtype) -> Masks:
        """The masks of queries at places start..stop of a layout over keys at 0..stop."""
        if not self.window:
            return layout.mask(start, stop, dtype)
        sliding = layout.mask(start, stop, dtype, self.window)
        if not self.mixed:
            return sliding
        return {
            "full_attention": layout.mask(start, stop, dtype),
            "sliding_attention": sliding,
        }


def attention_kinds(config: Any) -> AttentionKinds:
    """From a transformers text config. Raises ModelError if a layer is of another kind."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds <= _KINDS:
        raise ModelError(
            f"{config.model_type} has layers ({', '.join(sorted(kinds - _KINDS))}) that can't be "
            "trained here; only decoders with attention in every layer can"
        )
    window = int(getattr(config, "sliding_window", None) or 0)
    if kinds:
        # A config may state a window that no layer uses.
        return AttentionKinds(window if "sliding_attention" in kinds else 0, len(kinds) > 1)
    return AttentionKinds(window)
