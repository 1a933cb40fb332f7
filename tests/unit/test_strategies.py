"""No strategy that the documentation lists beats honesty in expectation; and its examples hold."""

import doctest
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.game import explain, rewards
from rlswarm.game.presets import load_game
from rlswarm.game.proposals import read_proposal
from rlswarm.scorer.messages import MICRO
from rlswarm.simulation.strategies import World, strategies, table
from rlswarm.worker.messages import Rollout

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "games.md"
ANSWER = load_game("solve").stages[0]
ROUNDED = 3e-5
"""Beliefs are stated in whole percent: at most 0.005² is lost by rounding."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any world in which the honest answer is the player's likeliest one, and in which a solver
    who fails on purpose would otherwise have succeeded more often than not."""
    share = st.floats(0.0, 1.0)
    right = draw(st.floats(0.01, 0.99))
    second = draw(share) * min(right, 1 - right)
    hearsay = draw(share)
    return World(
        right=right,
        second=second,
        sight=draw(st.floats(0.5, 0.999)),
        same_wrong=draw(share),
        hearsay=hearsay,
        revised=max(right, hearsay, draw(share)),
        samples=draw(st.integers(2, 8)),
        kinds=(*draw(st.lists(share, min_size=1, max_size=5)), draw(st.floats(0.75, 1.0))),
    )


@given(worlds())
def test_no_listed_strategy_beats_honesty(world: World) -> None:
    honest = {row.stage: row.expected for row in strategies(world) if row.honest}
    for row in strategies(world):
        assert row.expected <= honest[row.stage] + ROUNDED, row


def test_every_strategy_loses_something_in_the_documented_world() -> None:
    rows = strategies(World())
    honest = {row.stage: row.expected for row in rows if row.honest}
    assert {row.stage for row in rows} == set(honest)
    for row in rows:
        assert row.honest or row.expected < honest[row.stage] - 0.01, row


@given(st.integers(0, 8), st.integers(1, 8))
def test_a_proposal_earns_most_where_half_is_solved(right: int, samples: int) -> None:
    scores = [MICRO] * min(right, samples) + [0] * max(0, samples - right)
    earned = rewards.challenge(True, [scores])
    assert MICRO // 10 <= earned <= rewards.challenge(True, [[MICRO, 0]]) == MICRO
    mirrored = rewards.challenge(True, [[MICRO - score for score in scores]])
    assert abs(earned - mirrored) <= 4


@given(st.lists(st.lists(st.sampled_from([0, MICRO]), min_size=1, max_size=8), max_size=5))
def test_each_solver_of_a_proposal_has_one_vote(solved: list[list[int]]) -> None:
    repeated = [scores * 2 for scores in solved]
    assert rewards.challenge(True, solved) == rewards.challenge(True, repeated)
    assert rewards.challenge(False, solved) == 0


@given(st.text(max_size=60))
def test_only_one_proposal_and_nothing_else_is_a_proposal(text: str) -> None:
    assert read_proposal(bytes(32), bytes(32), "Kind 1, seed 7" + text, 2) is None or (
        re.fullmatch(r"[0-9]{0,8}\s*", text, re.ASCII)
    )


def test_a_proposed_task_is_its_authors_own_and_of_this_round() -> None:
    texts = ["Kind 1, seed 7", "Kind 2, seed 7", "Kind 1, seed 8"]
    beacons, peers = [bytes(32), b"b" * 32], [b"p" * 32, b"q" * 32]
    keys = {
        request.seed_key
        for text, beacon, peer in itertools.product(texts, beacons, peers)
        if (request := read_proposal(beacon, peer, text, 2))
    }
    assert len(keys) == len(texts) * len(beacons) * len(peers)
    for text in ["Kind 0, seed 1", "Kind 3, seed 1", "Kind 1 seed 1", "kind 1, seed 1", ""]:
        assert read_proposal(bytes(32), bytes(32), text, 2) is None


# -- form and truncation -----------------------------------------------------------------------


def said(text: str, tokens: int = 5, *, truncated: bool = False) -> Rollout:
    return Rollout(bytes(4 * tokens), bytes(2 * tokens), text, truncated)


@pytest.mark.parametrize(
    ("rollout", "formed"),
    [
        (said("Answer: 3"), True),
        (said("So it is\nAnswer: 3"), True),
        (said("Answer: 3", ANSWER.max_tokens), False),  # cut off, whatever its sender claims
        (said("Answer: 3", ANSWER.max_tokens, truncated=False), False),
        (said("Answer: 3", truncated=True), True),
        (said("Answer: 3\nAnswer: 4"), False),
        (said("Answer:"), False),
        (said("3"), False),
        (said(""), False),
    ],
)
def test_form_is_paid_once_and_only_to_finished_answers(rollout: Rollout, formed: bool) -> None:
    assert rewards.well_formed(rollout, ANSWER) is formed
    assert rewards.form(rollout, ANSWER) == (50_000 if formed else 0)
    reward, why = explain.answer(0, None, rollout, ANSWER)
    assert reward == (50_000 if formed else 0)
    assert ("well-formed" in why) is formed
    if len(rollout.tokens) // 4 == ANSWER.max_tokens:
        assert "cut off by its budget" in why


@given(st.text(max_size=40), st.integers(0, 40), st.booleans(), st.booleans())
def test_what_the_sender_says_of_truncation_enters_no_reward(
    text: str, tokens: int, one: bool, other: bool
) -> None:
    assert rewards.form(said(text, tokens, truncated=one), ANSWER) == rewards.form(
        said(text, tokens, truncated=other), ANSWER
    )


# -- the page ----------------------------------------------------------------------------------


def page() -> str:
    if not PAGE.exists():
        pytest.skip("the documentation is not installed")
    return PAGE.read_text(encoding="utf-8")


def test_the_strategy_table_is_what_the_code_computes() -> None:
    assert table(World()) in page(), "run `python -m rlswarm.simulation.strategies`"


def test_the_examples_of_formulas_are_right() -> None:
    page()
    names = {"MICRO": MICRO, **vars(rewards)}
    done = doctest.testfile(str(PAGE), module_relative=False, globs=names)
    assert done.attempted >= 9
    assert not done.failed
