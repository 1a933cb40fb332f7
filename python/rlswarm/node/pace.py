"""How many slots a node takes: as many as its own measured speed fits into the window."""


class Pace:
    """Seconds of a stage, smoothed. Slow nodes take fewer slots, fast ones more.

    A stage of n groups is taken to cost n + 1 units: what all groups share (their prompts' common
    beginning, reading the weights for each token) weighs about as much as one group.
    """

    def __init__(self, slots: int, share: float = 0.9) -> None:
        """`slots`: most that the game allows; `share` of a window that may be planned."""
        self._slots = slots
        self._share = share
        self._unit: dict[int, float] = {}

    def slots(self, stage: int, window: float) -> int:
        """Groups that fit into `window` seconds, at least one; all of them before a measurement."""
        if stage not in self._unit:
            return self._slots
        return max(1, min(self._slots, int(self._share * window / self._unit[stage]) - 1))

    def measured(self, stage: int, groups: int, seconds: float, *, cut: bool) -> None:
        """Note a stage that was played; `cut` if the window ended it before all was said."""
        if groups == 0:
            return
        unit = seconds / (groups + 1)
        if cut:
            self._unit[stage] = 1.25 * unit
        else:
            self._unit[stage] = (self._unit.get(stage, unit) + unit) / 2
