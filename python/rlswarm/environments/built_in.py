"""The environments that ship with rlswarm, beside reasoning-gym's data sets. Imported on use."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlswarm.environments.environment import Environment


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """Where an environment's class and its options are."""

    module: str
    kind: str
    options: str

    def open(self, name: str, config: Mapping[str, Any], shots: int) -> Environment:
        """Raises UnusableEnvironmentError for a config it can't use or something not installed."""
        environment: Environment = self._find(self.kind)(name, config, shots)
        return environment

    def defaults(self) -> dict[str, Any]:
        """Config keys with their defaults."""
        defaults: dict[str, Any] = self._find(self.options)()
        return defaults

    def _find(self, attribute: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), attribute)
        return found


BUILT_IN: Mapping[str, BuiltIn] = {
    "code": BuiltIn("rlswarm.environments.code_environment", "CodeEnvironment", "code_options"),
    "maths": BuiltIn("rlswarm.environments.maths_environment", "MathsEnvironment", "maths_options"),
    "verifiers": BuiltIn(
        "rlswarm.environments.verifiers_environment", "VerifiersEnvironment", "verifiers_options"
    ),
}
