"""Tokens a second of our sampler beside transformers' `generate`, as JSON lines.

    python benches/sampling/speed.py [--dtype float32] [--repeats 3]

SmolLM2-135M with its adapter, both on the same weights, prompts and threads. `generate` gets what a
user would write: left padding, do_sample, all rows in one batch, and group by group; it stops at
end tokens like ours. A case's tokens are those up to and with each sample's end token. Runs
alternate; value, min and max are the median and range over them.
"""

import argparse
import json
import os
import statistics
import time

# As the worker sets them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

import torch
import transformers
from workload import answers, mixed

from rlswarm.policy import model as model_module
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample
from rlswarm.policy.source import resolve
from rlswarm.worker.messages import GroupRequest, LoraShape


def ours(policy: Policy, groups: list[GroupRequest]) -> int:
    return sample(policy, groups, deadline=1e18, clock=time.monotonic).tokens


def generate(policy: Policy, groups: list[GroupRequest]) -> int:
    prompts = [policy.renderer.encode(g.prompt) for g in groups for _ in range(g.samples)]
    longest = max(map(len, prompts))
    pad = min(policy.end_tokens)
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    done = policy.model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=seen, max_new_tokens=groups[0].max_tokens, do_sample=True,
        temperature=1.0, top_k=0, top_p=1.0, pad_token_id=pad,
        eos_token_id=sorted(policy.end_tokens),
    )  # fmt: skip
    tokens = 0
    for row in done[:, longest:].tolist():
        ends = [place for place, token in enumerate(row) if token in policy.end_tokens]
        tokens += ends[0] + 1 if ends else len(row)
    return tokens


def generate_by_group(policy: Policy, groups: list[GroupRequest]) -> int:
    return sum(generate(policy, [group]) for group in groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model_module._multiplies_bf16 = lambda: options.dtype == "bfloat16"
    policy = load_policy(resolve("smollm2-135m-instruct"), LoraShape())
    assert policy.plan.dtype == options.dtype
    cases = {
        "answers, 2 groups of 8, 24 tokens": answers(2, 24),
        "answers, 8 groups of 8, 24 tokens": answers(8, 24),
        "answers and critiques, 8 groups of 8, 64 tokens": mixed(8, 64),
    }
    systems = {
        "rlswarm": ours,
        "generate, one batch": generate,
        "generate, group by group": generate_by_group,
    }
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, "
    versions += f"{torch.get_num_threads()} threads"
    torch.manual_seed(0)
    ours(policy, cases["answers, 2 groups of 8, 24 tokens"])
    for case, groups in cases.items():
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for repeat in range(options.repeats):
            for name, run in systems.items():
                # The slow ones once are enough to see which of the two is the one to beat.
                if repeat and name == "generate, group by group":
                    continue
                start = time.perf_counter()
                tokens = run(policy, groups)
                rates[name].append(tokens / (time.perf_counter() - start))
        for name, found in rates.items():
            line = {
                "bench": "sampling", "case": f"{case}, {options.dtype}", "system": name,
                "metric": "tokens/s", "value": round(statistics.median(found), 1),
                "min": round(min(found), 1), "max": round(max(found), 1), "unit": "1/s",
                "versions": versions,
            }  # fmt: skip
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
