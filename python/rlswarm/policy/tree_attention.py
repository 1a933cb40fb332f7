"""Attention for learning passes on a CPU.

torch's fused CPU kernel takes any mask but computes bf16 products at a third of the rate of plain
matrix products, its backward pass worst of all. Passes are short, so their whole score matrix is
small: holding the weights (in bf16) and using plain products takes half the time (measured with
SmolLM2's heads, 270 queries, 500 keys: 6.3 ms forward and backward against 10.8 ms).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "rlswarm"
"""What `attn_implementation` takes."""

MOST_KEYS = 1024
"""From here on the fused kernel is the better choice: it holds no score matrix."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """As transformers' attention functions: query [1, H, n, d], key and value [1, K, m, d], mask
    additive [1, 1, n, m]; returns [1, n, H, d]. All but learning in bf16 on a CPU is left to
    torch's own kernel."""
    heads, count, width = query.shape[1:]
    kinds, keys = key.shape[1:3]
    suits = (
        attention_mask is not None
        and query.requires_grad
        and query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and query.shape[0] == 1
        and keys <= MOST_KEYS
        and not options.get("dropout")
    )
    if not suits:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return found, None
    assert attention_mask is not None
    # The query heads of one key head side by side: one product for all of them.
    rows = query.reshape(kinds, -1, width) * (width**-0.5 if scaling is None else scaling)
    scores = torch.bmm(rows, key[0].transpose(1, 2)).view(kinds, -1, count, keys)
    weights = (scores + attention_mask[0]).softmax(-1).view(kinds, -1, keys)
    found = torch.bmm(weights, value[0]).view(1, heads, count, width)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
