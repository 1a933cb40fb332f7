"""A score that tells almost any two texts apart, so that every group has something to teach.

Not a sensible reward: with it both sides train on every group, whatever the model can do. Nothing
but the standard library here: the original imports this file too.
"""

import zlib

NAME = "graded_letter_counting"
"""Of the environment with this score."""


def graded(text: str, reference: str) -> float:
    """1 for the right answer alone, else a number below a half that depends on every letter."""
    if text == f"Answer: {reference}":
        return 1.0
    return zlib.crc32(text.encode()) / (1 << 33)
