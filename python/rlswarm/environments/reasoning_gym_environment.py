"""reasoning-gym's data sets as environments."""

import copy
import dataclasses
import decimal
import difflib
import re
from collections.abc import Mapping
from typing import Any

from rlswarm.environments import reasoning_gym_catalog
from rlswarm.environments.environment import Environment, Item, UnusableEnvironmentError

ANSWER_LIMIT = 8 << 10
"""Characters of an extracted answer; a longer one is unscorable for everybody."""

_NESTING_LIMIT = 64
_OPENING = frozenset("([{¬∧∨→↔")
"""Brackets, and the operators that the logic set's parser recurses on without a bracket."""
_CLOSING = frozenset(")]}")
_HUGE_NUMBER = re.compile(r"\d{1001}|[eE][+-]?[\d_]{5}")

_REFUSED = {
    "codeio": "it makes tasks by running programs of unknown origin, some of which do not repeat",
    "composite": "it mixes other sets; list those as environments of their own",
    "rubiks_cube": "a number written in the answer decides how long its scorer works",
    "rush_hour": "a number written in the answer decides how long its scorer works",
}
_NARROW_SEEDS = frozenset({"pool_matrix"})
"""Sets that seed numpy's old generator, which takes 32 bits."""

_SET_BY_THE_SWARM = frozenset({"seed", "size"})


class ReasoningGymEnvironment(Environment):
    """Item 0 of a data set, for each seed. Full credit or none: reasoning-gym's part credit pays
    for any text near the answer, and its fractions may differ in the last bit between machines."""

    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        super().__init__(name, config, shots)
        reason = refusal(name)
        if reason:
            raise UnusableEnvironmentError(f"{name} is refused: {reason}.")
        try:
            data_set, config_class = reasoning_gym_catalog.load(name)
        except ImportError as error:
            raise UnusableEnvironmentError(
                f"{name} needs a package that can't be imported here: {error}."
            ) from error
        _check_config(name, config, config_class)
        try:
            self._config = config_class(**config, seed=0, size=1)
            self._data_set = data_set(self._config)
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            raise UnusableEnvironmentError(f"{name} can't use its config: {error}.") from error

    @property
    def version(self) -> str:
        return reasoning_gym_catalog.installed_version()

    def generate(self, seed: int) -> Item:
        # One instance serves all seeds, since building one rereads its word lists; the
        # fingerprint's second, fresh instance shows whether a set keeps state in between.
        if self.name in _NARROW_SEEDS:
            seed %= 1 << 32
        self._data_set.seed = self._config.seed = seed
        with decimal.localcontext(decimal.Context()):
            entry = self._data_set[0]
        answer = entry["answer"]
        return Item(entry["question"], None if answer is None else str(answer), entry)

    def grade(self, answer: str, item: Item) -> float:
        if not _is_tame(answer):
            return float("nan")
        # Some scorers write into the task they are given, some into the decimal context.
        entry = copy.deepcopy(item.metadata)
        try:
            with decimal.localcontext(decimal.Context()):
                value = float(self._data_set.score_answer(answer, entry))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return 0.0  # how many sets react to text that they can't parse
        return float(value > 1 - 1e-9) if 0.0 <= value <= 1.0 else value


def refusal(name: str) -> str:
    """Why a known set is refused, as half a sentence; empty if it is not."""
    if name in _REFUSED:
        return _REFUSED[name]
    if reasoning_gym_catalog.evaluates_answers(name):
        return "its scorer runs the answer as code, so an answer could take over this machine"
    return ""


def config_defaults(name: str) -> dict[str, Any]:
    """The options of a set with their defaults (None where there is none). Imports the set."""
    _, config_class = reasoning_gym_catalog.load(name)
    defaults: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if field.name in _SET_BY_THE_SWARM:
            continue
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
        else:
            missing = field.default is dataclasses.MISSING
            defaults[field.name] = None if missing else field.default
    return defaults


def _check_config(name: str, config: Mapping[str, Any], config_class: Any) -> None:
    fields = {field.name for field in dataclasses.fields(config_class)}
    for key, value in config.items():
        if key in _SET_BY_THE_SWARM:
            raise UnusableEnvironmentError(f"{name}: leave {key} out, the swarm sets it.")
        if key not in fields:
            near = difflib.get_close_matches(key, fields - _SET_BY_THE_SWARM, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UnusableEnvironmentError(f"{name} has no option {key}.{hint}")
        # A manifest comes from strangers and must not choose files to read here.
        if isinstance(value, str) and re.search(r"[/\\]|\.\.", value):
            raise UnusableEnvironmentError(f"{name}: {key} must not be a path.")


def _is_tame(answer: str) -> bool:
    """Whether no scorer can be led into unbounded work or recursion by this answer."""
    if len(answer) > ANSWER_LIMIT or _HUGE_NUMBER.search(answer):
        return False
    depth = 0
    for character in answer:
        if character in _OPENING:
            depth += 1
            if depth > _NESTING_LIMIT:
                return False
        elif character in _CLOSING:
            depth -= 1
    return True
