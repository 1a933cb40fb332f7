"""Maths word problems with an answer that ``math-verify`` compares.

A plain number is compared exactly, digit for digit. Anything else is read as one expression and
compared by math-verify without its time limits, after `maths_limits` has counted what is in it.
"""

import functools
import importlib.metadata
import logging
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rlswarm.environments.environment import Environment, Item
from rlswarm.environments.extraction import MARKER, extract_answer
from rlswarm.environments.maths_limits import Form, form_of, functions_in
from rlswarm.environments.problem_file import (
    PROBLEMS_KEY,
    SOURCE_KEY,
    check_keys,
    open_problems,
)

SHIPPED = Path(__file__).parent / "problems" / "maths.jsonl"

_GRADERS = ("math-verify", "latex2sympy2-extended", "sympy", "mpmath")
_ROUNDING, _PRECISION = 6, 15
"""math-verify's defaults: decimals of a rounded answer, digits of an exact one."""
_BOXED = r"\boxed{"
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?|[+-]?\.\d{1,30}")
_RATIO = re.compile(r"([+-]?\d{1,30})/(\d{1,30})")
_UNIT = re.compile(
    r"(?:\s*(?:\\text\{[^{}]*\}|\\mathrm\{[^{}]*\}|(?<![A-Za-z\\])[A-Za-z]{2,}))+\s*$"
)
_HEDGE = re.compile(r"\b(?:or|either|maybe|and)\b", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,| )(?=\d{3}(?!\d))")
_SENTENCE = re.compile(r"[A-Za-z][A-Za-z' ]+[ :$](?:[A-Za-z0-9 .,:;'$-])*")
_MONEY = re.compile(r"^\s*(?:\\?\$|[€£])\s*(?=[\d.+-])")
_TYPOGRAPHY = str.maketrans(
    {"×": "*", "·": "*", "−": "-", "–": "-", "÷": "/", "°": "", "π": r"\pi "}
)


class MathsProblem(msgspec.Struct, frozen=True):
    """One line of a problem file."""

    question: str
    answer: str
    """A number or an expression, in LaTeX or plain notation."""


class MathsEnvironment(Environment):
    """Full credit for an answer equal to the problem's, none otherwise."""

    instructions = (
        "Solve the problem step by step. "
        f'End with "{MARKER}" and the answer alone, as a number or an expression.'
    )

    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        super().__init__(name, config, shots)
        check_keys(name, config, frozenset(maths_options()))
        self._problems = open_problems(name, config, MathsProblem, SHIPPED)

    @property
    def version(self) -> str:
        return f"math-verify {importlib.metadata.version('math-verify')}"

    @property
    def pins(self) -> tuple[str, ...]:
        versions = (f"{name} {importlib.metadata.version(name)}" for name in _GRADERS)
        return (*versions, self._problems.digest)

    def generate(self, seed: int) -> Item:
        problem = self._problems[seed % len(self._problems)]
        return Item(problem.question, problem.answer)

    def extract(self, completion: str, item: Item) -> str | None:
        """What follows the last marker or stands in the last box; else the last line."""
        _, found, tail = completion.rpartition(MARKER)
        boxed = _last_boxed(tail)
        if boxed is not None:
            return boxed.strip() or None
        lines = tail.strip().splitlines()
        if not lines:
            return None
        return (lines[0] if found else lines[-1]).strip() or None

    def grade(self, answer: str, item: Item) -> float:
        assert item.reference is not None
        return judge(answer, item.reference)


def maths_options() -> dict[str, Any]:
    """Config keys with their defaults."""
    return {PROBLEMS_KEY: "", SOURCE_KEY: ""}


def can_be_judged(reference: str) -> bool:
    """Whether this grader knows what to do with a problem's right answer."""
    try:
        return judge(reference, reference) == 1.0
    except Exception:  # whatever the parsers raise, it can't be judged
        return False


