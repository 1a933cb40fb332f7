"""The scorer as the node meets it: a confined process behind two pipes."""

import importlib.metadata
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tokenizers import Tokenizer, decoders, models

import rlswarm
from rlswarm.pipes import frame, frame_length
from rlswarm.scorer.messages import (
    MICRO,
    Answer,
    EnvironmentSpec,
    HeldOut,
    Open,
    Opened,
    Refused,
    Reply,
    Request,
    Score,
    Scored,
    SlotRequest,
    TaskList,
    Tasks,
)

LETTERS = EnvironmentSpec("letter_counting", shots=3, config={"min_words": 1, "max_words": 3})
PACKAGE = str(Path(rlswarm.__file__).parents[1])

UNRULY = """
import os, socket, subprocess, time
from pathlib import Path
from rlswarm.environments.environment import Environment, Item

class Unruly(Environment):
    def generate(self, seed):
        return Item(f"Task {seed}", "right")

    def grade(self, answer, item):
        return getattr(self, "do_" + answer, lambda: float(answer == "right"))()

    def do_hang(self):
        while True:
            pass

    def do_swallow(self):
        try:
            time.sleep(60)
        except:
            return 1.0

    def do_raise(self):
        raise RuntimeError("no")

    def do_nan(self):
        return float("nan")

    def do_much(self):
        return 7.0

    def do_socket(self):
        return self.reached(lambda: socket.socket())

    def do_program(self):
        return self.reached(lambda: subprocess.run(["true"]))

    def do_fork(self):
        return self.reached(os.fork)

    def do_write(self):
        return self.reached(lambda: Path(self.config["folder"], "new").write_text("x"))

    def do_append(self):
        return self.reached(lambda: Path(self.config["folder"], "old").open("a").write("x"))

    def do_remove(self):
        return self.reached(lambda: Path(self.config["folder"], "old").unlink())

    def do_kill(self):
        return self.reached(lambda: os.kill(os.getppid(), 0))

    def do_secret(self):
        return float("SECRET" in os.environ)

    def do_print(self):
        print("this must not reach the node's pipe")
        return 1.0

    def reached(self, attempt):
        try:
            attempt()
        except OSError:
            return 0.0
        return 1.0

class Sleepy(Unruly):
    def __init__(self, name, config, shots):
        raise RuntimeError("its data file is missing")
"""


class Process:
    """A scorer process and its pipes."""

    def __init__(self, *folders: str) -> None:
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join((PACKAGE, *folders))}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "rlswarm.scorer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**variables, "SECRET": "1", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        )
        self.decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

    def ask(self, request: Request) -> Reply:
        return self.ask_bytes(frame(request))

    def ask_bytes(self, message: bytes) -> Reply:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(message)
        self.child.stdin.flush()
        length = frame_length(self.child.stdout.read(4))
        return self.decoder.decode(self.child.stdout.read(length))

    def score(self, *answers: Answer) -> Scored:
        reply = self.ask(Score(answers))
        assert isinstance(reply, Scored)
        return reply

    def end(self) -> int:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.close()
        code = self.child.wait(10)
        self.child.stdout.close()
        return code


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def make(*folders: str) -> Process:
        started.append(Process(*folders))
        return started[-1]

    yield make
    for process in started:
        process.child.kill()
        process.end()


def opened(process: Process, *specs: EnvironmentSpec, tokenizer: str = "") -> Opened:
    reply = process.ask(Open(specs, tokenizer))
    assert isinstance(reply, Opened), reply
    return reply


