"""What an environment is: seeded tasks with an exact scorer. Pure: no torch, sockets or clock."""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from rlswarm._core import blake3, prf
from rlswarm.environments.extraction import MARKER, extract_answer
from rlswarm.errors import ScorerError
from rlswarm.prompt import ChatMessage, Prompt

FULL_SCORE = 1_000_000
"""Scores are integers in millionths, so that every node computes the same bits."""

COMPLETION_LIMIT = 64 << 10
"""Bytes of UTF-8; a longer completion is unscorable for everybody."""

SEED_BITS = 63

_EXAMPLE_ATTEMPTS = 256
_EXAMPLE_DOMAIN = "rlswarm 2026 worked example seed"


class UnusableEnvironmentError(ScorerError):
    """An environment that this node can't or won't play; the message says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One task with what its scorer needs."""

    question: str
    reference: str | None
    """A right answer; None where the environment can only check answers."""
    metadata: Any = None
    """The environment's own; scoring must not change it."""


class Environment(ABC):
    """Seeded tasks with an exact scorer.

    A custom environment is one subclass with `generate` and `grade`, named in the entry point
    group ``rlswarm.environments``. Both must depend on their arguments and the config alone.
    """

    instructions = f'Answer the question. End with "{MARKER}" and the answer alone.'

    def __init__(self, name: str, config: Mapping[str, Any], shots: int = 0) -> None:
        """`config` comes from the manifest; `shots` worked examples precede each task.

        Subclasses raise UnusableEnvironmentError for a config they can't use.
        """
        self.name = name
        self.config = config
        self.shots = shots

    @property
    def version(self) -> str:
        """What generates the tasks, with its version, for people."""
        return self.name

    @property
    def pins(self) -> tuple[str, ...]:
        """What must be equal on every node for scores to be, beyond the tasks themselves: versions
        of graders, hashes of hidden tests. Part of the fingerprint."""
        return ()

    @abstractmethod
    def generate(self, seed: int) -> Item:
        """The task of a 63-bit seed. Raises anything for a seed that has none."""

    @abstractmethod
    def grade(self, answer: str, item: Item) -> float:
        """Score of an extracted answer, 0 to 1. Raises anything for one it can't judge."""

    def extract(self, completion: str, item: Item) -> str | None:
        """The answer that a completion commits to, or None if there isn't exactly one."""
        return extract_answer(completion, item.reference)

    @final
    def score(self, completion: str, item: Item) -> int | None:
        """Millionths, 0 to `FULL_SCORE`; None = unscorable for everybody: over the byte limit, not
        Unicode text, or a scorer that raises or answers outside 0 to 1. Raises MemoryError and
        UnusableEnvironmentError, which say something about this machine and nothing about the
        answer."""
        if not _is_bounded_text(completion):
            return None
        try:
            answer = self.extract(completion, item)
            value = 0.0 if answer is None else float(self.grade(answer, item))
        except (MemoryError, UnusableEnvironmentError):
            raise
        except Exception:  # a scorer is somebody's own code and may raise anything
            return None
        if math.isnan(value) or not 0.0 <= value <= 1.0:
            return None
        return round(value * FULL_SCORE)

    @final
    def prompt(self, item: Item) -> Prompt:
        """The answer stage's chat: instructions, worked examples, question.

        The instructions open the first user turn, since some chat templates refuse a system turn.
        """
        turns: list[ChatMessage] = []
        for example in self._examples:
            turns.append(ChatMessage("user", example.question))
            turns.append(ChatMessage("assistant", f"{MARKER} {example.reference}"))
        turns.append(ChatMessage("user", item.question))
        if self.instructions:
            turns[0] = ChatMessage("user", f"{self.instructions}\n\n{turns[0].content}")
        return tuple(turns)

    @functools.cached_property
    def _examples(self) -> tuple[Item, ...]:
        """Worked examples from their own seeds, never held out, with answers as different as the
        first seeds allow: a small model copies an answer that it sees three times."""
        chosen: list[Item] = []
        spare: list[Item] = []
        for attempt in range(_EXAMPLE_ATTEMPTS if self.shots else 0):
            seed = seed_of(
                prf(_EXAMPLE_DOMAIN, [self.name.encode(), attempt.to_bytes(8, "little")])
            )
            item = self.generate(seed)
            if item.reference is None or is_held_out(item.question):
                continue
            seen = {example.reference for example in chosen}
            (spare if item.reference in seen else chosen).append(item)
            if len(chosen) == self.shots:
                break
        examples = (*chosen, *spare)[: self.shots]
        if len(examples) < self.shots:
            raise UnusableEnvironmentError(
                f"{self.name} has only {len(examples)} worked examples with a reference answer; "
                f"set shots to at most {len(examples)}."
            )
        return examples


def seed_of(digest: bytes) -> int:
    """The first 63 bits of a 32-byte digest, big-endian."""
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def is_held_out(question: str) -> bool:
    """Whether training must never draw this task: BLAKE3 of its UTF-8, as a big-endian number,
    is divisible by 10."""
    return int.from_bytes(blake3(question.encode()), "big") % 10 == 0


def _is_bounded_text(completion: str) -> bool:
    if len(completion) > COMPLETION_LIMIT:
        return False
    try:
        return len(completion.encode()) <= COMPLETION_LIMIT
    except UnicodeEncodeError:
        return False
