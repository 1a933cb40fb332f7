"""reasoning-gym's sets as environments: refusals, exactness, the same items everywhere."""

import builtins
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlswarm
from rlswarm.environments.environment import FULL_SCORE, Environment, UnusableEnvironmentError
from rlswarm.environments.fingerprint import fingerprint
from rlswarm.environments.registry import (
    environment_options,
    list_environments,
    open_environment,
)
from rlswarm.scorer.messages import Answer, EnvironmentSpec, Open, Opened, Score, Scored
from rlswarm.scorer.process import Scorer

LETTERS = {"min_words": 1, "max_words": 3}


@functools.cache
def letter_counting() -> Environment:
    return open_environment("letter_counting", LETTERS)


EVALUATING = {
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
}


def test_sets_whose_scorers_run_answers_are_refused_and_no_others_for_that_reason() -> None:
    refused = {entry.name for entry in list_environments() if "as code" in entry.refusal}
    assert refused == EVALUATING


ATTACK = "__import__('builtins').__dict__.__setitem__('OWNED', 1)"
"""An answer that, where it is evaluated, leaves a mark."""

ATTACK_THE_LIBRARY = """
import builtins, sys
from rlswarm.environments import reasoning_gym_catalog
for name in sys.argv[2:]:
    kind, config = reasoning_gym_catalog.load(name)
    data_set = kind(config(seed=1, size=1))
    data_set.score_answer(sys.argv[1], data_set[0])
    if builtins.__dict__.pop("OWNED", None):
        print(name)
"""
ATTACK_ALL_THAT_IS_PLAYED = """
import builtins, sys
from rlswarm.environments.registry import list_environments, open_environment
attack = sys.argv[1]
forms = ("{}", "[{}]", "[[{}]]", "{{{}: 1}}", "({})", "1 + {}", "$\\\\boxed{{{}}}$")
for listing in list_environments():
    if not listing.refusal and listing.source.startswith("reasoning-gym"):
        environment = open_environment(listing.name, {})
        item = environment.generate(3)
        for form in forms:
            environment.score("Answer: " + form.format(attack), item)
        print(listing.name, "OWNED" if hasattr(builtins, "OWNED") else "")
"""


def attacked(program: str, *arguments: str) -> list[str]:
    package = str(Path(rlswarm.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, ATTACK, *arguments],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_the_attack_works_on_the_librarys_own_scorers() -> None:
    assert set(attacked(ATTACK_THE_LIBRARY, *sorted(EVALUATING))) == EVALUATING


@pytest.mark.parametrize("name", sorted(EVALUATING))
def test_the_attack_never_reaches_such_a_scorer_here(name: str) -> None:
    scorer = Scorer()
    opened = scorer.answer(Open((EnvironmentSpec(name), EnvironmentSpec("gcd"))))
    assert isinstance(opened, Opened)
    ((index, sentence),) = opened.mismatches
    assert index == 0
    assert f"{name} is refused: its scorer runs the answer as code" in sentence
    answers = (Answer(0, 1, f"Answer: {ATTACK}"), Answer(1, 1, f"Answer: {ATTACK}"))
    scored = scorer.answer(Score(answers))
    assert isinstance(scored, Scored)
    assert scored.scores[0] is None
    assert scored.overran == (0,)
    assert not hasattr(builtins, "OWNED")


def test_no_set_that_is_played_evaluates_an_answer() -> None:
    lines = attacked(ATTACK_ALL_THAT_IS_PLAYED)
    assert len(lines) > 90
    assert not [line for line in lines if line.endswith("OWNED")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("n_queens", "runs the answer as code"),
        ("puzzle24", "runs the answer as code"),
        ("composite", "mixes other sets"),
        ("rush_hour", "how long its scorer works"),
        ("leter_counting", "Did you mean letter_counting"),
        ("zzzzzzzz", "rlswarm env list"),
    ],
)
def test_refusals_say_why(name: str, reason: str) -> None:
    with pytest.raises(UnusableEnvironmentError, match=reason):
        open_environment(name, {})


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"max_wrds": 3}, "no option max_wrds. Did you mean max_words"),
        ({"seed": 3}, "leave seed out"),
        ({"min_words": 9, "max_words": 3}, "can't use its config"),
        ({"min_words": "many"}, "can't use its config"),
    ],
)
def test_unusable_configs_say_why(config: dict[str, object], reason: str) -> None:
    with pytest.raises(UnusableEnvironmentError, match=reason):
        open_environment("letter_counting", config)


