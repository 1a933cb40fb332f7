"""The node bench without running it: equal work on both sides, and figures that add up."""

import datetime
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlswarm.config.manifest import parse_manifest, render_manifest

BENCH = Path(__file__).parents[2] / "benches" / "node"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the bench by its name, as its folder's own programs import it."""
    monkeypatch.syspath_prepend(str(BENCH))

    def named(name: str) -> ModuleType:
        return importlib.import_module(name)

    return named


def test_our_rounds_are_valid_manifests_of_the_original_s_shape(bench: Any) -> None:
    ours, cells = bench("ours"), bench("cells")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for case, systems in cells.RUNS:
        for system in (s for s in systems if s.kind == "rlswarm"):
            manifest = ours.manifest(system, case, Path("model"), now)
            assert parse_manifest(render_manifest(manifest)) == manifest
            assert len(manifest.game.stages) == system.stages
            assert manifest.game.stages[0].inputs == "task"
            assert (manifest.game.slots, manifest.game.group_size) == (4, case.samples)
            assert all(stage.max_tokens == 64 for stage in manifest.game.stages)
            assert manifest.game.overlap == 0


def test_the_original_gets_the_prompts_that_our_environment_makes(bench: Any) -> None:
    theirs, cells = bench("theirs"), bench("cells")
    before, rounds = theirs.tasks(cells.AS_PLAYED, 0, 3)
    assert [len(tasks) for tasks in rounds] == [1, 4, 4]
    assert [turn["role"] for turn in before] == ["user", "assistant"] * 3
    assert before[0]["content"].startswith("Answer the question.")
    before, _ = theirs.tasks(cells.EQUAL_WORK, 0, 2)
    assert [turn["role"] for turn in before] == ["user"]
    assert "How many times" not in before[0]["content"]
    _, others = theirs.tasks(cells.AS_PLAYED, 1, 3)
    assert not {t["question"] for r in rounds for t in r} & {
        t["question"] for r in others for t in r
    }


def test_the_graded_score_tells_texts_apart_and_pays_the_right_answer_most(bench: Any) -> None:
    graded = bench("graded").graded
    scores = {graded(f"{word} is my guess", "3") for word in ("one", "two", "three", "four")}
    assert len(scores) == 4
    assert all(0 <= score < 0.5 for score in scores)
    assert graded("Answer: 3", "3") == 1.0


def test_another_end_token_leaves_the_weights_alone(bench: Any, tmp_path: Path) -> None:
    models = bench("models")
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights")
    added = {"added_tokens": [{"id": 15, "content": models.NEVER_DRAWN}]}
    (source / "tokenizer.json").write_text(json.dumps(added))
    (source / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    for name in ("config.json", "generation_config.json"):
        (source / name).write_text('{"eos_token_id": 2, "pad_token_id": 2}')
    for _ in range(2):  # the second finds the first one's folder
        made = models.endless(source, tmp_path / "made")
    assert (made / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((made / "config.json").read_text()) == {"eos_token_id": 15, "pad_token_id": 2}
    assert (
        json.loads((made / "tokenizer_config.json").read_text())["eos_token"] == "<jupyter_script>"
    )


def test_rows_are_medians_over_nodes_and_turns_and_ratios_face_the_original(
    bench: Any, tmp_path: Path
) -> None:
    results, cells = bench("results"), bench("cells")
    file = tmp_path / "results.jsonl"
    for system, spent in ((cells.OURS, (8.0, 12.0)), (cells.GENRL, (40.0, 60.0))):
        costs = tuple(
            cells.RoundCost(
                work_seconds=1.0,
                cpu=cpu,
                sample_cpu=None,
                gather_cpu=None,
                learn_cpu=None,
                sent=0,
                received=0,
                tokens=512,
                own_groups=4,
                peer_groups=4,
            )
            for cpu in spent
        )
        results.append(file, results.Cell(cells.EQUAL_WORK.name, system.name, 0, costs, {}))
    found = results.load(file)
    assert [cell.key[1:] for cell in found] == [("rlswarm", 0), ("genrl", 0)]
    cpu = {row.system: row for row in results.rows(found) if row.metric == "cpu"}
    assert (cpu["rlswarm"].value, cpu["rlswarm"].min, cpu["rlswarm"].max) == (10.0, 8.0, 12.0)
    text = results.table(found, "genrl")
    assert "| cpu, s/round | 10.0 (8.0-12.0), 5.0x less | 50.0 (40.0-60.0) |" in text
    assert "gathering" not in text
