"""Whole swarms on the virtual clock: the real node code, real signed records, no waiting."""

import msgspec
import pytest

from rlswarm.config.manifest import Manifest
from rlswarm.ledger.ledger import compute_ledger
from rlswarm.node.processes import RestartedError
from rlswarm.scorer import messages as scoring
from rlswarm.simulation.clock import VirtualClock
from rlswarm.simulation.policy import ScriptedWorker
from rlswarm.simulation.swarm import (
    InProcessScorer,
    SimulatedNode,
    SimulatedSwarm,
    roots,
    simulate,
    simulated_manifest,
)
from rlswarm.worker.messages import Learn, Learned, Load, Loaded, Rollout, Sample, Sampled


def events(node: SimulatedNode, kind: str) -> list[dict[str, object]]:
    return [data for event, data in node.events if event == kind]


def test_three_nodes_play_learn_from_each_other_and_agree() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=4)
        await swarm.finish()

    swarm = simulate(script)
    for simulated in swarm.nodes:
        summary = simulated.node.summary()
        assert summary["rounds"] == summary["learn_steps"] == 4
        assert summary["external_groups_available"] == 4 * 2 * 3 * 3
        assert 0 < summary["external_groups_used"] <= summary["external_groups_available"]
        assert summary["own_groups_used"] > 0
    rewards = [simulated.node.tally.rewards for simulated in swarm.nodes]
    assert sum(r[-1] for r in rewards) > sum(r[0] for r in rewards)
    first, *others = roots(swarm.nodes)
    assert len(first) == 4
    assert all(other == first for other in others)
    assert bytes(32).hex() not in first.values()


def test_one_seed_reproduces_one_run() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(2):
            swarm.add(rounds=2)
        await swarm.finish()

    def trace(seed: int) -> list[tuple[str, dict[str, object]]]:
        swarm = simulate(script, seed=seed)
        measured = ("node_rss", "scorer_rss", "worker_rss")
        return [
            (event, {k: v for k, v in data.items() if k not in measured})
            for node in swarm.nodes
            for event, data in node.events
        ]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_a_node_without_peers_trains_alone() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=3)
        await swarm.finish()

    (alone,) = simulate(script).nodes
    summary = alone.node.summary()
    assert summary["learn_steps"] == 3
    assert summary["external_groups_available"] == 0
    # Its critiques were of its own answers: practice, without credit.
    assert all(data["groups"] == 6 for data in events(alone, "ledger"))


def test_a_killed_node_stops_nobody_and_comes_back_with_the_same_key() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        nodes = [swarm.add(rounds=5) for _ in range(3)]
        await swarm.clock.sleep_until(swarm.manifest.opens(1) + 3)
        await swarm.kill(nodes[2])
        await swarm.clock.sleep_until(swarm.manifest.opens(3) - 2)
        swarm.add(rounds=2, key=2)
        await swarm.finish()

    swarm = simulate(script)
    first, second, _, back = swarm.nodes
    assert back.node.identity.peer_id == swarm.nodes[2].node.identity.peer_id
    for survivor in (first, second):
        assert survivor.node.summary()["learn_steps"] == 5
        peers = [data["peers"] for data in events(survivor, "ledger")]
        assert peers[2] == 2
        assert peers[4] == 3
    # It takes up its sequence numbers where they ended, so nothing it says looks like a replay.
    assert back.node.summary()["rounds"] == 2
    assert roots([back])[0][4] == roots([first])[0][4]


def test_a_late_comer_joins_at_the_current_round() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(2):
            swarm.add(rounds=4)
        await swarm.clock.sleep_until(swarm.manifest.opens(1) + 5)
        swarm.add(rounds=2)
        await swarm.finish()

    swarm = simulate(script)
    late = swarm.nodes[2]
    assert [data["round"] for data in events(late, "round")] == [2, 3]
    assert late.node.summary()["external_groups_used"] > 0
    assert roots(swarm.nodes)[0][3] == roots([late])[0][3]


