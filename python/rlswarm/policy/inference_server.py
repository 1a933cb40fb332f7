"""The protocols of inference servers that return token ids and their log-probs.

vLLM's OpenAI-compatible completions, SGLang's native route and llama.cpp's: the parts of each that
give exact tokens and full-softmax log-probs, nothing else of them.
"""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol

from rlswarm.errors import ModelError

_PROBE_SECONDS = 10.0


class Unanswered(ModelError):  # noqa: N818  (a state of the server, caught where time is short)
    """The server gave no answer in time."""


@dataclass(frozen=True)
class Completion:
    tokens: list[int]
    logprobs: list[float]
    """log p of each token in nats, under the full softmax at the sampling temperature."""


class Dialect(Protocol):
    """How one kind of server is asked."""

    name: str
    swaps: bool
    """Whether it can take a new adapter while it runs."""

    def complete(
        self, server: "Connection", prompt: list[int], most: int, temperature: float,
        stop: list[str], adapter: str, timeout: float,
    ) -> Completion: ...  # fmt: skip

    def load_adapter(self, server: "Connection", name: str, folder: str) -> None: ...

    def unload_adapter(self, server: "Connection", name: str) -> None: ...


class Connection:
    """JSON over HTTP to one server. Every failure is a ModelError of one line."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")

    def post(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        data = json.dumps(body).encode()
        return self._ask(path, data, timeout)

    def get(self, path: str) -> Any:
        return self._ask(path, None, _PROBE_SECONDS)

    def has(self, path: str) -> bool:
        """Whether the server knows a route. Raises ModelError if it can't be reached."""
        try:
            self.get(path)
        except Unanswered:
            raise
        except ModelError:
            return False
        return True

    def _ask(self, path: str, data: bytes | None, timeout: float) -> Any:
        request = urllib.request.Request(
            self.url + path, data=data, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=max(0.01, timeout)) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            reason = " ".join(error.read(300).decode(errors="replace").split())
            raise ModelError(
                f"the sampling server {self.url} refused {path} ({error.code}: {reason})"
            ) from None
        except OSError as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unanswered(
                f"the sampling server {self.url} does not answer ({cause}); is it running?"
            ) from None
        try:
            return json.loads(body) if body.strip().startswith((b"{", b"[")) else None
        except ValueError:
            raise ModelError(f"the sampling server {self.url} answered {path} in no JSON") from None


class Vllm:
    name = "vLLM"
    swaps = True

    def __init__(self, model: str) -> None:
        self._model = model

    def complete(
        self, server: Connection, prompt: list[int], most: int, temperature: float,
        stop: list[str], adapter: str, timeout: float,
    ) -> Completion:  # fmt: skip
        reply = server.post(
            "/v1/completions",
            {
                "model": adapter or self._model, "prompt": prompt, "max_tokens": most,
                "temperature": temperature, "top_p": 1.0, "top_k": -1, "logprobs": 0,
                "return_token_ids": True, "stop": stop,
            },
            timeout,
        )  # fmt: skip
        choice = reply["choices"][0]
        return Completion(choice["token_ids"], choice["logprobs"]["token_logprobs"])

    def load_adapter(self, server: Connection, name: str, folder: str) -> None:
        body = {"lora_name": name, "lora_path": folder}
        server.post("/v1/load_lora_adapter", body, 60.0)

    def unload_adapter(self, server: Connection, name: str) -> None:
        server.post("/v1/unload_lora_adapter", {"lora_name": name}, 60.0)


class Sglang:
    name = "SGLang"
    swaps = True

    def complete(
        self, server: Connection, prompt: list[int], most: int, temperature: float,
        stop: list[str], adapter: str, timeout: float,
    ) -> Completion:  # fmt: skip
        body: dict[str, Any] = {
            "input_ids": prompt,
            "return_logprob": True,
            "sampling_params": {
                "max_new_tokens": most, "temperature": temperature, "top_p": 1.0, "top_k": -1,
                "stop": stop, "no_stop_trim": True,
            },
        }  # fmt: skip
        if adapter:
            body["lora_path"] = adapter
        drawn = server.post("/generate", body, timeout)["meta_info"]["output_token_logprobs"]
        return Completion([each[1] for each in drawn], [each[0] for each in drawn])

    def load_adapter(self, server: Connection, name: str, folder: str) -> None:
        server.post("/load_lora_adapter", {"lora_name": name, "lora_path": folder}, 60.0)

    def unload_adapter(self, server: Connection, name: str) -> None:
        server.post("/unload_lora_adapter", {"lora_name": name}, 60.0)


class LlamaCpp:
    name = "llama.cpp"
    swaps = False

    def complete(
        self, server: Connection, prompt: list[int], most: int, temperature: float,
        stop: list[str], adapter: str, timeout: float,
    ) -> Completion:  # fmt: skip
        # Its stop strings take tokens away, so they are found on our side.
        reply = server.post(
            "/completion",
            {
                "prompt": prompt, "n_predict": most, "temperature": temperature,
                "samplers": ["temperature"], "n_probs": 1, "return_tokens": True,
                "post_sampling_probs": False, "cache_prompt": True,
            },
            timeout,
        )  # fmt: skip
        drawn = reply["completion_probabilities"]
        return Completion([each["id"] for each in drawn], [each["logprob"] for each in drawn])

    def load_adapter(self, server: Connection, name: str, folder: str) -> None:
        raise ModelError("llama.cpp's server can't take a new adapter; use vLLM or SGLang")

    def unload_adapter(self, server: Connection, name: str) -> None:
        raise NotImplementedError  # none was ever loaded: `load_adapter` refuses


def recognise(server: Connection) -> Dialect:
    """Which kind of server this is, by a route that only it has. Raises ModelError."""
    if server.has("/get_model_info"):
        return Sglang()
    if server.has("/props"):
        return LlamaCpp()
    try:
        return Vllm(server.get("/v1/models")["data"][0]["id"])
    except Unanswered:
        raise
    except (ModelError, LookupError, TypeError):
        raise ModelError(
            f"{server.url} is no server of vLLM, SGLang or llama.cpp; name one of these"
        ) from None
