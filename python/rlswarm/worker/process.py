"""The worker's main loop: one request, one reply, until the node goes away."""

import math
import os
import queue
import signal
import threading
import time
import traceback

import msgspec

from rlswarm.errors import NotEnoughMemoryError, RlswarmError, StorageError
from rlswarm.parent import die_with_parent
from rlswarm.pipes import ChildPipe
from rlswarm.resources import peak_rss
from rlswarm.worker.messages import Audit, Failed, Learn, Load, Reply, Request, Sample
from rlswarm.worker.service import Service
from rlswarm.worker.team import Team, this_team

NICENESS = 5
"""Below the node, which must stay responsive, and the owner's own programs."""


class Inbox:
    """Requests, read ahead by a thread, so that the pipe's end is seen in the middle of one."""

    def __init__(self, pipe: ChildPipe) -> None:
        self._pipe = pipe
        self._decoder = msgspec.msgpack.Decoder(Request)
        self._requests: queue.SimpleQueue[tuple[Request | Failed | None, float]]
        self._requests = queue.SimpleQueue()
        self._closed = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        request: Request | Failed | None
        while True:
            try:
                request = self._pipe.receive(self._decoder)
            except msgspec.MsgspecError as error:
                request = Failed("bug", f"the worker was sent a message it does not know ({error})")
            if request is None:
                self._closed.set()
            self._requests.put((request, time.monotonic()))
            if request is None:
                return

    def receive(self) -> tuple[Request | Failed | None, float]:
        """The next request, or the reply to one that can't be read, or None at the end; and when
        it came (monotonic seconds)."""
        return self._requests.get()

    def clock(self) -> float:
        """Monotonic seconds; infinity once the node has closed the pipe, so that every deadline
        has passed: sampling ends, a learn window steps and saves with what it has."""
        return math.inf if self._closed.is_set() else time.monotonic()


class Passed(msgspec.Struct):
    """A request on its way to the other processes of a team."""

    request: Request
    age: float
    """Seconds since it came."""


def serve(pipe: ChildPipe, inbox: Inbox, service: Service, team: Team) -> None:
    """Answer requests until the pipe ends. Nothing a request does ends the loop."""
    while True:
        request, received = inbox.receive()
        if isinstance(request, Failed):
            pipe.send(request)
            continue
        if team.size > 1:
            age = time.monotonic() - received
            team.tell(msgspec.msgpack.encode(Passed(request, age)) if request is not None else None)
        if request is None:
            return
        pipe.send(answer_together(service, request, received, team))


def follow(service: Service, team: Team) -> None:
    """Do one's share of what the first process of the team is asked, until it leaves."""
    decoder = msgspec.msgpack.Decoder(Passed)
    while (data := team.tell(None)) is not None:
        passed = decoder.decode(data)
        answer_together(service, passed.request, time.monotonic() - passed.age, team)


def answer_together(service: Service, request: Request, received: float, team: Team) -> Reply:
    """The team's reply: that of the first process, or the first failure."""
    reply = answer(service, request, received)
    if team.size == 1:
        return reply
    failed = msgspec.msgpack.encode(reply) if isinstance(reply, Failed) else b""
    failures = [said for said in team.collect(failed) if said]
    return msgspec.msgpack.decode(failures[0], type=Failed) if failures else reply


def answer(service: Service, request: Request, received: float) -> Reply:
    """The reply to one request received at `received` (monotonic seconds); never raises."""
    try:
        match request:
            case Load():
                return service.load(request)
            case Sample():
                return service.sample(request, received)
            case Learn():
                return service.learn(request, received)
            case Audit():
                return service.audit(request, received)
    except NotEnoughMemoryError as error:
        return Failed("memory", str(error))
    except StorageError as error:
        return Failed("storage", str(error))
    except RlswarmError as error:
        return Failed("model", str(error))
    except Exception as error:
        if _out_of_memory(error):
            return Failed("memory", f"the worker ran out of memory ({_first_line(error)})")
        traceback.print_exc()
        return Failed("bug", f"the worker hit a bug ({type(error).__name__}: {_first_line(error)})")


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch raises plain RuntimeErrors for its CPU allocator.
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main() -> None:
    # Ctrl-C at the terminal reaches the whole group; the node decides when the worker stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    team = this_team()
    if team.rank > 0:
        follow(Service(clock=time.monotonic, peak_rss=peak_rss, team=team), team)
        return
    pipe = ChildPipe.from_stdio()
    try:
        inbox = Inbox(pipe)
        serve(pipe, inbox, Service(clock=inbox.clock, peak_rss=peak_rss, team=team), team)
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main()
