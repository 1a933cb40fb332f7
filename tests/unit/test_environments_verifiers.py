"""A real environment from PyPI, written for `verifiers`, as one of ours."""

import pytest

from rlswarm.environments.environment import FULL_SCORE, UnusableEnvironmentError
from rlswarm.environments.fingerprint import fingerprint
from rlswarm.environments.registry import open_environment

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


@pytest.mark.usefixtures("poems")
def test_a_score_that_waits_for_something_outside_is_never_given() -> None:
    import asyncio

    environment = open_environment("verifiers", SNOWBALL)

    async def judge(completion: object) -> float:
        await asyncio.sleep(0)
        return 1.0

    environment._environment.rubric.add_reward_func(judge)  # type: ignore[attr-defined]
    with pytest.raises(UnusableEnvironmentError, match="waits for something outside"):
        environment.score("text", environment.generate(0))
