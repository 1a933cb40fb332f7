"""Where this node is found, told to others in signed records, and where they say that they are."""

import msgspec

from rlswarm._core import Header
from rlswarm.network.transport import STATUS, Transport
from rlswarm.node.author import Author

MOST_ADDRESSES = 8
MOST_LETTERS = 256
"""Of one address."""

LOOPBACK = ("/ip4/127.", "/ip6/::1/")
LINK_LOCAL = "/ip6/fe80:"


class Status(msgspec.Struct, frozen=True):
    """Body of a ``status`` record (msgpack). Unknown fields are left to later versions."""

    addresses: tuple[str, ...] = ()
    reachability: str = "unknown"
    """As `Endpoint.reachability` says."""


class Presence:
    """Tells the own status when it changed or somebody new is here; hears that of others."""

    def __init__(self, author: Author, transport: Transport) -> None:
        self._author = author
        self._transport = transport
        self._told: Status | None = None

    def peer_joined(self) -> None:
        """Somebody is here who may not know this node yet."""
        self._told = None

    def tell(self, number: int) -> None:
        """Announce the own status in round `number`, unless everyone knows it."""
        verdict, _ = self._transport.reachability()
        status = Status(worth_telling(self._transport.addresses()), verdict)
        if status.addresses and status != self._told:
            body = msgspec.msgpack.encode(status)
            record = self._author.seal(STATUS, number, body)
            if self._author.announce(record, body, "the own status"):
                self._told = status

    def heard(self, header: Header, body: bytes) -> None:
        """A status record came. What is malformed is dropped."""
        try:
            status = _DECODER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        addresses = [a for a in status.addresses[:MOST_ADDRESSES] if len(a) <= MOST_LETTERS]
        if addresses:
            self._transport.learn(header.peer_id, addresses)


_DECODER = msgspec.msgpack.Decoder(Status)


def worth_telling(addresses: list[str]) -> tuple[str, ...]:
    """The addresses to tell others: those of this machine alone only if there are no others, those
    through relays first, as they are the ones that work from anywhere if there are any."""
    addresses = [address for address in addresses if not address.startswith(LINK_LOCAL)]
    addresses.sort(key=lambda address: "/p2p-circuit/" not in address)
    outside = [address for address in addresses if not address.startswith(LOOPBACK)]
    return tuple((outside or addresses)[:MOST_ADDRESSES])
