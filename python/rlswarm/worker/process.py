"""The worker's main loop: one request, one reply, until the node goes away."""

import ctypes
import os
import signal
import sys
import time
import traceback

import msgspec

from rlswarm.errors import NotEnoughMemoryError, RlswarmError, StorageError
from rlswarm.pipes import ChildPipe
from rlswarm.resources import peak_rss
from rlswarm.worker.messages import Failed, Learn, Load, Reply, Request, Sample
from rlswarm.worker.service import Service

NICENESS = 5
"""Below the node, which must stay responsive, and the owner's own programs."""

_PR_SET_PDEATHSIG = 1


def serve(pipe: ChildPipe, service: Service) -> None:
    """Answer requests until the pipe ends. Nothing a request does ends the loop."""
    decoder = msgspec.msgpack.Decoder(Request)
    while True:
        try:
            request = pipe.receive(decoder)
            received = time.monotonic()
        except msgspec.MsgspecError as error:
            pipe.send(Failed("bug", f"the worker was sent a message it does not know ({error})"))
            continue
        if request is None:
            return
        pipe.send(answer(service, request, received))


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


def _die_with_parent() -> None:
    """Have Linux kill this process when the node's spawning thread ends, however it ends.

    Elsewhere the end of the pipe does it, once the request in hand is answered.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    # Ctrl-C at the terminal reaches the whole group; the node decides when the worker stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    pipe = ChildPipe.from_stdio()
    try:
        serve(pipe, Service(clock=time.monotonic, peak_rss=peak_rss))
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main()
