"""The learn window: as many groups as time allows, one optimizer step."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import torch
from torch.nn import functional as F

from rlswarm.errors import WorkerError
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
from rlswarm.policy.recompute import recomputed
from rlswarm.policy.sampler import unpack_logprobs
from rlswarm.worker.messages import Learned, LearningRule, TrainGroup
from rlswarm.worker.passes import Pass, Piece, laid_out, logprobs, neighbours, take
from rlswarm.worker.team import Team
from rlswarm.worker.trunk import Trunk, common_beginning

REACH = 8
"""Groups among which the order of learning gives way to shared beginnings."""

SLOWER = 1.15
"""How much longer than measured the next pass may take."""


class _Sums(msgspec.Struct):
    tokens: int = 0
    sequences: int = 0
    longest: int = 0
    loss: float = 0.0
    weights: float = 0.0
    squares: float = 0.0

    def add(self, other: "_Sums") -> None:
        self.tokens += other.tokens
        self.sequences += other.sequences
        self.longest = max(self.longest, other.longest)
        self.loss += other.loss
        self.weights += other.weights
        self.squares += other.squares


class _Share(msgspec.Struct):
    """What one process of a team did in a window."""

    used: list[int]
    sums: _Sums


class Learner:
    """The policy's optimizer, and what it knows of its own speed."""

    def __init__(
        self,
        policy: Policy,
        rule: LearningRule,
        *,
        temperature: float,
        clock: Callable[[], float],
        team: Team | None = None,
    ) -> None:
        """`team`: processes that learn together, each from its share of the groups."""
        self._team = team or Team()
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

    def learn(self, groups: Sequence[TrainGroup], round: int, deadline: float) -> Learned:
        """Learn from `groups` until `deadline` (by the clock, seconds), then step once.

        The first pass is always made unless the deadline has come. Without a signal, or if the
        gradient is not finite, nothing changes and `stepped` is False. What a learner can't know
        (seconds, checkpoint, memory) is left for the caller to fill in.
        """
        self.optimizer.zero_grad(set_to_none=True)  # of a window that failed half-way
        places, refused = self._sound(groups)
        sound = [groups[place] for place in places]
        order = learning_order(sound, round, self._rule.sender_share)
        used, sums = self._together(sound, order, deadline)
        normaliser = step_normaliser(
            self._rule, tokens=sums.tokens, sequences=sums.sequences, longest=sums.longest
        )
        own = sum(not sound[i].sender for i in used)
        norm = self._step(normaliser) if sums.tokens else 0.0
        return Learned(
            stepped=sums.tokens > 0 and bool(np.isfinite(norm)),
            used=tuple(places[i] for i in used),
            own_used=own,
            external_used=len(used) - own,
            own_informative=sum(informative(g) and not g.sender for g in sound),
            external_informative=sum(informative(g) and bool(g.sender) for g in sound),
            refused=refused,
            tokens=sums.tokens,
            loss=sums.loss / max(1, normaliser),
            gradient_norm=norm,
            effective_sample_size=effective_sample_size(sums.weights, sums.squares, sums.tokens),
            adapter=self.policy.adapter_hash(),
            steps=self.steps,
        )

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

    def _together(
        self, groups: Sequence[TrainGroup], order: Sequence[int], deadline: float
    ) -> tuple[list[int], _Sums]:
        """`_accumulate` over the whole team: gradients, sums and groups of all its processes."""
        team = self._team
        if team.size == 1:
            return self._accumulate(groups, order, deadline)
        share: _Share | None = None
        try:
            share = _Share(*self._accumulate(groups, order[team.rank :: team.size], deadline))
        finally:
            # Said even after a failure, or the others would wait for ever.
            said = team.collect(msgspec.msgpack.encode(share))
        shares = [msgspec.msgpack.decode(data, type=_Share | None) for data in said]
        done = [share for share in shares if share is not None]
        if len(done) < team.size:
            raise WorkerError("another process of this worker failed")
        if any(share.used for share in done):
            for parameter in self.policy.adapter.values():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            team.add_up([p.grad for p in self.policy.adapter.values() if p.grad is not None])
        total = _Sums()
        for share in done:
            total.add(share.sums)
        return [place for share in done for place in share.used], total

    def _accumulate(
        self, groups: Sequence[TrainGroup], order: Sequence[int], deadline: float
    ) -> tuple[list[int], _Sums]:
        """Add up gradients, unit by unit, while the next one fits. Returns the groups used."""
        sums = _Sums()
        used: list[int] = []
        pieces = [piece for i in order if (piece := self._piece(groups[i], i)) is not None]
        own = sum(not groups[piece.group].sender for piece in pieces)
        pieces = neighbours(pieces[:own], REACH) + neighbours(pieces[own:], REACH)
        trunk, served, length = Trunk(self.policy, ()), 0, 0
        while pieces:
            now = self._clock()
            if now >= deadline:
                break
            each = self._seconds_per_token * SLOWER
            fresh = served == 0
            if fresh:
                served, length = self._beginning(pieces)
            unit, count = self._unit(
                pieces[:served], length, (deadline - now) / each if each else 0
            )
            size = sum(laid_out(passed, length) for passed in unit)
            # The trunk that is held has its backward pass to come, a fresh one both.
            if used and (size + len(trunk) / 2 + fresh * length) * each > deadline - now:
                break
            if fresh:
                trunk.backward()
                size += (len(trunk) + length) // 2
                trunk = Trunk(self.policy, pieces[0].prompt[:length], recompute=self._long(length))
            for passed in unit:
                self._backward(passed, sums, trunk)
            pieces, served = pieces[count:], served - count
            seconds = (self._clock() - now) / size
            before = self._seconds_per_token or seconds
            self._seconds_per_token = (before + seconds) / 2
            used += dict.fromkeys(piece.group for passed in unit for piece in passed)
        trunk.backward()
        return used, sums

    def _beginning(self, pieces: Sequence[Piece]) -> tuple[int, int]:
        """How many of the pieces one trunk serves, and its length; no trunk for a single pass."""
        count, length = common_beginning([piece.prompt for piece in pieces])
        unit, taken = self._unit(pieces[:count], 0, 0)
        if len(unit) == 1 and taken == count:
            return count, 0
        if count == 1:
            # A group too large for one pass: its prompt is computed once all the same.
            return 1, len(pieces[0].prompt) - 1
        return count, length

    def _unit(self, pieces: Sequence[Piece], trunk: int, most: float) -> tuple[list[Pass], int]:
        """The next passes, beside the trunk as large as memory allows, and of at most `most`
        tokens (0 = no limit), so that little of what is left of a window is wasted."""
        plan = self.policy.plan
        room = plan.pass_tokens - (0 if self._long(trunk) else trunk)
        return take(pieces, max(1, int(min(room, most or room))), plan.micro_batch, trunk)

    def _long(self, trunk: int) -> bool:
        """Whether a trunk is too long to be held whole."""
        return self.policy.plan.recompute or 2 * trunk > self.policy.plan.pass_tokens

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

    def _backward(self, passed: Pass, sums: _Sums, trunk: Trunk) -> None:
        with recomputed(self.policy.body, self.policy.plan.recompute):
            logp = logprobs(self.policy, passed, self._temperature, trunk)
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
