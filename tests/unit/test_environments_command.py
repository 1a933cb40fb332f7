"""`rlswarm env` as a person uses it: make an environment, look at it, play it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rlswarm.cli.env import env
from rlswarm.environments.registry import ENTRY_POINTS
from rlswarm.errors import RlswarmError


def run(*arguments: str, typed: bytes = b"") -> Result:
    return CliRunner().invoke(env, arguments, input=typed, catch_exceptions=True)


@pytest.fixture
def place(tmp_path: Path) -> str:
    assert run("new", "my_sums", "--into", str(tmp_path)).exit_code == 0
    return f"{tmp_path / 'my_sums' / 'my_sums.py'}:MySums"


def test_a_new_environment_works_at_once(place: str) -> None:
    shown = run("show", "--path", place, "--count", "2", "--config", '{"largest": 5}')
    assert shown.exit_code == 0, shown.output
    assert "fingerprint " in shown.output
    assert shown.output.count("right answer: ") == 2


def test_playing_shows_the_score_of_each_answer(place: str) -> None:
    asked = run("show", "--path", place, "--count", "3").output
    right = [line.split(": ")[1] for line in asked.splitlines() if line.startswith("right answer")]
    typed = f"I think\nAnswer: {right[0]}\n\nno idea\n\n\xff\xfe\n\n".encode("latin-1")
    played = run("play", "--path", place, typed=typed)
    scores = [line.split()[1] for line in played.stdout.splitlines() if line.startswith("score:")]
    assert scores == ["1", "0", "unscorable"]
    assert "1 of 3" in played.stdout


def test_playing_ends_with_the_input(place: str) -> None:
    played = run("play", "--path", place, typed=b"Answer: 1")
    assert played.exit_code == 0
    assert played.stdout.count("score:") == 1


def test_what_is_written_installs_as_an_entry_point(place: str) -> None:
    import tomllib

    folder = Path(place.rpartition(":")[0]).parent
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][ENTRY_POINTS] == {"my_sums": "my_sums:MySums"}
    assert project["tool"]["setuptools"]["py-modules"] == ["my_sums"]


@pytest.mark.parametrize("name", ["My-Sums", "class", "../up", "9lives", "a b"])
def test_names_that_can_not_be_one_are_refused(tmp_path: Path, name: str) -> None:
    result = run("new", name, "--into", str(tmp_path))
    assert isinstance(result.exception, RlswarmError)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, place: str) -> None:
    result = run("new", "my_sums", "--into", str(tmp_path))
    assert "exists already" in str(result.exception)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("absent.py:Kind", "names no file and class"),
        (f"{__file__}:Nothing", "AttributeError"),
        (f"{__file__}:Path", "TypeError"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(place: str, reason: str) -> None:
    assert reason in str(run("show", "--path", place).exception)


def test_a_name_or_a_path_is_needed() -> None:
    assert run("show").exit_code == 2
    assert run("play", "gcd", "--path", "x.py:X").exit_code == 2


def test_problems_are_prepared_into_a_config_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLSWARM_CACHE", str(tmp_path))
    source = tmp_path / "own.jsonl"
    source.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    prepared = run("prepare", "maths", "--from", str(source))
    config = prepared.stdout.strip()
    assert json.loads(config)["source"] == str(source)
    played = run("play", "maths", "--config", config, "--count", "1", typed=b"Answer: 2\n\n")
    assert "score: 1" in played.stdout, played.output


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from rlswarm.cli.env import env; env(['--help'], standalone_mode=False);"
        "sys.exit(any(m in sys.modules for m in ('sympy', 'wasmtime', 'math_verify', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
