"""Held-out results as signed records: told, checked by everybody, and never in the way."""

import math
import shutil
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rlswarm._core import seal
from rlswarm.cli.main import cli
from rlswarm.config.manifest import Evaluation, Manifest, parse_manifest, render_manifest
from rlswarm.errors import ManifestError
from rlswarm.game.held_out import (
    Accuracy,
    Completion,
    Measured,
    decode_evaluation,
    encode_evaluation,
    pooled,
)
from rlswarm.game.rollouts import BodyError
from rlswarm.network.transport import EVALUATION
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.simulation.policy import ScriptedWorker
from rlswarm.simulation.swarm import (
    SimulatedNode,
    SimulatedSwarm,
    simulate,
    simulated_manifest,
)
from rlswarm.worker.messages import Sample, Sampled

RULES = simulated_manifest().game.stages[0]


def evaluated_manifest(every: int = 2, tasks: int = 20, seconds: float = 1.0) -> Manifest:
    return simulated_manifest(
        evaluation=Evaluation(every_rounds=every, tasks=tasks, seconds=seconds)
    )


def told(node: SimulatedNode, *, own: bool) -> list[dict[str, Any]]:
    return [data for event, data in node.events if event == "held_out" and data["own"] is own]


def one(text: str) -> Completion:
    tokens = text.encode()
    return Completion(struct.pack(f"<{len(tokens)}I", *tokens), text)


# -- the interval and the body ---------------------------------------------------------------------


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    """Its ends are the shares from which what was seen lies 1.96 standard errors away."""
    right, count = counts
    share = right / count
    for end, beyond in zip(
        Accuracy(right, count).interval(), (right == 0, right == count), strict=True
    ):
        if beyond:
            assert end == pytest.approx(share, abs=1e-12)
        else:
            error = math.sqrt(end * (1 - end) / count)
            assert abs(share - end) == pytest.approx(1.959964 * error, rel=1e-6)


def test_nothing_seen_says_nothing() -> None:
    assert Accuracy(0, 0).interval() == (0.0, 1.0)
    assert Accuracy(0, 10).interval() == pytest.approx((0, 0.27753), abs=1e-5)


def test_results_pool_by_task() -> None:
    results = [Measured(0, 0, 1, (one("a"), one("b"))), Measured(1, 0, 0, (one("c"),))]
    assert pooled(results) == Accuracy(1, 3)
    assert decode_evaluation(encode_evaluation(results), 2, 20, RULES) == tuple(results)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([], "each of its environments once"),
        ([Measured(2, 0, 0, (one("a"),))], "each of its environments once"),
        ([Measured(0, 0, 0, (one("a"),))] * 2, "each of its environments once"),
        ([Measured(0, 0, 0, ())], "not among the first 20"),
        ([Measured(0, 19, 0, (one("a"), one("b")))], "not among the first 20"),
        ([Measured(0, -1, 0, (one("a"),))], "not among the first 20"),
        ([Measured(0, 0, 2, (one("a"),))], "claims 2 right of 1"),
        ([Measured(0, 0, 0, (Completion(b"", "a"),))], "tokens long"),
        ([Measured(0, 0, 0, (Completion(b"abc", "a"),))], "tokens long"),
        ([Measured(0, 0, 0, (one("a" * 99),))], "tokens long"),
        ([Measured(0, 0, 0, (Completion(bytes(4), "a" * 65),))], "more text"),
    ],
)
def test_a_strangers_result_must_have_the_shape_of_one(
    results: list[Measured], reason: str
) -> None:
    with pytest.raises(BodyError, match=reason):
        decode_evaluation(encode_evaluation(results), 2, 20, RULES)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_result_or_refused(body: bytes) -> None:
    try:
        decode_evaluation(body, 2, 20, RULES)
    except BodyError:
        return


def test_the_manifest_says_when() -> None:
    manifest = evaluated_manifest(every=5, tasks=96)
    assert parse_manifest(render_manifest(manifest)).evaluation == manifest.evaluation
    for key, value in (("tasks", 0), ("every_rounds", -1), ("seconds", 12.0)):
        wrong = msgspec.structs.replace(manifest.evaluation, **{key: value})
        text = render_manifest(msgspec.structs.replace(manifest, evaluation=wrong))
        with pytest.raises(ManifestError, match=f"evaluation.{key}"):
            parse_manifest(text)


# -- in a swarm ------------------------------------------------------------------------------------


