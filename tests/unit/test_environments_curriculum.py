"""Difficulty follows measured success, the same way for everyone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.environments.curriculum import (
    CONVINCING,
    EASIER_BELOW,
    HARDER_ABOVE,
    MILLION,
    LevelCount,
    choose_level,
    config_at,
)


def at(percent: int, judged: int = 1000) -> LevelCount:
    return LevelCount(judged, judged * percent // 100)


UNTRIED = LevelCount(0, 0)
counts = st.integers(0, 10**12).flatmap(
    lambda judged: st.integers(0, judged).map(lambda right: LevelCount(judged, right))
)


@pytest.mark.parametrize(
    ("levels", "chosen"),
    [
        ([UNTRIED], 0),
        ([at(50), UNTRIED], 0),
        ([at(90), UNTRIED, UNTRIED], 1),
        ([at(90), at(40), UNTRIED], 1),
        ([at(90), at(80), UNTRIED], 2),
        ([at(90), at(5)], 0),
        ([at(5), at(90)], 0),
        ([at(99), at(99)], 1),
        ([at(99, judged=CONVINCING - 1), at(99)], 0),
    ],
)
def test_the_hardest_level_that_is_not_too_hard_is_played(
    levels: list[LevelCount], chosen: int
) -> None:
    assert choose_level(levels) == chosen


@given(st.lists(counts, min_size=1, max_size=8))
def test_the_choice_is_a_level_and_every_easier_one_was_mastered(levels: list[LevelCount]) -> None:
    chosen = choose_level(levels)
    assert 0 <= chosen < len(levels)
    for count in levels[:chosen]:
        assert count.success is not None
        assert count.success > HARDER_ABOVE


@given(st.lists(counts, min_size=1, max_size=8), st.integers(0, 7), st.integers(1, 10**6))
def test_more_success_never_makes_tasks_easier(
    levels: list[LevelCount], place: int, more: int
) -> None:
    place %= len(levels)
    count = levels[place]
    better = LevelCount(count.judged, min(count.judged, count.right + more))
    raised = [*levels[:place], better, *levels[place + 1 :]]
    assert choose_level(raised) >= choose_level(levels)


@given(counts)
def test_success_is_exact_at_the_thresholds(count: LevelCount) -> None:
    success = count.success
    if success is None:
        assert count.judged < CONVINCING
        return
    assert success * count.judged <= count.right * MILLION < (success + 1) * count.judged
    assert (choose_level([count, UNTRIED]) == 1) == (
        count.right * MILLION >= (HARDER_ABOVE + 1) * count.judged
    )
    assert EASIER_BELOW < HARDER_ABOVE


def test_a_level_lies_over_the_config() -> None:
    levels = [{"max_words": 3}, {"max_words": 9, "min_words": 4}]
    assert config_at({"min_words": 1}, levels, [at(90), UNTRIED]) == {
        "min_words": 4,
        "max_words": 9,
    }
    assert config_at({"min_words": 1}, levels, [at(50), UNTRIED]) == {
        "min_words": 1,
        "max_words": 3,
    }
    with pytest.raises(ValueError, match="2 levels, but counts of 1"):
        config_at({}, levels, [UNTRIED])


@pytest.mark.parametrize(("judged", "right"), [(1, 2), (0, -1), (-1, 0)])
def test_impossible_counts_are_refused(judged: int, right: int) -> None:
    with pytest.raises(ValueError, match="can't be"):
        LevelCount(judged, right)


def test_no_levels_are_no_curriculum() -> None:
    with pytest.raises(ValueError, match="at least one level"):
        choose_level([])
