"""The ``verifiers`` library inside a scorer: what scores, without what talks to model servers.

Imported whole, it takes 240 MB and starts processes to check mathematics by the clock. Clients of
model servers are of no use where no server may be asked, so stand-ins take their places; its
mathematics rubric gives way to one whose limits are counted.
"""

import asyncio
import atexit
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import signal
import sys
import types
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from rlswarm.environments.environment import UnusableEnvironmentError

_CLIENTS = frozenset({"anthropic", "openai", "prime_sandboxes", "renderers"})
"""Packages that only talk to servers; verifiers names their types wherever it is imported."""


class _StandInType(type):
    """Type of stand-ins: good for annotations and ``except``, not for making anything."""

    def __getattr__(cls, name: str) -> "type[_StandIn]":
        if name.startswith("__"):
            raise AttributeError(name)
        return _stand_in(name)

    def __getitem__(cls, _parameters: Any) -> "_StandInType":
        return cls

    def __call__(cls, *_arguments: Any, **_options: Any) -> Any:
        raise UnusableEnvironmentError(
            f"it asks a server ({cls.__name__}), which no scorer can reach"
        )


class _StandIn(Exception, metaclass=_StandInType):  # noqa: N818 - some are named in `except`
    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "any"}


def _stand_in(name: str) -> type[_StandIn]:
    return _StandInType(name, (_StandIn,), {})  # type: ignore[return-value]


class _StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> type[_StandIn]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _stand_in(name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in _CLIENTS:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


@contextlib.contextmanager
def scoring_library() -> Iterator[types.ModuleType]:
    """`verifiers`, to load an environment with. Raises ImportError where it is not installed.

    It installs signal handlers and a farewell to servers with each environment; the process keeps
    its own handlers, and there is nobody to say farewell to.
    """
    finder = _Finder()
    register = atexit.register
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.meta_path.insert(0, finder)
    atexit.register = lambda function, *_arguments, **_options: function  # type: ignore[assignment]
    try:
        library = importlib.import_module("verifiers")
        sys.modules.setdefault("verifiers.rubrics.math_rubric", _maths_rubric(library))
        yield library
    finally:
        sys.meta_path.remove(finder)
        atexit.register = register
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _maths_rubric(library: types.ModuleType) -> types.ModuleType:
    """A module whose ``MathRubric`` takes what the library's takes and decides by counts."""
    from rlswarm.environments.maths_environment import judge

    class MathRubric(library.Rubric):  # type: ignore[name-defined, misc]
        def __init__(
            self, funcs: Any = None, weights: Any = None, parser: Any = None, **_limits: Any
        ) -> None:
            def boxed(text: str) -> Any:
                return library.extract_boxed_answer(text, strict=True)

            parser = parser or library.MaybeThinkParser(extract_fn=boxed)
            super().__init__(funcs=funcs, weights=weights, parser=parser)
            self.add_reward_func(self.correct_answer)

        async def correct_answer(
            self, parser: Any, completion: Any, answer: Any, **_rest: Any
        ) -> float:
            response = parser.parse_answer(completion)
            return judge(response, str(answer)) if response else 0.0

    module = types.ModuleType("verifiers.rubrics.math_rubric")
    module.MathRubric = MathRubric  # type: ignore[attr-defined]
    return module


def run_without_waiting(scoring: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits. An event loop would open a socket, which a scorer can't.

    Raises UnusableEnvironmentError if it does wait, or asks for the loop to wait with: a rubric
    turns whatever its functions raise into a score of nothing, which would hide it.
    """
    loop = _NoLoop()
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]
    try:
        scoring.send(None)
    except StopIteration:
        if not loop.was_asked:
            return
    finally:
        asyncio._set_running_loop(None)
        scoring.close()
    raise UnusableEnvironmentError("its score waits for something outside, such as a judge")


class _NoLoop:
    """In an event loop's place; notes that somebody wanted to use it."""

    def __init__(self) -> None:
        self.was_asked = False

    def __getattr__(self, name: str) -> Any:
        self.was_asked = True
        raise RuntimeError(f"a score must not wait (it asked the event loop for {name})")
