"""A round that strangers write into: whatever they quote, nothing but a reason comes of it."""

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm._core import Header, Identity, seal
from rlswarm.game.inputs import Quote
from rlswarm.game.presenting import inputs, place, prompt
from rlswarm.game.presets import game_names, load_game, retimed
from rlswarm.game.rollouts import Group, encode_body
from rlswarm.game.round import Round
from rlswarm.game.stages import Game
from rlswarm.ledger.ledger import compute_ledger
from rlswarm.prompt import ChatMessage
from rlswarm.scorer.messages import MICRO, EnvironmentSpec, Task
from rlswarm.worker.messages import Rollout

GAME = Game(
    slots=2,
    group_size=2,
    shown=1,
    stages=retimed("answer-critique-revise", [5, 4, 3], reveal=1, max_tokens=8),
)
PEERS = [Identity.from_seed(bytes([n]) * 32) for n in range(3)]
NO_RECORD = b"\xee" * 32


def rollouts(text: str) -> tuple[Rollout, ...]:
    return tuple(Rollout(struct.pack("<2I", 1, 2), bytes(4), f"{text}{n}", False) for n in (0, 1))


def header(peer: int, stage: int, sequence: int, slots: list[int], body: bytes) -> Header:
    return seal(
        PEERS[peer],
        swarm=bytes(32),
        kind=1,
        round=0,
        lottery_root=bytes(32),
        stage=stage,
        slots=slots,
        sequence=sequence,
        created_at_ms=1,
        base=bytes(32),
        adapter=bytes(32),
        persona="",
        body=body,
    ).header


def judged(state: Round, held_stage: int) -> int:
    """Judge everything of a stage with every answer right; returns the groups played so far."""
    for held in state.unjudged(held_stage):
        assert held.groups is not None
        for group in held.groups:
            for peer in PEERS:
                for slot in (0, 1):
                    state.tasks[(peer.public_key, slot)] = Task(
                        0, slot, "question", (ChatMessage("user", "question"),)
                    )
            assert group.rollouts
        state.judge(held, [MICRO] * len(state.to_score(held)))
    return len(state.played)


def fresh_round() -> tuple[Round, list[bytes]]:
    """Two peers have answered; a third record names a stage that the game does not have."""
    state = Round(0, GAME, 100.0, b"l" * 32, 0.1)
    names = []
    for peer in (0, 1):
        body = encode_body([Group(slot, (), rollouts(f"p{peer}s{slot}")) for slot in (0, 1)])
        one = header(peer, 0, 0, [0, 1], body)
        state.add_header(one, 101.0)
        assert state.add_body(one, body)
        names.append(one.hash)
    strange = header(2, 9, 0, [0], b"x")
    assert not state.add_header(strange, 101.0).in_time
    assert judged(state, 0) == 4
    return state, [*names, strange.hash, NO_RECORD]


QUOTES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2), st.lists(QUOTES, min_size=1, max_size=2), st.integers(0, 2))
def test_no_choice_of_quotes_breaks_a_round(
    stage: int, quotes: list[list[tuple[int, int]]], author: int
) -> None:
    state, names = fresh_round()
    groups = [
        Group(slot, tuple(Quote(names[n], s) for n, s in quoted), rollouts("A: right 80%"))
        for slot, quoted in enumerate(quotes)
    ]
    body = encode_body(groups)
    one = header(author, stage, 1, [g.slot for g in groups], body)
    held = state.add_header(one, state.times[stage].opens + 1)
    if state.add_body(one, body):
        before = len(state.played)
        after = judged(state, stage)
        assert held.refused or before <= after <= before + len(groups)
        for name, group in state.played.items():
            if name.record == one.hash:
                assert group.quotes[0].record in names[:2]
    else:
        assert held.refused


def test_a_revision_must_quote_its_own_answers() -> None:
    state, names = fresh_round()
    body = encode_body([Group(0, (Quote(names[1], 0),), rollouts("x"))])
    one = header(0, 2, 1, [0], body)
    held = state.add_header(one, state.times[2].opens + 1)
    assert state.add_body(one, body)
    judged(state, 2)
    assert held.refused == "a revision must quote the author's own answers to that task"


def test_a_critique_of_a_record_that_is_not_held_waits() -> None:
    state, _ = fresh_round()
    body = encode_body([Group(0, (Quote(NO_RECORD, 0),), rollouts("A: right"))])
    one = header(2, 1, 1, [0], body)
    held = state.add_header(one, state.times[1].opens + 1)
    assert state.add_body(one, body)
    judged(state, 1)
    assert not held.refused and not held.judged


