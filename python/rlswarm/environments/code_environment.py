"""Programming problems: what a completion writes is run against hidden tests in the sandbox.

The sandboxed program gets the tests' inputs, never their outputs; what it printed is compared
here. So nothing it does to its own interpreter can make a wrong result right: a program passes by
computing what was asked, and in no other way.
"""

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rlswarm.environments.environment import Environment, Item, UnusableEnvironmentError
from rlswarm.environments.problem_file import (
    PROBLEMS_KEY,
    SOURCE_KEY,
    check_keys,
    open_problems,
)
from rlswarm.environments.sandbox import FUEL, Sandbox
from rlswarm.environments.sandbox_module import installed_artifacts

SHIPPED = Path(__file__).parent / "problems" / "code.jsonl"
FUEL_LIMIT = 10_000_000_000
"""The most fuel that a config may grant: about a second."""

_FENCE = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_TOLERANCE = 1e-9

_HARNESS = """
import io, json, os, sys
task = json.loads(sys.stdin.buffer.read())
results = []
try:
    code = compile(task["program"], "answer.py", "exec")
    if task["function"] is None:
        for given in task["inputs"]:
            sys.stdin, sys.stdout = io.StringIO(given), io.StringIO()
            try:
                exec(code, {"__name__": "__main__"})
            except SystemExit:
                pass
            results.append(sys.stdout.getvalue())
    else:
        space = {"__name__": "answer"}
        exec(code, space)
        for given in task["inputs"]:
            results.append(space[task["function"]](*given))
    os.write(1, b"\\n" + json.dumps(results).encode())
except BaseException:
    os._exit(1)  # printing a traceback would cost more than running most programs
os._exit(0)
"""


class CodeProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a problem file."""

    question: str
    solution: str
    """A program that passes."""
    tests: tuple[tuple[Any, Any], ...]
    """(arguments, returned value) of a function, or (standard input, standard output)."""
    function: str | None = None
    """Name of the function asked for; None where a whole program is."""


class CodeEnvironment(Environment):
    """Full credit for a program that passes every test, none otherwise."""

    instructions = "Solve the task in Python. Put the whole program in one ```python block."

    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        super().__init__(name, config, shots)
        check_keys(name, config, frozenset(code_options()))
        self._fuel = config.get("fuel", FUEL)
        if type(self._fuel) is not int or not 0 < self._fuel <= FUEL_LIMIT:
            raise UnusableEnvironmentError(f"{name}: fuel must be 1 to {FUEL_LIMIT:,} units.")
        self._problems = open_problems(name, config, CodeProblem, SHIPPED)
        try:
            self._artifacts = installed_artifacts()
            self._sandbox = _sandbox()
        except UnusableEnvironmentError as error:
            raise UnusableEnvironmentError(f"{name}: {error}.") from error
        self._passes = functools.lru_cache(maxsize=4096)(self._run)

    @property
    def version(self) -> str:
        return self._artifacts.pins[0]

    @property
    def pins(self) -> tuple[str, ...]:
        return (*self._artifacts.pins, self._problems.digest)

    def generate(self, seed: int) -> Item:
        index = seed % len(self._problems)
        problem = self._problems[index]
        return Item(problem.question, f"```python\n{problem.solution.strip()}\n```", index)

    def extract(self, completion: str, item: Item) -> str | None:
        """The last fenced block, closed or not; without one, all of the text."""
        blocks = _FENCE.findall(completion)
        return (blocks[-1] if blocks else completion).strip() or None

    def grade(self, answer: str, item: Item) -> float:
        return float(self._passes(answer, item.metadata))

    def _run(self, program: str, index: int) -> bool:
        problem = self._problems[index]
        task = {
            "program": program,
            "function": problem.function,
            "inputs": [given for given, _ in problem.tests],
        }
        done = self._sandbox.run(("-c", _HARNESS), msgspec.json.encode(task), self._fuel)
        if done.ending != "exit" or done.code != 0:
            return False
        try:
            results = msgspec.json.decode(done.stdout.rpartition(b"\n")[2])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        expected = [wanted for _, wanted in problem.tests]
        if problem.function is None:
            return _lines(results) == _lines(expected)
        return _same(results, expected)


def code_options() -> dict[str, Any]:
    """Config keys with their defaults."""
    return {PROBLEMS_KEY: "", SOURCE_KEY: "", "fuel": FUEL}


@functools.cache
def _sandbox() -> Sandbox:
    return Sandbox(installed_artifacts())


def _lines(outputs: Any) -> list[list[str]] | None:
    """Outputs without trailing blanks, which nobody sees."""
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
        return None
    return [[line.rstrip() for line in text.rstrip().splitlines()] for text in outputs]


def _same(found: Any, wanted: Any) -> bool:
    """Equality of JSON values: true is not 1, and fractions may differ by rounding."""
    if isinstance(wanted, list):
        return (
            isinstance(found, list) and len(found) == len(wanted) and all(map(_same, found, wanted))
        )
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(_same(found[key], value) for key, value in wanted.items())
        )
    if type(wanted) is float and type(found) in (int, float):
        return math.isclose(_float(found), wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if type(wanted) is int and type(found) is float:
        return bool(found == wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def _float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf
