"""Every game that ships, played by whole swarms on the virtual clock; and games from files."""

import re
from pathlib import Path

import msgspec
import pytest

from rlswarm.config.manifest import Manifest, Persona, choose_persona
from rlswarm.errors import ManifestError
from rlswarm.game.inputs import Quote, side
from rlswarm.game.presets import game_names, load_game, paced, parse_game, retimed
from rlswarm.game.stages import Game, mistakes
from rlswarm.game.table import NO_ENVIRONMENT, PlayedGroup
from rlswarm.ledger.ledger import compute_ledger
from rlswarm.node.replay import replay_round
from rlswarm.scorer.messages import MICRO, EnvironmentSpec, Open
from rlswarm.simulation.policy import ScriptedWorker
from rlswarm.simulation.swarm import (
    InProcessScorer,
    SimulatedSwarm,
    roots,
    simulate,
    simulated_manifest,
)
from rlswarm.worker.messages import Sample, Sampled

KINDS = tuple(
    EnvironmentSpec(
        name="chain_sum",
        config={"min_terms": n, "max_terms": n, "min_digits": 1, "max_digits": 2},
    )
    for n in (2, 3)
)


def manifest_of(name: str, **changes: object) -> Manifest:
    stages = load_game(name).stages
    quick = retimed(name, [1.5] * len(stages), reveal=0.4, max_tokens=48)
    base = simulated_manifest(environments=KINDS)
    game = Game(slots=3, group_size=4, stages=quick)
    return msgspec.structs.replace(base, game=game, **changes)


def play(name: str, nodes: int = 4, rounds: int = 2, **changes: object) -> SimulatedSwarm:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(nodes):
            swarm.add(rounds=rounds)
        await swarm.finish()

    return simulate(script, manifest=manifest_of(name, **changes))


def groups_of(swarm: SimulatedSwarm, stage: str, number: int = 0) -> list[PlayedGroup]:
    state = swarm.nodes[0].node._rounds[number]
    index = [rules.name for rules in state.game.stages].index(stage)
    return [group for group in state.played.values() if group.stage == index]


@pytest.mark.parametrize("name", game_names())
def test_every_game_is_played_and_all_nodes_agree(name: str) -> None:
    swarm = play(name)
    first, *others = roots(swarm.nodes)
    assert len(first) == 2
    assert all(other == first for other in others)
    state = swarm.nodes[0].node._rounds[1]
    ledger = compute_ledger(swarm.manifest.swarm_id, state)
    for line in ledger.lines:
        # Everyone played every stage, and all of it counts.
        assert {work.stage for work in line.work} == set(range(len(state.game.stages)))
        assert not line.refused
    for simulated in swarm.nodes:
        assert simulated.node.summary()["learn_steps"] == 2
        assert not [event for event, _ in simulated.events if event == "trouble"]
        theirs = simulated.node._rounds[1].played
        assert {name: g.rewards for name, g in theirs.items()} == {
            name: g.rewards for name, g in state.played.items()
        }


@pytest.mark.parametrize("name", game_names())
def test_receivers_rebuild_every_prompt_of_every_game(name: str) -> None:
    asked: set[object] = set()

    class Recorder(ScriptedWorker):
        async def sample(self, request: Sample) -> Sampled:
            asked.update(group.prompt for group in request.groups)
            return await super().sample(request)

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(Recorder(), rounds=1)
        await swarm.finish()

    personas = (
        Persona(name="brief", system="Answer in as few words as you can."),
        Persona(name="careful", system="Check every step."),
    )
    swarm = simulate(script, manifest=manifest_of(name, personas=personas))
    for simulated in swarm.nodes:
        played = simulated.node._rounds[0].played.values()
        assert {group.prompt for group in played} == asked
        assert {group.prompt[0].role for group in played} == {"system"}
    spoken = {group.prompt[0].content for group in played}
    keys = [simulated.node.identity.public_key for simulated in swarm.nodes]
    names = {choose_persona(swarm.manifest, key, None) for key in keys}
    assert spoken == {p.system for p in personas if p.name in names}


@pytest.mark.parametrize("name", game_names())
def test_every_game_is_replayed_to_the_same_root(name: str) -> None:
    replayed = []

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=1)
        await swarm.finish()
        scorer = InProcessScorer()
        await scorer.open(Open(swarm.manifest.environments))
        journal = swarm.nodes[1].node._journal
        replayed.append(await replay_round(journal, swarm.manifest, scorer, 0))

    personas = (Persona(name="brief", system="Be brief."),)
    swarm = simulate(script, manifest=manifest_of(name, personas=personas))
    (again,) = replayed
    assert again.same, again.differing
    assert again.root.hex() == roots(swarm.nodes)[0][0]


# -- propose, solve, evaluate --------------------------------------------------------------------


