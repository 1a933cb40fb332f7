"""Samples from an inference server instead of this process.

Such samples are not seeded: nobody can check how their tokens were drawn, so they are marked.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from rlswarm.errors import ModelError
from rlswarm.kernels import linear_logprob
from rlswarm.policy.adapter import published_name
from rlswarm.policy.inference_server import Completion, Connection, Unanswered, recognise
from rlswarm.policy.model import Policy
from rlswarm.policy.prefix_tree import PrefixTree
from rlswarm.policy.sampler import pack_logprobs
from rlswarm.policy.stops import StopStrings
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import GroupRequest, Rollout, Sampled

AT_ONCE = 64
"""Requests under way at the same time; the server batches them."""

AGREEMENT = 0.1
"""Nats by which the server's log-probs may differ from ours on average: bf16 does by 0.02."""

_QUESTION = (ChatMessage("user", "Count from one to ten, then say something about the sea."),)
_ANSWER_TOKENS = 24


class ServerSampler:
    """One server and the adapter it holds for us."""

    def __init__(self, url: str, policy: Policy, temperature: float) -> None:
        """Raises ModelError if the server can't be reached, is of no known kind, or does not
        return the token ids and log-probs that `policy` would."""
        if policy.full:
            raise ModelError(
                "a sampling server can't be given all weights; train an adapter, or leave out the "
                "server"
            )
        self._policy = policy
        self._temperature = temperature
        self._server = Connection(url)
        self._dialect = recognise(self._server)
        self._adapter = ""
        self._folder = Path(tempfile.mkdtemp(prefix="rlswarm-adapter-"))
        self._compare()

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def sample(
        self,
        groups: Sequence[GroupRequest],
        *,
        deadline: float,
        clock: Callable[[], float],
        stop: Sequence[str] = (),
        initial: bool = False,
    ) -> Sampled:
        """As `sampler.sample`, from the server and unseeded. A sample that it has not finished by
        the deadline comes back empty, since servers return nothing of it. Raises ModelError."""
        start = clock()
        policy = self._policy
        adapter = "" if initial else self._current_adapter()
        stops = StopStrings(stop, policy.renderer.decode, policy.renderer.silent)
        prompts = [policy.renderer.encode(group.prompt) for group in groups]

        def one(prompt: list[int], most: int) -> Completion:
            left = deadline - clock()
            return self._complete(prompt, most, stop, adapter, left)

        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            asked = [
                [pool.submit(one, prompt, group.max_tokens) for _ in range(group.samples)]
                for prompt, group in zip(prompts, groups, strict=True)
            ]
            done = tuple(
                tuple(self._rollout(future, stops, deadline, clock) for future in futures)
                for futures in asked
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return Sampled(
            groups=done,
            tokens=sum(len(rollout.tokens) // 4 for group in done for rollout in group),
            prompt_tokens=sum(map(len, prompts)),
            seconds=clock() - start,
            seeded=False,
        )

    def _complete(
        self, prompt: list[int], most: int, stop: Sequence[str], adapter: str, timeout: float
    ) -> Completion:
        if not timeout > 0:
            raise Unanswered(f"no time is left to ask {self._server.url}")
        try:
            found = self._dialect.complete(
                self._server, prompt, most, self._temperature, list(stop), adapter, timeout
            )
            tokens = [int(token) for token in found.tokens]
            logprobs = [float(value) for value in found.logprobs]
        except (LookupError, TypeError, ValueError):
            tokens, logprobs = [], []
        if not tokens or len(tokens) != len(logprobs) or not all(map(math.isfinite, logprobs)):
            raise ModelError(
                f"{self._dialect.name} at {self._server.url} returned no token ids with log-probs; "
                "it is too old, or its log-probs are switched off"
            )
        if not 0 <= min(tokens) <= max(tokens) < self._policy.vocabulary:
            raise ModelError(
                f"{self._server.url} returned tokens that this model does not have; "
                "it serves another one"
            )
        return Completion(tokens, logprobs)

    def _rollout(
        self,
        future: "Future[Completion]",
        stops: StopStrings,
        deadline: float,
        clock: Callable[[], float],
    ) -> Rollout:
        try:
            found = future.result(max(0.0, min(deadline - clock(), 1e6)))
        except (Unanswered, TimeoutError):
            return Rollout(b"", b"", "", truncated=True)
        count, ended = self._end(found.tokens, stops)
        tokens = found.tokens[:count]
        return Rollout(
            tokens=np.array(tokens, dtype="<u4").tobytes(),
            logprobs=pack_logprobs(np.array(found.logprobs[:count], dtype=np.float64)),
            text=self._policy.renderer.decode(tokens),
            truncated=not ended,
        )

    def _end(self, tokens: list[int], stops: StopStrings) -> tuple[int, bool]:
        """How many tokens of a completion count, and whether it ended there by itself."""
        for count, token in enumerate(tokens, start=1):
            if token in self._policy.end_tokens or stops.met(tokens[:count]):
                return count, True
        return len(tokens), False

    def _current_adapter(self) -> str:
        """The name under which the server holds the policy's adapter; "" for none."""
        policy = self._policy
        if not any(bool(matrix.any()) for matrix in policy.adapter.values()):
            return ""
        name = f"rlswarm-{policy.adapter_hash().hex()[:16]}"
        if name != self._adapter:
            if not self._dialect.swaps:
                raise ModelError(
                    f"{self._dialect.name} can't take a new adapter while it runs, so it can't "
                    "sample what was learned; use a vLLM or SGLang server"
                )
            folder = self._folder / name
            _write_adapter(policy, folder)
            self._dialect.load_adapter(self._server, name, str(folder))
            old, self._adapter = self._adapter, name
            if old:
                self._dialect.unload_adapter(self._server, old)
                shutil.rmtree(self._folder / old, ignore_errors=True)
        return self._adapter

    def _compare(self) -> None:
        """One short completion, its log-probs beside ours. Raises ModelError."""
        prompt = self._policy.renderer.encode(_QUESTION)
        found = self._complete(prompt, _ANSWER_TOKENS, (), self._current_adapter(), 60.0)
        error = float(np.abs(np.array(found.logprobs) - self._own(prompt, found.tokens)).mean())
        if error > AGREEMENT:
            raise ModelError(
                f"log-probs of {self._dialect.name} at {self._server.url} differ from this "
                f"model's by {error:.2f} nat a token: it serves another model or quantisation, or "
                "reports them before the temperature (vLLM: --logprobs-mode processed_logprobs)"
            )

    @torch.inference_mode()
    def _own(self, prompt: list[int], tokens: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
        policy, tree = self._policy, PrefixTree(self._policy.device)
        path = tree.add(prompt + tokens[:-1])
        ids = torch.tensor([tree.ids], device=policy.device)
        hidden = policy.hidden(ids, tree.positions(0), policy.masks(tree, 0, len(tree)))
        found = linear_logprob(
            hidden[path[len(prompt) - 1 :]],
            policy.head,
            torch.tensor(tokens, device=policy.device),
            bias=policy.head_bias,
            temperature=self._temperature,
        )
        own: np.ndarray[Any, np.dtype[np.float32]] = found.logprob.cpu().numpy()
        return own


def _write_adapter(policy: Policy, folder: Path) -> None:
    """The adapter in peft's format, both matrices, as servers read it from disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        published_name(name): parameter.detach().contiguous()
        for name, parameter in policy.model.named_parameters()
        if "lora_" in name
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    policy.model.peft_config["default"].save_pretrained(folder)  # type: ignore[index,union-attr]
