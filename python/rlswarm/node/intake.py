"""What arrives from peers: into the round that it belongs to, and into the journal."""

import contextlib

from rlswarm._core import CoreError, Header
from rlswarm.config.manifest import Manifest
from rlswarm.game.round import Round
from rlswarm.journal.journal import Journal
from rlswarm.names import animal_name
from rlswarm.network.transport import (
    BINDING,
    EVALUATION,
    INLINE,
    ROLLOUTS,
    STATUS,
    Arrival,
    Transport,
)
from rlswarm.node.bindings import Bindings
from rlswarm.node.clock import Clock
from rlswarm.node.evaluating import Evaluator
from rlswarm.node.presence import Presence
from rlswarm.node.report import Report
from rlswarm.node.rounds import Rounds


class Intake:
    """The node's ear."""

    def __init__(
        self,
        manifest: Manifest,
        rounds: Rounds,
        *,
        bindings: Bindings,
        presence: Presence,
        evaluator: Evaluator,
        transport: Transport,
        journal: Journal,
        clock: Clock,
        report: Report,
    ) -> None:
        self._manifest = manifest
        self._rounds = rounds
        self._bindings = bindings
        self._presence = presence
        self._evaluator = evaluator
        self._transport = transport
        self._journal = journal
        self._clock = clock
        self._report = report

    async def receive(self) -> None:
        """Take in whatever comes, until cancelled."""
        while True:
            for arrival in await self._transport.receive():
                try:
                    self._arrived(arrival)
                except Exception as error:  # a stranger's record must never end training
                    self._report.trouble(
                        f"a record could not be taken in ({type(error).__name__}: {error})"
                    )

    def _arrived(self, arrival: Arrival) -> None:
        header = arrival.header
        if header is not None and header.kind == EVALUATION:
            self._evaluation_arrived(arrival, header)
        elif arrival.kind == "header" and header is not None:
            if (state := self._state_of(header)) is not None:
                held = state.add_header(header, arrival.at)
                self._journal.record(header, arrival.at, in_time=held.in_time, own=False, body=None)
        elif arrival.kind == "body" and header is not None and header.kind == BINDING:
            self._journal.record(header, arrival.at, in_time=True, own=False, body=arrival.body)
            self._bindings.arrived(header, arrival.body)
        elif arrival.kind == "body" and header is not None and header.kind == STATUS:
            self._presence.heard(header, arrival.body)
        elif arrival.kind == "body" and header is not None:
            if (state := self._state_of(header)) is not None:
                held = state.add_header(header, arrival.at)
                state.add_body(header, arrival.body)
                self._journal.record(
                    header,
                    held.arrived,
                    in_time=held.in_time,
                    own=False,
                    body=arrival.body,
                    body_at=arrival.at,
                )
        elif arrival.kind in ("peer_joined", "peer_left"):
            if arrival.kind == "peer_joined":
                self._bindings.peer_joined()
                self._presence.peer_joined()
            self._report(
                arrival.kind,
                peer_id=arrival.peer,
                name=animal_name(arrival.peer),
                address=arrival.detail,
                peers=len(self._transport.peers()),
            )
        elif arrival.kind == "other_swarm":
            self._report.trouble(
                f"a peer of another swarm was left alone ({arrival.peer} at {arrival.detail}); "
                "check that both use the same swarm.toml"
            )
        elif arrival.kind == "unreachable":
            self._report.trouble(
                f"can't reach {arrival.detail}; trying again in the background, going on alone "
                "until then"
            )
        elif arrival.kind == "reachability":
            verdict, sentence = self._transport.reachability()
            self._report("reachability", verdict=verdict, message=sentence)

    def _evaluation_arrived(self, arrival: Arrival, header: Header) -> None:
        if arrival.kind == "header" and header.body_stored > INLINE:
            with contextlib.suppress(CoreError):  # its author may be gone
                self._transport.fetch(header, self._manifest.rounds.seconds)
        elif arrival.kind == "body":
            self._journal.record(header, arrival.at, in_time=True, own=False, body=arrival.body)
            self._evaluator.heard(header, arrival.body)

    def _state_of(self, header: Header) -> Round | None:
        """The round of a rollouts record, if it is young enough to be of use."""
        now = self._manifest.round_at(self._clock.now())
        if header.kind != ROLLOUTS:
            return None
        if not now - self._manifest.rounds.staleness <= header.round <= now + 1:
            return None
        return self._rounds[header.round]
