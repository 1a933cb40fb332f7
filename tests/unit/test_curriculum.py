"""Difficulty follows measured success, the same way for everyone."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.game.curriculum import (
    CONVINCING,
    EASIER_BELOW,
    HARDER_ABOVE,
    MILLION,
    LevelCount,
    choose_level,
)
from rlswarm.ledger.ledger import Ledger, Line, Work
from rlswarm.ledger.levels import SPAN, levels, no_round_is_sealed
from rlswarm.scorer.messages import (
    Answer,
    EnvironmentSpec,
    Open,
    Opened,
    Score,
    Scored,
    SlotRequest,
    TaskList,
    Tasks,
)
from rlswarm.scorer.process import Scorer
from rlswarm.simulation.policy import ScriptedWorker
from rlswarm.simulation.swarm import (
    SimulatedNode,
    SimulatedSwarm,
    roots,
    simulate,
    simulated_manifest,
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
        ([at(5), at(5), at(5)], 0),
        ([at(90), at(30), at(5)], 1),
        ([at(99), at(99)], 1),
        # What was mastered long ago has left the span of ledgers.
        ([UNTRIED, at(50), UNTRIED], 1),
        ([UNTRIED, at(90), UNTRIED], 2),
        ([UNTRIED, UNTRIED, at(5)], 1),
        ([at(99, judged=CONVINCING - 1), UNTRIED], 0),
        ([at(99), at(0, judged=CONVINCING - 1)], 1),
    ],
)
def test_the_hardest_level_that_is_not_too_hard_is_played(
    levels: list[LevelCount], chosen: int
) -> None:
    assert choose_level(levels) == chosen


@given(st.lists(counts, min_size=1, max_size=8))
def test_one_step_up_at_most_and_only_past_what_was_mastered(levels: list[LevelCount]) -> None:
    chosen = choose_level(levels)
    hardest = max((at for at, count in enumerate(levels) if count.judged), default=0)
    assert 0 <= chosen < len(levels)
    assert chosen <= hardest + 1
    if chosen > hardest:
        success = levels[hardest].success
        assert success is not None and success > HARDER_ABOVE
    for count in levels[chosen + 1 : hardest + 1]:
        assert count.success is not None and count.success < EASIER_BELOW


@given(st.lists(counts, min_size=1, max_size=8), st.integers(0, 7), st.integers(1, 10**6))
def test_more_success_never_makes_tasks_easier(
    levels: list[LevelCount], place: int, more: int
) -> None:
    place %= len(levels)
    count = levels[place]
    if not count.judged:
        return
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


@pytest.mark.parametrize(("judged", "right"), [(1, 2), (0, -1), (-1, 0)])
def test_impossible_counts_are_refused(judged: int, right: int) -> None:
    with pytest.raises(ValueError, match="can't be"):
        LevelCount(judged, right)


def test_no_levels_are_no_curriculum() -> None:
    with pytest.raises(ValueError, match="at least one level"):
        choose_level([])


# -- from ledgers ----------------------------------------------------------------------------------

GAME = simulated_manifest().game
SUMS = EnvironmentSpec(
    "chain_sum",
    config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 3},
    levels=({"max_digits": 1}, {"max_digits": 2}, {}),
)
PLAIN = EnvironmentSpec("gcd")


def ledger(number: int, *work: Work) -> Ledger:
    line = Line(bytes(32), "x", work, 0, bytes(32))
    return Ledger(bytes(32), number, (line,), bytes(32))


def test_without_a_sealed_ledger_the_swarm_is_where_the_manifest_starts() -> None:
    assert levels(no_round_is_sealed(7), GAME, (PLAIN, SUMS)) == (0, 0)


def test_only_the_span_of_ledgers_and_own_answers_count() -> None:
    mastered = ledger(1, Work(0, 1, 20, 100, 0, 90))
    later_stage = ledger(2, Work(1, 1, 20, 100, 2, 90), Work(2, 1, 20, 100, 2, 90))
    assert levels([mastered], GAME, (PLAIN, SUMS)) == (0, 1)
    assert levels([later_stage], GAME, (PLAIN, SUMS)) == (0, 0)
    empty = [ledger(n) for n in range(SPAN)]
    assert levels([*empty[1:], mastered], GAME, (PLAIN, SUMS)) == (0, 1)
    assert levels([*empty, mastered], GAME, (PLAIN, SUMS)) == (0, 0)
    # Two halves that convince together, from two peers and two rounds.
    half = Work(0, 1, 8, CONVINCING // 2, 0, CONVINCING // 2)
    assert levels([ledger(1, half)], GAME, (PLAIN, SUMS)) == (0, 0)
    assert levels([ledger(2, half), ledger(1, half)], GAME, (PLAIN, SUMS)) == (0, 1)


def test_the_scorer_plays_each_level_and_evaluates_what_is_aimed_at() -> None:
    scorer = Scorer()
    opened = scorer.answer(Open((SUMS, PLAIN)))
    assert isinstance(opened, Opened)
    slots = tuple(SlotRequest(0, bytes([n]) * 32) for n in range(32))

    def largest(*chosen: int) -> int:
        listed = scorer.answer(Tasks(slots, chosen))
        assert isinstance(listed, TaskList)
        return max(len(word) for t in listed.tasks for word in t.question.split() if word.isdigit())

    assert [largest(0, 0), largest(1, 0), largest(2, 0), largest()] == [1, 2, 3, 3]
    listed = scorer.answer(Tasks(slots[:1], (0, 0)))
    assert isinstance(listed, TaskList)
    seed = listed.tasks[0].seed
    answers = tuple(Answer(0, seed, f"Answer: {n}") for n in range(-9, 19))
    scored = scorer.answer(Score(answers, (), (0, 0)))
    assert isinstance(scored, Scored)
    assert scored.scores.count(MILLION) == 1
    assert "no such level" in str(scorer.answer(Tasks(slots[:1], (3, 0))))


def test_levels_are_part_of_the_fingerprint() -> None:
    def found(spec: EnvironmentSpec) -> str:
        opened = Scorer().answer(Open((spec,)))
        assert isinstance(opened, Opened)
        return opened.fingerprints[0]

    other = msgspec.structs.replace(SUMS, levels=SUMS.levels[:2])
    assert len({found(SUMS), found(other), found(msgspec.structs.replace(SUMS, levels=()))}) == 3


def test_a_swarm_climbs_as_it_learns_and_late_comers_play_the_same_tasks() -> None:
    """Here every round's ledger is taken as sealed two rounds later; all hold the same ones."""
    manifest = simulated_manifest(environments=(SUMS,))
    book: list[SimulatedNode] = []

    def sealed(number: int) -> list[Ledger]:
        rows = book[0].node._journal.rounds() if book else []
        return [
            Ledger(manifest.swarm_id, at, lines, root)
            for at, root, lines in reversed(rows)
            if at <= number - 2
        ]

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(2):
            book.append(swarm.add(ScriptedWorker(skill=0.5), rounds=14, sealed=sealed))
        await swarm.clock.sleep_until(manifest.opens(8) - 1)
        swarm.add(ScriptedWorker(skill=0.9), rounds=6, sealed=sealed)
        await swarm.finish()

    swarm = simulate(script, manifest=manifest)
    first, second, late = roots(swarm.nodes)
    assert first == second
    assert late and all(first[number] == root for number, root in late.items())
    _, lines = swarm.nodes[0].node._journal.ledger_of(13)
    played = [{work.level for work in line.work} for line in lines]
    assert len(played) == 3
    assert played[0] == played[1] == played[2] != {0}
