"""The Triton kernels without a GPU: interpreted against references, and compiled for sm_90a."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

HERE = Path(__file__).parent


def run(script: str, **environment: str) -> str:
    paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, str(HERE / script)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_interpreted_kernels_match_float64() -> None:
    assert "as the references" in run("triton_checks.py", TRITON_INTERPRET="1")


def test_kernels_compile_to_what_a_hopper_gpu_runs_well(tmp_path: Path) -> None:
    found = json.loads(
        run("triton_compilation.py", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    )
    for name, kernel in found.items():
        assert kernel["sm_90a"], name
        assert kernel["spilled"] == 0, (name, kernel)
        assert kernel["shared"] <= 227 * 1024, (name, kernel)
        assert kernel["HMMA"] == 0, (name, kernel)
        assert (kernel["HGMMA"] > 0) == name.startswith("score"), (name, kernel)
