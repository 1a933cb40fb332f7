"""Attention of many growing completions of few prompts, one new token each.

A prompt's keys and values are held once for all of its completions, and a completion's own beside
them, so a decoding step reads what it needs and copies nothing. The two parts are attended to apart
and joined by their softmax sums, as split-key attention does (Dao et al., FlashDecoding, 2023).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_NAME = "rlswarm_groups"
_FIRST_LENGTH = 32
"""Tokens of each completion for which there is room at first; it doubles."""


@dataclass
class _Layer:
    """Keys and values of one layer, fp32."""

    prompt_keys: Tensor
    """[slots, key heads, longest prompt, width]; values alike."""
    prompt_values: Tensor
    own_keys: Tensor
    """[rows, key heads, room, width]; values alike."""
    own_values: Tensor


class GroupCache:
    """Prompts in slots, completions in rows 0..`rows`; rows are kept without gaps."""

    def __init__(self, longest: int, device: torch.device) -> None:
        """`longest`: most tokens that a prompt may have."""
        self._longest = longest
        self._device = device
        self._layers: list[_Layer] = []
        self._lengths: list[int] = []
        """Prompt tokens by slot; 0 = free."""
        self._slots: list[int] = []
        self._sizes: list[int] = []
        """By row: its slot, and how many tokens of its own it has."""
        self._room = _FIRST_LENGTH
        self._step: _Step | None = None

    @property
    def rows(self) -> int:
        return len(self._slots)

    def add_prompt(self, computed: DynamicCache, places: Sequence[int]) -> int:
        """Take a prompt's keys and values over from `places` of a flat cache. Returns its slot."""
        if not self._layers:
            for layer in computed.layers:
                _, heads, _, width = layer.keys.shape
                wide = layer.values.shape[-1]
                self._layers.append(
                    _Layer(
                        torch.zeros(0, heads, self._longest, width, device=self._device),
                        torch.zeros(0, heads, self._longest, wide, device=self._device),
                        torch.zeros(0, heads, self._room, width, device=self._device),
                        torch.zeros(0, heads, self._room, wide, device=self._device),
                    )
                )
        if 0 not in self._lengths:
            self._lengths.append(0)
            for held in self._layers:
                held.prompt_keys = _grown(held.prompt_keys, 0, len(self._lengths))
                held.prompt_values = _grown(held.prompt_values, 0, len(self._lengths))
        slot = self._lengths.index(0)
        count = len(places)
        self._lengths[slot] = count
        where = torch.tensor(places, device=self._device)
        for held, layer in zip(self._layers, computed.layers, strict=True):
            held.prompt_keys[slot, :, :count] = layer.keys[0].index_select(1, where)
            held.prompt_values[slot, :, :count] = layer.values[0].index_select(1, where)
        return slot

    def drop_prompt(self, slot: int) -> None:
        """Forget a prompt that no row needs any more."""
        self._lengths[slot] = 0

    def add_rows(self, slots: Sequence[int]) -> None:
        """Append an empty completion of each of these prompts."""
        self._slots += slots
        self._sizes += [0] * len(slots)
        for held in self._layers:
            held.own_keys = _grown(held.own_keys, 0, self.rows)
            held.own_values = _grown(held.own_values, 0, self.rows)

    def drop_rows(self, gone: Sequence[int]) -> list[int]:
        """Forget some rows. The last ones move into the gaps; returns where each row left comes
        from: its old number, by new number."""
        lost = set(gone)
        left = self.rows - len(lost)
        gaps = [row for row in range(left) if row in lost]
        movers = [row for row in range(left, self.rows) if row not in lost]
        if gaps:
            to, source = (torch.tensor(rows, device=self._device) for rows in (gaps, movers))
            for held in self._layers:
                held.own_keys[to] = held.own_keys[source]
                held.own_values[to] = held.own_values[source]
        order = list(range(left))
        for gap, mover in zip(gaps, movers, strict=True):
            order[gap] = mover
        self._slots = [self._slots[row] for row in order]
        self._sizes = [self._sizes[row] for row in order]
        return order

    def open_step(self) -> Tensor:
        """Make ready for one more token of every row. Returns its position ids: int64 [rows, 1]."""
        if max(self._sizes) == self._room:
            self._room *= 2
            for held in self._layers:
                held.own_keys = _grown(held.own_keys, 2, self._room)
                held.own_values = _grown(held.own_values, 2, self._room)
        self._step = _Step(self._slots, self._sizes, self._lengths, self._device)
        self._sizes = [size + 1 for size in self._sizes]
        return self._step.positions[:, None]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int
    ) -> Tensor:
        """Attention output [rows, 1, heads, width] of one new token a row.

        `query` [rows, heads, 1, width], `key` and `value` [rows, key heads, 1, width], rotated
        where the model rotates. `window` > 0 hides keys that many positions back.
        """
        held, step = self._layers[layer], self._step
        assert step is not None
        rows, heads, _, width = query.shape
        key_heads = key.shape[1]
        held.own_keys[step.all_rows, :, step.sizes] = key[:, :, 0].float()
        held.own_values[step.all_rows, :, step.sizes] = value[:, :, 0].float()
        q = (query.float() * scaling).view(rows, key_heads, heads // key_heads, width)
        hidden_prompt, hidden_own = step.masks(window)

        # A slot's rows side by side, so that its keys are read once for all of them.
        spread = q.new_zeros(step.slots * step.most, *q.shape[1:])
        spread[step.seats] = q
        spread = spread.view(step.slots, step.most, *q.shape[1:]).transpose(1, 2).flatten(2, 3)
        scores = spread @ held.prompt_keys[: step.slots, :, : step.longest].transpose(2, 3)
        scores = _by_seat(scores, step.most) + hidden_prompt
        shared = _partial(scores.flatten(2, 3), held.prompt_values[: step.slots, :, : step.longest])
        shared = _by_seat(shared, step.most).transpose(1, 2).flatten(0, 1)[step.seats]

        scores = q @ held.own_keys[:rows, :, : step.room].transpose(2, 3) + hidden_own
        own = _partial(scores, held.own_values[:rows, :, : step.room])

        highest = torch.maximum(shared[..., -1:], own[..., -1:])
        joined = shared[..., :-1] * (shared[..., -1:] - highest).exp_()
        joined += own[..., :-1] * (own[..., -1:] - highest).exp_()
        output: Tensor = joined[..., :-1] / joined[..., -1:]
        return output.view(rows, 1, heads, -1).to(query.dtype)


class _Step:
    """What all layers share in one decoding step."""

    def __init__(
        self, slots: list[int], sizes: list[int], lengths: list[int], device: torch.device
    ) -> None:
        seat_of: list[int] = []
        taken = [0] * len(lengths)
        for slot in slots:
            seat_of.append(taken[slot])
            taken[slot] += 1
        self.most = max(taken)
        """Most rows of one slot."""
        self.slots = max(slots) + 1
        """Slots in use, gaps among them included."""
        self.longest = max(lengths)
        self.room = max(sizes) + 1
        """Own tokens of the longest row, the new one included."""
        places = [slot * self.most + seat for slot, seat in zip(slots, seat_of, strict=True)]
        self.seats = torch.tensor(places, device=device)
        self.all_rows = torch.arange(len(slots), device=device)
        self.sizes = torch.tensor(sizes, device=device)
        self._lengths = torch.tensor(lengths[: self.slots], device=device)
        self._slot_of = torch.tensor(slots, device=device)
        self.positions = self._lengths[self._slot_of] + self.sizes
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}

    def masks(self, window: int) -> tuple[Tensor, Tensor]:
        """Additive masks over the prompts' keys and over the rows' own.

        Shapes [slots, 1, seats, 1, longest prompt] and [rows, 1, 1, room].
        """
        if window not in self._masks:
            device = self.positions.device
            at = torch.arange(self.longest, device=device)
            sees = (at < self._lengths[:, None])[:, None].repeat(1, self.most, 1)
            own_at = torch.arange(self.room, device=device)
            sees_own = own_at <= self.sizes[:, None]
            if window:
                oldest = self.positions - window + 1
                edge = torch.zeros(self.slots * self.most, dtype=torch.int64, device=device)
                edge[self.seats] = oldest
                sees &= at >= edge.view(self.slots, self.most, 1)
                sees_own &= own_at >= (oldest - self._lengths[self._slot_of])[:, None]
            self._masks[window] = (
                _additive(sees)[:, None, :, None],
                _additive(sees_own)[:, None, None],
            )
        return self._masks[window]


