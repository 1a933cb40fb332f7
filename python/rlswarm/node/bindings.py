"""Which account stands behind which peer, as far as this node has heard."""

from collections.abc import Iterable, Sequence

import msgspec

from rlswarm._core import Header, peer_id
from rlswarm.identity.account import checksum
from rlswarm.identity.binding import Bound, Release, Statement, follow, refusal
from rlswarm.identity.typed_data import Domain
from rlswarm.names import animal_name
from rlswarm.network.transport import BINDING
from rlswarm.node.author import Author
from rlswarm.node.report import Report

MOST_PEERS = 16_384
"""Peers whose bindings are kept; of more than these, the ones heard of first."""

MOST_STATEMENTS = 16
"""Statements in one record."""


class Bindings:
    """The statements heard, followed; and the own ones, told to whoever joins."""

    def __init__(
        self, domain: Domain, own: Sequence[Statement], *, author: Author, report: Report
    ) -> None:
        """`own`: what this node signed for `domain`, oldest first."""
        self._domain = domain
        self._own = tuple(own)[-MOST_STATEMENTS:]
        self._author = author
        self._report = report
        self._bound: dict[bytes, Bound] = {}
        self._untold = True
        for statement in self._own:
            self._follow(statement)

    def of(self, peer: bytes) -> Bound | None:
        """What is known of a peer (public key)."""
        return self._bound.get(peer)

    def restore(self, bodies: Iterable[bytes]) -> None:
        """Take in what the journal kept of earlier runs."""
        for body in bodies:
            self._read(body)

    def arrived(self, header: Header, body: bytes) -> None:
        """A binding record came; anyone may carry anyone's statements."""
        for statement in self._read(body):
            peer = _peer(statement)
            bound = self._bound[peer]
            name = peer_id(peer)
            self._report(
                "binding",
                peer_id=name,
                name=animal_name(name),
                account=None if bound.binding is None else checksum(bound.binding.account),
                state="bound" if bound.binding else "revoked" if bound.revoked else "released",
            )

    def peer_joined(self) -> None:
        """Somebody is here who may not know this node yet."""
        self._untold = True

    def tell(self, number: int) -> None:
        """Announce the own statements in round `number`, if somebody may not know them."""
        if self._own and self._untold:
            body = msgspec.msgpack.encode(self._own)
            record = self._author.seal(BINDING, number, body)
            self._untold = not self._author.announce(record, body, "the own binding")

    def _read(self, body: bytes) -> list[Statement]:
        """Follow every valid statement of a body. Returns those that changed something."""
        try:
            statements = _DECODER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        return [
            statement
            for statement in statements[:MOST_STATEMENTS]
            if not refusal(statement, self._domain) and self._follow(statement)
        ]

    def _follow(self, statement: Statement) -> bool:
        peer = _peer(statement)
        held = self._bound.get(peer)
        if held is None and len(self._bound) >= MOST_PEERS:
            return False
        self._bound[peer] = follow(held, statement)
        return self._bound[peer] != held


_DECODER = msgspec.msgpack.Decoder(tuple[Statement, ...])


def _peer(statement: Statement) -> bytes:
    return statement.binding.peer if isinstance(statement, Release) else statement.peer
