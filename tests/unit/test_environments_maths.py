"""Maths answers: what counts as equal, and what is refused before anything is computed."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.environments.environment import FULL_SCORE, UnusableEnvironmentError
from rlswarm.environments.fingerprint import fingerprint
from rlswarm.environments.maths_environment import judge
from rlswarm.environments.maths_limits import LENGTH, Form, form_of
from rlswarm.environments.problem_import import import_problems
from rlswarm.environments.registry import open_environment


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("4", "4"),
        ("4", "$4$"),
        ("4", r"\boxed{4}"),
        ("4", "4.0"),
        ("4", "**4**."),
        ("4", "x = 4"),
        ("4", "2 + 2 = 4"),
        ("4", "4 apples"),
        ("4", "4 square metres"),
        ("4", r"4\text{ km}"),
        ("4", r"\$4"),
        ("4", "2^2"),
        ("4", r"\sqrt{16}"),
        ("4", r"\frac{8}{2}"),
        ("24", "4!"),
        ("1000", "1,000"),
        ("1000", "1 000"),
        ("2.8", "$2.80"),
        ("2.8", "14/5"),
        ("1/2", "0.5"),
        (r"\frac{1}{2}", "1/2"),
        ("50", r"50\%"),
        ("x+1", "1+x"),
        ("x^2-3x-10", "(x+2)(x-5)"),
        (r"25\pi", "25π"),
        (r"3\sqrt{2}", r"\sqrt{18}"),
    ],
)
def test_equal_answers_are_right_however_they_are_written(reference: str, answer: str) -> None:
    assert judge(answer, reference) == 1.0


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("4", "5"),
        ("4", "-4"),
        ("4", "3 or 4"),
        ("4", "4 or five"),
        ("4", "3, 4"),
        ("4", "4 and 5"),
        ("45", "4 5"),
        ("4", "four"),
        ("4", "y"),
        ("4", r"\pm 4"),
        ("4", "4!"),
        ("4", "1e400"),
        ("4", "__import__('os').system('true')"),
        ("4", r"\input{/etc/passwd}"),
        ("4", r"\boxed{4}} \boxed{5"),
        ("x+1", "x-1"),
        ("x+1", "the answer is right"),
        (r"25\pi", "78"),
    ],
)
def test_other_answers_are_wrong(reference: str, answer: str) -> None:
    assert judge(answer, reference) == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "9^9^9",
        "9^{99999}",
        "((2)^{999})^{999}",
        "2**10",
        "999999!",
        "(5!)!",
        "5!!",
        "2^{5!}",
        r"\sqrt{\sqrt{\sqrt{\sqrt{2}}}}",
        r"\sqrt[999]{2}",
        r"(\sqrt{2}+\sqrt{3})^{999}",
        "(x+y+z)^{99}",
        r"\sin(\sin(\sin(1)))",
        "((((((((1))))))))",
        "7" * 100,
        "1+" * 60 + "1",
        "1" * (LENGTH + 1),
    ],
)
def test_what_would_keep_sympy_busy_is_unscorable_at_once(answer: str) -> None:
    began = time.process_time()
    assert form_of(answer) is Form.OVER
    assert judge(answer, "x^2" if "x" in answer else "4") != 1.0
    assert time.process_time() - began < 1


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_counting_takes_any_text(text: str) -> None:
    assert form_of(text) in Form


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(-9, 9))
def test_whole_numbers_are_compared_exactly(number: int, error: int) -> None:
    assert judge(f"{number + error:,}", str(number)) == float(error == 0)


def test_a_completion_commits_to_its_last_marker_or_box() -> None:
    environment = open_environment("maths", {})
    item = environment.generate(0)
    assert item.reference == "42"
    for completion, score in [
        ("14 + 28 = 42\nAnswer: 42", FULL_SCORE),
        (r"So \boxed{41}? No: \boxed{42}", FULL_SCORE),
        ("Answer: 42\nAnswer: 41", 0),
        ("Answer: 41, though some say 42", 0),
        ("It is 42", FULL_SCORE),
        ("It is 42 or 43", 0),
        ("It is 6 times 7", 0),
        ("She sells\n42", FULL_SCORE),
        ("Answer: " + "9^" * 50, None),
        ("Answer: 42" + " " * 70_000, None),
        ("", 0),
    ]:
        assert environment.score(completion, item) == score, completion


def test_the_problems_that_ship_are_graded_by_their_own_answers() -> None:
    environment = open_environment("maths", {})
    items = {(item := environment.generate(seed)).question: item for seed in range(200)}
    assert len(items) >= 40
    for item in items.values():
        assert environment.score(f"Answer: {item.reference}", item) == FULL_SCORE
        assert environment.score("Answer: 86420.97531", item) == 0
    assert fingerprint(lambda: open_environment("maths", {})) == fingerprint(
        lambda: open_environment("maths", {})
    )
    assert any(pin.startswith("math-verify ") for pin in environment.pins)


def rows(given: Iterable[Any]) -> Iterable[Any]:
    return given


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLSWARM_CACHE", str(tmp_path / "cache"))
    return tmp_path


GSM8K = {"question": "How many are 6 times 12?", "answer": "6 * 12 = <<6*12=72>>72\n#### 72"}
DAPO = {
    "prompt": [
        {
            "role": "user",
            "content": "Solve the following math problem step by step. The last line of your "
            "response should be of the form Answer: $Answer.\n\nFind 2 + 3.\n\n"
            'Remember to put your answer on its own line after "Answer:".',
        }
    ],
    "reward_model": {"ground_truth": "5", "style": "rule"},
}


def written(path: Path, *problems: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return str(path)


def test_known_forms_are_read_and_what_can_not_be_graded_is_left_out(folder: Path) -> None:
    source = written(
        folder / "mixed.jsonl",
        GSM8K,
        DAPO,
        GSM8K,
        {"question": "Why?", "answer": "because"},
        {"problem": "Expand (x+1)(x-1).", "answer": "$x^2-1$"},
    )
    imported = import_problems("maths", source, rows)
    assert (imported.kept, imported.dropped) == (3, 2)
    environment = open_environment("maths", {"problems": imported.digest, "source": "mixed"})
    found = {environment.generate(seed).question for seed in range(3)}
    assert found == {GSM8K["question"], "Find 2 + 3.", "Expand (x+1)(x-1)."}
    item = environment.generate(0)
    assert environment.score("Answer: 72", item) == FULL_SCORE
    assert environment.pins[-1] == imported.digest


def test_the_same_problems_have_the_same_hash_whatever_file_they_came_from(folder: Path) -> None:
    one = import_problems("maths", written(folder / "a.jsonl", GSM8K, DAPO), rows)
    extra = {**GSM8K, "id": 7}
    other = import_problems("maths", written(folder / "b.jsonl", extra, DAPO), rows)
    assert one.digest == other.digest


def test_parquet_and_hub_data_sets_are_read_alike(folder: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'rlswarm[maths]'")
    import pyarrow
    import pyarrow.parquet

    hub = folder / "stub"
    hub.mkdir()
    line = import_problems("maths", written(hub / "train.jsonl", GSM8K), rows)
    table = pyarrow.Table.from_pylist([GSM8K])
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    assert import_problems("maths", str(folder / "rows.parquet"), rows) == line
    assert import_problems("maths", f"hub:{hub}:train", rows) == line


def test_absent_torn_and_useless_sources_say_so(folder: Path) -> None:
    with pytest.raises(UnusableEnvironmentError, match="can't be read"):
        import_problems("maths", str(folder / "absent.jsonl"), rows)
    (folder / "torn.jsonl").write_text('{"question": ')
    with pytest.raises(UnusableEnvironmentError, match="line 1"):
        import_problems("maths", str(folder / "torn.jsonl"), rows)
    with pytest.raises(UnusableEnvironmentError, match="holds no problem"):
        import_problems("maths", written(folder / "other.jsonl", {"a": 1}), rows)
    assert not list((folder / "cache" / "problems").iterdir())


def test_a_manifest_names_problems_by_hash_and_never_by_path(folder: Path) -> None:
    digest = "ab" * 32
    with pytest.raises(UnusableEnvironmentError, match="--from hub:some/set"):
        open_environment("maths", {"problems": digest, "source": "hub:some/set"})
    for path in ("/etc/passwd", "../problems.jsonl", digest.upper()):
        with pytest.raises(UnusableEnvironmentError, match="must be the file's hash"):
            open_environment("maths", {"problems": path})
    with pytest.raises(UnusableEnvironmentError, match="has no option path"):
        open_environment("maths", {"path": "/etc/passwd"})


def test_problems_changed_after_preparation_are_refused(folder: Path) -> None:
    imported = import_problems("maths", written(folder / "a.jsonl", GSM8K), rows)
    (path,) = (folder / "cache" / "problems").iterdir()
    path.write_bytes(path.read_bytes().replace(b"72", b"73"))
    with pytest.raises(UnusableEnvironmentError, match="was changed after it was prepared"):
        open_environment("maths", {"problems": imported.digest})