def _additive(sees: Tensor) -> Tensor:
    mask = torch.zeros(sees.shape, device=sees.device)
    # Finite, since a window may hide a whole prompt: such a part must weigh nothing, not be NaN.
    return mask.masked_fill_(~sees, -1e30)


def _by_seat(tensor: Tensor, seats: int) -> Tensor:
    """[slots, heads, seats · n, m] as [slots, heads, seats, n, m]."""
    slots, heads, rows, width = tensor.shape
    return tensor.view(slots, heads, seats, rows // seats, width)


def _partial(scores: Tensor, values: Tensor) -> Tensor:
    """Attention over some of the keys: Σ e^(s − m) v, Σ e^(s − m) and m, side by side.

    `scores` [..., queries, keys] (overwritten), `values` [..., keys, width]; returns
    [..., queries, width + 2].
    """
    highest = scores.amax(-1, keepdim=True)
    weights = scores.sub_(highest).exp_()
    return torch.cat([weights @ values, weights.sum(-1, keepdim=True), highest], dim=-1)


def _grown(tensor: Tensor, dim: int, size: int) -> Tensor:
    """`tensor` with at least `size` entries along `dim`, new ones zero."""
    missing = size - tensor.shape[dim]
    if missing <= 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    group_cache: GroupCache | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention interface; without a group cache it is plain SDPA."""
    if group_cache is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return output
    layer: int = module.layer_idx  # type: ignore[assignment]
    window = options.get("sliding_window") or 0
    return group_cache.attend(layer, query, key, value, options["scaling"], window), None


transformers.AttentionInterface.register(_NAME, _attention)


@contextmanager
def group_attention(body: nn.Module) -> Iterator[None]:
    """Within, attention layers of `body` use the `group_cache` its forward is given, if any."""
    configs: dict[int, Any] = {
        id(module.config): module.config for module in body.modules() if hasattr(module, "config")
    }
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = _NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
