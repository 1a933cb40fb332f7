"""What the tests with real processes share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from endpoints import Node, joined
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


@pytest.fixture
def open_node() -> Iterator[Callable[..., Node]]:
    """Open endpoints that are closed when the test ends."""
    nodes: list[Node] = []

    def make(seed: int, **options: object) -> Node:
        nodes.append(Node(seed, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.endpoint.close()


@pytest.fixture
def pair(open_node: Callable[..., Node]) -> tuple[Node, Node]:
    """Two endpoints that know each other."""
    one = open_node(1)
    two = open_node(2, peers=[one.address])
    joined(one, two)
    return one, two
