"""The typed messages between a node and its worker. Importing this loads no torch.

One request, one reply, in order. `Failed` may answer any request.
"""

from typing import Literal

import msgspec

from rlswarm.policy.evidence import Evidence
from rlswarm.prompt import Prompt


class LoraShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The adapter that every node of a swarm trains; A is drawn from `seed` and frozen."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()
    """Names of the layers that are adapted; none = the projections of the model's attention."""
    seed: int = 0


class LearningRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the update (design §6). The defaults are the swarm's learning rule."""

    loss: Literal["dapo", "grpo", "dr_grpo", "gspo", "cispo", "ratio_one"] = "dapo"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    gradient_norm: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio_cap: float = 2.0
    """Cap of π_prox/μ, the truncated importance weight of carried log-probs."""
    sender_share: float = 0.5
    """Largest share of a step's groups that may come from one external peer."""


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load the model, attach the adapter, resume from `checkpoints` if it holds one."""

    model: str
    """Hub id, folder, .gguf file, or the bundled name ``smollm2-135m-instruct``."""
    checkpoints: str
    """Folder of checkpoints; made if absent."""
    lora: LoraShape
    rule: LearningRule
    temperature: float = 1.0
    threads: int = 0
    """CPU threads; 0 leaves torch's default."""
    micro_batch: int = 0
    """Sequences in one forward pass; 0 lets the planner choose."""
    memory_bytes: int = 0
    """What the worker may use; 0 = what is free now."""
    dtype: Literal["", "float32", "bfloat16"] = ""
    """Of the model's numbers; empty lets the planner choose."""
    full: bool = False
    """Train all weights, in fp32, and no adapter."""
    sampler: str = ""
    """URL of an inference server that samples in this process's place; empty for none."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    base: bytes
    """BLAKE3 over the published weight files, the tokenizer and the chat template."""
    adapter: bytes
    """BLAKE3 of the canonical safetensors bytes of the adapter now in the policy."""
    resumed_round: int | None
    """Round of the checkpoint that was resumed; None after a fresh start."""
    steps: int
    """Optimizer steps taken so far, checkpoints included."""
    plan: str
    """One line: dtype, micro-batch, memory estimated."""
    tokenizer: str
    """Path of the ``tokenizer.json`` that decodes this policy's tokens."""
    micro_batch: int
    peak_rss: int
    """Bytes."""
    needed: int = 0
    """Bytes that the planner expects at peak."""


class GroupRequest(msgspec.Struct, frozen=True):
    """G completions of one prompt."""

    prompt: Prompt
    key: bytes
    """32 bytes; token t of sample i is drawn with ``uniforms(key, i, …)[t]``."""
    samples: int
    max_tokens: int


class Sample(msgspec.Struct, frozen=True, tag=True):
    groups: tuple[GroupRequest, ...]
    budget: float
    """Seconds from receipt; then unfinished samples are cut and marked truncated."""
    initial: bool = False
    """Sample from the policy as it was before any training (the adapter switched off)."""
    stop: tuple[str, ...] = ()
    """A completion ends after its text first contains one of these (kept in the text)."""


class Rollout(msgspec.Struct, frozen=True, array_like=True):
    """One completion."""

    tokens: bytes
    """u32 little-endian token ids, the end token included if it was drawn."""
    logprobs: bytes
    """u16 little-endian, −log p of each token in units of 2⁻¹¹ nat, saturating (design §2)."""
    text: str
    """``tokenizers`` decoding of the ids, special tokens skipped."""
    truncated: bool
    """Cut by max_tokens or by the window's end."""


class Sampled(msgspec.Struct, frozen=True, tag=True):
    groups: tuple[tuple[Rollout, ...], ...]
    tokens: int
    """Completion tokens drawn in total."""
    prompt_tokens: int
    seconds: float
    seeded: bool = True
    """Whether the tokens were drawn with their group's key; an external server's are not."""


class AuditGroup(msgspec.Struct, frozen=True):
    """A peer's group, to be checked against the randomness it had to be drawn with."""

    prompt: Prompt
    key: bytes
    """As in `GroupRequest`."""
    rollouts: tuple[Rollout, ...]


class Audit(msgspec.Struct, frozen=True, tag=True):
    """Look at seeded samples with the policy as it is now."""

    groups: tuple[AuditGroup, ...]
    budget: float
    """Seconds from receipt; groups that it does not suffice for are left out."""
    initial: bool = False
    """As in `Sample`."""
    stop: tuple[str, ...] = ()
    """As in `Sample`."""


class Audited(msgspec.Struct, frozen=True, tag=True):
    groups: tuple[tuple[Evidence, ...], ...]
    """By rollout; () for a group that time did not suffice for."""
    seconds: float


class TrainGroup(msgspec.Struct, frozen=True):
    """A group with its recomputed rewards, own or a peer's."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    rewards: tuple[float, ...]
    sender: str
    """PeerId; empty for own groups."""
    age: int
    """Rounds since it was sampled."""


class Learn(msgspec.Struct, frozen=True, tag=True):
    """One learn window: order, filter, accumulate, step once, checkpoint."""

    round: int
    groups: tuple[TrainGroup, ...]
    budget: float
    """Seconds from receipt, checkpoint included."""


class Learned(msgspec.Struct, frozen=True, tag=True):
    stepped: bool
    """False if no group carried a signal; then adapter and optimizer are unchanged."""
    own_used: int
    external_used: int
    own_informative: int
    external_informative: int
    refused: tuple[tuple[str, str], ...]
    """(sender, reason) of groups not trained on because they are malformed or implausible."""
    tokens: int
    loss: float
    gradient_norm: float
    effective_sample_size: float
    """Kish: (Σw)²/Σw² over truncated importance weights, as a share of tokens, 0..1."""
    adapter: bytes
    """Hash after the step."""
    steps: int
    used: tuple[int, ...]
    """Indices into `Learn.groups` of those whose gradient entered the step."""
    seconds: float = 0.0
    checkpoint_error: str = ""
    """Empty, or one sentence why this round's checkpoint could not be written."""
    peak_rss: int = 0


class Failed(msgspec.Struct, frozen=True, tag=True):
    kind: Literal["model", "memory", "storage", "bug"]
    message: str
    """One sentence for a person."""


Request = Load | Sample | Learn | Audit
Reply = Loaded | Sampled | Learned | Audited | Failed
