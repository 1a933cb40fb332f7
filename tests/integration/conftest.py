"""What the tests with real processes share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from processes import NodeProcess

from parity_environment import install_parity
from tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the parity environment, put on PYTHONPATH for every process of the test run."""
    folder = install_parity(tmp_path_factory.mktemp("parity"))
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(folder), before) if p)
    return folder


@pytest.fixture
def start(parity: Path) -> Iterator[Any]:
    """Start nodes that are gone when the test ends."""
    nodes: list[NodeProcess] = []

    def start_node(*arguments: Any, **options: Any) -> NodeProcess:
        nodes.append(NodeProcess(*arguments, **options))
        return nodes[-1]

    yield start_node
    for node in nodes:
        node.kill()
