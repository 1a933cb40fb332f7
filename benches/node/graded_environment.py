"""Letter counting with the graded score, as an installed package would bring it to a node."""

from collections.abc import Mapping
from typing import Any

from graded import graded

from rlswarm.environments.environment import Item
from rlswarm.environments.reasoning_gym_environment import ReasoningGymEnvironment


class GradedLetterCounting(ReasoningGymEnvironment):
    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        super().__init__("letter_counting", config, shots)

    def extract(self, completion: str, item: Item) -> str:
        return completion

    def grade(self, answer: str, item: Item) -> float:
        return graded(answer, str(item.reference))
