"""Whether this installation generates the tasks that a manifest means."""

from collections.abc import Callable, Iterable

import msgspec

from rlswarm._core import blake3, prf
from rlswarm.environments.environment import (
    FULL_SCORE,
    Environment,
    Item,
    UnusableEnvironmentError,
    seed_of,
)
from rlswarm.environments.extraction import MARKER

ITEMS = 64
WRONG_ANSWER = f"{MARKER} 86420.97531"
"""Numeric, so that it gets past the extraction of sets that want a number."""

_DOMAIN = "rlswarm 2026 fingerprint seed"


def fingerprint(open_again: Callable[[], Environment]) -> str:
    """Hex BLAKE3 over 64 items, the scores of their reference answers and of one fixed wrong
    answer, the prompt of the first, and the environment's pins.

    `open_again` is called twice: the second environment generates the items in reverse, which
    shows state kept between tasks and randomness that ignores the seed. Raises
    UnusableEnvironmentError for an environment that is not deterministic, can't generate, scores
    no reference answer as right, or pays for the wrong answer.
    """
    first, second = open_again(), open_again()
    seeds = [
        seed_of(prf(_DOMAIN, [first.name.encode(), index.to_bytes(8, "little")]))
        for index in range(ITEMS)
    ]
    forward = _lines(first, seeds)
    backward = _lines(second, reversed(seeds))[::-1]
    if forward != backward:
        raise UnusableEnvironmentError(
            f"{first.name} is not deterministic: generated twice, its tasks differ, so peers could "
            "not agree on rewards."
        )
    _require_sound(first.name, forward)
    prompt = first.prompt(first.generate(seeds[0]))
    pins = (first.pins,) if first.pins else ()
    return blake3(msgspec.msgpack.encode((forward, prompt, *pins))).hex()


def mismatch(environment: Environment, expected: str, found: str, version: str = "") -> str:
    """Sentence for a node whose installation generates other tasks than the manifest's, which were
    made by `version` (empty if the manifest does not say)."""
    here, there = environment.version, version or "the founder's version"
    name, _, number = version.rpartition(" ")
    if version == here:
        remedy = (
            "the version is the same, so something it builds on differs: install rlswarm and its "
            "packages afresh, with the versions of the swarm's founder"
        )
    elif name and number:
        remedy = f"install it with `pip install '{name}=={number}'`"
    else:
        remedy = "install the version that the swarm's founder used"
    return (
        f"{environment.name}: {here} is installed here and generates other tasks than {there}, "
        f"which this swarm uses (fingerprint {found[:12]} instead of {expected[:12]}); {remedy}. "
        "Until then this node leaves the environment out."
    )


_Line = tuple[str, str | None, int | None, int | None]


def _lines(environment: Environment, seeds: Iterable[int]) -> list[_Line]:
    return [_line(environment, seed) for seed in seeds]


def _line(environment: Environment, seed: int) -> _Line:
    try:
        item: Item = environment.generate(seed)
    except Exception as error:
        raise UnusableEnvironmentError(
            f"{environment.name} failed to generate a task: {type(error).__name__}: {error}."
        ) from error
    right = None
    if item.reference is not None:
        right = environment.score(f"{MARKER} {item.reference}", item)
    return item.question, item.reference, right, environment.score(WRONG_ANSWER, item)


def _require_sound(name: str, lines: list[_Line]) -> None:
    rights = [right for _, reference, right, _ in lines if reference is not None]
    if rights and FULL_SCORE not in rights:
        raise UnusableEnvironmentError(
            f"{name} is refused: its scorer accepts none of its own reference answers."
        )
    if sum(wrong == FULL_SCORE for *_, wrong in lines) > len(lines) // 2:
        raise UnusableEnvironmentError(f"{name} is refused: its scorer pays for a wrong answer.")
