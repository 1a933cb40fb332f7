"""``rlswarm bench sampling``: tokens a second beside transformers' `generate`.

Both on the same weights, adapter, prompts and threads, in turns. `generate` is called as its users
do: left padding, `do_sample`, all rows in one batch, or group by group. Tokens count up to and with
each sample's end token.
"""

import datetime
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator

import msgspec

# As the worker sets them; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

import torch

from rlswarm._core import blake3
from rlswarm.bench.rows import Row, versions
from rlswarm.config.manifest import Manifest
from rlswarm.config.presets import BUNDLED_MODEL, starter_manifest
from rlswarm.environments.draw import training_task
from rlswarm.environments.registry import open_environment
from rlswarm.game.prompts import critique_prompt
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import GroupRequest, LoraShape

GROUP_SIZE = 8


class Case(msgspec.Struct, frozen=True):
    """Groups of eight of the demo's answer stage, or answers and critiques in turn."""

    groups: int
    max_tokens: int
    critiques: bool
    dtype: str

    @property
    def name(self) -> str:
        what = "answers and critiques" if self.critiques else "answers"
        return (
            f"SmolLM2-135M, {self.dtype}, {what}, {self.groups} groups of {GROUP_SIZE}, "
            f"at most {self.max_tokens} tokens"
        )

    def requests(self) -> list[GroupRequest]:
        make = mixed if self.critiques else answers
        return make(self.groups, self.max_tokens)


def default_cases() -> list[Case]:
    """What the demo asks of a node, in fp32."""
    return [Case(8, 24, False, "float32"), Case(8, 64, True, "float32")]


def full_cases() -> list[Case]:
    """Few groups and many, in fp32 and in bf16."""
    shapes = ((2, 24, False), (8, 24, False), (8, 64, True), (16, 64, True))
    return [
        Case(*shape, dtype) for dtype, shape in itertools.product(("float32", "bfloat16"), shapes)
    ]


def answers(count: int, max_tokens: int, label: str = "answers") -> list[GroupRequest]:
    """`count` groups of the demo's answer stage, its environments in turn."""
    opened = [open_environment(e.name, e.config, e.shots) for e in _manifest().environments]
    groups = []
    for number in range(count):
        environment = opened[number % len(opened)]
        key = blake3(f"{label} {number}".encode())
        _, item = training_task(environment, key)
        groups.append(GroupRequest(environment.prompt(item), key, GROUP_SIZE, max_tokens))
    return groups


def mixed(count: int, max_tokens: int, label: str = "mixed") -> list[GroupRequest]:
    """Groups of answers (short) and of critiques (as long as they are let) in turn."""
    game = _manifest().game
    groups = answers(count, max_tokens, label)
    for number in range(1, count, 2):
        group = groups[number]
        shown = [f"It is {number}.", f"{number + 3}"]
        prompt = critique_prompt(game, game.stages[1], group.prompt[-1].content, shown)
        groups[number] = msgspec.structs.replace(group, prompt=prompt)
    return groups


def _manifest() -> Manifest:
    return starter_manifest("bench", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


def ours(policy: Policy, groups: list[GroupRequest]) -> int:
    return sample(policy, groups, deadline=1e18, clock=time.monotonic).tokens


def one_batch(policy: Policy, groups: list[GroupRequest]) -> int:
    """transformers' `generate`, all rows at once."""
    prompts = [policy.renderer.encode(g.prompt) for g in groups for _ in range(g.samples)]
    longest = max(map(len, prompts))
    ends = sorted(policy.end_tokens)
    done = policy.model.generate(  # type: ignore[operator]
        input_ids=torch.tensor([ends[:1] * (longest - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]),
        max_new_tokens=groups[0].max_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=ends[0],
        eos_token_id=ends,
    )
    tokens = 0
    for row in done[:, longest:].tolist():
        found = [place for place, token in enumerate(row) if token in policy.end_tokens]
        tokens += found[0] + 1 if found else len(row)
    return tokens


def group_by_group(policy: Policy, groups: list[GroupRequest]) -> int:
    """transformers' `generate`, a batch for each group."""
    return sum(one_batch(policy, [group]) for group in groups)


SYSTEMS: dict[str, Callable[[Policy, list[GroupRequest]], int]] = {
    "rlswarm": ours,
    "generate, one batch": one_batch,
    "generate, group by group": group_by_group,
}


def run(cases: list[Case], runs: int = 2) -> Iterator[Row]:
    """Tokens a second of every system in every case, `runs` runs each, in turns."""
    found = versions("torch", "transformers")
    found["threads"] = str(torch.get_num_threads())
    for dtype, part in itertools.groupby(cases, key=lambda case: case.dtype):
        policy = load_policy(resolve(BUNDLED_MODEL), LoraShape(), dtype=dtype)
        torch.manual_seed(0)
        ours(policy, answers(1, 8))
        for case in part:
            groups = case.requests()
            rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
            for _, (name, system) in itertools.product(range(runs), SYSTEMS.items()):
                start = time.perf_counter()
                tokens = system(policy, groups)
                rates[name].append(tokens / (time.perf_counter() - start))
            for name, each in rates.items():
                yield Row(
                    "sampling", case.name, name, "tokens per second", statistics.median(each),
                    min(each), max(each), "1/s", found,
                )  # fmt: skip


def table(rows: list[Row]) -> str:
    """The rows as text, with our rate over each system's."""
    lines = []
    for case, group in itertools.groupby(rows, key=lambda row: row.case):
        values = {row.system: row for row in group}
        own = values["rlswarm"].value
        lines += ["", case, f"{'tokens per second':<26}  median      min      max  rlswarm over it"]
        for system, row in values.items():
            if row.value and own:
                lines.append(
                    f"{system:<26}{row.value:8.1f} {row.min:8.1f} {row.max:8.1f} "
                    f"{own / row.value:8.2f}"
                )
    return "\n".join(lines)