def test_one_record_a_stage_counts_the_first_in_sequence() -> None:
    state, _ = fresh_round()
    body = encode_body([Group(0, (), rollouts("y"))])
    second = header(0, 0, 5, [0], body)
    held = state.add_header(second, 102.0)
    assert held.refused == "a second record of the same author for the same stage"
    assert not state.add_body(second, body)


def test_two_groups_about_one_task_are_refused() -> None:
    state, names = fresh_round()
    body = encode_body([Group(s, (Quote(names[0], 0),), rollouts("A: right")) for s in (0, 1)])
    one = header(2, 1, 1, [0, 1], body)
    held = state.add_header(one, state.times[1].opens + 1)
    assert state.add_body(one, body)
    judged(state, 1)
    assert held.refused == "two groups of one record are about the same task"


def test_a_group_that_differs_in_form_alone_teaches_nothing() -> None:
    state, names = fresh_round()
    group = state.played[Quote(names[0], 0)]
    wrong = msgspec.structs.replace(group, scores=(0, 0), rewards=(0, 50_000))
    assert not wrong.teaches
    assert msgspec.structs.replace(group, scores=(0, MICRO), rewards=(0, MICRO)).teaches
    assert msgspec.structs.replace(group, scores=(), rewards=(0, 50_000)).teaches


def played_game(name: str) -> Game:
    stages = load_game(name).stages
    return Game(
        slots=2,
        group_size=2,
        shown=1,
        stages=tuple(
            msgspec.structs.replace(stage, window=4, reveal=1, max_tokens=8, samples=0, slots=0)
            for stage in stages
        ),
    )


RECORDS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.lists(QUOTES, min_size=1, max_size=2)),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", game_names())
@settings(max_examples=150, deadline=None)
@given(records=RECORDS)
def test_no_sequence_of_strangers_records_breaks_any_game(
    name: str, records: list[tuple[int, int, list[list[tuple[int, int]]]]]
) -> None:
    """Each record: its author, its stage, and what its groups quote among all that came before."""
    game = played_game(name)
    state = Round(0, game, 100.0, b"l" * 32, 0.1, environments=(EnvironmentSpec(name="any"),))
    names = [NO_RECORD]
    first = game.stages[0]
    for sequence, (author, stage, quoted) in enumerate([(0, 0, []), (1, 0, []), *records]):
        text = " 1, seed 3" if first.inputs == "family" and stage == 0 else " right 80%"
        groups = [
            Group(slot, tuple(Quote(names[n % len(names)], s) for n, s in quotes), rollouts(text))
            for slot, quotes in enumerate(quoted or [[]])
        ]
        body = encode_body(groups)
        one = header(author, stage, sequence, [g.slot for g in groups], body)
        held = state.add_header(one, 101.0 + 5 * stage)
        names.append(one.hash)
        if state.add_body(one, body):
            for where in state.places(held):
                state.tasks[where] = Task(0, 7, "question", (ChatMessage("user", "question"),))
            state.judge(held, [MICRO, 0] * (len(state.to_score(held)) // 2))
        assert (
            held.judged
            or held.refused
            or any(
                quote.record == NO_RECORD or not state.records[quote.record].judged
                for group in groups
                for quote in group.quotes
            )
        )
    ledger = compute_ledger(bytes(32), state)
    assert all(line.credit >= 0 for line in ledger.lines)
    for stage in range(len(game.stages)):
        for peer in PEERS:
            for slot, quotes in inputs(state, stage, peer.public_key, 2):
                where = place(state, peer.public_key, stage, slot, quotes)
                if where is None or where in state.tasks:
                    assert prompt(state, peer.public_key, stage, slot, quotes)


def test_what_becomes_known_while_the_scorer_works_waits_for_the_next_time() -> None:
    """The proposal that an answer quotes arrives between the scorer's question and its reply."""
    game = played_game("propose-solve-evaluate")
    state = Round(0, game, 100.0, b"l" * 32, 0.1, environments=(EnvironmentSpec(name="any"),))
    proposal = encode_body([Group(0, (), rollouts(" 1, seed 3"))])
    proposed = header(0, 0, 0, [0], proposal)
    answers = encode_body([Group(0, (Quote(proposed.hash, 0),), rollouts("Answer: 1"))])
    answer = header(1, 1, 0, [0], answers)
    held = state.add_header(answer, 106.0)
    assert state.add_body(answer, answers)
    assert state.to_score(held) == []
    state.add_header(proposed, 101.0)
    assert state.add_body(proposed, proposal)
    for where in state.places(held):
        state.tasks[where] = Task(0, 7, "question", (ChatMessage("user", "question"),))
    assert state.judge(held, []) == []
    assert not held.judged and not held.refused
    (played,) = state.judge(held, [MICRO] * len(state.to_score(held)))
    assert played.scores == (MICRO, MICRO)
