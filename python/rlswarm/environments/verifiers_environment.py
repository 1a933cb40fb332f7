"""Single-turn environments written for ``verifiers``, played as they are.

What they ask and how they score stays theirs; a task is row `seed mod rows` of their data set.
Scoring must not wait for anything: judges behind an API and tools have no place in a score that
every node recomputes.
"""

import copy
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import msgspec

from rlswarm._core import blake3
from rlswarm.environments.environment import Environment, Item, UnusableEnvironmentError
from rlswarm.environments.problem_file import check_keys
from rlswarm.environments.verifiers_library import run_without_waiting, scoring_library

_SCORED = {"is_completed": True, "is_truncated": False}


class VerifiersEnvironment(Environment):
    """One `verifiers` environment by the id that its `load_environment` takes."""

    instructions = ""

    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        super().__init__(name, config, shots)
        check_keys(name, config, frozenset(verifiers_options()))
        self._id = config.get("id", "")
        arguments = config.get("arguments", {})
        if not isinstance(self._id, str) or not self._id or not isinstance(arguments, dict):
            raise UnusableEnvironmentError(
                f"{name} needs id, the environment's name, and takes arguments, a table."
            )
        try:
            with scoring_library() as verifiers:
                self._environment = verifiers.load_environment(self._id, **arguments)
                self._rows = self._environment.get_dataset()
                single = isinstance(self._environment, verifiers.SingleTurnEnv)
        except Exception as error:
            raise UnusableEnvironmentError(
                f"{name}: {self._id} can't be opened ({type(error).__name__}: {error}); install "
                "its package and `verifiers<0.3` into this Python."
            ) from error
        if not single or not len(self._rows):
            raise UnusableEnvironmentError(
                f"{name}: {self._id} is not a single-turn environment with rows; games with tools "
                "or several turns can't be played."
            )

    @property
    def version(self) -> str:
        return f"verifiers {importlib.metadata.version('verifiers')}, {self._id}"

    @property
    def pins(self) -> tuple[str, ...]:
        rows = blake3(b"".join(blake3(msgspec.json.encode(row)) for row in self._rows))
        return (self.version, f"{len(self._rows)} rows {rows.hex()}")

    def generate(self, seed: int) -> Item:
        row = self._rows[seed % len(self._rows)]
        return Item(_text(row["prompt"]), None, row)

    def extract(self, completion: str, item: Item) -> str | None:
        """All of it: these environments find the answer themselves."""
        return completion.strip() or None

    def grade(self, answer: str, item: Item) -> float:
        row = copy.deepcopy(item.metadata)
        completion = [{"role": "assistant", "content": answer}]
        state = {**row, "input": row, "task": row, "completion": completion, "trajectory": []}
        state |= _SCORED
        run_without_waiting(self._environment.rubric.score_rollout(state))
        return float(state["reward"])


def verifiers_options() -> dict[str, Any]:
    """Config keys with their defaults."""
    return {"id": "", "arguments": {}}


def _text(prompt: Any) -> str:
    """The text of a prompt: plain, or of its system and user turns."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(turn["content"]) for turn in prompt)
