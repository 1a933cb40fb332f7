"""The learn window: as many groups as time allows, one optimizer step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from rlswarm.kernels import group_advantages, policy_loss
from rlswarm.learning.estimator import (
    advantage_scale,
    effective_sample_size,
    loss_of,
    step_normaliser,
    step_weights,
)
from rlswarm.learning.mixing import informative, learning_order
from rlswarm.learning.plausibility import refusal
from rlswarm.policy.model import Policy
from rlswarm.policy.sampler import unpack_logprobs
from rlswarm.worker.messages import LearningRule, TrainGroup
from rlswarm.worker.passes import Pass, Piece, laid_out, logprobs, neighbours, take

REACH = 8
"""Groups among which the order of learning gives way to shared beginnings."""

SLOWER = 1.15
"""How much longer than measured the next pass may take."""


@dataclass(frozen=True)
class Outcome:
    """What one learn window did; fields as in `Learned`."""

    stepped: bool
    used: tuple[int, ...]
    own_used: int
    external_used: int
    own_informative: int
    external_informative: int
    refused: tuple[tuple[str, str], ...]
    tokens: int
    loss: float
    gradient_norm: float
    effective_sample_size: float


@dataclass
class _Sums:
    tokens: int = 0
    sequences: int = 0
    longest: int = 0
    loss: float = 0.0
    weights: float = 0.0
    squares: float = 0.0


class Learner:
    """The policy's optimizer, and what it knows of its own speed."""

    def __init__(
        self,
        policy: Policy,
        rule: LearningRule,
        *,
        temperature: float,
        clock: Callable[[], float],
    ) -> None:
        self.policy = policy
        self.steps = 0
        """Optimizer steps taken so far."""
        self.optimizer = torch.optim.AdamW(
            list(policy.adapter.values()),
            lr=rule.learning_rate,
            weight_decay=rule.weight_decay,
        )
        self._rule = rule
        self._temperature = temperature
        self._clock = clock
        self._seconds_per_token = 0.0
        """Of laid-out tokens, forward and backward; 0 before the first pass."""

    def learn(self, groups: Sequence[TrainGroup], round: int, deadline: float) -> Outcome:
        """Learn from `groups` until `deadline` (by the clock, seconds), then step once.

        The first pass is always made unless the deadline has come. Without a signal, or if the
        gradient is not finite, nothing changes and `stepped` is False.
        """
        self.optimizer.zero_grad(set_to_none=True)  # of a window that failed half-way
        places, refused = self._sound(groups)
        sound = [groups[place] for place in places]
        order = learning_order(sound, round, self._rule.sender_share)
        used, sums = self._accumulate(sound, order, deadline)
        normaliser = step_normaliser(
            self._rule, tokens=sums.tokens, sequences=sums.sequences, longest=sums.longest
        )
        own = sum(not sound[i].sender for i in used)
        outcome = Outcome(
            stepped=False,
            used=tuple(places[i] for i in used),
            own_used=own,
            external_used=len(used) - own,
            own_informative=sum(informative(g) and not g.sender for g in sound),
            external_informative=sum(informative(g) and bool(g.sender) for g in sound),
            refused=refused,
            tokens=sums.tokens,
            loss=sums.loss / max(1, normaliser),
            gradient_norm=0.0,
            effective_sample_size=effective_sample_size(sums.weights, sums.squares, sums.tokens),
        )
        if sums.tokens == 0:
            return outcome
        norm = self._step(normaliser)
        return replace(outcome, stepped=bool(np.isfinite(norm)), gradient_norm=norm)

    def _sound(self, groups: Sequence[TrainGroup]) -> tuple[list[int], tuple[tuple[str, str], ...]]:
        """Places of the groups that may be trained on, and (sender, reason) of the others."""
        policy = self.policy
        sound: list[int] = []
        refused: list[tuple[str, str]] = []
        for place, group in enumerate(groups):
            reason = refusal(group, vocabulary=policy.vocabulary, longest=policy.longest)
            if reason:
                refused.append((group.sender, reason))
            else:
                sound.append(place)
        return sound, tuple(refused)

    def _accumulate(
        self, groups: Sequence[TrainGroup], order: Sequence[int], deadline: float
    ) -> tuple[list[int], _Sums]:
        """Add up gradients, unit by unit, while the next one fits. Returns the groups used."""
        sums = _Sums()
        used: list[int] = []
        pieces = [piece for i in order if (piece := self._piece(groups[i], i)) is not None]
        own = sum(not groups[piece.group].sender for piece in pieces)
        pieces = neighbours(pieces[:own], REACH) + neighbours(pieces[own:], REACH)
        plan = self.policy.plan
        while pieces:
            now = self._clock()
            if now >= deadline:
                break
            each = self._seconds_per_token * SLOWER
            # A pass as large as what is left of the window, so that little of it is wasted.
            most = plan.pass_tokens if not each else min(plan.pass_tokens, (deadline - now) / each)
            unit, count = take(pieces, max(1, int(most)), plan.micro_batch)
            size = sum(map(laid_out, unit))
            if used and size * each > deadline - now:
                break
            pieces = pieces[count:]
            for passed in unit:
                self._backward(passed, sums)
            seconds = (self._clock() - now) / size
            before = self._seconds_per_token or seconds
            self._seconds_per_token = (before + seconds) / 2
            used += dict.fromkeys(piece.group for passed in unit for piece in passed)
        return used, sums

    def _piece(self, group: TrainGroup, number: int) -> Piece | None:
        """A group ready for the loss; None if nothing of it can be learned from."""
        prompt = self.policy.renderer.encode(group.prompt)
        rewards = torch.tensor(group.rewards, dtype=torch.float64)
        advantages, _ = group_advantages(
            rewards, [len(group.rewards)], scale=advantage_scale(self._rule)
        )
        rows = [
            (np.frombuffer(r.tokens, dtype="<u4").tolist(), unpack_logprobs(r.logprobs), a)
            for r, a in zip(group.rollouts, advantages.tolist(), strict=True)
            if r.tokens and len(prompt) + len(r.tokens) // 4 <= self.policy.longest
        ]
        if not rows:
            return None
        completions, behaviour, weights = zip(*rows, strict=True)
        return Piece(number, prompt, completions, behaviour, weights)

    def _backward(self, passed: Pass, sums: _Sums) -> None:
        logp = logprobs(self.policy, passed, self._temperature)
        device = logp.device
        behaviour = torch.from_numpy(np.concatenate([b for p in passed for b in p.behaviour]))
        lengths = torch.tensor([len(c) for p in passed for c in p.completions])
        advantages = torch.tensor([a for p in passed for a in p.advantages], dtype=logp.dtype)
        # One step a window: the policy is still the proximal one, so r = 1 in value.
        loss, found = policy_loss(
            logp,
            advantages.to(device),
            step_weights(self._rule, lengths).to(device),
            loss_of(self._rule),
            behaviour=behaviour.to(device),
            offsets=F.pad(lengths.cumsum(0), (1, 0)),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        sums.tokens += len(logp)
        sums.sequences += len(lengths)
        sums.longest = max(sums.longest, int(lengths.max()))
        sums.loss += float(loss.detach())
        sums.weights += float(found.correction)
        sums.squares += float(found.correction_squares)

    def _step(self, normaliser: int) -> float:
        """Normalise, clip, step. Returns the norm before clipping."""
        parameters = list(self.policy.adapter.values())
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(normaliser)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._rule.gradient_norm))
        if np.isfinite(norm):
            self.optimizer.step()
            self.steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        return norm
