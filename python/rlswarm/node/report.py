"""What a node says: every event goes to its journal and to whoever watches."""

from collections.abc import Callable
from typing import Any

from rlswarm.journal.journal import Journal
from rlswarm.node.clock import Clock

Observe = Callable[[str, dict[str, Any]], None]
"""Told of everything worth showing: (event, data that JSON can hold)."""


class Report:
    """Call with an event, the round it belongs to and its data."""

    def __init__(self, journal: Journal, clock: Clock, observe: Observe) -> None:
        self._journal = journal
        self._clock = clock
        self._observe = observe

    def __call__(self, event: str, number: int | None = None, **data: Any) -> None:
        if number is not None:
            data = {"round": number, **data}
        self._journal.event(self._clock.now(), event, data, number)
        self._observe(event, data)

    def trouble(self, sentence: str) -> None:
        """Something failed that training survives: one clear sentence."""
        self("trouble", None, message=sentence)
