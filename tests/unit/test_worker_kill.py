"""kill -9 at every line of a checkpoint's save: the one before or the new one loads, whole."""

import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from test_worker_checkpoint import play, rounds_in, started

from rlswarm.worker import checkpoint
from rlswarm.worker.service import Service
from tiny_model import make_tiny_model


def killed_at(step: int, service: Service, round: int) -> bool:
    """Save in a child that kills itself before the `step`-th line of checkpoint.py that it runs.
    Whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != checkpoint.__file__:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        assert service._checkpoints is not None and service._learner is not None
        sys.settrace(trace)
        service._checkpoints.save(service._learner, round)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_step_of_a_save_loses_nothing(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    folder = tmp_path / "checkpoints"
    service, _ = started(model, folder)
    adapters = {round: play(service, round).adapter for round in (0, 1)}
    before = shutil.copytree(folder, tmp_path / "before")
    adapters[2] = play(service, 2).adapter
    found: list[int] = []
    step = 1
    while True:
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        killed = killed_at(step, service, 2)
        again, loaded = started(model, folder)
        assert loaded.resumed_round is not None
        assert loaded.adapter == adapters[loaded.resumed_round]
        found.append(loaded.resumed_round)
        if not killed:
            break
        if step % 10 == 1:
            # What the kill left does not stay for ever.
            for round in (3, 4):
                assert play(again, round).checkpoint_error == ""
            assert len(rounds_in(folder)) == 4
        step += 1
    assert step > 30
    # First the old one, then, from one step on, the new one.
    assert found == sorted(found) and set(found) == {1, 2}
