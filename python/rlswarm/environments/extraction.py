"""Finding the one answer that a completion commits to.

The convention, for every environment: the answer is what follows the last ``Answer:``. Without
that marker it is the last line that says anything (or everything, where right answers span
several lines). What is scored is that answer alone, so quoting the right one beside others, or
hedging ("3 or 4"), earns nothing.
"""

import re

MARKER = "Answer:"
LONGEST_NUMBER = 1000
"""Digits; below the 4,300 at which Python's own limit, a setting, would decide."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")
_ONLY_NUMBER = re.compile(rf"(?:{_NUMBER.pattern})\Z")
_HEDGE = re.compile(r"\b(?:or|either|maybe)\b", re.IGNORECASE)


def extract_answer(completion: str, reference: str | None) -> str | None:
    """The answer in `completion`, or None if it has none or more than one.

    The form of a right answer (`reference`; None if the task has many) says how to read: a
    number, one line, or several lines.
    """
    _, found, tail = completion.rpartition(MARKER)
    text = tail.strip()
    if not text:
        return None
    if reference is not None and "\n" in reference.strip():
        return text
    lines = text.splitlines()
    line = (lines[0] if found else lines[-1]).strip()
    if reference is not None and _ONLY_NUMBER.match(reference.strip()):
        return _only_number(line)
    if line.endswith(".") and not (reference or "").endswith("."):
        line = line[:-1].rstrip()
    return line or None


def _only_number(line: str) -> str | None:
    """The single number of a line, after its last equals sign, without thousands separators."""
    line = line.rpartition("=")[2]
    numbers = {match.replace(",", "").removeprefix("+") for match in _NUMBER.findall(line)}
    if len(numbers) != 1 or _HEDGE.search(line):
        return None
    (number,) = numbers
    return number if len(number) <= LONGEST_NUMBER else None
