"""Time as an interface, so that the same node runs on the wall clock and in a simulation."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return at `when` (Unix seconds) or at once if it has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    async def sleep_until(self, when: float) -> None:
        # The wall clock may be set while we sleep, so long waits are taken in pieces.
        while (left := when - self.now()) > 0:
            await asyncio.sleep(min(left, 5.0))
