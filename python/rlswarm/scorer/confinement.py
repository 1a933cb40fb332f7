"""Giving up what scoring does not need: other programs, sockets, files to write, core dumps.

Environments parse text that strangers chose. Should one be talked into more, little is in reach.
Each measure applies where the platform has it; the rest of the scorer relies on none.
"""

import builtins
import ctypes
import functools
import io
import os
import platform
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from rlswarm.parent import die_with_parent

ADDRESS_SPACE = 12 << 30
"""Bytes; generous, since numpy and tokenizers reserve far more than they use, and the sandbox
twice 4 GiB, so that reaching beyond a program's memory can only fault."""

_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Some sets iterate over sets of strings: their tasks depend on the hash seed.
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TZ": "UTC",
}
_SETTLED = "RLSWARM_SCORER_SETTLED"
_KEPT = (
    "DYLD_LIBRARY_PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "RLSWARM_CACHE",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
)

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2


def scorer_environment(current: Mapping[str, str]) -> dict[str, str]:
    """The environment variables a scorer runs with: no secrets, and the same on every machine."""
    kept = {name: current[name] for name in _KEPT if name in current}
    return kept | _ENVIRONMENT | {_SETTLED: "1"}


def settle_environment() -> None:
    """Start this program over, in the same process, with the variables of `scorer_environment`,
    unless its parent gave it these. Some take effect at start only, as the hash seed does."""
    if _SETTLED not in os.environ:
        wanted = scorer_environment(os.environ)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def keep_what_imports_need() -> None:
    """To be called before `confine`: some libraries open the null device to write, only to learn a
    type, and look for a folder to write to, before anybody asked them to write anything. The null
    device is opened for good and shared; the folder is named without a try."""
    tempfile.tempdir = os.sep
    null = os.open(os.devnull, os.O_RDWR)
    open_file, open_descriptor = builtins.open, os.open

    @functools.wraps(open_file)
    def file(path: Any, *arguments: Any, **options: Any) -> Any:
        return open_file(os.dup(null) if path == os.devnull else path, *arguments, **options)

    @functools.wraps(open_descriptor)
    def descriptor(path: Any, *arguments: Any, **options: Any) -> int:
        if path == os.devnull:
            return os.dup(null)
        return open_descriptor(path, *arguments, **options)

    builtins.open = io.open = file  # type: ignore[assignment]
    os.open = descriptor


def confine() -> None:
    """Irrevocable, for this process. Reading files and importing still work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, ADDRESS_SPACE),
    ):
        _lower(kind, limit)
    die_with_parent()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _filter_system_calls(libc)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(kind, (limit, limit))
    except (OSError, ValueError):  # macOS refuses RLIMIT_AS
        return


class _Machine:
    """System call numbers of one architecture."""

    def __init__(
        self, audit: int, denied: tuple[int, ...], opens: Mapping[int, int], clone: int
    ) -> None:
        self.audit = audit
        self.denied = denied
        """Sockets, programs, other processes, names in the file system."""
        self.opens = opens
        """Calls that open files, with the position of their flags."""
        self.clone = clone


# fmt: off
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        (41, 42, 49, 50, 53, 57, 58, 59, 62, 76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93,
         101, 258, 260, 263, 264, 265, 266, 268, 310, 311, 316, 322, 425, 437),
        {2: 1, 257: 2},
        56,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 117, 129, 198, 199, 200, 201, 203, 221,
         270, 271, 276, 281, 425, 437),
        {56: 2},
        220,
    ),
}
# fmt: on
_CLONE3 = 435
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_NUMBER_AT, _AUDIT_AT, _ARGUMENTS_AT = 0, 4, 16


def _filter_system_calls(libc: ctypes.CDLL) -> None:
    machine = _MACHINES.get(platform.machine())
    if machine is None or sys.byteorder != "little":
        return
    program = [
        (_LOAD, 0, 0, _AUDIT_AT),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
        # glibc falls back to clone, whose flags a filter can read.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ENOSYS),
    ]
    for number in machine.denied:
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    for number, position in machine.opens.items():
        program += [
            (_JUMP_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * position),
            (_JUMP_ANY_BIT, 0, 1, _WRITING),
            (_RETURN, 0, 0, _EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    program += [
        (_JUMP_EQUAL, 0, 3, machine.clone),
        (_LOAD, 0, 0, _ARGUMENTS_AT),
        (_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0)
