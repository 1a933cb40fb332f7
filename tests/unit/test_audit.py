"""The verifier on the tiny model: honest samples pass, every other way of choosing tokens shows."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlswarm._core import blake3
from rlswarm.errors import ModelError
from rlswarm.policy.audit import audit
from rlswarm.policy.evidence import GROUP, ROUND, Evidence, look, pooled, verdict
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import pack_logprobs, sample
from rlswarm.policy.source import resolve
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import AuditGroup, GroupRequest, LoraShape, Rollout
from tiny_model import make_tiny_model

PROMPTS = tuple((ChatMessage("user", text),) for text in ("Count the r.", "Count the rest, now."))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(
        resolve(str(make_tiny_model(tmp_path_factory.mktemp("model")))), LoraShape(rank=4)
    )


def drawn(policy: Policy, temperature: float = 1.0, samples: int = 8) -> list[AuditGroup]:
    requests = [
        GroupRequest(prompt, blake3(bytes([n])), samples, 24) for n, prompt in enumerate(PROMPTS)
    ]
    done = sample(
        policy, requests, deadline=1e9, clock=lambda: 0.0, temperature=temperature, stop=("zz",)
    )
    return [
        AuditGroup(r.prompt, r.key, rollouts)
        for r, rollouts in zip(requests, done.groups, strict=True)
    ]


def looked(policy: Policy, groups: list[AuditGroup], temperature: float = 1.0) -> Evidence:
    found = audit(
        policy, groups, deadline=1e9, clock=lambda: 0.0, temperature=temperature, stop=("zz",)
    )
    return pooled(e for group in found for e in group)


def changed(group: AuditGroup, number: int, **fields: object) -> AuditGroup:
    rollouts = list(group.rollouts)
    rollouts[number] = msgspec.structs.replace(rollouts[number], **fields)  # type: ignore[arg-type]
    return msgspec.structs.replace(group, rollouts=tuple(rollouts))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_honest_samples_are_consistent_at_their_temperature(
    policy: Policy, temperature: float
) -> None:
    groups = drawn(policy, temperature)
    evidence = looked(policy, groups, temperature)
    assert evidence.tokens == sum(len(r.tokens) // 4 for g in groups for r in g.rollouts)
    assert (evidence.outside, evidence.far, evidence.broken) == (0, 0, 0)
    assert evidence.weight > ROUND.weight
    assert evidence.logprob_error / evidence.tokens < 0.5 / 2048 + 2e-4
    assert verdict(evidence, ROUND) == verdict(evidence, GROUP) == "consistent"


def test_other_randomness_other_weights_and_copies_show(policy: Policy) -> None:
    groups = drawn(policy)
    unseeded = [msgspec.structs.replace(g, key=blake3(g.key)) for g in groups]
    evidence = looked(policy, unseeded)
    assert 0.8 < evidence.share < 1.2
    copied = [msgspec.structs.replace(g, rollouts=g.rollouts[::-1]) for g in groups]
    for fabricated in (evidence, looked(policy, copied)):
        assert verdict(fabricated, GROUP) == "inconsistent"
    before = {name: p.detach().clone() for name, p in policy.adapter.items()}
    generator = torch.Generator().manual_seed(1)
    try:
        with torch.no_grad():
            for parameter in policy.adapter.values():
                parameter.normal_(std=0.3, generator=generator)
        assert verdict(looked(policy, groups), GROUP) == "inconsistent"
    finally:
        with torch.no_grad():
            for name, parameter in policy.adapter.items():
                parameter.copy_(before[name])


def test_one_changed_token_shows(policy: Policy) -> None:
    group = drawn(policy)[0]
    tokens = np.frombuffer(group.rollouts[2].tokens, "<u4").copy()
    tokens[3] = 200 if tokens[3] < 130 else 10
    evidence = looked(policy, [changed(group, 2, tokens=tokens.tobytes())])
    assert evidence.far >= 1
    assert verdict(evidence, GROUP) == "inconsistent"


def test_wrong_ends_and_wrong_logprobs_show(policy: Policy) -> None:
    group = drawn(policy)[0]
    rollout = group.rollouts[0]
    lied = changed(group, 0, truncated=not rollout.truncated)
    assert looked(policy, [lied]).broken == 1
    assert verdict(looked(policy, [lied]), ROUND) == "inconsistent"
    flat = [pack_logprobs(np.full(len(r.tokens) // 4, -0.1)) for r in group.rollouts]
    for number, packed in enumerate(flat):
        group = changed(group, number, logprobs=packed)
    evidence = looked(policy, [group])
    assert evidence.outside == 0
    assert verdict(evidence, GROUP) == "inconsistent"


def test_groups_beyond_the_time_are_left_out(policy: Policy) -> None:
    groups = drawn(policy)
    found = audit(policy, groups, deadline=0.0, clock=lambda: 1.0)
    assert found == ((), ())
    empty = AuditGroup(PROMPTS[0], bytes(32), (Rollout(b"", b"", "", True),))
    assert looked(policy, [empty]) == Evidence()


def test_tokens_the_policy_does_not_have_are_a_model_error(policy: Policy) -> None:
    alien = Rollout((10**6).to_bytes(4, "little"), b"\0\0", "", True)
    with pytest.raises(ModelError, match="not one that this policy"):
        looked(policy, [AuditGroup(PROMPTS[0], bytes(32), (alien,))])


@given(
    rows=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_min=True, exclude_max=True), st.floats(0, 1), st.floats(0, 1)
        ),
        min_size=1,
        max_size=20,
    )
)
def test_sums_add_up_and_weights_are_chances(rows: list[tuple[float, float, float]]) -> None:
    u = np.array([r[0] for r in rows])
    low = np.array([min(r[1:]) for r in rows])
    high = np.array([max(r[1:]) for r in rows])
    with np.errstate(divide="ignore"):
        logprob = np.log(high - low)
    whole = look(u, low, logprob)
    parts = pooled(look(u[i : i + 1], low[i : i + 1], logprob[i : i + 1]) for i in range(len(rows)))
    assert whole.tokens == parts.tokens == len(rows)
    assert (whole.outside, whole.far) == (parts.outside, parts.far)
    assert abs(whole.weight - parts.weight) < 1e-9
    assert 0 <= whole.far <= whole.outside <= whole.tokens
    assert 0 <= whole.weight <= whole.tokens
    inside = look((low + high) / 2, low, logprob)
    assert inside.outside == 0


def test_the_weight_is_what_a_blind_guess_leaves_outside() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.random((20000, 2)), axis=1)
    logprob = np.log(edges[:, 1] - edges[:, 0])
    evidence = look(rng.random(20000), edges[:, 0], logprob)
    assert abs(evidence.outside - evidence.weight) < 4 * 20000**0.5