def custom_package(folder: Path) -> str:
    """A one-file package with two entry points, as pip would leave it."""
    info = folder / "unruly-1.5.dist-info"
    info.mkdir()
    (folder / "unruly.py").write_text(UNRULY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unruly\nVersion: 1.5\n")
    points = """
        [rlswarm.environments]
        unruly = unruly:Unruly
        sleepy = unruly:Sleepy
        absent = unruly:Absent
        number = unruly:len
    """
    (info / "entry_points.txt").write_text(textwrap.dedent(points))
    return str(folder)


def test_tasks_and_scores_agree_between_processes_and_stay_small(start: Start) -> None:
    slots = tuple(SlotRequest(0, bytes([key]) * 32) for key in range(40))
    replies = []
    for _ in range(2):
        process = start()
        reply = opened(process, LETTERS)
        assert reply.mismatches == ()
        assert reply.held_out == (True,)
        tasks = process.ask(Tasks(slots))
        evaluation = process.ask(HeldOut(0, 30))
        assert isinstance(tasks, TaskList)
        assert isinstance(evaluation, TaskList)
        answers = [
            Answer(0, task.seed, f"Answer: {count}")
            for task in tasks.tasks
            for count in range(1, 9)
        ]
        scored = process.score(*answers)
        assert scored.overran == ()
        assert sum(score == MICRO for score in scored.scores) == len(slots)
        assert 0 < scored.peak_rss < 60 << 20
        replies.append((reply.fingerprints, tasks, evaluation, scored.scores))
        trained = {task.question for task in tasks.tasks}
        assert not trained & {task.question for task in evaluation.tasks}
    assert replies[0] == replies[1]


def test_sets_that_depend_on_the_hash_seed_are_settled(start: Start) -> None:
    spec = EnvironmentSpec("ransom_note")
    first, second = start(), start()
    assert opened(first, spec).fingerprints == opened(second, spec).fingerprints


def test_environments_that_can_not_be_played_are_left_out_one_by_one(start: Start) -> None:
    process = start()
    reply = opened(
        process,
        EnvironmentSpec("leter_counting"),
        LETTERS,
        EnvironmentSpec("gcd", fingerprint="0" * 64, version="reasoning-gym 0.1.23"),
        EnvironmentSpec("n_queens"),
    )
    reasons = dict(reply.mismatches)
    assert sorted(reasons) == [0, 2, 3]
    assert "Did you mean letter_counting" in reasons[0]
    version = importlib.metadata.version("reasoning-gym")
    assert f"gcd: reasoning-gym {version} is installed here and generates other" in reasons[2]
    assert "pip install 'reasoning-gym==0.1.23'" in reasons[2]
    assert "runs the answer as code" in reasons[3]
    assert isinstance(process.ask(Tasks((SlotRequest(0, bytes(32)),))), Refused)
    scored = process.score(Answer(2, 1, "Answer: 1"), Answer(1, 1, "nothing"))
    assert scored.scores == (None, 0)
    assert scored.overran == (0,)


def test_a_fingerprint_can_be_required(start: Start) -> None:
    process = start()
    (found,) = opened(process, LETTERS).fingerprints
    again = opened(process, msgspec.structs.replace(LETTERS, fingerprint=found))
    assert again.mismatches == ()


def test_hostile_answers_are_unscorable_and_harm_nothing(start: Start) -> None:
    process = start()
    opened(process, LETTERS)
    scored = process.score(
        Answer(0, 1, "Answer: 1" + " " * 1_000_000),
        Answer(0, 1, ""),
        Answer(0, -1, "Answer: 1"),
        Answer(0, 1 << 63, "Answer: 1"),
    )
    assert scored.scores == (None, 0, None, None)
    assert scored.overran == ()


def test_messages_that_make_no_sense_are_refused_and_the_next_is_answered(start: Start) -> None:
    process = start()
    assert isinstance(process.ask(Tasks((SlotRequest(0, bytes(32)),))), Refused)
    for body in (b"\xc1", b"\x81\xa4type\xa5Shout", b"\x82\xa4type\xa4Open\xacenvironments\x05"):
        assert isinstance(process.ask_bytes(struct.pack("<I", len(body)) + body), Refused)
    surrogate = msgspec.msgpack.encode(Score((Answer(0, 1, "abc"),))).replace(
        b"abc", b"\xed\xa0\x80"
    )
    assert isinstance(process.ask_bytes(struct.pack("<I", len(surrogate)) + surrogate), Refused)
    assert opened(process, LETTERS).mismatches == ()
    assert isinstance(process.ask(Score((Answer(3, 1, "x"),))), Refused)


@pytest.mark.skipif(sys.platform != "linux", reason="system call filters are Linux's")
def test_an_environment_gone_astray_reaches_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    process = start(custom_package(tmp_path))
    reply = opened(process, EnvironmentSpec("unruly", config={"folder": str(tmp_path)}))
    assert reply.mismatches == ()
    attempts = ["socket", "program", "fork", "write", "append", "remove", "kill", "secret"]
    scored = process.score(*(Answer(0, 1, f"Answer: {attempt}") for attempt in attempts))
    assert dict(zip(attempts, scored.scores, strict=True)) == dict.fromkeys(attempts, 0)
    assert (tmp_path / "old").read_text() == "kept"
    assert not (tmp_path / "new").exists()


def test_custom_environments_by_entry_point_may_fail_without_harm(
    start: Start, tmp_path: Path
) -> None:
    process = start(custom_package(tmp_path))
    names = ("unruly", "sleepy", "absent", "number", "unrully")
    reply = opened(process, *map(EnvironmentSpec, names))
    reasons = dict(reply.mismatches)
    assert sorted(reasons) == [1, 2, 3, 4]
    assert "sleepy (unruly 1.5) can't be opened: RuntimeError: its data file" in reasons[1]
    assert "AttributeError" in reasons[2]
    assert "Did you mean unruly" in reasons[4]
    answers = ["right", "raise", "nan", "much", "print", "hang", "swallow", "right"]
    began = time.monotonic()
    scored = process.score(*(Answer(0, 1, f"Answer: {answer}") for answer in answers))
    assert scored.scores == (MICRO, None, None, None, MICRO, None, None, MICRO)
    assert scored.overran == (5, 6)
    assert time.monotonic() - began < 20


def test_text_is_compared_with_what_its_tokens_decode_to(start: Start, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"an": 0, "swer": 1, "[END]": 2}, unk_token="an"))
    tokenizer.add_special_tokens(["[END]"])
    tokenizer.decoder = decoders.Fuse()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    process = start()
    opened(process, LETTERS, tokenizer=str(path))

    def pair(text: str, *ids: int) -> tuple[bytes, str]:
        return struct.pack(f"<{len(ids)}I", *ids), text

    pairs = (
        pair("answer", 0, 1, 2),
        pair("answer[END]", 0, 1, 2),
        pair("swer", 1),
        pair("an", 1),
        pair("answer", 0, 1, 3),
        pair("", 2**32 - 1),
        (b"\0\0\0", ""),
        pair(""),
    )
    reply = process.ask(Score((), pairs))
    assert isinstance(reply, Scored)
    assert reply.faithful == (True, False, True, False, False, False, False, True)


def test_texts_are_not_called_faithful_without_a_tokenizer(start: Start) -> None:
    process = start()
    opened(process, LETTERS)
    assert isinstance(process.ask(Score((), ((b"", ""),))), Refused)


def test_it_ignores_an_interrupt_and_ends_when_the_node_is_gone(start: Start) -> None:
    process = start()
    opened(process, LETTERS)
    process.child.send_signal(signal.SIGINT)
    assert process.score(Answer(0, 1, "")).scores == (0,)
    assert process.end() == 0
