"""The node's pen: own records, numbered, signed, kept and announced."""

from collections.abc import Sequence

from rlswarm._core import CoreError, Identity, Record, seal
from rlswarm.journal.journal import Journal
from rlswarm.network.transport import Transport
from rlswarm.node.clock import Clock
from rlswarm.node.report import Report


class Author:
    """Seals every record of this node; sequence numbers go on where the journal ends."""

    def __init__(
        self,
        swarm: bytes,
        identity: Identity,
        *,
        transport: Transport,
        journal: Journal,
        clock: Clock,
        report: Report,
    ) -> None:
        self._swarm = swarm
        self._identity = identity
        self._transport = transport
        self._journal = journal
        self._clock = clock
        self._report = report
        self._sequence = journal.next_sequence()

    def seal(
        self,
        kind: int,
        number: int,
        body: bytes,
        *,
        stage: int = 0,
        slots: Sequence[int] = (),
        base: bytes = bytes(32),
        adapter: bytes = bytes(32),
        persona: str = "",
    ) -> Record:
        """The next record of this node, for round `number`, not yet kept nor announced."""
        record = seal(
            self._identity,
            swarm=self._swarm,
            kind=kind,
            round=number,
            lottery_root=bytes(32),
            stage=stage,
            slots=list(slots),
            sequence=self._sequence,
            created_at_ms=round(self._clock.now() * 1000),
            base=base,
            adapter=adapter,
            persona=persona,
            body=body,
        )
        self._sequence += 1
        return record

    def announce(self, record: Record, body: bytes, what: str, *, in_time: bool = True) -> bool:
        """Keep a sealed record in the journal and gossip it. False (and said) if that failed.

        `what` names it for people, as in "the answer stage".
        """
        now = self._clock.now()
        self._journal.record(record.header, now, in_time=in_time, own=True, body=body)
        try:
            self._transport.announce(record)
        except CoreError as error:
            self._report.trouble(f"{what} could not be announced: {error}")
            return False
        return True
