"""An inference server over real sockets: vLLM's, SGLang's or llama.cpp's protocol, a tiny model.

Answers as those servers do, field for field; the tokens come from plain transformers.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel

Answer = tuple[int, Any]


class SamplingServer:
    """`kind` is ``vllm``, ``sglang`` or ``llama.cpp``. `adapters` lists what was loaded."""

    def __init__(self, kind: str, model: Path, twist: Callable[[Any], Any] = lambda reply: reply):
        """`twist` may spoil a completion's reply, as a server of another version would."""
        self._kind = kind
        self._folder = model
        self._twist = twist
        self._lock = threading.Lock()
        self._base = self._load()
        self._models: dict[str, Any] = {}
        self.adapters: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.delay = threading.Event()
        self.delay.set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(owner._get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(owner._post(self.path, body))

            def _send(self, answer: Answer) -> None:
                data = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.delay.set()
        self._http.shutdown()
        self._http.server_close()

    def _load(self) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(self._folder).eval()

    def _get(self, path: str) -> Answer:
        known = {
            "vllm": {"/v1/models": {"object": "list", "data": [{"id": "tiny"}]}},
            "sglang": {"/get_model_info": {"model_path": "tiny"}},
            "llama.cpp": {"/props": {"total_slots": 4}},
        }[self._kind]
        return (200, known[path]) if path in known else (404, {"detail": "Not Found"})

    def _post(self, path: str, body: dict[str, Any]) -> Answer:
        if path.endswith("/load_lora_adapter") and self._kind != "llama.cpp":
            adapted = PeftModel.from_pretrained(self._load(), body["lora_path"])
            self._models[body["lora_name"]] = adapted.eval()
            self.adapters.append(body["lora_name"])
            return 200, {"success": True}
        if path.endswith("/unload_lora_adapter") and self._kind != "llama.cpp":
            del self._models[body["lora_name"]]
            return 200, {"success": True}
        self.asked.append(body)
        self.delay.wait(20)
        if (self._kind, path) == ("vllm", "/v1/completions"):
            if body["model"] not in ("tiny", *self._models):
                return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
            model = self._models.get(body["model"], self._base)
            tokens, logprobs = self._draw(
                model, body["prompt"], body["max_tokens"], body["temperature"]
            )
            choice = {
                "index": 0,
                "text": "",
                "token_ids": tokens,
                "logprobs": {"token_logprobs": logprobs, "tokens": [""] * len(tokens)},
                "finish_reason": "length",
            }
            return 200, self._twist({"object": "text_completion", "choices": [choice]})
        if (self._kind, path) == ("sglang", "/generate"):
            rules = body["sampling_params"]
            model = self._models[body["lora_path"]] if "lora_path" in body else self._base
            tokens, logprobs = self._draw(
                model, body["input_ids"], rules["max_new_tokens"], rules["temperature"]
            )
            drawn = [[p, t, None] for t, p in zip(tokens, logprobs, strict=True)]
            return 200, self._twist({"text": "", "meta_info": {"output_token_logprobs": drawn}})
        if (self._kind, path) == ("llama.cpp", "/completion"):
            tokens, logprobs = self._draw(
                self._base, body["prompt"], body["n_predict"], body["temperature"]
            )
            drawn_by = [
                {"id": t, "token": "", "bytes": [], "logprob": p, "top_logprobs": []}
                for t, p in zip(tokens, logprobs, strict=True)
            ]
            return 200, self._twist(
                {"content": "", "tokens": tokens, "completion_probabilities": drawn_by}
            )
        return 404, {"detail": "Not Found"}

    def _draw(
        self, model: Any, prompt: list[int], most: int, temperature: float
    ) -> tuple[list[int], list[float]]:
        tokens: list[int] = []
        logprobs: list[float] = []
        with self._lock, torch.no_grad():
            while len(tokens) < most and 2 not in tokens:
                logits = model(torch.tensor([prompt + tokens])).logits[0, -1] / temperature
                token = int(torch.multinomial(logits.softmax(0), 1))
                tokens.append(token)
                logprobs.append(float(logits.log_softmax(0)[token]))
        return tokens, logprobs