def test_every_node_measures_the_same_tasks_and_checks_what_the_others_say() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(ScriptedWorker(skill=0.2, seconds_per_group=0.02), rounds=4)
        swarm.add(ScriptedWorker(skill=0.9, seconds_per_group=0.02), rounds=4)
        await swarm.finish()

    nodes = simulate(script, manifest=evaluated_manifest()).nodes
    weak, strong = (told(node, own=True) for node in nodes)
    for mine in (weak, strong):
        assert [data["round"] for data in mine] == [1, 3]
        assert all(data["problem"] == "" for data in mine)
        assert all(r["start"] == 0 and r["count"] == 20 for d in mine for r in d["results"])
    assert weak[0]["results"][0]["right"] < strong[0]["results"][0]["right"]
    # What a node said is what the other found, record by record.
    for mine, node in ((weak, nodes[1]), (strong, nodes[0])):
        heard = {data["record"]: data for data in told(node, own=False)}
        assert heard, "no record came"
        for data in mine:
            if data["record"] in heard:
                assert heard[data["record"]] == {**data, "own": False}


def test_a_false_claim_is_named_by_everybody_else() -> None:
    manifest = evaluated_manifest(every=1)

    def boast(node: SimulatedNode, number: int, results: list[Measured]) -> None:
        body = encode_evaluation(results)
        record = seal(
            node.node.identity,
            swarm=manifest.swarm_id,
            kind=EVALUATION,
            round=number,
            lottery_root=bytes(32),
            stage=0,
            slots=[],
            sequence=10_000 + number,
            created_at_ms=0,
            base=bytes(32),
            adapter=bytes(32),
            persona="",
            body=body,
        )
        node.node._transport.announce(record)

    async def script(swarm: SimulatedSwarm) -> None:
        honest = swarm.add(ScriptedWorker(seconds_per_group=0.02), rounds=4)
        liar = swarm.add(ScriptedWorker(seconds_per_group=0.02))
        await swarm.clock.sleep_until(manifest.opens(1) - 0.2)
        boast(liar, 1, [Measured(0, 0, 1, (one("Answer: never"),))])
        assert honest.task is not None
        await honest.task
        await swarm.kill(liar)

    honest, liar = simulate(script, manifest=manifest).nodes
    assert honest.error is None
    by_liar = [
        data
        for data in told(honest, own=False)
        if data["peer_id"] == liar.node.identity.peer_id and data["round"] == 1
    ]
    assert [data["problem"] for data in by_liar] == ["it claims 1 right answers, but 0 are"]
    assert len(told(honest, own=True)) == 4


class Slow(ScriptedWorker):
    """Its samples are cut where the budget ends, as a real worker's are."""

    async def sample(self, request: Sample) -> Sampled:
        if request.groups[0].samples > 1:
            return await super().sample(request)
        seconds, self.seconds_per_group = self.seconds_per_group, 0.3
        try:
            return await super().sample(request)
        finally:
            self.seconds_per_group = seconds


def test_a_slow_node_goes_on_in_the_next_rounds_and_misses_none() -> None:
    manifest = evaluated_manifest(every=6, tasks=20, seconds=2.0)

    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(Slow(), rounds=12)
        await swarm.finish()

    (node,) = simulate(script, manifest=manifest).nodes
    mine = told(node, own=True)
    assert len(mine) > 2, "it should take several rounds"
    ranges = [(r["start"], r["count"]) for data in mine for r in data["results"]]
    starts = [start for start, _ in ranges]
    assert starts[0] == 0
    for (start, count), following in zip(ranges, starts[1:], strict=False):
        assert following in (start + count, 0)
    assert sum(count for _, count in ranges) >= 20
    played = [data["round"] for event, data in node.events if event == "round"]
    assert played == list(range(12))


def test_nothing_is_measured_where_the_manifest_asks_for_nothing() -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(rounds=2)
        await swarm.finish()

    (node,) = simulate(script).nodes
    assert not told(node, own=True)


def test_environments_without_a_held_out_figure_are_left_out() -> None:
    few = EnvironmentSpec(
        name="chain_sum",
        config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    )
    base = evaluated_manifest(every=1)
    manifest = msgspec.structs.replace(base, environments=(few, *base.environments))

    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(ScriptedWorker(seconds_per_group=0.02), rounds=1)
        await swarm.finish()

    (node,) = simulate(script, manifest=manifest).nodes
    (data,) = told(node, own=True)
    assert len(data["results"]) == 1
    assert data["results"][0]["count"] == 20


def test_a_rounds_results_are_shown_with_it(tmp_path: Path) -> None:
    async def script(swarm: SimulatedSwarm) -> None:
        swarm.add(ScriptedWorker(seconds_per_group=0.02), rounds=1)
        await swarm.finish()
        swarm.nodes[0].node._journal.close()
        shutil.copy(swarm._folder / "journal-0.sqlite3", tmp_path / "journal.sqlite3")

    (node,) = simulate(script, manifest=evaluated_manifest(every=1)).nodes
    (data,) = told(node, own=True)
    (result,) = data["results"]
    done = CliRunner().invoke(cli, ["rounds", "show", "0", "--home", str(tmp_path)])
    assert f"held-out accuracy here: chain_sum {result['accuracy']:.3f}" in done.output
    assert "20 tasks" in done.output
