"""Several processes that are one worker: each samples and learns from a share of the groups.

`accelerate launch` starts them and gives each its device; accelerate's own collectives carry what
they say to each other. Only the first one talks to the node. All take the same step from the same
summed gradient, so their weights stay bit-equal.
"""

import datetime
import os
from collections.abc import Sequence

import torch
from torch import Tensor

_PATIENCE = datetime.timedelta(days=7)  # gloo counts milliseconds in 32 bits
"""How long a process waits for the others: a worker may idle, and the node ends one that hangs."""


class Team:
    """This process alone."""

    rank = 0
    size = 1

    def tell(self, message: bytes | None) -> bytes | None:
        """The first process's message, in every process; what the others pass is ignored."""
        return message

    def collect(self, message: bytes) -> list[bytes]:
        """Every process's message, by rank, in every process."""
        return [message]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""


class AcceleratedTeam(Team):
    """The processes that `accelerate launch` started."""

    def __init__(self) -> None:
        from accelerate import PartialState

        self._state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
        self.rank = self._state.process_index
        self.size = self._state.num_processes

    def tell(self, message: bytes | None) -> bytes | None:
        from accelerate.utils import broadcast

        length = broadcast(self._number(-1 if message is None else len(message)))
        if int(length) < 0:
            return None
        data = self._bytes(message if self.rank == 0 and message else b"", int(length))
        return bytes(broadcast(data).cpu().numpy())

    def collect(self, message: bytes) -> list[bytes]:
        from accelerate.utils import gather

        lengths = gather(self._number(len(message))).tolist()
        rows = gather(self._bytes(message, max(*lengths, 1))[None]).cpu().numpy()
        return [bytes(row[:length]) for row, length in zip(rows, lengths, strict=True)]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        from accelerate.utils import reduce

        flat = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "sum")
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _number(self, value: int) -> Tensor:
        return torch.tensor([value], device=self._state.device)

    def _bytes(self, message: bytes, length: int) -> Tensor:
        padded = message.ljust(length, b"\0")
        return torch.frombuffer(bytearray(padded), dtype=torch.uint8).to(self._state.device)


def this_team() -> Team:
    """The team that this process was started in."""
    return AcceleratedTeam() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Team()
