"""`rlswarm rounds show`: everything that was asked, said and paid, from the journal alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.cli.main import cli
from rlswarm.game.diversity import committed, distinct, diversity
from rlswarm.simulation.swarm import SimulatedSwarm, simulate


@pytest.fixture(scope="module")
def swarm_and_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedSwarm, Path]:
    home = tmp_path_factory.mktemp("home")

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=1)
        await swarm.finish()
        for node in swarm.nodes:
            node.node._journal.close()
        shutil.copy(swarm._folder / "journal-0.sqlite3", home / "journal.sqlite3")

    return simulate(script), home


def show(home: Path, *options: str) -> str:
    done = CliRunner().invoke(cli, ["rounds", "show", "0", "--home", str(home), *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_full_prints_every_prompt_completion_and_reason(
    swarm_and_home: tuple[SimulatedSwarm, Path],
) -> None:
    swarm, home = swarm_and_home
    text = show(home, "--full")
    played = swarm.nodes[0].node._rounds[0].played.values()
    assert text.count("── answer ·") == text.count("── critique ·") == 9
    for group in played:
        for turn in group.prompt:
            assert all(line.rstrip() in text for line in turn.content.split("\n"))
        for rollout, reward, why in zip(group.rollouts, group.rewards, group.why, strict=True):
            assert reward is not None
            assert f"earns {reward / 1e6:.2f}: {why}" in text
            assert rollout.text.split("\n")[0] in text


def test_groups_can_be_picked(swarm_and_home: tuple[SimulatedSwarm, Path]) -> None:
    _, home = swarm_and_home
    everything: dict[str, Any] = json.loads(show(home, "--json"))
    assert {group["stage_name"] for group in everything["groups"]} == {
        "answer",
        "critique",
        "revise",
    }
    name = everything["groups"][0]["name"]
    picked = json.loads(show(home, "--json", "--peer", name, "--stage", "revise"))["groups"]
    assert len(picked) == 3
    assert {(g["name"], g["stage_name"]) for g in picked} == {(name, "revise")}
    assert all(len(g["completions"]) == len(g["why"]) == len(g["rewards"]) == 4 for g in picked)
    assert "different answers in a group" in show(home)


def test_diversity_counts_what_answers_commit_to(
    swarm_and_home: tuple[SimulatedSwarm, Path],
) -> None:
    swarm, _ = swarm_and_home
    state = swarm.nodes[0].node._rounds[0]
    measured = diversity(state.game, state.played.values())
    answers = [g for g in state.played.values() if g.stage == 0]
    assert measured.groups == len(answers) == 9
    expected = [len({rollout.text for rollout in g.rollouts}) for g in answers]
    assert measured.within == round(sum(expected) / 9, 3)
    assert measured.shared_tasks == 0  # 0.25 of 3 slots, rounded down


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Answer: 12", "I think so.\nAnswer:  12.", True),
        ("Answer: Seven", "Answer: seven!", True),
        ("Answer: 12", "Answer: 21", False),
        ("Answer: -3", "Answer: 3", False),
        ("it is\n12", "12", True),
        ("", "   \n", True),
        ("Answer: 1\nAnswer: 2", "Answer: 2", True),
    ],
)
def test_answers_are_compared_by_what_they_commit_to(one: str, other: str, same: bool) -> None:
    assert distinct([one, other], "Answer:") == (1 if same else 2)


@given(st.lists(st.text(max_size=40), max_size=8))
def test_distinct_answers_never_exceed_the_texts(texts: list[str]) -> None:
    assert distinct(texts, "Answer:") <= len(texts)
    assert distinct(texts * 2, "Answer:") == distinct(texts, "Answer:")
    assert all(committed(committed(t, ""), "") == committed(t, "") for t in texts)
