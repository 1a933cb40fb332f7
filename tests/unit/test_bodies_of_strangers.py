"""Every decoder of bodies that strangers wrote: any bytes at all are refused in the decoder's own
words or taken, and never end anything."""

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_game import GAME, rollout
from test_presence import World, presence

from rlswarm.game.held_out import EvaluationBody, Measured, decode_evaluation
from rlswarm.game.rollouts import BodyError, Group, decode_body, encode_body
from rlswarm.ledger.receipt import ReceiptError, read_receipt
from rlswarm.node.bindings import Bindings
from rlswarm.node.presence import Status

header: Any = type("Header", (), {"peer_id": "a peer"})


@st.composite
def altered(draw: st.DrawFn, good: bytes) -> bytes:
    """A good body with some bytes changed, cut out or put in; or any bytes at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=400))
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 4))
        data[at : at + length] = draw(st.binary(max_size=4))
    return bytes(data)


ROLLOUTS = encode_body([Group(0, (), (rollout(), rollout("cd")))])
STATUS = msgspec.msgpack.encode(Status(("/ip4/192.0.2.1/tcp/1",)))
EVALUATION = msgspec.msgpack.encode(EvaluationBody((Measured(0, 0, 0, ()),)))
NOT_UTF8 = STATUS.replace(b"/ip4", b"\xff\xfe\xfd\xfc")


@given(altered(ROLLOUTS))
@example(ROLLOUTS.replace(b"ab", b"\xff\xfe"))
@settings(max_examples=300)
def test_rollouts(body: bytes) -> None:
    with suppress(BodyError):
        decode_body(body, [0], GAME, 0)


@given(altered(EVALUATION))
@settings(max_examples=300)
def test_evaluations(body: bytes) -> None:
    with suppress(BodyError):
        decode_evaluation(body, 2, 10, GAME.stages[0])


@given(altered(STATUS))
@example(NOT_UTF8)
@settings(max_examples=300)
def test_statuses(body: bytes) -> None:
    presence(World()).heard(header, body)


@given(altered(STATUS))
@example(NOT_UTF8)
@settings(max_examples=300)
def test_bindings(body: bytes) -> None:
    nothing: Any = None
    Bindings(nothing, (), author=nothing, report=nothing).restore([body])


@given(altered(b'{"format":"rlswarm receipt 1","peer":"p","words":[],"proof":[],"root":"0x"}'))
@example(b'{"format":"\xff"}')
@settings(max_examples=300)
def test_receipts(text: bytes) -> None:
    with suppress(ReceiptError):
        read_receipt(text)
