"""Single-turn environments written for ``verifiers``, played as they are.

What they ask and how they score stays theirs; a task is row `seed mod rows` of their data set.
Scoring must not wait for anything: judges behind an API and tools have no place in a score that
every node recomputes.
"""

import copy
import importlib.metadata
from collections.abc import Coroutine, Mapping
from typing import Any

from rlswarm.environments.environment import Environment, Item, UnusableEnvironmentError
from rlswarm.environments.problem_file import check_keys

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
            import verifiers

            self._environment = verifiers.load_environment(self._id, **arguments)
            self._rows = self._environment.get_dataset()
        except Exception as error:
            raise UnusableEnvironmentError(
                f"{name}: {self._id} can't be opened ({type(error).__name__}: {error}); install "
                "its package and `verifiers<0.3` into this Python."
            ) from error
        if not isinstance(self._environment, verifiers.SingleTurnEnv) or not len(self._rows):
            raise UnusableEnvironmentError(
                f"{name}: {self._id} is not a single-turn environment with rows; games with tools "
                "or several turns can't be played."
            )

    @property
    def version(self) -> str:
        return f"verifiers {importlib.metadata.version('verifiers')}, {self._id}"

    @property
    def pins(self) -> tuple[str, ...]:
        return (self.version, str(len(self._rows)))

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
        _finish(self._environment.rubric.score_rollout(state))
        return float(state["reward"])


def verifiers_options() -> dict[str, Any]:
    """Config keys with their defaults."""
    return {"id": "", "arguments": {}}


def _text(prompt: Any) -> str:
    """The text of a prompt: plain, or of its system and user turns."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(turn["content"]) for turn in prompt)


def _finish(scoring: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits. An event loop would open a socket, which a scorer can't."""
    try:
        scoring.send(None)
    except StopIteration:
        return
    scoring.close()
    raise UnusableEnvironmentError("its score waits for something outside, such as a judge")
