"""A loaded policy: body, head and adapter."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from rlswarm.errors import ModelError, NotEnoughMemoryError
from rlswarm.policy import tree_attention
from rlswarm.policy.adapter import adapter_hash, attach, trained
from rlswarm.policy.attention import AttentionKinds, Layout, Masks, attention_kinds
from rlswarm.policy.facts import model_facts
from rlswarm.policy.full import everything, published_weights
from rlswarm.policy.group_cache import GroupCache
from rlswarm.policy.memory import Memory, Plan, free_memory, plan
from rlswarm.policy.probe import check_policy
from rlswarm.policy.render import Renderer
from rlswarm.policy.source import ModelFiles
from rlswarm.worker.messages import LoraShape

transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class Policy:
    """A causal language model with its adapter, ready to sample and to learn."""

    kind: str
    """transformers' name of the architecture."""
    model: nn.Module
    """The peft model, or the plain one; its trainable parameters are `adapter`'s."""
    body: nn.Module
    """Token ids to last hidden states."""
    head: Tensor
    """Output embeddings [V, H], frozen unless all weights are trained."""
    head_bias: Tensor | None
    softcap: float | None
    """Logits z become softcap · tanh(z / softcap)."""
    full: bool
    """Whether all weights are trained, and not an adapter."""
    folder: Path
    """What the model was loaded from."""
    adapter: dict[str, nn.Parameter]
    """What is trained: the adapter's B matrices, or all weights."""
    renderer: Renderer
    end_tokens: frozenset[int]
    attention: AttentionKinds
    longest: int
    """Most tokens of prompt and completion together."""
    plan: Plan
    base: bytes

    @property
    def device(self) -> torch.device:
        return self.head.device

    @property
    def vocabulary(self) -> int:
        return int(self.head.shape[0])

    def adapter_hash(self) -> bytes:
        return adapter_hash(self.adapter)

    def without_adapter(self) -> AbstractContextManager[None]:
        """A context in which the policy is the base model again, read again if need be."""
        if self.full:
            return published_weights(self.model, self.folder)
        context: AbstractContextManager[None] = self.model.disable_adapter()  # type: ignore[operator]
        return context

    def masks(self, layout: Layout, start: int, stop: int) -> Masks:
        """What `hidden` takes: queries at places start..stop of a layout, keys at 0..stop."""
        return self.attention.masks(layout, start, stop, self.head.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [n, V] of last hidden states [n, H], in the head's dtype."""
        logits = F.linear(hidden, self.head, self.head_bias)
        return (logits / self.softcap).tanh() * self.softcap if self.softcap else logits

    def hidden(self, ids: Tensor, positions: Tensor, masks: Masks, cache: Any = None) -> Tensor:
        """Last hidden states [n, H] of one row of tokens.

        `ids` and `positions` int64 [1, n]; `masks` as `masks` gives them, over all cached tokens
        and these; `cache` a transformers DynamicCache that is read and extended.
        """
        out = self.body(
            input_ids=ids,
            position_ids=positions,
            attention_mask=masks,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden: Tensor = out.last_hidden_state[0]
        return hidden

    def hidden_of_rows(self, ids: Tensor, positions: Tensor, cache: GroupCache) -> Tensor:
        """Last hidden states [rows, H] of one new token [rows, 1] of every row of `cache`.

        Only within `group_attention`, after the cache's `open_step`.
        """
        out = self.body(input_ids=ids, position_ids=positions, use_cache=False, group_cache=cache)
        hidden: Tensor = out.last_hidden_state[:, 0]
        return hidden


def load_policy(
    files: ModelFiles,
    lora: LoraShape,
    *,
    micro_batch: int = 0,
    memory_bytes: int = 0,
    dtype: str = "",
    full: bool = False,
    processes: int = 1,
) -> Policy:
    """Plan, load and adapt a model. Raises NotEnoughMemoryError before loading, ModelError."""
    gpu = torch.cuda.is_available()
    facts = model_facts(files.folder, lora)
    chosen = plan(
        facts, _memory(gpu, memory_bytes // processes, processes), micro_batch, dtype, full
    )
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            files.folder,
            dtype=getattr(torch, chosen.dtype),
            attn_implementation=tree_attention.NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"{files.folder} can't be loaded: {_first_line(error)}") from error
    if gpu:
        try:
            model.to("cuda")
        except torch.cuda.OutOfMemoryError as error:
            raise NotEnoughMemoryError(
                f"the model does not fit on the GPU beside what runs there ({chosen})"
            ) from error
    head = model.get_output_embeddings()
    text = model.config.get_text_config(decoder=True)
    attention = attention_kinds(text)
    if not isinstance(head, nn.Linear):
        raise ModelError(f"{text.model_type} has no plain output layer, so it can't be trained")
    if getattr(text, "attn_logit_softcapping", None):
        raise ModelError(f"{text.model_type} caps its attention scores, which does not work here")
    renderer = Renderer(files.folder, files.tokenizer)
    ends = _end_tokens(model, renderer)
    body = model.base_model
    adapted = model if full else attach(model, lora)
    weights = everything(model) if full else trained(adapted)
    adapted.eval()  # no dropout anywhere: log-probs of sampling and learning must agree
    policy = Policy(
        kind=text.model_type,
        model=adapted,
        body=body,
        head=head.weight,
        head_bias=head.bias,
        softcap=getattr(text, "final_logit_softcapping", None),
        full=full,
        folder=files.folder,
        adapter=weights,
        renderer=renderer,
        end_tokens=ends,
        attention=attention,
        longest=int(getattr(text, "max_position_embeddings", 0) or 1 << 20),
        plan=chosen,
        base=files.base,
    )
    check_policy(policy)
    return policy


def _memory(gpu: bool, allowed: int, processes: int) -> Memory:
    """What this process may use; on a CPU as many `processes` share what is free."""
    if gpu:
        free, total = torch.cuda.mem_get_info()
        if allowed:
            # What the plan misjudges must not take more of the owner's GPU than was lent.
            torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
        return Memory(min(free, allowed) if allowed else free, gpu=True)
    # The planner counts the runtime, part of which this process has taken already.
    import psutil

    free = free_memory() // processes + int(psutil.Process().memory_info().rss)
    return Memory(min(free, allowed) if allowed else free, bf16=_multiplies_bf16())


def _multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bf16 matrices (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def _end_tokens(model: Any, renderer: Renderer) -> frozenset[int]:
    ends: set[int] = set()
    for value in (
        model.config.eos_token_id,
        model.generation_config.eos_token_id if model.generation_config else None,
        renderer.end_token,
    ):
        if value is not None:
            ends |= {value} if isinstance(value, int) else set(value)
    return frozenset(ends)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
