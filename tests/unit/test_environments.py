"""What every environment promises: one answer, exact millionths, disjoint splits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.environments.draw import evaluation_tasks, may_show_held_out, training_task
from rlswarm.environments.environment import (
    COMPLETION_LIMIT,
    FULL_SCORE,
    Environment,
    Item,
    UnusableEnvironmentError,
    is_held_out,
)
from rlswarm.environments.extraction import extract_answer
from rlswarm.environments.fingerprint import fingerprint, mismatch


class Sums(Environment):
    """Small sums; `size` prompts in all."""

    def generate(self, seed: int) -> Item:
        number = seed % self.config.get("size", 10_000)
        return Item(f"{number} + 1 =", str(number + 1))

    def grade(self, answer: str, item: Item) -> float:
        return float(answer == item.reference)


class Careless(Environment):
    """Grades everything with whatever the config says."""

    def generate(self, seed: int) -> Item:
        return Item(f"Say {seed}", None)

    def grade(self, answer: str, item: Item) -> float:
        value = self.config["value"]
        if isinstance(value, Exception):
            raise value
        return value  # type: ignore[no-any-return]


def sums(size: int = 10_000, shots: int = 0) -> Sums:
    return Sums("sums", {"size": size}, shots)


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("Answer: 3", "3"),
        ("Answer: 2\nNo, wait.\nAnswer: **3**.", "3"),
        ("I count: h, e, l.\nIt appears 3 times.", "3"),
        ("Answer: 5 - 2 = 3", "3"),
        ("Answer: +3\n\nQuestion: 4 + 4", "3"),
        ("Answer: 1,234", "1234"),
        ("Answer: -3", "-3"),
        ("Answer: 3 or 4", None),
        ("Answer: 3 or four", None),
        ("Answer: 3, 4", None),
        ("Answer: 3,4", None),
        ("Answer: 3/4", None),
        ("Answer: 1e9", None),
        ("Answer: 3\u0663", "3"),
        ("3\nAnswer:", None),
        ("Answer: three", None),
        ("", None),
        ("Answer: " + "9" * 5000, None),
    ],
)
def test_a_number_is_taken_only_where_there_is_exactly_one(
    completion: str, expected: str | None
) -> None:
    assert extract_answer(completion, "7") == expected


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("Answer: Monday.\nAnd then some", "Friday", "Monday"),
        ("Let me see.\nMonday", "Friday", "Monday"),
        ("Answer:\n1 2\n3 4\n", "5 6\n7 8", "1 2\n3 4"),
        ("Answer: anything", None, "anything"),
    ],
)
def test_text_is_read_in_the_form_of_a_right_answer(
    completion: str, reference: str | None, expected: str
) -> None:
    assert extract_answer(completion, reference) == expected


@settings(deadline=None)
@given(st.text(), st.one_of(st.none(), st.text(min_size=1)))
def test_extraction_takes_any_text_and_never_returns_nothing(
    completion: str, reference: str | None
) -> None:
    answer = extract_answer(completion, reference)
    assert answer is None or answer.strip()


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(-50, 50))
def test_only_the_right_number_is_paid(seed: int, error: int) -> None:
    environment = sums()
    item = environment.generate(seed)
    claimed = int(item.reference or "") + error
    expected = FULL_SCORE if error == 0 else 0
    assert environment.score(f"So it is {claimed}", item) == expected


@pytest.mark.parametrize(
    "completion",
    ["1" * 1_000_000, "é" * (COMPLETION_LIMIT // 2 + 1), "Answer: 1 \udcff", "\ud800"],
)
def test_oversized_and_broken_text_is_unscorable(completion: str) -> None:
    assert sums().score(completion, Item("?", "1")) is None


def test_text_at_the_limit_is_scored() -> None:
    completion = "x" * (COMPLETION_LIMIT - 11) + "\nAnswer: 1\n"
    assert len(completion.encode()) == COMPLETION_LIMIT
    assert sums().score(completion, Item("?", "1")) == FULL_SCORE


def test_an_empty_answer_is_wrong_rather_than_unscorable() -> None:
    assert sums().score("", Item("?", "1")) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, "no", ValueError("no")])
def test_a_scorer_that_fails_or_leaves_the_range_is_unscorable(value: object) -> None:
    environment = Careless("careless", {"value": value})
    assert environment.score("Answer: x", environment.generate(1)) is None


@pytest.mark.parametrize(("value", "millionths"), [(0.25, 250_000), (1, FULL_SCORE), (1e-9, 0)])
def test_part_credit_becomes_millionths(value: float, millionths: int) -> None:
    environment = Careless("careless", {"value": value})
    assert environment.score("Answer: x", environment.generate(1)) == millionths


def test_running_out_of_memory_says_nothing_about_the_answer() -> None:
    environment = Careless("careless", {"value": MemoryError()})
    with pytest.raises(MemoryError):
        environment.score("Answer: x", environment.generate(1))


@settings(deadline=None, max_examples=30)
@given(st.binary(min_size=32, max_size=32))
def test_training_never_draws_what_evaluation_draws(key: bytes) -> None:
    environment = sums(size=60)
    held_out = {item.question for _, item in evaluation_tasks(environment, 100)}
    seed, item = training_task(environment, key)
    assert item == environment.generate(seed)
    assert item.question not in held_out


def test_held_out_tasks_are_a_tenth_and_distinct() -> None:
    tasks = evaluation_tasks(sums(size=1000), 2000)
    questions = [item.question for _, item in tasks]
    assert len(set(questions)) == len(questions)
    assert all(map(is_held_out, questions))
    assert 60 <= len(questions) <= 140
    assert evaluation_tasks(sums(size=1000), 10) == tasks[:10]


def test_an_environment_without_training_tasks_says_so() -> None:
    question = next(f"{n} + 1 =" for n in range(1000) if is_held_out(f"{n} + 1 ="))
    environment = Sums("sums", {"size": 10_000})
    environment.generate = lambda seed: Item(question, "1")  # type: ignore[method-assign]
    with pytest.raises(UnusableEnvironmentError, match="no task for training"):
        training_task(environment, bytes(32))


@pytest.mark.parametrize(
    ("size", "shows"), [(100, False), (499, False), (700, True), (10**6, True)]
)
def test_a_held_out_figure_needs_500_distinct_prompts(size: int, shows: bool) -> None:
    assert may_show_held_out(sums(size)) is shows


def test_worked_examples_are_fixed_turns_that_are_never_held_out() -> None:
    environment = sums(shots=3)
    first = environment.prompt(environment.generate(1))
    second = environment.prompt(environment.generate(2))
    assert [turn.role for turn in first] == ["user", "assistant"] * 3 + ["user"]
    assert first[:-1] == second[:-1]
    assert first[-1].content == "1 + 1 ="
    examples = [turn.content.rpartition("\n")[2] for turn in first[:-1] if turn.role == "user"]
    assert not any(map(is_held_out, examples))
    for question, answer in zip(examples, first[1:-1:2], strict=True):
        assert environment.score(answer.content, Item(question, answer.content[8:])) == FULL_SCORE
    assert len({turn.content for turn in first[1:-1:2]}) == 3


def test_without_shots_the_prompt_is_one_turn_with_the_instructions() -> None:
    (turn,) = sums().prompt(Item("1 + 1 =", "2"))
    assert turn.role == "user"
    assert turn.content.startswith(Environment.instructions)
    assert turn.content.endswith("1 + 1 =")


def test_shots_without_reference_answers_are_refused() -> None:
    environment = Careless("careless", {"value": 0.0}, shots=2)
    with pytest.raises(UnusableEnvironmentError, match="0 worked examples"):
        environment.prompt(environment.generate(1))


def test_a_fingerprint_is_stable_and_tells_configs_and_prompts_apart() -> None:
    assert fingerprint(lambda: sums(500)) == fingerprint(lambda: sums(500))
    assert fingerprint(lambda: sums(500)) != fingerprint(lambda: sums(501))
    assert fingerprint(lambda: sums(500)) != fingerprint(lambda: sums(500, shots=1))


@pytest.mark.parametrize(
    ("version", "there", "remedy"),
    [
        ("sums-package 1.4", "than sums-package 1.4,", "`pip install 'sums-package==1.4'`"),
        ("sums", "than sums,", "the version is the same"),
        ("", "than the founder's version,", "install the version that the swarm's founder used"),
    ],
)
def test_a_mismatch_names_both_versions_and_what_to_install(
    version: str, there: str, remedy: str
) -> None:
    sentence = mismatch(sums(), "a" * 64, "b" * 64, version)
    assert "sums is installed here" in sentence
    assert there in sentence
    assert remedy in sentence
    assert "leaves the environment out" in sentence


class Counting(Sums):
    """Keeps state between tasks."""

    calls = 0

    def generate(self, seed: int) -> Item:
        self.calls += 1
        return Item(f"Task {self.calls}", "1")


class Generous(Sums):
    def grade(self, answer: str, item: Item) -> float:
        return 1.0


class Impossible(Sums):
    def grade(self, answer: str, item: Item) -> float:
        return 0.0


class Broken(Sums):
    def generate(self, seed: int) -> Item:
        raise KeyError("words")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Counting, "not deterministic"),
        (Generous, "pays for a wrong answer"),
        (Impossible, "accepts none of its own reference answers"),
        (Broken, "failed to generate a task: KeyError"),
    ],
)
def test_unsound_environments_are_refused_with_the_reason(kind: type[Sums], reason: str) -> None:
    with pytest.raises(UnusableEnvironmentError, match=reason):
        fingerprint(lambda: kind("unsound", {}))
