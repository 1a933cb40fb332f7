"""The last layer of a language model, from hidden states to scaled logits, tile by tile."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlswarm.kernels.products import multiply


@dataclass(frozen=True)
class Head:
    """z = cap(scale · (h · Wᵀ + b)) / temperature, with cap(x) = softcap · tanh(x / softcap)."""

    weight: Tensor
    """[V, H]."""
    bias: Tensor | None = None
    """[V]; −inf bars a token."""
    softcap: float | None = None
    """As in Gemma 2."""
    scale: float = 1.0
    """As in Cohere's and Granite's models."""

    @property
    def vocabulary(self) -> int:
        return int(self.weight.shape[0])

    def logits(
        self,
        hidden: Tensor,
        temperature: Tensor,
        columns: slice,
        out: Tensor,
        slope: Tensor | None = None,
    ) -> None:
        """Scaled logits of some tokens into `out` [R, T].

        `hidden` [R, H]; `temperature` [R]; `columns` a slice of T token ids. With a soft-cap,
        `slope` [R, T] takes dz/dx · temperature / scale = 1 − tanh².
        """
        multiply(hidden, self.weight[columns].t(), out)
        if self.bias is not None:
            out.add_(self.bias[columns])
        if self.softcap is None:
            factor = self.scale / temperature
        else:
            torch.tanh(out.mul_(self.scale / self.softcap), out=out)
            if slope is not None:
                torch.addcmul(out.new_ones(()), out, out, value=-1, out=slope)
            factor = self.softcap / temperature
        out.mul_(factor[:, None])