def test_a_manifest_can_not_choose_a_file_to_read() -> None:
    with pytest.raises(UnusableEnvironmentError, match="must not be a path"):
        open_environment("spell_backward", {"data_file": "/etc/passwd"})


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_any_63_bit_seed_makes_a_task_whose_reference_alone_is_paid(seed: int) -> None:
    environment = letter_counting()
    item = environment.generate(seed)
    assert item.reference is not None
    count = int(item.reference)
    assert environment.score(f"Answer: {count}", item) == FULL_SCORE
    assert environment.score(f"Answer: {count + 1}", item) == 0
    assert environment.score(f"Answer: {count} or {count + 1}", item) == 0
    assert environment.score(f"Answer: between {count} and {count + 1}", item) == 0


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_the_task_of_a_seed_is_item_0_of_that_seed() -> None:
    import reasoning_gym

    for seed in (0, 1, 2**63 - 1):
        data_set = reasoning_gym.create_dataset("gcd", size=1, seed=seed, max_value=60)
        item = open_environment("gcd", {"max_value": 60}).generate(seed)
        assert item.question == data_set[0]["question"]
        assert item.reference == data_set[0]["answer"]


@pytest.mark.parametrize(
    "name",
    ["pool_matrix", "prime_factorization", "time_intervals", "tower_of_hanoi", "knights_knaves"],
)
def test_unusual_sets_pay_their_reference_and_not_nonsense(name: str) -> None:
    environment = open_environment(name, {})
    item = environment.generate(2**62 + 1)
    assert environment.score(f"Answer: {item.reference}", item) == FULL_SCORE
    assert environment.score("Answer: no such thing", item) == 0


@pytest.mark.parametrize(
    "answer",
    ["[" * 65, "9" * 1001, "1e99999", "1E+\u0669\u0669\u0669\u0669\u0669", "x" * 9000, "¬" * 65],
)
def test_answers_that_could_lead_a_scorer_astray_are_unscorable(answer: str) -> None:
    environment = open_environment("propositional_logic", {})
    assert environment.score(f"Answer: {answer}", environment.generate(1)) is None


def test_scoring_leaves_the_task_as_it_was() -> None:
    environment = open_environment("boxnet", {})
    item = environment.generate(5)
    before = json.dumps(item.metadata, default=str)
    for answer in ("{}", '{"Agent[0.5, 0.5]": "move(box_red, target_red)"}'):
        environment.score(f"Answer: {answer}", item)
    assert json.dumps(item.metadata, default=str) == before


def test_wrong_scorers_of_the_library_are_caught() -> None:
    with pytest.raises(UnusableEnvironmentError, match="pays for a wrong answer"):
        fingerprint(lambda: open_environment("game_of_life_halting", {}))
    with pytest.raises(UnusableEnvironmentError, match="not deterministic"):
        fingerprint(lambda: open_environment("list_functions", {}))


def test_options_show_what_a_set_can_be_configured_with() -> None:
    assert environment_options("letter_counting") == {"min_words": 5, "max_words": 15}


PRINT_TASKS = """
import json, sys
from rlswarm.environments.fingerprint import fingerprint
from rlswarm.environments.registry import open_environment
tasks = []
for name in ("letter_counting", "gcd", "time_intervals", "calendar_arithmetic"):
    environment = open_environment(name, {}, 2)
    tasks.append(fingerprint(lambda: open_environment(name, {}, 2)))
    tasks.append([environment.prompt(environment.generate(seed)) for seed in (0, 2**63 - 1)])
print(json.dumps([str(task) for task in tasks]))
print(sorted(m for m in ("torch", "sympy", "matplotlib", "numpy") if m in sys.modules))
"""


def _tasks_elsewhere(**variables: str) -> list[str]:
    package = str(Path(rlswarm.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", PRINT_TASKS],
        env={**os.environ, "PYTHONPATH": package, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_tasks_are_the_same_under_other_hash_seeds_time_zones_and_locales() -> None:
    here = _tasks_elsewhere(PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    there = _tasks_elsewhere(PYTHONHASHSEED="4242", TZ="Asia/Kolkata", LC_ALL="tr_TR.UTF-8")
    assert here == there


def test_a_light_set_loads_no_heavy_package() -> None:
    _, heavy = _tasks_elsewhere()
    assert heavy == "[]"
