"""The wheel in a clean environment, with no source tree: what `pip install rlswarm` gives."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from processes import NodeProcess, write_manifest

# A new machine may have to download torch here.
pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
MATURIN = Path(sys.executable).with_name("maturin")
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "Cargo.toml").is_file() or not MATURIN.exists() or not UV.exists():
        pytest.skip("needs the source tree, maturin and uv to build a wheel")
    out = tmp_path_factory.mktemp("dist")
    # The one build that tests, lints and the extension share: nothing is compiled twice.
    subprocess.run(
        [MATURIN, "build", "--release", "--locked", "--quiet", "--out", out], cwd=ROOT, check=True
    )
    (built,) = out.glob("rlswarm-*-cp311-abi3-*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("rlswarm/_core.") for name in names)
    for needed in ("rlswarm/py.typed", "rlswarm/_core.pyi", "rlswarm/kernels/__init__.py"):
        assert needed in names
    assert all(name.startswith(("rlswarm/", "rlswarm-")) for name in names)
    assert not [name for name in names if "test" in name.lower() or name.endswith(".pyc")]


def test_a_node_runs_from_the_wheel_alone(
    wheel: Path, tmp_path: Path, tiny_model: Path, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = tmp_path / "clean"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV"))}
    for command in (
        [UV, "venv", "--quiet", "--python", sys.executable, clean],
        [UV, "pip", "install", "--quiet", "--python", clean / "bin" / "python", wheel],
    ):
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    help_text = subprocess.run(
        [clean / "bin" / "rlswarm", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert help_text.returncode == 0
    assert "node" in help_text.stdout
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    # Only the parity environment may come from elsewhere, never the source tree.
    folders = [f for f in os.environ["PYTHONPATH"].split(os.pathsep) if "parity" in f]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.chdir(tmp_path)
    node: NodeProcess = start(
        tmp_path / "home",
        tmp_path / "swarm.toml",
        *("--rounds", "1"),
        python=str(clean / "bin" / "python"),
    )
    assert node.wait_for("learned")["stepped"]
    assert node.end() == 0
    shutil.rmtree(clean)
