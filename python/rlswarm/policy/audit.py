"""Checking seeded samples with a policy: one teacher-forced pass, each prompt once."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rlswarm._core import uniforms
from rlswarm.errors import ModelError
from rlswarm.kernels import linear_logprob
from rlswarm.policy.evidence import Evidence, look
from rlswarm.policy.model import Policy
from rlswarm.policy.prefix_tree import PrefixTree
from rlswarm.policy.sampler import unpack_logprobs
from rlswarm.policy.stops import StopStrings
from rlswarm.worker.messages import AuditGroup, Rollout

PASS_TOKENS = 1024
"""Tokens laid out in one pass, unless one group alone has more."""


def audit(
    policy: Policy,
    groups: Sequence[AuditGroup],
    *,
    deadline: float,
    clock: Callable[[], float],
    stop: Sequence[str] = (),
    temperature: float = 1.0,
) -> tuple[tuple[Evidence, ...], ...]:
    """Evidence on every rollout of every group, in order; groups that the time until `deadline`
    (by `clock`, s) did not suffice for come back as ().

    Raises ModelError for tokens or lengths that the policy does not have.
    """
    found: list[tuple[Evidence, ...]] = []
    prompts = [policy.renderer.encode(group.prompt) for group in groups]
    for part in _parts(prompts, groups, PASS_TOKENS):
        if clock() >= deadline:
            break
        found += _look(policy, prompts[part], groups[part], stop, temperature)
    return tuple(found) + ((),) * (len(groups) - len(found))


@torch.inference_mode()
def _look(
    policy: Policy,
    prompts: Sequence[list[int]],
    groups: Sequence[AuditGroup],
    stop: Sequence[str],
    temperature: float,
) -> list[tuple[Evidence, ...]]:
    """Evidence by group, of groups that share a pass."""
    tree = PrefixTree(policy.device)
    predicting: list[int] = []
    targets: list[int] = []
    for prompt, group in zip(prompts, groups, strict=True):
        for rollout in group.rollouts:
            tokens = _ids(rollout)
            if not tokens:
                continue
            known = max(tokens) < policy.vocabulary and len(rollout.logprobs) == 2 * len(tokens)
            if not known or len(prompt) + len(tokens) > policy.longest:
                raise ModelError("a rollout to be audited is not one that this policy can have")
            path = tree.add(prompt + tokens[:-1])
            predicting += path[len(prompt) - 1 :]
            targets += tokens
    if not targets:
        return [tuple(Evidence() for _ in group.rollouts) for group in groups]
    hidden = policy.hidden(
        torch.tensor([tree.ids], device=policy.device),
        tree.positions(0),
        policy.masks(tree, 0, len(tree)),
    )
    swept = linear_logprob(
        hidden[torch.tensor(predicting, device=policy.device)],
        policy.head,
        torch.tensor(targets, device=policy.device),
        bias=policy.head_bias,
        temperature=temperature,
    )
    below, logprob = (t.double().cpu().numpy() for t in (swept.cdf_below, swept.logprob))
    return list(_by_group(policy, groups, below, logprob, stop))


def _by_group(
    policy: Policy,
    groups: Sequence[AuditGroup],
    below: NDArray[np.float64],
    logprob: NDArray[np.float64],
    stop: Sequence[str],
) -> Iterator[tuple[Evidence, ...]]:
    """Cut what the sweep found into rollouts and look at each."""
    stops = StopStrings(stop, policy.renderer.decode, policy.renderer.silent)
    start = 0
    for group in groups:
        seen: list[Evidence] = []
        for number, rollout in enumerate(group.rollouts):
            tokens = _ids(rollout)
            part = slice(start, start := start + len(tokens))
            u = np.frombuffer(uniforms(group.key, number, len(tokens)), dtype="<f8")
            evidence = look(u, below[part], logprob[part], unpack_logprobs(rollout.logprobs))
            sound = _ends_well(tokens, rollout.truncated, policy.end_tokens, stops)
            seen.append(evidence if sound else evidence + Evidence(broken=1))
        yield tuple(seen)


def _ends_well(
    tokens: list[int], truncated: bool, ends: frozenset[int], stops: StopStrings
) -> bool:
    """Whether a sample ends at its first end token and nowhere else, as it says."""
    if ends & set(tokens[:-1]):
        return False
    ended = bool(tokens) and (tokens[-1] in ends or stops.met(tokens))
    return ended != truncated


def _parts(
    prompts: Sequence[list[int]], groups: Sequence[AuditGroup], most: int
) -> Iterator[slice]:
    """Runs of groups of at most `most` tokens, what they share counted each time."""
    start = held = 0
    for number, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        size = len(prompt) + sum(len(rollout.tokens) // 4 for rollout in group.rollouts)
        if number > start and held + size > most:
            yield slice(start, number)
            start, held = number, 0
        held += size
    if start < len(groups):
        yield slice(start, len(groups))


def _ids(rollout: Rollout) -> list[int]:
    return [int(token) for token in np.frombuffer(rollout.tokens, dtype="<u4")]
