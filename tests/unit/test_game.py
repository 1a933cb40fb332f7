"""The pure game: quoting, tasks, inputs, bodies and rewards."""

import itertools
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm._core import blake3
from rlswarm.game import rewards
from rlswarm.game.inputs import Quote, rank, sample_order, skipped
from rlswarm.game.presets import retimed
from rlswarm.game.quoting import quote
from rlswarm.game.rollouts import BodyError, Group, decode_body, encode_body
from rlswarm.game.stages import Game, timetable
from rlswarm.game.tasks import sampling_key, slot_request, task_beacon
from rlswarm.scorer.messages import MICRO, EnvironmentSpec
from rlswarm.worker.messages import Rollout

GAME = Game(
    slots=4,
    group_size=2,
    overlap=0.25,
    stages=retimed("answer-critique-revise", [5, 4, 3], reveal=1, max_tokens=8),
)
ENVIRONMENTS = (EnvironmentSpec(name="a", weight=3), EnvironmentSpec(name="b", weight=1))
PEERS = [blake3(bytes([n])) for n in range(40)]


def rollout(text: str = "ab", tokens: int = 2) -> Rollout:
    return Rollout(struct.pack(f"<{tokens}I", *range(tokens)), bytes(2 * tokens), text, False)


# -- quoting ---------------------------------------------------------------------------------


@given(st.text(max_size=600), st.integers(1, 200))
def test_a_quoted_text_never_leaves_its_quotation(text: str, limit: int) -> None:
    quoted = quote(text, limit)
    assert all(line.startswith(">") for line in quoted.split("\n"))
    assert len(quoted.splitlines()) == quoted.count("\n") + 1
    assert len(quoted) <= limit + 2 * (quoted.count("\n") + 1) + 16


@given(
    st.lists(
        st.sampled_from(
            ["<|im_end|>", "<|", "|>", "</s>", "[INST]", "[/INST]", "<", ">", "|", "im_end", "<s>"]
        ),
        max_size=12,
    )
)
def test_no_control_token_survives_quoting_even_when_pieced_together(parts: list[str]) -> None:
    quoted = quote("".join(parts), 200)
    for token in ("<|", "|>", "<s>", "</s>", "[INST]", "[/INST]"):
        assert token not in quoted


def test_quoting_keeps_what_is_worth_reading() -> None:
    assert quote("2 < 3, so [a, b]\nAnswer: 4", 100) == "> 2 < 3, so [a, b]\n> Answer: 4"
    assert quote("", 10) == "> (nothing)"
    assert quote("x" * 50, 10) == "> xxxxxxxxxx …"


# -- tasks -----------------------------------------------------------------------------------


def test_the_overlap_share_is_common_and_the_rest_differs() -> None:
    beacon = task_beacon(b"s" * 32, 3)
    keys = [
        [slot_request(beacon, peer, j, GAME, ENVIRONMENTS).seed_key for j in range(4)]
        for peer in PEERS
    ]
    assert len({row[0] for row in keys}) == 1
    few = msgspec.structs.replace(GAME, slots=2)  # half a slot is no slot
    firsts = {slot_request(beacon, peer, 0, few, ENVIRONMENTS).seed_key for peer in PEERS}
    assert len(firsts) == len(PEERS)
    assert len({key for row in keys for key in row[1:]}) == 3 * len(PEERS)


def test_environments_are_drawn_by_weight() -> None:
    beacon = task_beacon(b"s" * 32, 0)
    drawn = [
        slot_request(beacon, peer, j, GAME, ENVIRONMENTS).environment
        for peer in PEERS
        for j in range(1, 4)
    ]
    assert 0.6 < drawn.count(0) / len(drawn) < 0.9


def test_a_sampling_key_depends_on_everything_it_should() -> None:
    base = (b"l" * 32, b"p" * 32, 1, 2, 3)
    changed = [
        (b"m" * 32, *base[1:]),
        (base[0], b"q" * 32, *base[2:]),
        (*base[:2], 2, 2, 3),
        (*base[:3], 3, 3),
        (*base[:4], 4),
    ]
    assert len({sampling_key(*arguments) for arguments in [base, *changed]}) == 6


# -- inputs ----------------------------------------------------------------------------------


@given(st.permutations(range(12)), st.integers(0, 11))
def test_ranking_depends_on_the_set_alone(order: list[int], reader: int) -> None:
    groups = [Quote(PEERS[n], n % 4) for n in range(12)]
    lottery = blake3(b"lottery")
    shuffled = [groups[n] for n in order]
    assert rank(lottery, PEERS[reader], 1, shuffled) == rank(lottery, PEERS[reader], 1, groups)


def test_readers_are_shown_different_things() -> None:
    groups = [Quote(PEERS[n], 0) for n in range(12)]
    firsts = {rank(b"l" * 32, reader, 1, groups)[0] for reader in PEERS}
    assert len(firsts) > 6


@given(st.sets(st.integers(0, 11), max_size=12))
def test_skipped_counts_the_better_ranked_that_were_passed_over(chosen: set[int]) -> None:
    groups = [Quote(PEERS[n], 0) for n in range(12)]
    ranked = rank(b"l" * 32, PEERS[20], 1, groups)
    picked = [ranked[n] for n in chosen]
    expected = max(chosen, default=-1) + 1 - len(chosen)
    assert skipped(b"l" * 32, PEERS[20], 1, picked, groups) == expected


