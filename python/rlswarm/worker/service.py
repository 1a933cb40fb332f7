"""What a worker can do, one method per request."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import msgspec
import torch

from rlswarm.errors import ModelError, StorageError
from rlswarm.policy.audit import audit
from rlswarm.policy.model import Policy, load_policy
from rlswarm.policy.sampler import sample
from rlswarm.policy.server_sampler import ServerSampler
from rlswarm.policy.source import resolve
from rlswarm.worker.checkpoint import Checkpoints
from rlswarm.worker.messages import (
    Audit,
    Audited,
    Learn,
    Learned,
    Load,
    Loaded,
    Rollout,
    Sample,
    Sampled,
)
from rlswarm.worker.step import Learner
from rlswarm.worker.team import Team

FIRST_RESERVE = 0.5
"""Seconds kept for step and checkpoint before any has been measured."""


class Service:
    """The policy and its learner; empty until `load`."""

    def __init__(
        self, *, clock: Callable[[], float], peak_rss: Callable[[], int], team: Team | None = None
    ) -> None:
        """`clock` gives monotonic seconds, `peak_rss` bytes; `team`: processes that share the
        work (default: this one alone)."""
        self._team = team or Team()
        self._clock = clock
        self._peak_rss = peak_rss
        self._learner: Learner | None = None
        self._checkpoints: Checkpoints | None = None
        self._temperature = 1.0
        self._reserve = FIRST_RESERVE
        self._server: ServerSampler | None = None

    def load(self, request: Load) -> Loaded:
        """Load and resume, replacing what was loaded. Raises RlswarmError."""
        self._learner = None
        if request.threads > 0:
            torch.set_num_threads(max(1, request.threads // self._team.size))
        files = resolve(request.model)
        policy = load_policy(
            files,
            request.lora,
            micro_batch=request.micro_batch,
            memory_bytes=request.memory_bytes,
            processes=self._team.size,
            dtype=request.dtype,
            full=request.full,
        )
        learner = Learner(
            policy,
            request.rule,
            temperature=request.temperature,
            clock=self._clock,
            team=self._team,
        )
        checkpoints = Checkpoints(
            Path(request.checkpoints), request.lora, request.model, full=request.full
        )
        resumed = checkpoints.resume(learner)
        self._check_equal(policy)
        if self._server is not None:
            self._server.close()
            self._server = None
        if request.sampler:
            self._server = ServerSampler(request.sampler, policy, request.temperature)
        self._learner, self._checkpoints = learner, checkpoints
        self._temperature = request.temperature
        return Loaded(
            base=policy.base,
            adapter=policy.adapter_hash(),
            resumed_round=resumed,
            steps=learner.steps,
            plan=str(policy.plan),
            tokenizer=str(files.tokenizer),
            micro_batch=policy.plan.micro_batch,
            peak_rss=self._peak_rss(),
            needed=policy.plan.needed,
        )

    def sample(self, request: Sample, received: float) -> Sampled:
        """Draw completions within the budget from `received` on. Raises ModelError."""
        policy = self._policy()
        if self._server is not None:
            if self._team.rank > 0:
                return Sampled((), 0, 0, 0.0)
            return self._server.sample(
                request.groups,
                deadline=received + request.budget,
                clock=self._clock,
                stop=request.stop,
                initial=request.initial,
            )
        team = self._team
        with policy.without_adapter() if request.initial else nullcontext():
            mine = sample(
                policy,
                request.groups[team.rank :: team.size],
                deadline=received + request.budget,
                clock=self._clock,
                stop=request.stop,
                temperature=self._temperature,
            )
        if team.size == 1:
            return mine
        parts = [
            msgspec.msgpack.decode(part, type=Sampled)
            for part in team.collect(msgspec.msgpack.encode(mine))
        ]
        groups: list[tuple[Rollout, ...]] = [()] * len(request.groups)
        for rank, part in enumerate(parts):
            groups[rank :: team.size] = part.groups
        return Sampled(
            groups=tuple(groups),
            tokens=sum(part.tokens for part in parts),
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            seconds=max(part.seconds for part in parts),
        )

    def audit(self, request: Audit, received: float) -> Audited:
        """Evidence on seeded samples, within the budget from `received` on. Raises ModelError."""
        policy = self._policy()
        with policy.without_adapter() if request.initial else nullcontext():
            found = audit(
                policy,
                request.groups,
                deadline=received + request.budget,
                clock=self._clock,
                stop=request.stop,
                temperature=self._temperature,
            )
        return Audited(found, self._clock() - received)

    def learn(self, request: Learn, received: float) -> Learned:
        """One learn window within the budget from `received` on. Raises ModelError."""
        self._policy()
        assert self._learner is not None and self._checkpoints is not None
        deadline = received + request.budget
        learned = self._learner.learn(request.groups, request.round, deadline - self._reserve)
        finished = self._clock()
        problem = ""
        try:
            if self._team.rank == 0:
                self._checkpoints.save(self._learner, request.round)
        except StorageError as error:
            problem = str(error)
        # Half again as long as last time; the step itself is part of the last pass's time.
        self._reserve = 1.5 * (self._clock() - finished) + 0.1
        return msgspec.structs.replace(
            learned,
            seconds=self._clock() - received,
            checkpoint_error=problem,
            peak_rss=self._peak_rss(),
        )

    def _check_equal(self, policy: Policy) -> None:
        names = self._team.collect(policy.base + policy.adapter_hash())
        if len(set(names)) > 1:
            raise ModelError(
                "the worker's processes loaded different weights; on several machines the model "
                "and the home must lie in a folder that all of them share"
            )

    def _policy(self) -> Policy:
        if self._learner is None:
            raise ModelError("no model is loaded yet; send Load first")
        return self._learner.policy
