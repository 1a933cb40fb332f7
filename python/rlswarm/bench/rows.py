"""One measured value a line: the format of every bench (design §13)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True):
    """A metric of one system in one case; `case` is the same string for all systems compared."""

    bench: str
    case: str
    system: str
    """`rlswarm` or the peer's name."""
    metric: str
    value: float | None
    """Median of the runs; None where the system is absent or failed."""
    min: float | None
    max: float | None
    unit: str
    versions: dict[str, str]


def line(row: Row) -> str:
    return json.dumps(msgspec.to_builtins(row), ensure_ascii=False)


def read(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; none if there is no file."""
    if not path.exists():
        return []
    return [msgspec.json.decode(text, type=Row) for text in path.read_text().splitlines() if text]


def append(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line(row) + "\n" for row in rows)


def versions(*packages: str) -> dict[str, str]:
    """Of Python, the processor and the named packages; "absent" for those not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"python": _python(), "cpu": _processor()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _python() -> str:
    import platform

    return platform.python_version()


def _processor() -> str:
    """Its name and number of cores."""
    import os
    import platform

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for text in info.read_text().splitlines():
            if text.startswith("model name"):
                name = text.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"
