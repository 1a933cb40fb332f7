"""What a player is shown is drawn by lottery, never chosen (design §5)."""

from collections.abc import Iterable

import msgspec

from rlswarm._core import prf


class Quote(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A group of another record: the record's hash and the slot in it."""

    record: bytes
    slot: int


def rank(lottery: bytes, reader: bytes, stage: int, groups: Iterable[Quote]) -> list[Quote]:
    """Groups in the order in which `reader` (public key) must take them."""
    salt = stage.to_bytes(1, "little")
    return sorted(
        groups,
        key=lambda quote: prf(
            "rlswarm 2026 input rank",
            [lottery, reader, salt, quote.record, quote.slot.to_bytes(2, "little")],
        ),
    )


def sample_order(lottery: bytes, key: Iterable[bytes], size: int) -> list[int]:
    """The indices below `size` of a group's samples in the order in which they are shown.

    `key` names the group by what its author can't vary, unlike its record's hash, so that nobody
    picks which of its samples are seen.
    """
    named = [lottery, *key]
    return sorted(
        range(size),
        key=lambda sample: prf("rlswarm 2026 input sample", [*named, sample.to_bytes(2, "little")]),
    )


def side(lottery: bytes, debater: bytes, answer: Quote) -> bool:
    """Which side a debater argues about an answer: True = that it is right."""
    slot = answer.slot.to_bytes(2, "little")
    return prf("rlswarm 2026 debate side", [lottery, debater, answer.record, slot])[0] < 128


def skipped(
    lottery: bytes, reader: bytes, stage: int, chosen: Iterable[Quote], counted: Iterable[Quote]
) -> int:
    """How many counted groups rank before the last chosen one without having been chosen."""
    wanted = set(chosen)
    ranked = rank(lottery, reader, stage, wanted | set(counted))
    last = max((i for i, quote in enumerate(ranked) if quote in wanted), default=-1)
    return sum(1 for quote in ranked[: last + 1] if quote not in wanted)
