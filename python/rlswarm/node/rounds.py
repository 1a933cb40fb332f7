"""The rounds that a node knows: opened when first asked for, forgotten when too old to teach."""

from collections.abc import Callable, Sequence

from rlswarm.config.manifest import Manifest
from rlswarm.game.round import Round
from rlswarm.game.tasks import lottery, task_beacon
from rlswarm.ledger.ledger import Ledger
from rlswarm.ledger.levels import levels, no_round_is_sealed


class Rounds:
    """Index with a round's number."""

    def __init__(
        self, manifest: Manifest, sealed: Callable[[int], Sequence[Ledger]] = no_round_is_sealed
    ) -> None:
        """`sealed` gives the ledger that a round's lottery names and those it builds on, newest
        first."""
        self._manifest = manifest
        self._swarm = manifest.swarm_id
        self._sealed = sealed
        self._known: dict[int, Round] = {}

    def __getitem__(self, number: int) -> Round:
        """The state of a round."""
        if number not in self._known:
            self._known[number] = self._opened(number)
            oldest = number - self._manifest.rounds.staleness
            self._known = {n: known for n, known in self._known.items() if n >= oldest}
        return self._known[number]

    def before(self, number: int) -> list[Round]:
        """Earlier rounds that are still known, oldest first."""
        return [known for n, known in sorted(self._known.items()) if n < number]

    def _opened(self, number: int) -> Round:
        sealed = self._sealed(number)
        return Round(
            number,
            self._manifest.game,
            self._manifest.opens(number),
            lottery(self._swarm, number, sealed[0].root if sealed else None),
            self._manifest.rounds.clock_offset,
            beacon=task_beacon(self._swarm, number),
            environments=self._manifest.environments,
            personas={persona.name: persona.system for persona in self._manifest.personas},
            levels=levels(sealed, self._manifest.game, self._manifest.environments),
        )
