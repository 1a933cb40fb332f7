"""Environments by name: our own, reasoning-gym's data sets, and those of installed packages."""

import difflib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlswarm import __version__
from rlswarm.environments import reasoning_gym_catalog
from rlswarm.environments.built_in import BUILT_IN
from rlswarm.environments.environment import Environment, UnusableEnvironmentError
from rlswarm.environments.reasoning_gym_environment import (
    ReasoningGymEnvironment,
    config_defaults,
    refusal,
)

ENTRY_POINTS = "rlswarm.environments"
"""Entry point group of custom environments; each names a subclass of `Environment`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One line of a list of environments."""

    name: str
    source: str
    """The package it comes from, with its version."""
    refusal: str
    """Why it can't be used, as half a sentence; empty if it can."""


def list_environments() -> list[Listing]:
    """All known environments by name. Imports none of them."""
    gym = [
        Listing(name, reasoning_gym_catalog.installed_version(), refusal(name))
        for name in reasoning_gym_catalog.data_sets()
    ]
    own = [Listing(name, f"rlswarm {__version__}", "") for name in BUILT_IN]
    custom = [Listing(name, _source(point), "") for name, point in _custom().items()]
    return sorted((*own, *gym, *custom), key=lambda listing: listing.name)


def environment_options(name: str) -> dict[str, Any]:
    """Config options of an environment with their defaults; empty for a custom one, whose code
    documents them. Raises UnusableEnvironmentError for an unknown or refused name."""
    if name in BUILT_IN:
        return BUILT_IN[name].defaults()
    if name in reasoning_gym_catalog.data_sets():
        if reason := refusal(name):
            raise UnusableEnvironmentError(f"{name} is refused: {reason}.")
        return config_defaults(name)
    if name in _custom():
        return {}
    raise _unknown(name)


def open_environment(name: str, config: Mapping[str, Any], shots: int = 0) -> Environment:
    """A new environment. Our own and reasoning-gym's names come before custom ones.

    Raises UnusableEnvironmentError: unknown (with the nearest name), refused, or a config or a
    package that doesn't work.
    """
    if name in BUILT_IN:
        return BUILT_IN[name].open(name, config, shots)
    if name in reasoning_gym_catalog.data_sets():
        return ReasoningGymEnvironment(name, config, shots)
    point = _custom().get(name)
    if point is None:
        raise _unknown(name)
    try:
        environment = point.load()(name, config, shots)
    except UnusableEnvironmentError:
        raise
    except Exception as error:
        raise UnusableEnvironmentError(
            f"{name} ({_source(point)}) can't be opened: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(environment, Environment):
        raise UnusableEnvironmentError(
            f"{name} ({_source(point)}) is no environment; "
            "its entry point must name a subclass of rlswarm.environments.environment.Environment."
        )
    return environment


def _custom() -> dict[str, importlib.metadata.EntryPoint]:
    taken = {*BUILT_IN, *reasoning_gym_catalog.data_sets()}
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point for point in points if point.name not in taken}


def _source(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _unknown(name: str) -> UnusableEnvironmentError:
    known = [*BUILT_IN, *reasoning_gym_catalog.data_sets(), *_custom()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`rlswarm env list` shows those there are."
    return UnusableEnvironmentError(f"There is no environment {name}. {hint}")
