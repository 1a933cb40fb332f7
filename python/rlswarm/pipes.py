"""Typed messages between a node and its worker and scorer, over a pair of pipes.

A message is a tagged msgspec struct as msgpack, prefixed by its length (u32, little-endian). The
child speaks over the descriptors that were its stdin and stdout; everything a library prints goes
to stderr, so it can't corrupt the stream.
"""

import os
import struct
import sys
from typing import Any, BinaryIO

import msgspec

MAX_MESSAGE = 512 << 20
"""Bytes of the largest message either side accepts."""

_LENGTH = struct.Struct("<I")


def frame(message: msgspec.Struct) -> bytes:
    """The bytes of one message, ready to write."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """Length that a 4-byte prefix announces. Raises ValueError above `MAX_MESSAGE`."""
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_MESSAGE:
        raise ValueError(f"message of {length} bytes exceeds the limit of {MAX_MESSAGE}")
    return int(length)


class ChildPipe:
    """The child's end: blocking reads and writes on what were its stdin and stdout."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies

    @classmethod
    def from_stdio(cls) -> "ChildPipe":
        """Take over stdin and stdout; later prints go to stderr."""
        requests = os.fdopen(os.dup(0), "rb")
        replies = os.fdopen(os.dup(1), "wb")
        with open(os.devnull, "rb") as null:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(null.fileno(), 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(requests, replies)

    def receive(self, decoder: "msgspec.msgpack.Decoder[Any]") -> Any | None:
        """The next message, or None when the node has gone away."""
        prefix = self._requests.read(_LENGTH.size)
        if len(prefix) < _LENGTH.size:
            return None
        length = frame_length(prefix)
        body = self._requests.read(length)
        if len(body) < length:
            return None
        return decoder.decode(body)

    def send(self, message: msgspec.Struct) -> None:
        self._replies.write(frame(message))
        self._replies.flush()
