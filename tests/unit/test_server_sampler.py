"""Sampling handed to a server: real sockets, each server's own protocol, a tiny model behind it."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlswarm.errors import ModelError
from rlswarm.policy.audit import audit
from rlswarm.policy.evidence import ROUND, pooled, verdict
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.server_sampler import ServerSampler
from rlswarm.policy.source import resolve
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import (
    AuditGroup,
    GroupRequest,
    LearningRule,
    Load,
    LoraShape,
    Sample,
    Sampled,
)
from rlswarm.worker.service import Service
from sampling_server import SamplingServer
from tiny_model import make_tiny_model

GROUPS = tuple(
    GroupRequest((ChatMessage("user", text),), bytes([n]) * 32, 4, 12)
    for n, text in enumerate(("Count the r.", "Say something."))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def policy(folder: Path) -> Policy:
    return load_policy(resolve(str(folder)), LoraShape(rank=4))


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., SamplingServer]]:
    started: list[SamplingServer] = []

    def start(kind: str, **options: Any) -> SamplingServer:
        started.append(SamplingServer(kind, options.pop("model", folder), **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


def learned(policy: Policy, spread: float = 0.1) -> None:
    with torch.no_grad():
        for matrix in policy.adapter.values():
            matrix.normal_(std=spread)


def drawn(sampler: ServerSampler, **options: Any) -> Sampled:
    return sampler.sample(GROUPS, deadline=time.monotonic() + 60, clock=time.monotonic, **options)


def logprob_error(policy: Policy, sampled: Sampled, temperature: float = 1.0) -> float:
    groups = [
        AuditGroup(asked.prompt, asked.key, rollouts)
        for asked, rollouts in zip(GROUPS, sampled.groups, strict=True)
    ]
    found = audit(policy, groups, deadline=1e9, clock=lambda: 0.0, temperature=temperature)
    evidence = pooled(e for group in found for e in group)
    assert verdict(evidence, ROUND) == "inconsistent"  # unseeded, and seen to be
    assert evidence.broken == 0
    return evidence.logprob_error / evidence.tokens


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp"])
def test_each_servers_tokens_and_logprobs_are_this_policys(
    kind: str, policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    sampler = ServerSampler(serve(kind).url + "/v1/", policy, 0.8)
    sampled = drawn(sampler)
    assert not sampled.seeded
    assert [len(group) for group in sampled.groups] == [4, 4]
    for rollout in (r for group in sampled.groups for r in group):
        tokens = np.frombuffer(rollout.tokens, "<u4").tolist()
        assert 0 < len(tokens) <= 12
        assert rollout.truncated == (tokens[-1] not in policy.end_tokens)
        assert rollout.text == policy.renderer.decode(tokens)
    assert logprob_error(policy, sampled, 0.8) < 1e-3
    sampler.close()


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_what_was_learned_is_swapped_in_and_the_old_adapter_out(
    kind: str, policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    server = serve(kind)
    sampler = ServerSampler(server.url, policy, 1.0)
    drawn(sampler)
    assert server.adapters == []
    for count in (1, 2):
        learned(policy)
        assert logprob_error(policy, drawn(sampler)) < 1e-3
        assert len(set(server.adapters)) == count
        assert list(server._models) == server.adapters[-1:]
    with policy.without_adapter():
        assert logprob_error(policy, drawn(sampler, initial=True)) < 1e-3
    sampler.close()


def test_llama_cpp_refuses_what_was_learned(
    policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    sampler = ServerSampler(serve("llama.cpp").url, policy, 1.0)
    learned(policy)
    with pytest.raises(ModelError, match="use a vLLM or SGLang server"):
        drawn(sampler)


def test_a_stop_string_ends_a_sample_and_stays(
    policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    sampler = ServerSampler(serve("llama.cpp").url, policy, 1.0)
    stop = tuple("etaoinshrdlu")
    for rollout in (r for g in drawn(sampler, stop=stop).groups for r in g):
        tokens = np.frombuffer(rollout.tokens, "<u4").tolist()
        assert not any(end in policy.renderer.decode(tokens[:-1]) for end in stop)
        stopped = any(end in rollout.text for end in stop)
        assert rollout.truncated == (not stopped and tokens[-1] not in policy.end_tokens)


def test_at_the_deadline_unfinished_samples_come_back_empty(
    policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    server = serve("vllm")
    sampler = ServerSampler(server.url, policy, 1.0)
    server.delay.clear()
    start = time.monotonic()
    cut = sampler.sample(GROUPS, deadline=start + 0.5, clock=time.monotonic)
    assert time.monotonic() - start < 10
    assert {(r.tokens, r.truncated) for g in cut.groups for r in g} == {(b"", True)}


def spoilt(field: str) -> Callable[[Any], Any]:
    def twist(reply: Any) -> Any:
        reply = copy.deepcopy(reply)
        choice = reply["choices"][0]
        if field == "ids":
            del choice["token_ids"]
        elif field == "logprobs":
            choice["logprobs"] = None
        elif field == "definition":
            choice["logprobs"]["token_logprobs"] = [
                p / 2 for p in choice["logprobs"]["token_logprobs"]
            ]
        else:
            choice["token_ids"][0] = 10**6
        return reply

    return twist


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("ids", "returned no token ids"),
        ("logprobs", "returned no token ids"),
        ("definition", "differ from this model's by"),
        ("alien", "it serves another one"),
    ],
)
def test_a_server_that_says_something_else_is_refused_at_start(
    field: str, says: str, policy: Policy, serve: Callable[..., SamplingServer]
) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        ServerSampler(serve("vllm", twist=spoilt(field)).url, policy, 1.0)
    assert "\n" not in str(refused.value)


def test_another_model_nobody_and_nothing_known_are_refused_at_start(
    policy: Policy, tmp_path: Path, serve: Callable[..., SamplingServer]
) -> None:
    other = serve("sglang", model=make_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(ModelError, match="it serves another model"):
        ServerSampler(other.url, policy, 1.0)
    gone = serve("vllm")
    gone.close()
    with pytest.raises(ModelError, match="is it running"):
        ServerSampler(gone.url, policy, 1.0)
    odd = serve("vllm")
    odd._kind = "llama.cpp"
    odd._get = lambda path: (404, {})  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="no server of vLLM, SGLang or llama"):
        ServerSampler(odd.url, policy, 1.0)


def test_all_weights_can_not_be_handed_over(folder: Path) -> None:
    whole = load_policy(resolve(str(folder)), LoraShape(rank=4), full=True)
    with pytest.raises(ModelError, match="train an adapter"):
        ServerSampler("http://127.0.0.1:9", whole, 1.0)


def test_the_worker_samples_from_the_server_it_is_given(
    folder: Path, tmp_path: Path, serve: Callable[..., SamplingServer]
) -> None:
    server = serve("vllm")
    service = Service(clock=time.monotonic, peak_rss=lambda: 0)
    load = Load(str(folder), str(tmp_path), LoraShape(rank=4), LearningRule(), sampler=server.url)
    service.load(load)
    before = len(server.asked)
    sampled = service.sample(Sample(GROUPS, 60.0), time.monotonic())
    assert not sampled.seeded
    assert len(server.asked) - before == 8