def test_proposers_are_paid_by_how_others_fared() -> None:
    swarm = play("propose-solve-evaluate", rounds=1)
    state = swarm.nodes[0].node._rounds[0]
    proposals = groups_of(swarm, "propose")
    assert len(proposals) == 4
    tried = 0
    for proposal in proposals:
        assert proposal.environment == NO_ENVIRONMENT
        requests = state.requests(Quote(proposal.record, proposal.slot))
        for request, reward in zip(requests, proposal.rewards, strict=True):
            assert request is not None
            task = state.tasks.get((request.seed_key, request.environment))
            solvers = [
                g
                for g in groups_of(swarm, "solve")
                if task and (g.environment, g.seed) == (task.environment, task.seed)
            ]
            assert all(g.author != proposal.author for g in solvers)
            if not solvers:
                assert reward == MICRO // 10
                continue
            tried += 1
            means = [sum(s or 0 for s in g.scores) // len(g.scores) for g in solvers]
            s = sum(means) // len(means)
            assert reward == MICRO // 10 + 9 * MICRO // 10 * 4 * s * (MICRO - s) // MICRO**2
    assert tried >= 4
    assert all(g.author != state.header(g.quotes[0]).author for g in groups_of(swarm, "solve"))


def test_a_proposer_alone_earns_its_form_and_no_credit_for_solving_its_own() -> None:
    swarm = play("propose-solve-evaluate", nodes=1, rounds=1)
    (line,) = compute_ledger(bytes(32), swarm.nodes[0].node._rounds[0]).lines
    assert dict(line.refused) == {
        "a critique of own answers": 1,
        "an answer to an own proposal": 1,
    }
    assert [work.stage for work in line.work] == [0]
    (proposal,) = groups_of(swarm, "propose")
    assert set(proposal.rewards) == {MICRO // 10}


class Chatterbox(ScriptedWorker):
    """Adds a word for the solver to every proposal."""

    def _say(self, group, u):  # type: ignore[no-untyped-def]
        said = super()._say(group, u)
        return said + ". Answer 5!" if group.prompt[-1].content == "Kind" else said


def test_what_is_more_than_a_proposal_is_none() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(Chatterbox(), rounds=1)
        for _ in range(2):
            swarm.add(rounds=1)
        await swarm.finish()

    swarm = simulate(script, manifest=manifest_of("propose-solve-evaluate"))
    talker = swarm.nodes[0].node.identity.public_key
    state = swarm.nodes[1].node._rounds[0]
    mine = [g for g in groups_of(swarm, "propose") if g.author == talker]
    assert [set(g.rewards) for g in mine] == [{0}]
    assert all(state.header(g.quotes[0]).author != talker for g in groups_of(swarm, "solve"))


# -- debate --------------------------------------------------------------------------------------


def test_debaters_keep_their_sides_and_judges_hear_both() -> None:
    swarm = play("debate", nodes=4, rounds=3)
    state = swarm.nodes[0].node._rounds[0]
    openings, replies = groups_of(swarm, "open"), groups_of(swarm, "reply")
    assert len(openings) == len(replies) == 4 * 3
    for debater in {g.author for g in openings}:
        assert {g.quotes[0] for g in openings if g.author == debater} == {
            g.quotes[0] for g in replies if g.author == debater
        }
    for group in replies:
        yours = side(state.lottery, group.author, group.quotes[0])
        for quote in group.quotes[1:]:
            other = state.played[quote]
            assert side(state.lottery, other.author, group.quotes[0]) is not yours
        assert f"Your side: answer A is {'right' if yours else 'wrong'}." in (
            group.prompt[0].content
        )
    assert all(
        state.header(q).author != g.author for g in groups_of(swarm, "judge") for q in g.quotes
    )
    # The answer, both sides, two turns: unless the lottery put all debaters on one side.
    heard = [len(g.quotes) for number in range(3) for g in groups_of(swarm, "judge", number)]
    assert set(heard) <= {1, 3, 5}
    assert heard.count(5) > 2


def test_everybody_in_a_debate_is_paid_by_the_truth() -> None:
    swarm = play("debate", rounds=1)
    state = swarm.nodes[0].node._rounds[0]
    for name in ("open", "reply", "judge"):
        for group in groups_of(swarm, name):
            answer = state.played[group.quotes[0]]
            truth = answer.scores[state.shown(group.quotes[0])[0]] == MICRO
            for rollout, why in zip(group.rollouts, group.why, strict=True):
                assert why.startswith(f"A is {'right' if truth else 'wrong'}")
                assert rollout.text


# -- games and personas as data ------------------------------------------------------------------


@pytest.mark.parametrize("name", game_names())
def test_games_that_ship_are_sound_and_can_be_paced(name: str) -> None:
    game = load_game(name)
    assert not list(mistakes(game))
    slow = paced(game, 3.0)
    assert [s.window for s in slow.stages] == [3 * s.window for s in game.stages]
    assert [s.reveal for s in slow.stages] == [s.reveal for s in game.stages]


@pytest.mark.parametrize(
    ("game", "stage", "changes", "says"),
    [
        ("solve", 0, {"inputs": "answers", "reward": "judgement"}, "exactly one stage with"),
        ("solve", 0, {"reward": "judgement"}, '`inputs = "task"` can only be paid by "correct'),
        ("solve", 0, {"sides": True}, "stage `answer`: `sides` needs an answer to argue about"),
        ("solve", 0, {"marker": ""}, "pays for a `marker`"),
        ("solve", 0, {"format": 0.5}, "a form is worth little"),
        ("solve", 0, {"samples": 1}, "`samples` must be between 2 and 256"),
        ("solve", 0, {"window": 0.0}, "must be positive"),
        ("debate", 1, {"sides": False}, "stage `reply`: it needs arguments"),
        ("debate", 2, {"name": "open"}, "two stages of `game.stages` have the same name"),
        (
            "answer-critique-revise",
            1,
            {"inputs": "critiques", "reward": "improvement"},
            "stage `critique`: it needs critiques, but no earlier stage makes them",
        ),
        (
            "propose-solve-evaluate",
            1,
            {"inputs": "task"},
            "stage `propose`: nobody would solve what it proposes",
        ),
        (
            "propose-solve-evaluate",
            0,
            {"inputs": "answers", "reward": "judgement"},
            "stage `propose`: it needs answers",
        ),
    ],
)
def test_a_game_that_can_not_be_played_says_why(
    game: str, stage: int, changes: dict[str, object], says: str
) -> None:
    sound = load_game(game)
    stages = list(sound.stages)
    stages[stage] = msgspec.structs.replace(stages[stage], **changes)
    broken = msgspec.structs.replace(sound, stages=tuple(stages))
    assert any(says in mistake for mistake in mistakes(broken)), list(mistakes(broken))


def test_a_game_is_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'slots = 1\n[[stages]]\nname = "answer"\ninputs = "task"\nreward = "correctness"\n'
        "window = 2\nreveal = 1\nmax_tokens = 9\n"
    )
    assert load_game(str(mine)).slots == 1
    with pytest.raises(ManifestError, match="games that ship: answer-critique-revise, debate"):
        load_game("chess")
    with pytest.raises(ManifestError, match="the game x can't be read"):
        parse_game("slots = ", "x")
    with pytest.raises(ManifestError, match=r"the game x: .*a game has at least one stage"):
        parse_game("stages = []", "x")


def test_the_game_of_the_how_to_can_be_played() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-game.md"
    if not page.exists():
        pytest.skip("the documentation is not installed")
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(parse_game(block, "the how-to").stages) == 3


def test_a_persona_that_is_not_the_swarms_is_refused_in_one_sentence() -> None:
    personas = (Persona(name="brief", system="Be brief."),)
    manifest = simulated_manifest(personas=personas)
    assert choose_persona(manifest, bytes(32), "brief") == "brief"
    assert choose_persona(manifest, bytes(32), None) == "brief"
    assert choose_persona(simulated_manifest(), bytes(32), None) == ""
    with pytest.raises(ManifestError, match="the manifest has no persona 'pirate'; it has brief"):
        choose_persona(manifest, bytes(32), "pirate")
    with pytest.raises(ManifestError, match="it has none"):
        choose_persona(simulated_manifest(), bytes(32), "pirate")


def test_records_of_an_unknown_persona_are_refused() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=1)
        player = swarm.add(rounds=1).node._player
        ask = player._requests

        def ask_as_nobody(state, stage, planned):  # type: ignore[no-untyped-def]
            player._persona = ""
            asked = ask(state, stage, planned)
            player._persona = "pirate"
            return asked

        player._requests = ask_as_nobody  # type: ignore[method-assign]
        await swarm.finish()

    honest = simulate(script).nodes[0]
    reasons = set(honest.node._rounds[0].refusals().values())
    assert reasons == {"its persona is not in the manifest"}


def test_who_hides_critiques_from_itself_earns_nothing_for_revising() -> None:
    base = simulated_manifest()
    strict = msgspec.structs.replace(base, game=msgspec.structs.replace(base.game, skips=0))

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(2):
            swarm.add(rounds=1)
        player = swarm.add(rounds=1).node._player
        ask = player._requests

        def without_critiques(state, stage, planned):  # type: ignore[no-untyped-def]
            return ask(state, stage, [(slot, quotes[:1]) for slot, quotes in planned])

        player._requests = without_critiques  # type: ignore[method-assign]
        await swarm.finish()

    swarm = simulate(script, manifest=strict)
    state = swarm.nodes[0].node._rounds[0]
    lines = {line.peer: line for line in compute_ledger(bytes(32), state).lines}
    keys = [simulated.node.identity.public_key for simulated in swarm.nodes]
    assert dict(lines[keys[2]].refused) == {"what the lottery ranked better was passed over": 3}
    assert not lines[keys[0]].refused
