"""What a sandboxed program sees of the world: a system of WASI calls that has nothing in it.

Every call is answered here, from memory, so a program reaches no file, socket or clock of this
machine, and two runs see the same bytes: time starts in 2026 and moves by a fixed step at each
look, randomness is one fixed stream, and the only file is the read-only archive of Python's
standard library.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

ARCHIVE_FOLDER = b"/usr/local/lib"
PROGRAM_NAME = "/usr/local/bin/python.wasm"

_ENVIRONMENT = ("HOME=/", "PYTHONHASHSEED=0", "PYTHONTZPATH=", "TMPDIR=/tmp")
_START_NS = 1_767_225_600 * 10**9
_STEP_NS = 1_000_000
_LONGEST_READ = 1 << 20
_LONGEST_RANDOM = 1 << 12
_MOST_CALLS = 20_000
"""Calls are answered outside the program, where no fuel is counted. Starting up takes 300."""

_OK, _BAD_DESCRIPTOR, _INVALID, _NO_ENTRY, _NO_SYSTEM = 0, 8, 28, 44, 52
_IS_FOLDER, _NOT_CAPABLE, _SEEK_ON_PIPE = 31, 76, 70
_PIPE, _FOLDER, _FILE = 2, 3, 4
_STDIN, _STDOUT, _STDERR, _ARCHIVE_FOLDER_FD, _FIRST_FILE = 0, 1, 2, 3, 4
_MOST_FILES = 64
_RIGHTS = (1 << 30) - 1


class Memory(Protocol):
    """The program's memory. Both raise IndexError beyond its end."""

    def read(self, start: int, length: int) -> bytes: ...

    def write(self, start: int, data: bytes) -> None: ...


class ProgramExit(Exception):  # noqa: N818 - an ending, not an error
    """The program ended itself."""

    def __init__(self, code: int) -> None:
        self.code = code


class Flood(Exception):  # noqa: N818 - an ending, not an error
    """The program wrote more, or asked more often, than it may."""