def test_a_slow_node_takes_fewer_slots_and_holds_up_nobody() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(2):
            swarm.add(rounds=4)
        swarm.add(ScriptedWorker(seconds_per_group=0.9), rounds=4)
        await swarm.finish()

    swarm = simulate(script)
    played = [d["groups"] for d in events(swarm.nodes[2], "stage") if d["stage"] == "answer"]
    assert played[0] == 3  # all slots, cut by the window
    assert played[-1] == 1
    assert swarm.nodes[0].node.summary()["learn_steps"] == 4
    assert roots(swarm.nodes)[0][3] == roots(swarm.nodes)[2][3]


def test_a_partition_heals() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        nodes = [swarm.add(rounds=4) for _ in range(2)]
        ids = [n.node.identity.peer_id for n in nodes]
        await swarm.clock.sleep_until(swarm.manifest.opens(1) - 1)
        swarm.network.cut(*ids)
        await swarm.clock.sleep_until(swarm.manifest.opens(3) - 1)
        swarm.network.heal()
        await swarm.finish()

    swarm = simulate(script)
    one, other = roots(swarm.nodes)
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[3] == other[3]
    assert all(n.node.summary()["learn_steps"] == 4 for n in swarm.nodes)


def test_lost_messages_cost_records_not_rounds() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=3)
        await swarm.finish()

    swarm = simulate(script, loss=0.3)
    for simulated in swarm.nodes:
        assert simulated.node.summary()["learn_steps"] == 3
        assert 0 < simulated.node.summary()["external_groups_available"] < 3 * 18


def test_a_clock_that_is_wrong_by_more_than_the_offset_earns_nothing() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=2)
        swarm.add(rounds=2, clock=VirtualClock(offset=-2.5))
        await swarm.finish()

    swarm = simulate(script)
    right, late = swarm.nodes
    for number in (0, 1):
        lines = {d["round"]: d["peers"] for d in events(right, "ledger")}
        assert lines[number] == 1
    assert late.node.summary()["learn_steps"] == 2


class LyingWorker(ScriptedWorker):
    """Claims other texts than its tokens spell is caught elsewhere; this one breaks the shape."""

    async def sample(self, request: Sample) -> Sampled:
        sampled = await super().sample(request)
        groups = tuple(
            (Rollout(r[0].tokens, r[0].logprobs, r[0].text + "x" * 9999, False), *r[1:])
            for r in sampled.groups
        )
        return msgspec.structs.replace(sampled, groups=groups)


def test_a_malformed_body_is_refused_with_its_reason() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=1)
        swarm.add(LyingWorker(), rounds=1)
        await swarm.finish()

    honest, liar = simulate(script).nodes
    state = honest.node._rounds[0]
    reasons = {
        held.refused
        for held in state.records.values()
        if held.header.author == liar.node.identity.public_key
    }
    assert any("claims" in reason and "bytes of text" in reason for reason in reasons)
    assert honest.node.summary()["external_groups_available"] == 0


class FragileWorker(ScriptedWorker):
    """Dies once, in the second round's answer stage, and is restarted."""

    calls = 0

    async def sample(self, request: Sample) -> Sampled:
        self.calls += 1
        if self.calls == 4:
            raise RestartedError
        return await super().sample(request)


def test_a_restarted_worker_costs_a_stage() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(FragileWorker(), rounds=3)
        swarm.add(rounds=3)
        await swarm.finish()

    fragile, _ = simulate(script).nodes
    assert events(fragile, "stage_skipped")[0]["reason"] == "restarted"
    assert fragile.node.summary()["learn_steps"] == 3


class FailingLearner(ScriptedWorker):
    async def learn(self, request: Learn) -> Learned:
        learned = await super().learn(request)
        return msgspec.structs.replace(learned, checkpoint_error="the disk is full")


def test_a_checkpoint_that_fails_is_said_and_survived() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(FailingLearner(), rounds=2)
        await swarm.finish()

    (node,) = simulate(script).nodes
    said = [str(data["message"]) for data in events(node, "trouble")]
    assert said[0] == (
        "the checkpoint of round 0 could not be written (the disk is full); "
        "training goes on from memory"
    )
    assert node.node.summary()["learn_steps"] == 2


class HangingScorer(InProcessScorer):
    """Can't judge one peer's record: as a process, it would have been killed and restarted."""

    calls = 0

    async def score(self, request: scoring.Score) -> scoring.Scored:
        self.calls += 1
        if self.calls == 2:
            raise RestartedError
        return await super().score(request)


