"""A real environment from PyPI, written for `verifiers`, as one of ours."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_scorer_process import Process, opened

from rlswarm.environments.environment import FULL_SCORE, UnusableEnvironmentError
from rlswarm.environments.fingerprint import fingerprint
from rlswarm.environments.registry import open_environment
from rlswarm.scorer.messages import (
    MICRO,
    Answer,
    EnvironmentSpec,
    SlotRequest,
    TaskList,
    Tasks,
)

POEMS = "stardata.envs.constraint_gym"
SNOWBALL = {"id": POEMS, "arguments": {"forms": ["haiku"]}}


def test_without_the_package_the_way_to_get_it_is_named() -> None:
    with pytest.raises(UnusableEnvironmentError, match="install its package and"):
        open_environment("verifiers", {"id": "no_such_environment"})


@pytest.mark.parametrize("config", [{}, {"id": 5}, {"id": POEMS, "arguments": "x"}])
def test_a_config_without_an_environment_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(UnusableEnvironmentError, match="needs id"):
        open_environment("verifiers", config)


@pytest.fixture
def poems() -> None:
    for module in ("verifiers", "stardata"):
        pytest.importorskip(module, reason="pip install 'staros-stardata[env]' 'verifiers<0.3'")


@pytest.mark.usefixtures("poems")
def test_it_asks_and_scores_as_its_author_meant() -> None:
    environment = open_environment("verifiers", SNOWBALL)
    item = environment.generate(0)
    (turn,) = environment.prompt(item)
    assert turn.content.startswith("Write a haiku: exactly 3 lines")
    haiku = "an old silent pond\na frog jumps into the pond\nsplash silence again"
    good = environment.score(haiku, item)
    bad = environment.score("one line that is no haiku at all, and far too long to be one", item)
    assert good is not None
    assert bad is not None
    assert bad < good <= FULL_SCORE
    assert environment.score(haiku, item) == good
    assert environment.score("", item) == 0


@pytest.mark.usefixtures("poems")
def test_its_fingerprint_is_stable_and_depends_on_its_arguments() -> None:
    def found(form: str) -> str:
        config = {"id": POEMS, "arguments": {"forms": [form]}}
        return fingerprint(lambda: open_environment("verifiers", config))

    assert found("haiku") == found("haiku") != found("limerick")


MINE = """
import asyncio
import verifiers as vf
from datasets import Dataset

def load_environment(kind):
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(8)]

    async def waits(completion):
        await asyncio.sleep(0)
        return 1.0

    async def hands_over(completion):
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 1.0)

    def careful(completion, answer):
        return float(completion[-1]["content"] == answer)

    functions = {"waits": waits, "hands_over": hands_over, "careful": careful}
    if kind == "judge":
        from openai import AsyncOpenAI
        rubric = vf.JudgeRubric(judge_client=AsyncOpenAI(api_key="none"))
    elif kind == "maths":
        rubric = vf.MathRubric()
    else:
        rubric = vf.Rubric(funcs=[functions[kind]])
    return vf.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=rubric)
"""


def mine(kind: str) -> EnvironmentSpec:
    return EnvironmentSpec("verifiers", config={"id": "mine", "arguments": {"kind": kind}})


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    pytest.importorskip("verifiers", reason="pip install 'verifiers<0.3'")
    (tmp_path / "mine.py").write_text(MINE)
    process = Process(str(tmp_path))
    yield process
    process.child.kill()
    process.end()


def test_single_turn_environments_play_in_the_confined_scorer_within_its_memory(
    process: Process,
) -> None:
    reply = opened(process, mine("careful"))
    assert reply.mismatches == ()
    tasks = process.ask(Tasks((SlotRequest(0, bytes(32)),)))
    assert isinstance(tasks, TaskList)
    (task,) = tasks.tasks
    n = int(task.question.split()[2])
    scored = process.score(
        Answer(0, task.seed, str(2 * n)), Answer(0, task.seed, str(2 * n + 1)), Answer(0, 0, "")
    )
    assert scored.scores == (MICRO, 0, 0)
    assert scored.peak_rss < 200_000_000


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("waits", "waits for something outside"),
        ("hands_over", "waits for something outside"),
        ("judge", "asks a server (AsyncOpenAI), which no scorer can reach"),
    ],
)
def test_what_would_ask_somebody_is_left_out_and_the_rest_is_played(
    process: Process, kind: str, reason: str
) -> None:
    reply = opened(process, mine(kind), EnvironmentSpec("gcd"))
    ((index, sentence),) = reply.mismatches
    assert index == 0
    assert reason in sentence


def test_its_mathematics_rubric_decides_by_counts_and_never_by_the_clock(process: Process) -> None:
    assert opened(process, mine("maths")).mismatches == ()
    right = [r"\boxed{6}", r"\boxed{6.0}", r"so \boxed{\frac{12}{2}}"]
    wrong = ["6", r"\boxed{7}", ""]
    over = r"\boxed{" + "(" * 50 + "6" + ")" * 50 + "}"
    scored = process.score(*(Answer(0, 3, text) for text in (*right, *wrong, over)))
    assert scored.scores == (MICRO, MICRO, MICRO, 0, 0, 0, None)


@pytest.mark.usefixtures("poems")
def test_a_published_environment_plays_in_the_confined_scorer(process: Process) -> None:
    assert opened(process, EnvironmentSpec("verifiers", config=SNOWBALL)).mismatches == ()
    haiku = "an old silent pond\na frog jumps into the pond\nsplash silence again"
    good, bad = process.score(Answer(0, 0, haiku), Answer(0, 0, "no haiku")).scores
    assert good == MICRO
    assert bad is not None
    assert bad < good
    process.child.send_signal(signal.SIGINT)
    assert process.score(Answer(0, 0, haiku)).scores == (MICRO,)
