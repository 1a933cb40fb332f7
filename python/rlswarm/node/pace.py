"""How many slots a node takes: as many as its own measured speed fits into the window."""


class Pace:
    """Seconds per group by stage, smoothed. Slow nodes take fewer slots, fast ones more."""

    def __init__(self, slots: int, share: float = 0.9) -> None:
        """`slots`: most that the game allows; `share` of a window that may be planned."""
        self._slots = slots
        self._share = share
        self._seconds: dict[int, float] = {}

    def slots(self, stage: int, window: float) -> int:
        """Groups that fit into `window` seconds, at least one; all of them before a measurement."""
        if stage not in self._seconds:
            return self._slots
        return max(1, min(self._slots, int(self._share * window / self._seconds[stage])))

    def measured(self, stage: int, groups: int, seconds: float, *, cut: bool) -> None:
        """Note a stage that was played; `cut` if the window ended it."""
        if groups == 0:
            return
        each = seconds / groups
        if cut:
            each *= 1.25
        before = self._seconds.get(stage, each)
        self._seconds[stage] = each if cut else (before + each) / 2
