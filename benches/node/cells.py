"""What is compared: cases, the systems that play them, and one line of results."""

from dataclasses import dataclass
from typing import Literal

PROMPTS = 4
MAX_TOKENS = 64
TEMPERATURE = 1.0
THREADS = 1
"""Of each node's tensor library: two nodes on two cores."""

LETTER_COUNTING = {"min_words": 3, "max_words": 6}


@dataclass(frozen=True)
class Case:
    """A round that every system plays: each node answers `PROMPTS` tasks and learns from its own
    groups and the other node's."""

    samples: int
    shots: int
    equal: bool
    """Whether the work is made equal: the model has no end, so that each completion has all its
    tokens, and the score tells all texts apart, so that each group is trained on. Otherwise the
    model stops where it likes, the score is exact, and we leave out groups that can't teach."""

    @property
    def name(self) -> str:
        tokens = f"{MAX_TOKENS} tokens" if self.equal else f"up to {MAX_TOKENS} tokens"
        return f"{PROMPTS} prompts x {self.samples} samples x {tokens}, {self.shots} shots"


EQUAL_WORK = Case(samples=2, shots=0, equal=True)
MORE_SAMPLES = Case(samples=8, shots=0, equal=True)
AS_PLAYED = Case(samples=2, shots=3, equal=False)


@dataclass(frozen=True)
class System:
    """One row of the comparison."""

    name: str
    kind: Literal["rlswarm", "genrl"]
    dtype: str = ""
    """Ours only; empty leaves it to the planner."""
    full: bool = False
    """Ours only: all weights are trained instead of LoRA."""
    stages: int = 1
    checkpointing: bool = True
    """GenRL only: its default."""


OURS = System("rlswarm", "rlswarm")
OURS_FP32 = System("rlswarm, fp32", "rlswarm", dtype="float32")
OURS_FULL = System("rlswarm, fp32, all weights", "rlswarm", dtype="float32", full=True)
OURS_THREE = System("rlswarm, three stages", "rlswarm", stages=3)
GENRL = System("genrl", "genrl")
GENRL_PLAIN = System("genrl, no checkpointing", "genrl", checkpointing=False)

RUNS: list[tuple[Case, list[System]]] = [
    (EQUAL_WORK, [OURS, GENRL, OURS_FP32, OURS_FULL, OURS_THREE, GENRL_PLAIN]),
    (MORE_SAMPLES, [OURS, GENRL, OURS_FP32, OURS_FULL]),
    (AS_PLAYED, [OURS, GENRL]),
]
"""In this order, one after the other, as often as asked for."""


@dataclass
class RoundCost:
    """What one node's round took, the waiting for windows left out where it can be."""

    work_seconds: float
    """Wall time of sampling, exchanging and learning."""
    cpu: float
    sample_cpu: float | None
    """None for several stages, whose parts can't be told apart."""
    gather_cpu: float | None
    """The original's exchange; in ours it goes on beside the rest and is in `learn_cpu`."""
    learn_cpu: float | None
    sent: int
    received: int
    tokens: int
    """Completion tokens sampled, all stages."""
    own_groups: int
    """Trained on."""
    peer_groups: int
    peak_resident: int = 0
    """Bytes, over the node's life, as the two next."""
    peak_proportional: int = 0
    idle_cores: float | None = None
    """CPU seconds a second while waiting for the next round; ours only, the original never
    waits."""
