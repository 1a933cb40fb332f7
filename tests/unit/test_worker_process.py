"""The worker as the node sees it: a process behind two pipes."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rlswarm.pipes import frame, frame_length
from rlswarm.prompt import ChatMessage
from rlswarm.worker.messages import (
    Audit,
    Audited,
    AuditGroup,
    Failed,
    GroupRequest,
    Learn,
    Learned,
    LearningRule,
    Load,
    Loaded,
    LoraShape,
    Reply,
    Sample,
    Sampled,
    TrainGroup,
)
from tiny_model import make_tiny_model

PROMPT = (ChatMessage("user", "2+2?"),)
REPLIES = msgspec.msgpack.Decoder(Reply)


class Child:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlswarm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, message: msgspec.Struct | bytes) -> Reply:
        assert self.process.stdin is not None and self.process.stdout is not None
        raw = isinstance(message, bytes)
        self.process.stdin.write(message if raw else frame(message))
        self.process.stdin.flush()
        prefix = self.process.stdout.read(4)
        reply: Reply = REPLIES.decode(self.process.stdout.read(frame_length(prefix)))
        return reply


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture(scope="module")
def request_to_load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    model = make_tiny_model(tmp_path_factory.mktemp("model"))
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    return Load(str(model), str(checkpoints), LoraShape(rank=4), LearningRule(), threads=1)


def test_bad_requests_fail_and_the_worker_lives(child: Child, request_to_load: Load) -> None:
    early = child.ask(Sample((), 1.0))
    assert isinstance(early, Failed) and early.kind == "model" and "send Load" in early.message
    for body in (b"\xc1nonsense", b"\x81\xa4type\xa3Who", b""):
        reply = child.ask(struct.pack("<I", len(body)) + body)
        assert isinstance(reply, Failed) and reply.kind == "bug"
    missing = child.ask(msgspec.structs.replace(request_to_load, model="no-such-model"))
    assert isinstance(missing, Failed) and missing.kind == "model"
    assert "\n" not in missing.message
    small = child.ask(msgspec.structs.replace(request_to_load, memory_bytes=1 << 20))
    assert isinstance(small, Failed) and small.kind == "memory"


def test_a_round_over_the_pipe(child: Child, request_to_load: Load) -> None:
    loaded = child.ask(request_to_load)
    assert isinstance(loaded, Loaded)
    assert len(loaded.base) == len(loaded.adapter) == 32
    assert Path(loaded.tokenizer).is_file()
    assert "float32" in loaded.plan and loaded.micro_batch >= 1 and loaded.peak_rss > 1 << 28
    sampled = child.ask(Sample((GroupRequest(PROMPT, b"k" * 32, 4, 8),), 60.0))
    assert isinstance(sampled, Sampled)
    assert sampled.tokens == sum(len(r.tokens) // 4 for r in sampled.groups[0]) > 4
    group = TrainGroup(PROMPT, sampled.groups[0], (1.0, 0.0, 0.0, 1.0), "", 0)
    learned = child.ask(Learn(7, (group,), 60.0))
    assert isinstance(learned, Learned)
    assert learned.stepped and learned.steps == 1 and learned.checkpoint_error == ""
    assert learned.adapter != loaded.adapter
    assert learned.used == (0,)
    initial = child.ask(Sample((GroupRequest(PROMPT, b"k" * 32, 4, 8),), 60.0, initial=True))
    assert isinstance(initial, Sampled)
    assert initial.groups == sampled.groups
    audit = Audit((AuditGroup(PROMPT, b"k" * 32, sampled.groups[0]),), 60.0, initial=True)
    audited = child.ask(audit)
    assert isinstance(audited, Audited)
    assert [e.outside for e in audited.groups[0]] == [0] * 4
    assert sum(e.tokens for e in audited.groups[0]) == sampled.tokens
    other = child.ask(Audit((AuditGroup(PROMPT, b"o" * 32, sampled.groups[0]),), 60.0))
    assert isinstance(other, Audited)
    assert sum(e.outside for e in other.groups[0]) > 4
    again = child.ask(request_to_load)
    assert isinstance(again, Loaded)
    assert (again.resumed_round, again.adapter) == (7, learned.adapter)


def test_an_exhausted_budget_answers_at_once(child: Child, request_to_load: Load) -> None:
    assert isinstance(child.ask(request_to_load), Loaded)
    start = time.monotonic()
    reply = child.ask(Sample((GroupRequest(PROMPT, b"k" * 32, 4, 1000),), 0.0))
    assert isinstance(reply, Sampled)
    assert all(rollout.truncated for rollout in reply.groups[0])
    assert time.monotonic() - start < 2


def test_an_interrupt_is_ignored_and_the_end_of_the_pipe_is_not(child: Child) -> None:
    child.process.send_signal(signal.SIGINT)
    assert isinstance(child.ask(Sample((), 1.0)), Sampled)
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.wait(timeout=10) == 0


def test_the_end_of_the_pipe_cuts_a_request_short_and_saves(request_to_load: Load) -> None:
    leaving = Child()
    assert isinstance(leaving.ask(request_to_load), Loaded)
    assert leaving.process.stdin is not None and leaving.process.stdout is not None
    leaving.process.stdin.write(frame(Sample((GroupRequest(PROMPT, b"k" * 32, 8, 1500),), 600.0)))
    leaving.process.stdin.write(frame(Learn(9, (), 600.0)))
    leaving.process.stdin.flush()
    time.sleep(0.5)
    leaving.process.stdin.close()
    prefix = leaving.process.stdout.read(4)
    cut = REPLIES.decode(leaving.process.stdout.read(frame_length(prefix)))
    assert isinstance(cut, Sampled)
    # Some may have drawn an end token; the others were on their way to 1,500 tokens.
    assert any(r.truncated and len(r.tokens) // 4 < 1500 for r in cut.groups[0])
    assert leaving.process.wait(timeout=10) == 0
    again = Child()
    resumed = again.ask(request_to_load)
    again.process.kill()
    again.process.wait()
    assert isinstance(resumed, Loaded) and resumed.resumed_round == 9


def test_messages_import_no_torch() -> None:
    code = "import sys, rlswarm.worker.messages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
