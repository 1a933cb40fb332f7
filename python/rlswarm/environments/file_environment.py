"""A custom environment straight from its file, before anyone has installed it."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlswarm.environments.environment import Environment, UnusableEnvironmentError


def open_file(place: str, config: Mapping[str, Any], shots: int = 0) -> Environment:
    """The environment of ``file.py:Class``, named after its file. Runs the file.

    Raises UnusableEnvironmentError if there is none, or it raises.
    """
    file, colon, kind = place.rpartition(":")
    path = Path(file)
    if not colon or not path.is_file():
        raise UnusableEnvironmentError(
            f"{place} names no file and class, as in greeting.py:Greeting."
        )
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        environment = getattr(module, kind)(path.stem, config, shots)
    except UnusableEnvironmentError:
        raise
    except Exception as error:
        raise UnusableEnvironmentError(
            f"{place} can't be opened: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(environment, Environment):
        raise UnusableEnvironmentError(
            f"{place} is no environment: the class must be a subclass of "
            "rlswarm.environments.environment.Environment."
        )
    return environment
