"""Programs judged where they will be: inside the confined scorer process, within its memory."""

import sys
import textwrap
from collections.abc import Iterator

import pytest
from test_environments_sandbox import needs_sandbox
from test_scorer_process import Process, opened

from rlswarm.scorer.messages import MICRO, Answer, EnvironmentSpec

pytestmark = [pytest.mark.code, needs_sandbox]

MEMORY_LIMIT = 200 << 20
"""Bytes, design §13."""


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.child.kill()
    process.end()


def program(text: str) -> str:
    return f"```python\n{textwrap.dedent(text)}\n```"


def test_programs_run_under_confinement_and_within_the_memory_budget(process: Process) -> None:
    reply = opened(process, EnvironmentSpec("code", shots=1), EnvironmentSpec("letter_counting"))
    assert reply.mismatches == ()
    right = program("def double_all(n):\n    return [2 * x for x in n]")
    flood = program("held = []\nwhile True: held.append(bytearray(1 << 16))")
    endless = program("while True: pass")
    scored = process.score(
        *(Answer(0, 0, text) for text in (right, flood, endless, "no program", right))
    )
    assert scored.scores == (MICRO, 0, 0, 0, MICRO)
    assert scored.overran == ()
    assert scored.peak_rss < MEMORY_LIMIT


@pytest.mark.skipif(sys.platform != "linux", reason="system call filters are Linux's")
def test_the_confinement_still_holds_while_the_sandbox_is_in_use(process: Process) -> None:
    assert opened(process, EnvironmentSpec("code")).mismatches == ()
    status = (f"/proc/{process.child.pid}/status", f"/proc/{process.child.pid}/limits")
    with open(status[0]) as file:  # noqa: PTH123
        lines = dict(line.split(":", 1) for line in file)
    assert lines["Seccomp"].strip() == "2"
    assert lines["NoNewPrivs"].strip() == "1"
    with open(status[1]) as file:  # noqa: PTH123
        sizes = {line[:25].strip(): line[26:46].strip() for line in file}
    assert sizes["Max file size"] == "0"


def test_two_scorers_agree_on_the_fingerprint(process: Process) -> None:
    other = Process()
    try:
        spec = EnvironmentSpec("code")
        assert opened(process, spec).fingerprints == opened(other, spec).fingerprints
    finally:
        other.child.kill()
        other.end()
