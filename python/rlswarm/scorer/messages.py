"""The typed messages between a node and its scorer. Importing this loads no environment.

One request, one reply, in order. `Refused` may answer any request.
"""

from typing import Any

import msgspec

from rlswarm.prompt import Prompt

MICRO = 1_000_000
"""Rewards and credit are integers in millionths, so that every node computes the same bits."""


class EnvironmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One environment of the manifest."""

    name: str
    weight: int = 1
    shots: int = 0
    """Worked examples put before each task, fixed per environment."""
    config: dict[str, Any] = {}
    levels: tuple[dict[str, Any], ...] = ()
    """Options laid over `config` for training, from easy to hard; what ledgers counted decides
    which. Evaluation takes `config` as it is. Empty = no curriculum."""
    fingerprint: str = ""
    """Hex BLAKE3 over 64 generated items and the scores of a right and a wrong answer; empty
    skips the check."""
    version: str = ""
    """What made that fingerprint, such as ``reasoning-gym 0.1.25``: said to whoever has another."""


class Open(msgspec.Struct, frozen=True, tag=True):
    environments: tuple[EnvironmentSpec, ...]
    tokenizer: str = ""
    """Path of a ``tokenizer.json``; empty = texts are not checked against token ids."""


class Opened(msgspec.Struct, frozen=True, tag=True):
    fingerprints: tuple[str, ...]
    """As generated here, in the order asked."""
    versions: tuple[str, ...]
    """Of what generated them, for people."""
    mismatches: tuple[tuple[int, str], ...]
    """(environment index, one sentence) for those to decline."""
    held_out: tuple[bool, ...]
    """Whether the set has the 500 distinct prompts that a held-out figure needs (design §2)."""
    peak_rss: int


class SlotRequest(msgspec.Struct, frozen=True):
    """A task to regenerate: the first attempt a whose prompt is not held out (design §4)."""

    environment: int
    """Index in the manifest's list."""
    seed_key: bytes
    """32 bytes; attempt a has seed = first 63 bits of prf("…task seed", [seed_key, a])."""


class Tasks(msgspec.Struct, frozen=True, tag=True):
    slots: tuple[SlotRequest, ...]
    levels: tuple[int, ...] = ()
    """Of each environment, as everybody finds it for the round; empty = its `config` alone."""


class Task(msgspec.Struct, frozen=True):
    environment: int
    seed: int
    """63 bits; item 0 of (environment, version, config, seed) is the task."""
    question: str
    """The task's text alone, to be quoted by later stages."""
    prompt: Prompt
    """What the answer stage asks: instructions, worked examples, question."""


class TaskList(msgspec.Struct, frozen=True, tag=True):
    tasks: tuple[Task, ...]


class HeldOut(msgspec.Struct, frozen=True, tag=True):
    """The first `count` held-out tasks of an environment, the same on every node."""

    environment: int
    count: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    environment: int
    seed: int
    text: str


class Score(msgspec.Struct, frozen=True, tag=True):
    answers: tuple[Answer, ...]
    decoded: tuple[tuple[bytes, str], ...] = ()
    """(u32 LE token ids, claimed text) pairs to check with the tokenizer."""
    levels: tuple[int, ...] = ()
    """As in `Tasks`."""


class Scored(msgspec.Struct, frozen=True, tag=True):
    scores: tuple[int | None, ...]
    """Millionths, 0..1_000_000; None = unscorable for everybody."""
    faithful: tuple[bool, ...]
    """Whether each `decoded` pair agrees."""
    overran: tuple[int, ...]
    """Indices of answers whose scoring overran the local guard (seconds): undecided here."""
    peak_rss: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    message: str
    """One sentence for a person."""


Request = Open | Tasks | HeldOut | Score
Reply = Opened | TaskList | Scored | Refused
