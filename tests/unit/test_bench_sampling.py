"""What the bench of sampling compares: the same tokens counted alike, on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlswarm.bench import sampling
from rlswarm.policy.source import resolve
from tiny_model import make_tiny_model


def test_every_system_is_counted_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = resolve(str(make_tiny_model(tmp_path)))
    monkeypatch.setattr(sampling, "resolve", lambda name: files)
    torch.manual_seed(0)
    rows = list(sampling.run([sampling.Case(2, 6, True, "float32")], runs=1))
    assert [row.system for row in rows] == list(sampling.SYSTEMS)
    assert len({row.case for row in rows}) == 1
    assert all(row.value and row.value > 0 for row in rows)
    lines = sampling.table(rows).splitlines()
    assert lines[-3].startswith("rlswarm ") and lines[-3].endswith("1.00")


def test_generate_counts_up_to_the_end_token(tmp_path: Path) -> None:
    policy = sampling.load_policy(
        resolve(str(make_tiny_model(tmp_path))), sampling.LoraShape(), dtype="float32"
    )
    # Half of all tokens end a sample, so that they are about two tokens long.
    brief = replace(policy, end_tokens=frozenset(range(2, 130)))
    groups = sampling.mixed(2, 40)
    samples = 2 * sampling.GROUP_SIZE
    for system in sampling.SYSTEMS.values():
        assert samples < system(brief, groups) < 6 * samples