class System:
    """The world of one program."""

    def __init__(
        self, archive: int, archive_name: bytes, arguments: Sequence[str], stdin: bytes, limit: int
    ) -> None:
        """`archive` is a descriptor of the standard library's archive, `limit` the most bytes
        that standard output and standard error take together."""
        self._archive = archive
        self._archive_name = archive_name
        self._archive_size = os.fstat(archive).st_size
        self._arguments = _strings((PROGRAM_NAME, *arguments))
        self._environment = _strings(_ENVIRONMENT)
        self._stdin = stdin
        self._stdin_position = 0
        self._room = limit
        self._calls = 0
        self._positions: dict[int, int] = {}
        self._now_ns = _START_NS
        self._random_calls = 0
        self.stdout = bytearray()
        self.stderr = bytearray()

    def call(self, memory: Memory, name: str, arguments: Sequence[int]) -> int:
        """The errno of one WASI call. Raises ProgramExit and Flood."""
        method: Callable[..., int] | None = getattr(self, f"_do_{name}", None)
        if method is None:
            return _NO_SYSTEM
        self._calls += 1
        if self._calls > _MOST_CALLS:
            raise Flood
        # Offsets come as signed 32-bit numbers.
        try:
            return method(memory, *(argument & 0xFFFFFFFFFFFFFFFF for argument in arguments))
        except (IndexError, OverflowError, TypeError, ValueError, struct.error):
            return _INVALID

    def _do_args_sizes_get(self, memory: Memory, count_at: int, size_at: int) -> int:
        return _put_sizes(memory, self._arguments, count_at, size_at)

    def _do_args_get(self, memory: Memory, table_at: int, text_at: int) -> int:
        return _put_strings(memory, self._arguments, table_at, text_at)

    def _do_environ_sizes_get(self, memory: Memory, count_at: int, size_at: int) -> int:
        return _put_sizes(memory, self._environment, count_at, size_at)

    def _do_environ_get(self, memory: Memory, table_at: int, text_at: int) -> int:
        return _put_strings(memory, self._environment, table_at, text_at)

    def _do_clock_res_get(self, memory: Memory, _clock: int, at: int) -> int:
        return _put(memory, at, "<Q", _STEP_NS)

    def _do_clock_time_get(self, memory: Memory, _clock: int, _precision: int, at: int) -> int:
        self._now_ns += _STEP_NS
        return _put(memory, at, "<Q", self._now_ns % 2**64)

    def _do_random_get(self, memory: Memory, at: int, length: int) -> int:
        if length > _LONGEST_RANDOM:
            return _INVALID
        self._random_calls += 1
        label = b"rlswarm sandbox %d" % self._random_calls
        memory.write(at, hashlib.shake_256(label).digest(length))
        return _OK

    def _do_poll_oneoff(
        self, memory: Memory, wanted_at: int, events_at: int, count: int, ready_at: int
    ) -> int:
        """A sleep takes no time and moves the clock; any other wait is over at once."""
        if not 0 < count <= _MOST_FILES:
            return _INVALID
        for index in range(count):
            wanted = memory.read(wanted_at + 48 * index, 48)
            (user, kind) = struct.unpack_from("<QB", wanted)
            if kind == 0:
                timeout, flags = struct.unpack_from("<QxxxxxxxxH", wanted, 24)
                target = timeout if flags & 1 else self._now_ns + timeout
                self._now_ns = max(self._now_ns, target)
            memory.write(events_at + 32 * index, struct.pack("<QHB21x", user, 0, kind))
        return _put(memory, ready_at, "<I", count)

    def _do_sched_yield(self, _memory: Memory) -> int:
        return _OK

    def _do_proc_exit(self, _memory: Memory, code: int) -> int:
        raise ProgramExit(code & 0xFFFFFFFF)

    def _do_fd_write(
        self, memory: Memory, descriptor: int, pieces_at: int, count: int, written_at: int
    ) -> int:
        if descriptor not in (_STDOUT, _STDERR):
            return _BAD_DESCRIPTOR
        stream = self.stdout if descriptor == _STDOUT else self.stderr
        total = 0
        for start, length in _pieces(memory, pieces_at, count):
            if length > self._room:
                raise Flood
            stream += memory.read(start, length)
            self._room -= length
            total += length
        return _put(memory, written_at, "<I", total)

    def _do_fd_read(
        self, memory: Memory, descriptor: int, pieces_at: int, count: int, read_at: int
    ) -> int:
        position = self._position(descriptor)
        if position is None:
            return _BAD_DESCRIPTOR
        total = 0
        for start, length in _pieces(memory, pieces_at, count):
            data = self._content(descriptor, position + total, length)
            memory.write(start, data)
            total += len(data)
            if len(data) < length:
                break
        self._move(descriptor, position + total)
        return _put(memory, read_at, "<I", total)

    def _do_fd_pread(
        self, memory: Memory, descriptor: int, pieces_at: int, count: int, offset: int, read_at: int
    ) -> int:
        if descriptor not in self._positions:
            return _BAD_DESCRIPTOR
        total = 0
        for start, length in _pieces(memory, pieces_at, count):
            data = self._content(descriptor, offset + total, length)
            memory.write(start, data)
            total += len(data)
        return _put(memory, read_at, "<I", total)

    def _do_fd_seek(
        self, memory: Memory, descriptor: int, offset: int, whence: int, result_at: int
    ) -> int:
        if descriptor in (_STDIN, _STDOUT, _STDERR):
            return _SEEK_ON_PIPE
        if descriptor not in self._positions:
            return _BAD_DESCRIPTOR
        if offset >= 1 << 63:
            offset -= 1 << 64
        base = {0: 0, 1: self._positions[descriptor], 2: self._archive_size}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 62:
            return _INVALID
        self._positions[descriptor] = base + offset
        return _put(memory, result_at, "<Q", base + offset)

    def _do_fd_tell(self, memory: Memory, descriptor: int, result_at: int) -> int:
        if descriptor not in self._positions:
            return _BAD_DESCRIPTOR
        return _put(memory, result_at, "<Q", self._positions[descriptor])

    def _do_fd_close(self, _memory: Memory, descriptor: int) -> int:
        return _BAD_DESCRIPTOR if self._positions.pop(descriptor, None) is None else _OK

    def _do_fd_fdstat_get(self, memory: Memory, descriptor: int, at: int) -> int:
        kind = self._kind(descriptor)
        if kind is None:
            return _BAD_DESCRIPTOR
        return _put(memory, at, "<BxHxxxxQQ", kind, 0, _RIGHTS, _RIGHTS)

    def _do_fd_fdstat_set_flags(self, _memory: Memory, descriptor: int, _flags: int) -> int:
        return _BAD_DESCRIPTOR if self._kind(descriptor) is None else _OK

    def _do_fd_filestat_get(self, memory: Memory, descriptor: int, at: int) -> int:
        kind = self._kind(descriptor)
        return _BAD_DESCRIPTOR if kind is None else self._put_status(memory, at, kind)

    def _do_fd_prestat_get(self, memory: Memory, descriptor: int, at: int) -> int:
        if descriptor != _ARCHIVE_FOLDER_FD:
            return _BAD_DESCRIPTOR
        return _put(memory, at, "<II", 0, len(ARCHIVE_FOLDER))

    def _do_fd_prestat_dir_name(self, memory: Memory, descriptor: int, at: int, length: int) -> int:
        if descriptor != _ARCHIVE_FOLDER_FD:
            return _BAD_DESCRIPTOR
        memory.write(at, ARCHIVE_FOLDER[:length])
        return _OK

    def _do_fd_readdir(
        self, memory: Memory, descriptor: int, _at: int, _size: int, _cookie: int, used_at: int
    ) -> int:
        if descriptor != _ARCHIVE_FOLDER_FD:
            return _BAD_DESCRIPTOR
        return _put(memory, used_at, "<I", 0)

    def _do_path_filestat_get(
        self, memory: Memory, folder: int, _flags: int, path_at: int, length: int, at: int
    ) -> int:
        kind = self._named(memory, folder, path_at, length)
        return _NO_ENTRY if kind is None else self._put_status(memory, at, kind)

    def _do_path_open(
        self,
        memory: Memory,
        folder: int,
        _lookup: int,
        path_at: int,
        length: int,
        flags: int,
        _rights: int,
        _inherited: int,
        _file_flags: int,
        result_at: int,
    ) -> int:
        kind = self._named(memory, folder, path_at, length)
        if kind is None:
            return _NOT_CAPABLE if flags & 1 else _NO_ENTRY
        if kind == _FOLDER or flags or len(self._positions) >= _MOST_FILES:
            return _IS_FOLDER if kind == _FOLDER else _NOT_CAPABLE
        descriptor = next(n for n in range(_FIRST_FILE, 999) if n not in self._positions)
        self._positions[descriptor] = 0
        return _put(memory, result_at, "<I", descriptor)

    def _kind(self, descriptor: int) -> int | None:
        if descriptor <= _STDERR:
            return _PIPE
        if descriptor == _ARCHIVE_FOLDER_FD:
            return _FOLDER
        return _FILE if descriptor in self._positions else None

    def _named(self, memory: Memory, folder: int, path_at: int, length: int) -> int | None:
        if folder != _ARCHIVE_FOLDER_FD or length > 4096:
            return None
        path = memory.read(path_at, length)
        if path == self._archive_name:
            return _FILE
        return _FOLDER if path in (b".", b"") else None

    def _put_status(self, memory: Memory, at: int, kind: int) -> int:
        size = self._archive_size if kind == _FILE else 0
        return _put(
            memory, at, "<QQB7xQQQQQ", 1, kind, kind, 1, size, _START_NS, _START_NS, _START_NS
        )

    def _position(self, descriptor: int) -> int | None:
        return self._stdin_position if descriptor == _STDIN else self._positions.get(descriptor)

    def _content(self, descriptor: int, position: int, length: int) -> bytes:
        if descriptor == _STDIN:
            return self._stdin[position : position + length]
        if position >= self._archive_size:
            return b""
        return os.pread(self._archive, min(length, _LONGEST_READ), position)

    def _move(self, descriptor: int, position: int) -> None:
        if descriptor == _STDIN:
            self._stdin_position = position
        else:
            self._positions[descriptor] = position


def _strings(texts: Sequence[str]) -> list[bytes]:
    return [text.encode() + b"\0" for text in texts]


def _put(memory: Memory, at: int, layout: str, *values: int) -> int:
    memory.write(at, struct.pack(layout, *values))
    return _OK


def _put_sizes(memory: Memory, strings: Sequence[bytes], count_at: int, size_at: int) -> int:
    _put(memory, count_at, "<I", len(strings))
    return _put(memory, size_at, "<I", sum(map(len, strings)))


def _put_strings(memory: Memory, strings: Sequence[bytes], table_at: int, text_at: int) -> int:
    for index, string in enumerate(strings):
        _put(memory, table_at + 4 * index, "<I", text_at)
        memory.write(text_at, string)
        text_at += len(string)
    return _OK


def _pieces(memory: Memory, at: int, count: int) -> list[tuple[int, int]]:
    if count > 1024:
        raise IndexError
    table = memory.read(at, 8 * count)
    return list(struct.iter_unpack("<II", table))
