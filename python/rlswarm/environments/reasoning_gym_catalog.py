"""The data sets of the installed reasoning-gym, found and loaded one at a time.

``import reasoning_gym`` loads all of them with matplotlib, sympy and numpy: 120 MB and seconds.
Most sets need none of these, so the one wanted is imported past the packages' ``__init__``.
"""

import ast
import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = "reasoning_gym"
_NAME = re.compile(r'^(?:DATASET_NAME = |register_dataset\()"(\w+)"', re.MULTILINE)
_EVALUATORS = frozenset({"eval", "exec", "compile", "parse_expr", "sympify", "__import__"})


@functools.cache
def data_sets() -> Mapping[str, Path]:
    """Source file of every data set by name; empty where reasoning-gym is not installed."""
    root = _root()
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")) if root else ():
        if "contrib" not in path.parts and "coaching" not in path.parts:
            text = path.read_text(encoding="utf-8")
            match = _NAME.search(text)
            if match and "register_dataset(" in text:
                found[match.group(1)] = path
    return found


@functools.cache
def installed_version() -> str:
    """Such as ``reasoning-gym 0.1.25``."""
    return f"reasoning-gym {importlib.metadata.version('reasoning-gym')}"


def evaluates_answers(name: str) -> bool:
    """Whether the set's scorer runs the answer as code: its ``score_answer`` passes anything but
    the task itself to eval, exec or sympy's parser (which is eval)."""
    text = data_sets()[name].read_text(encoding="utf-8")
    if not any(evaluator in text for evaluator in _EVALUATORS):
        return False
    return any(
        _is_evaluation(node)
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef) and function.name == "score_answer"
        for node in ast.walk(function)
    )


def _is_evaluation(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
    if name not in _EVALUATORS:
        return False
    argument = node.args[0] if node.args else None
    while isinstance(argument, ast.Subscript):
        argument = argument.value
    return not (isinstance(argument, ast.Name) and argument.id in {"entry", "metadata"})


def load(name: str) -> tuple[Any, Any]:
    """Data set class and config class of a known name. Raises what the import raises."""
    root = _root()
    assert root is not None
    path = data_sets()[name].relative_to(root).with_suffix("")
    with _bare_packages(root, path.parts[:-1]):
        # Loaded first: it and the factory import each other, in this order only.
        importlib.import_module(f"{_PACKAGE}.coaching")
        importlib.import_module(".".join((_PACKAGE, *path.parts)))
        factory = importlib.import_module(f"{_PACKAGE}.factory")
    data_set, config = factory.DATASETS[name]
    return data_set, config


def _root() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def _bare_packages(root: Path, folders: tuple[str, ...]) -> Iterator[None]:
    """Stand-ins for the package and the set's category, gone afterwards, so that a later plain
    ``import reasoning_gym`` still gets the real ones."""
    placed: list[str] = []
    for depth in range(min(len(folders), 1) + 1):
        name = ".".join((_PACKAGE, *folders[:depth]))
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(root.joinpath(*folders[:depth]))]
            sys.modules[name] = package
            placed.append(name)
    try:
        yield
    finally:
        for name in placed:
            sys.modules.pop(name, None)
