"""A child process that answers typed messages: spawned, watched, and never waited for for ever."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rlswarm.pipes import frame, frame_length

Reply = TypeVar("Reply")


class ChildDiedError(Exception):
    """The child ended, or had to be ended, with a request open; the message says how."""


class Child(Generic[Reply]):
    """``python -m MODULE`` with its pipes. One request at a time; others wait their turn."""

    def __init__(
        self,
        module: str,
        replies: object,
        log: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """`replies` is the (union) type of the answers; `log` takes what the child prints."""
        self._module = module
        self._arguments = tuple(arguments)
        self._decoder = msgspec.msgpack.Decoder(replies)
        self._log = log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._abandoned = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Spawn the child; the one before must be gone."""
        self._abandoned = False
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                limit=1 << 20,
            )

    async def request(self, message: msgspec.Struct, timeout: float) -> Reply:
        """Send a message and wait for its answer, at most `timeout` seconds.

        Raises ChildDiedError if the child dies, breaks the protocol or overruns; it is then gone.
        """
        async with self._turn:
            if self._abandoned:
                raise ChildDiedError("an earlier request was abandoned half-way")
            try:
                async with asyncio.timeout(timeout):
                    return await self._exchange(message)
            except TimeoutError:
                await self.kill()
                raise ChildDiedError(f"no answer within {timeout:.0f} seconds") from None
            except asyncio.CancelledError:
                # An answer may still be on its way and would be taken for the next one's.
                self._abandoned = True
                raise

    async def _exchange(self, message: msgspec.Struct) -> Reply:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ChildDiedError("it was not running")
        try:
            process.stdin.write(frame(message))
            await process.stdin.drain()
            prefix = await process.stdout.readexactly(4)
            body = await process.stdout.readexactly(frame_length(prefix))
            reply: Reply = self._decoder.decode(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildDiedError(await self._obituary()) from None
        except (msgspec.MsgspecError, ValueError) as error:
            await self.kill()
            raise ChildDiedError(f"it answered nonsense ({error})") from None
        return reply

    async def _obituary(self) -> str:
        process, self._process = self._process, None
        if process is None:
            return "it was not running"
        try:
            code = await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; often a sign of too little memory" if -code == signal.SIGKILL else ""
            return f"killed by {name}{hint}"
        return f"exit code {code}; its last words are in {self._log}"

    async def kill(self) -> None:
        """End the child now."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def close(self, grace: float) -> None:
        """Close its pipe, so that it finishes and leaves; kill it after `grace` seconds."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        drained = asyncio.create_task(_drain(process))
        try:
            await asyncio.wait_for(process.wait(), grace)
            self._process = None
        except TimeoutError:
            await self.kill()
        finally:
            drained.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drained


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what an abandoned request still answers, so that the child never blocks on it."""
    while process.stdout is not None and await process.stdout.read(1 << 16):
        pass
