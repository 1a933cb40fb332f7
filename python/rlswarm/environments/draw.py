"""Which seeds become training tasks and which evaluation tasks (design §2 and §4)."""

from collections.abc import Iterator

from rlswarm._core import prf
from rlswarm.environments.environment import (
    Environment,
    Item,
    UnusableEnvironmentError,
    is_held_out,
    seed_of,
)

_TASK_DOMAIN = "rlswarm 2026 task seed"
_EVALUATION_DOMAIN = "rlswarm 2026 evaluation seed"
_TASK_ATTEMPTS = 1024
_SAMPLE = 4096
_DISTINCT_NEEDED = 500
_CONVINCING = 128
"""So many first prompts without a repeat settle it: with 500 prompts the chance is below 1e-7.
Spares sets that take half a second an item the other 3,968."""


def training_task(environment: Environment, seed_key: bytes) -> tuple[int, Item]:
    """Seed and task of the first attempt that is not held out. `seed_key` is 32 bytes.

    An attempt whose generation raises counts as having no task. Raises UnusableEnvironmentError
    when 1,024 attempts give none.
    """
    for attempt in range(_TASK_ATTEMPTS):
        seed = seed_of(prf(_TASK_DOMAIN, [seed_key, attempt.to_bytes(8, "little")]))
        item = _generate(environment, seed)
        if item is not None and not is_held_out(item.question):
            return seed, item
    raise UnusableEnvironmentError(
        f"{environment.name} gave no task for training in {_TASK_ATTEMPTS} attempts; "
        "widen its config."
    )


def evaluation_tasks(environment: Environment, count: int) -> list[tuple[int, Item]]:
    """The first `count` held-out tasks with distinct prompts, the same on every node.

    Fewer if the environment has fewer among the first 4,096 + 100 × `count` seeds.
    """
    found: dict[str, tuple[int, Item]] = {}
    for seed in _evaluation_seeds(environment.name, _SAMPLE + 100 * count):
        if len(found) >= count:
            break
        item = _generate(environment, seed)
        if item is not None and is_held_out(item.question):
            found.setdefault(item.question, (seed, item))
    return list(found.values())


def may_show_held_out(environment: Environment) -> bool:
    """Whether the environment has the 500 distinct prompts, among 4,096 generated, that a held-out
    figure needs. Stops as soon as that is certain."""
    prompts: set[str] = set()
    for drawn, seed in enumerate(_evaluation_seeds(environment.name, _SAMPLE), start=1):
        item = _generate(environment, seed)
        if item is not None:
            prompts.add(item.question)
        enough = len(prompts) >= (_CONVINCING if drawn == _CONVINCING else _DISTINCT_NEEDED)
        if enough or len(prompts) + _SAMPLE - drawn < _DISTINCT_NEEDED:
            return enough
    return False


def _evaluation_seeds(name: str, count: int) -> Iterator[int]:
    for index in range(count):
        yield seed_of(prf(_EVALUATION_DOMAIN, [name.encode(), index.to_bytes(8, "little")]))


def _generate(environment: Environment, seed: int) -> Item | None:
    try:
        return environment.generate(seed)
    except Exception:  # an environment may raise anything for a seed that has no task
        return None