def test_a_scorer_that_had_to_be_restarted_costs_one_record() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=2, scorer=HangingScorer())
        swarm.add(rounds=2)
        await swarm.finish()

    first, _ = simulate(script).nodes
    assert first.node.summary()["learn_steps"] == 2
    refusals = first.node._rounds[0].refusals().values()
    assert list(refusals).count("the scorer could not judge it here") == 1


def test_received_prompts_are_the_senders_prompts() -> None:
    """Every node rebuilds, for every group, the very prompt that its author sampled from."""
    asked: dict[bytes, set[object]] = {}

    class Recorder(ScriptedWorker):
        async def sample(self, request: Sample) -> Sampled:
            for group in request.groups:
                asked.setdefault(group.key, set()).add(group.prompt)
            return await super().sample(request)

    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(Recorder(), rounds=1)
        await swarm.finish()

    swarm = simulate(script)
    prompts = {prompt for prompts in asked.values() for prompt in prompts}
    for simulated in swarm.nodes:
        played = simulated.node._rounds[0].played
        assert len(played) == 27
        assert {group.prompt for group in played.values()} == prompts


def test_critics_judge_others_and_revisers_see_critiques() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(3):
            swarm.add(rounds=1)
        await swarm.finish()

    swarm = simulate(script)
    played = swarm.nodes[0].node._rounds[0].played
    critiques = [g for g in played.values() if g.stage == 1]
    revisions = [g for g in played.values() if g.stage == 2]
    assert all(played[g.quotes[0]].author != g.author for g in critiques)
    assert any(len(g.quotes) > 1 for g in revisions)
    for revision in revisions:
        own = played[revision.quotes[0]]
        assert (own.author, own.slot, own.stage) == (revision.author, revision.slot, 0)
        assert all(played[q].quotes == (revision.quotes[0],) for q in revision.quotes[1:])
        # Both were shown the same answers under the same letters.
        for critique in (played[q] for q in revision.quotes[1:]):
            answers = critique.prompt[0].content.split("Answer A:", 1)[1]
            assert "Answer A:" + answers in revision.prompt[-1].content


def test_slots_must_be_taken_in_order() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=1)
        picker = swarm.add(rounds=1)
        original = picker.node._player._requests

        def from_the_second(state, stage, planned):  # type: ignore[no-untyped-def]
            return original(state, stage, planned[1:] if stage == 0 else planned)

        picker.node._player._requests = from_the_second  # type: ignore[method-assign]
        await swarm.finish()

    honest, picker = simulate(script).nodes
    state = honest.node._rounds[0]
    lines = {line.peer: line for line in compute_ledger(bytes(32), state).lines}
    picked = lines[picker.node.identity.public_key]
    # Two answers and their two revisions are refused; the three critiques stand on their own.
    assert dict(picked.refused) == {"a slot before it was left out": 4}
    assert picked.groups == 3


@pytest.mark.parametrize("nodes", [2, 5])
def test_swarms_of_other_sizes_agree(nodes: int) -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        for _ in range(nodes):
            swarm.add(rounds=2)
        await swarm.finish()

    swarm = simulate(script)
    assert len({str(r) for r in roots(swarm.nodes)}) == 1


def test_held_out_accuracy_is_measured_when_asked() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=1, evaluate=20)
        await swarm.finish()

    manifest: Manifest = simulated_manifest()
    (node,) = simulate(script, manifest=manifest).nodes
    after = node.node.summary()["heldout_after"]
    assert after["count"] == 20
    assert after["low"] <= after["accuracy"] <= after["high"]
    assert after["right"] == round(after["accuracy"] * 20)


class OtherBase(ScriptedWorker):
    async def load(self, request: Load) -> Loaded:
        return msgspec.structs.replace(await super().load(request), base=b"\1" * 32)


def test_a_model_that_is_not_the_swarms_is_named() -> None:
    base = simulated_manifest()
    manifest = msgspec.structs.replace(
        base, model=msgspec.structs.replace(base.model, base="ab" * 32)
    )

    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(OtherBase(), rounds=1)
        await swarm.finish()

    with pytest.raises(Exception, match="base model has the hash abababababababab"):
        simulate(script, manifest=manifest)
