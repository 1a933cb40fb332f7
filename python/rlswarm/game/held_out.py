"""Held-out results that anyone can check: whose answers to which tasks, and how many were right.

The tasks and the uniforms that draw the answers are the same for every node and every time, so two
results over the same tasks are a paired comparison: of two peers, or of one policy as it learns.
"""

import math
from collections.abc import Sequence

import msgspec

from rlswarm._core import prf
from rlswarm.game.rollouts import BodyError
from rlswarm.game.stages import Stage
from rlswarm.scorer.messages import MICRO, Answer, Task
from rlswarm.worker.messages import GroupRequest, Rollout

_BYTES_A_TOKEN = 64
"""Bytes of text that one token may stand for, at most."""


class Completion(msgspec.Struct, frozen=True, array_like=True):
    """One answer as its tokens came."""

    tokens: bytes
    """u32 little-endian."""
    text: str


class Measured(msgspec.Struct, frozen=True, array_like=True):
    """Answers to a run of an environment's held-out tasks, one each."""

    environment: int
    """Index in the manifest."""
    start: int
    """Number of the first task, in the order in which every node finds them."""
    right: int
    """How many earn full credit."""
    completions: tuple[Completion, ...]

    @property
    def accuracy(self) -> "Accuracy":
        return Accuracy(self.right, len(self.completions))


class EvaluationBody(msgspec.Struct, frozen=True):
    """Body of an `evaluation` record. Its header names the policy that answered."""

    measured: tuple[Measured, ...]


class Accuracy(msgspec.Struct, frozen=True):
    """Right answers among held-out tasks, one sample each at the swarm's temperature."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count if self.count else math.nan

    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval (Wilson 1927)."""
        if not self.count:
            return (0.0, 1.0)
        z, n, p = 1.959964, self.count, self.share
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(0.0, middle - half), min(1.0, middle + half))

    def as_data(self) -> dict[str, float | int]:
        """Fields of an event, rounded for people."""
        low, high = self.interval()
        return {
            "accuracy": round(self.share, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "right": self.right,
            "count": self.count,
        }


def pooled(measured: Sequence[Measured]) -> Accuracy:
    """All tasks together, each counting once."""
    return Accuracy(sum(m.right for m in measured), sum(len(m.completions) for m in measured))


def held_out_request(task: Task, rules: Stage) -> GroupRequest:
    """One answer to a held-out task, drawn with uniforms that everybody knows."""
    return GroupRequest(
        prompt=task.prompt,
        key=prf("rlswarm 2026 held-out sampling", [task.seed.to_bytes(8, "little")]),
        samples=1,
        max_tokens=rules.max_tokens,
    )


def was_cut(rollout: Rollout, rules: Stage) -> bool:
    """Whether time ended it. Such an answer says how fast this machine is, not how good the policy
    is; leaving out only these would favour short ones."""
    return rollout.truncated and len(rollout.tokens) // 4 < rules.max_tokens


def answers(measured: Measured, tasks: Sequence[Task]) -> tuple[Answer, ...]:
    """What the scorer must judge; `tasks` are the environment's held-out ones from the first on.

    Raises BodyError if the result claims tasks that there are not.
    """
    chosen = tasks[measured.start : measured.start + len(measured.completions)]
    if len(chosen) < len(measured.completions):
        raise BodyError("it answers more held-out tasks than the environment has")
    return tuple(
        Answer(task.environment, task.seed, completion.text)
        for task, completion in zip(chosen, measured.completions, strict=True)
    )


def count_right(scores: Sequence[int | None]) -> int:
    """Full credit alone; part credit would make a share that no interval fits."""
    return sum(score == MICRO for score in scores)


def encode_evaluation(measured: Sequence[Measured]) -> bytes:
    return msgspec.msgpack.encode(EvaluationBody(tuple(measured)))


_decoder = msgspec.msgpack.Decoder(EvaluationBody)


def decode_evaluation(
    body: bytes, environments: int, most: int, rules: Stage
) -> tuple[Measured, ...]:
    """Decode a stranger's result. Raises BodyError.

    Afterwards: each of the `environments` at most once, 1 to `most` answers of each, and no text
    beyond what its tokens could spell.
    """
    try:
        measured = _decoder.decode(body).measured
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(f"the body can't be decoded: {error}") from None
    named = [m.environment for m in measured]
    if not named or named != sorted(set(named)) or not 0 <= named[0] <= named[-1] < environments:
        raise BodyError("it does not name each of its environments once, in the manifest's order")
    for result in measured:
        count = len(result.completions)
        if result.start < 0 or count < 1 or result.start + count > most:
            raise BodyError(f"it answers tasks that are not among the first {most}")
        if not 0 <= result.right <= count:
            raise BodyError(f"it claims {result.right} right of {count}")
        for completion in result.completions:
            tokens, rest = divmod(len(completion.tokens), 4)
            if rest or not 1 <= tokens <= rules.max_tokens:
                raise BodyError("an answer is not 1 to `max_tokens` tokens long")
            if len(completion.text) > _BYTES_A_TOKEN * tokens:
                raise BodyError("an answer claims more text than its tokens can spell")
    return measured
