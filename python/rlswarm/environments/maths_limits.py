"""What an answer to a maths problem may hold, counted before anything parses it.

sympy computes what it is given: ``9^{9^{9^9}}`` or a product of large factorials would keep it
busy for ever, and a time limit would give other verdicts on other machines. So the sizes of
numbers, powers, roots and brackets are counted in the text, and what is over a limit is
unscorable for everybody.
"""

import enum
import math
import re

LENGTH = 200
"""Characters."""
NUMBER = 30
"""Digits of one number."""
SYMBOLIC_NUMBER = 6
"""The same where letters stand for something: numbers are factored on the way to a proof."""
DEPTH = 6
"""Brackets within brackets."""
OPERATIONS = 24
"""Operators, fractions, roots and functions together."""
POWER = 1000
"""Product of all exponents where every base is a plain number."""
SYMBOLIC_POWER = 12
"""The same where a root, a function or a letter stands in the answer: sums are multiplied out."""
ROOTS = 3
FUNCTIONS = 2
LETTERS = 12
"""Letters that stand for something, and 3 different ones; more of them are prose."""


class Form(enum.Enum):
    """What an answer is, before it is parsed."""

    MATHS = enum.auto()
    OTHER = enum.auto()
    """No maths in the notation that is read here: wrong."""
    OVER = enum.auto()
    """Over a limit: unscorable."""


_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\.\d+|[A-Za-z]|\s+|.", re.DOTALL)
_PLAIN = frozenset(
    "\\" + name
    for name in (*",;!:$%{}", "left", "right", "cdot", "times", "div", "pi", "circ", "pm", "quad")
)
_FRACTIONS = frozenset((r"\frac", r"\dfrac", r"\tfrac"))
_FUNCTIONS = frozenset((r"\sin", r"\cos", r"\tan", r"\ln", r"\log"))
_OPERATORS = frozenset("+-*/^!|")
_SIGNS = frozenset("+-*/^!|=(){}[],.$%_ ")
_EXPONENT = re.compile(
    r"""\^\s*(?:
        \{\s*(?P<braced>-?\d{1,3})\s*\} | (?P<digit>\d)(?!\d)
        | \{?(?P<root>-?\d{1,2}/\d{1,2} | \\[dt]?frac\{\d{1,2}\}\{\d{1,2}\} | \\[dt]?frac\d\d)\}?
        | \{?(?P<letter>[a-z])\}? | \{?(?P<degrees>\\circ)\}?
    )(?!\s*[\^!])""",
    re.VERBOSE,
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4}")
_FACTORIAL = re.compile(r"(?<![\d.])\d{1,2}!(?!\s*[!^])")
_ROOT_INDEX = re.compile(r"\\sqrt\s*\[(?!\s*\d{1,2}\s*\])")


def form_of(answer: str) -> Form:
    """Whether an answer, in LaTeX or plain notation, is maths within the limits."""
    if _WORD.search(answer):
        return Form.OTHER
    if len(answer) > LENGTH:
        return Form.OVER
    tokens = [token for token in _TOKEN.findall(answer) if not token.isspace()]
    if not tokens or not all(map(_is_known, tokens)) or not _is_closed(tokens):
        return Form.OTHER
    letters = [token for token in tokens if token.isascii() and token.isalpha()]
    if len(letters) > LETTERS or len(set(letters)) > 3:
        return Form.OTHER
    roots = tokens.count(r"\sqrt")
    functions = sum(token in _FUNCTIONS for token in tokens)
    work = roots + functions
    work += sum(token in _OPERATORS or token in _FRACTIONS for token in tokens)
    powers = _product_of_exponents(answer)
    symbolic = bool(letters or roots or functions or r"\pi" in tokens)
    within = (
        powers is not None
        and powers <= (SYMBOLIC_POWER if symbolic else POWER)
        and all(
            sum(map(str.isdigit, token)) <= (SYMBOLIC_NUMBER if letters else NUMBER)
            for token in tokens
        )
        and _depth(tokens) <= DEPTH
        and work <= OPERATIONS
        and roots <= ROOTS
        and functions <= FUNCTIONS
        and answer.count("!") == len(_FACTORIAL.findall(answer))
        and not _ROOT_INDEX.search(answer)
        and "**" not in answer
        and answer.count("|") <= 2
    )
    return Form.MATHS if within else Form.OVER


def functions_in(answer: str) -> set[str]:
    """The functions that an answer names. One that the right answer does not name makes it wrong:
    proving identities between functions has no bound."""
    return set(_FUNCTIONS.intersection(_TOKEN.findall(answer)))


def _is_known(token: str) -> bool:
    if token.startswith("\\"):
        return token in _PLAIN or token in _FRACTIONS or token in _FUNCTIONS or token == r"\sqrt"
    return token.isascii() and (token in _SIGNS or token[-1].isalnum())


def _is_closed(tokens: list[str]) -> bool:
    """Whether braces pair up, so that an answer stays inside those put around it."""
    depth = 0
    for token in tokens:
        depth += (token == "{") - (token == "}")
        if depth < 0:
            return False
    return depth == 0


def _depth(tokens: list[str]) -> int:
    deepest = depth = 0
    for token in tokens:
        depth += (token in "({[") - (token in ")}]")
        deepest = max(deepest, depth)
    return deepest


def _product_of_exponents(answer: str) -> int | None:
    """None if there is an exponent of another form, such as a power in a power."""
    found = list(_EXPONENT.finditer(answer))
    if len(found) != answer.count("^"):
        return None
    sizes = [1]
    for match in found:
        if number := match["braced"] or match["digit"]:
            sizes.append(max(1, abs(int(number))))
        elif match["root"]:
            sizes.append(SYMBOLIC_POWER // 2)
    return math.prod(sizes)