def judge(answer: str, reference: str) -> float:
    """1.0 for an answer that means the same as the reference, 0.0 for another, nan for one over a
    limit."""
    reference = _tidy(reference)
    answer = _tidy(answer)
    wanted = _value(reference)
    if "=" not in reference:
        answer = answer.rpartition("=")[2].strip()
    if wanted is not None:
        if _HEDGE.search(answer):
            return 0.0
        answer = _without_unit(answer)
        found = _value(answer)
        if found is not None:
            return float(found == wanted)
        if _names_a_variable(answer):
            return float(_value_in_words(answer) == wanted)
    form = form_of(answer)
    if form is Form.OVER:
        return float("nan")
    if form is Form.OTHER or functions_in(answer) - functions_in(reference):
        return 0.0
    return float(_equal(answer, reference))


def _tidy(text: str) -> str:
    """Without what only surrounds or decorates an answer."""
    text = text.translate(_TYPOGRAPHY).strip()
    text = text.rstrip(". ").strip("*`").strip()
    for mark in ("$$", "$"):
        if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
            text = text[len(mark) : -len(mark)].strip()
    if text.startswith((r"\(", r"\[")) and text.endswith((r"\)", r"\]")):
        text = text[2:-2].strip()
    boxed = _last_boxed(text)
    text = text if boxed is None else boxed
    return text.removesuffix(".").rstrip().replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")


def _without_unit(text: str) -> str:
    text = _MONEY.sub("", text)
    return _UNIT.sub("", text).rstrip()


def _value(text: str) -> Fraction | None:
    """The value of a plain number or ratio."""
    text = _THOUSANDS.sub("", text.strip())
    if _NUMBER.fullmatch(text):
        return Fraction(text.replace(",", ""))
    ratio = _RATIO.fullmatch(text)
    return Fraction(int(ratio[1]), int(ratio[2])) if ratio and int(ratio[2]) else None


def _value_in_words(text: str) -> Fraction | None:
    """The value of the only number in a sentence."""
    if not _SENTENCE.fullmatch(text):
        return None
    number = extract_answer(f"{MARKER} {text}", "0")
    return None if number is None else Fraction(number)


def _names_a_variable(answer: str) -> bool:
    return re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", answer)) is not None


def _last_boxed(text: str) -> str | None:
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    depth = 0
    for position in range(start + len(_BOXED) - 1, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return text[start + len(_BOXED) : position]
    return None


def _equal(answer: str, reference: str) -> bool:
    grader = _grader()
    grader.settle(0)
    gold, found = grader.parse(reference), grader.parse(answer)
    if not gold or not found:
        return False
    if all(map(grader.is_constant, (*gold, *found))):
        # What two constants are is settled by their digits. Beyond them math-verify would look
        # for an algebraic proof, factoring large numbers on the way.
        return any(grader.same_number(one, other) for one in gold for other in found)
    if any(map(grader.has_letters, gold)) != any(map(grader.has_letters, found)):
        return False  # a letter that cancels out is no answer
    return bool(grader.verify(gold, found))


class _Grader(NamedTuple):
    """math-verify's parts without their time limits."""

    parse: Callable[[str], list[Any]]
    verify: Callable[[Any, Any], bool]
    same_number: Callable[[Any, Any], bool]
    is_constant: Callable[[Any], bool]
    has_letters: Callable[[Any], bool]
    settle: Callable[[int], None]
    """Makes sympy, which tries some identities at random points, start from the same state."""


@functools.cache
def _grader() -> _Grader:
    """Imported on use: 40 MB and a second."""
    import math_verify
    import math_verify.grader
    import sympy
    import sympy.core.random

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    config = [
        math_verify.LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)
    ]

    def parse(text: str) -> list[Any]:
        found: list[Any] = math_verify.parse(
            f"{_BOXED}{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None
        )
        return found

    def same_number(one: Any, other: Any) -> bool:
        if math_verify.grader.sympy_numeric_eq(one, other, _ROUNDING, _PRECISION):
            return True
        return bool((one - other).evalf(n=_PRECISION, chop=True) == 0)

    def is_constant(value: Any) -> bool:
        return isinstance(value, sympy.Expr) and not value.free_symbols

    def has_letters(value: Any) -> bool:
        return bool(getattr(value, "free_symbols", ()))

    verify = functools.partial(math_verify.verify, timeout_seconds=None)
    settle = sympy.core.random.seed
    return _Grader(parse, verify, same_number, is_constant, has_letters, settle)