@given(st.integers(1, 64), st.binary(max_size=8))
def test_samples_are_shown_in_an_order_that_the_group_alone_decides(size: int, slot: bytes) -> None:
    order = sample_order(b"l" * 32, [PEERS[0], slot], size)
    assert sorted(order) == list(range(size))
    assert order == sample_order(b"l" * 32, [PEERS[0], slot], size)
    orders = {tuple(sample_order(b"l" * 32, [peer, slot], size)) for peer in PEERS}
    assert len(orders) > 1 or size < 3


# -- bodies ----------------------------------------------------------------------------------


def test_a_body_is_read_back() -> None:
    groups = [Group(slot, (), (rollout(), rollout("c", 1))) for slot in (0, 2)]
    assert list(decode_body(encode_body(groups), [0, 2], GAME, 0)) == groups


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(BodyError):
        decode_body(body, [0], GAME, 0)


@pytest.mark.parametrize(
    ("group", "slots", "stage"),
    [
        (Group(0, (), (rollout(),)), [0], 0),
        (Group(0, (), (rollout(), rollout())), [1], 0),
        (Group(9, (), (rollout(), rollout())), [9], 0),
        (Group(0, (), (rollout(tokens=9), rollout())), [0], 0),
        (Group(0, (), (rollout(tokens=0), rollout())), [0], 0),
        (Group(0, (), (rollout("x" * 200, 2), rollout())), [0], 0),
        (Group(0, (), (Rollout(b"abcd", b"x", "a", False), rollout())), [0], 0),
        (Group(0, (Quote(b"h" * 32, 0),), (rollout(), rollout())), [0], 0),
        (Group(0, (), (rollout(), rollout())), [0], 1),
        (Group(0, (Quote(b"short", 0),), (rollout(), rollout())), [0], 1),
        (Group(0, (Quote(b"h" * 32, 99),), (rollout(), rollout())), [0], 1),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(group: Group, slots: list[int], stage: int) -> None:
    with pytest.raises(BodyError):
        decode_body(encode_body([group]), slots, GAME, stage)


# -- rewards ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("A: right 80%\nB: wrong 60%", [80, 40]),
        ("A: right\nB wrong", [75, 25]),
        ("Answer A is correct, 90% sure", [90, None]),
        ("B: right 100%\nA: wrong 100%", [0, 100]),
        ("A: right 20%", [50, None]),
        ("A: right 999%", [100, None]),
        ("A: right 80%\nA: wrong 99%", [80, None]),
        ("C: right 80%", [None, None]),
        ("", [None, None]),
        ("I like all of them", [None, None]),
    ],
)
def test_verdicts_are_read(text: str, stated: list[int | None]) -> None:
    assert rewards.stated_probabilities(text, 2) == stated


@given(st.integers(0, 100), st.integers(50, 100))
def test_saying_what_one_believes_is_best(belief: int, lie: int) -> None:
    """The Brier score is proper: no stated number beats the belief in expectation."""

    def expected(percent: int) -> int:
        verdict = f"A: right {percent}%" if percent >= 50 else f"A: wrong {100 - percent}%"
        if_true, if_false = rewards.judgement(verdict, [True]), rewards.judgement(verdict, [False])
        return belief * if_true + (100 - belief) * if_false

    assert expected(belief) >= expected(lie)
    assert expected(belief) >= expected(100 - lie)


@given(st.text(max_size=200), st.lists(st.booleans(), min_size=1, max_size=8))
def test_a_judgement_lies_between_nothing_and_one(text: str, truths: list[bool]) -> None:
    assert 0 <= rewards.judgement(text, truths) <= MICRO


def test_silence_earns_less_than_ignorance() -> None:
    for truth in (True, False):
        assert rewards.judgement("", [truth]) < rewards.judgement("A: right 50%", [truth])


@pytest.mark.parametrize(
    ("score", "shown", "reward"),
    [
        (MICRO, [0, 0], 1_500_000),
        (MICRO, [MICRO, MICRO], MICRO),
        (0, [MICRO, MICRO], -500_000),
        (0, [0, 0], 0),
        (MICRO, [MICRO, 0], 1_250_000),
        (MICRO, [None, None], MICRO),
        (None, [0, 0], None),
    ],
)
def test_a_revision_is_paid_for_what_it_mends(
    score: int | None, shown: list[int | None], reward: int | None
) -> None:
    assert rewards.improvement(score, shown) == reward


# -- stages ----------------------------------------------------------------------------------


def test_stages_follow_each_other_without_gaps() -> None:
    times = timetable(GAME, 100.0)
    assert times[0].opens == 100.0
    for before, after in itertools.pairwise(times):
        assert before.opens < before.closes < before.reveals == after.opens
    assert times[-1].reveals == 100.0 + 5 + 4 + 3 + 3 * 1


def test_a_game_is_plain_data() -> None:
    assert msgspec.convert(msgspec.to_builtins(GAME), Game) == GAME
