"""A local time limit on work that strangers' text may prolong.

A guard, not a verdict: whoever overruns learns nothing about the answer, and says so.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")

_AGAIN_SECONDS = 0.05
"""Fired again and again, because scorers with a bare ``except:`` swallow the first."""


class OverranError(BaseException):
    """The work took longer than its limit. Not an Exception, so that few handlers swallow it."""


class Guard:
    """Interrupts work on the main thread by SIGALRM. Python code only: a single long call into C
    goes on, which the node ends by killing the process."""

    def __init__(self) -> None:
        self._fired = False
        signal.signal(signal.SIGALRM, self._fire)

    def run(self, seconds: float, work: Callable[[], Result]) -> Result:
        """The work's result. Raises OverranError, even if the work swallowed the interruption."""
        self._fired = False
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
                result = work()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException:
            # The alarm may have rung between the work's end and its disarming.
            signal.setitimer(signal.ITIMER_REAL, 0)
            if self._fired:
                raise OverranError from None
            raise
        if self._fired:
            raise OverranError
        return result

    def _fire(self, _signal: int, _frame: FrameType | None) -> None:
        self._fired = True
        raise OverranError
