"""The original's side: its environment, its jobs and what its rounds cost."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from arena import ArenaError, Player, Reading, two_players
from cells import (
    LETTER_COUNTING,
    MAX_TOKENS,
    PROMPTS,
    TEMPERATURE,
    THREADS,
    Case,
    RoundCost,
    System,
)

from rlswarm._core import prf
from rlswarm.bench import rows
from rlswarm.environments import extraction
from rlswarm.environments.environment import is_held_out, seed_of
from rlswarm.environments.reasoning_gym_environment import ReasoningGymEnvironment

HERE = Path(__file__).parent
PACKAGES = ("gensyn-genrl==0.3.0", "hivemind==1.1.12")
SHOWN = ("gensyn-genrl", "hivemind", "torch", "transformers", "reasoning-gym")


def environment(cache: Path, reasoning_gym: str) -> Path:
    """The Python of GenRL's own environment, made in `cache` if it is not there (6 GB, with our
    reasoning-gym, so that the tasks are the same). Raises ArenaError."""
    folder = cache / "genrl"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        uv = shutil.which("uv")
        if uv is None:
            raise ArenaError("GenRL's environment is made by uv; install it (`pip install uv`)")
        try:
            subprocess.run([uv, "venv", "--quiet", "--clear", folder], check=True)
            wanted = [*PACKAGES, f"reasoning-gym=={reasoning_gym}"]
            install = [uv, "pip", "install", "--quiet", "--python", python]
            subprocess.run([*install, *wanted], check=True)
        except subprocess.CalledProcessError as error:
            raise ArenaError(f"GenRL's environment can't be made: {error}") from None
        done.touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """As ours are shown (``rlswarm.bench.rows.versions``)."""
    script = (
        "import importlib.metadata as m, json, platform;"
        f"print(json.dumps({{n: m.version(n) for n in {SHOWN!r}}}"
        " | {'python': platform.python_version()}))"
    )
    told = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    return rows.versions() | dict(json.loads(told.stdout))


def tasks(case: Case, node: int, rounds: int) -> tuple[list[dict[str, str]], list[Any]]:
    """(turns before each question, tasks of each round), made by our own environment."""
    source = ReasoningGymEnvironment("letter_counting", LETTER_COUNTING, case.shots)
    before: list[dict[str, str]] = []

    def fresh() -> Iterator[dict[str, Any]]:
        for number in count():
            parts = [node.to_bytes(8, "little"), number.to_bytes(8, "little")]
            item = source.generate(seed_of(prf("rlswarm node bench task", parts)))
            if is_held_out(item.question):
                continue
            turns = [{"role": turn.role, "content": turn.content} for turn in source.prompt(item)]
            last = turns.pop()["content"].removesuffix(item.question).rstrip("\n")
            before[:] = [*turns, {"role": "user", "content": last}] if last else turns
            entry = item.metadata
            yield {
                "question": item.question,
                "answer": item.reference,
                "metadata": entry["metadata"],
            }

    stream = fresh()
    # The first round only warms up, so one task is enough.
    sizes = [1] + [PROMPTS] * (rounds - 1)
    return before, [[next(stream) for _ in range(size)] for size in sizes]


async def play(
    python: Path, system: System, case: Case, model: Path, folder: Path, rounds: int, seed: int
) -> list[RoundCost]:
    """Two nodes play `rounds` rounds; the costs of all but the first."""
    async with two_players() as players:
        peers: list[str] = []
        for index, player in enumerate(players):
            before, told = tasks(case, 2 * seed + index, rounds)
            home = folder / f"node-{index}"
            home.mkdir(parents=True, exist_ok=True)
            job = {
                "model": str(model),
                "threads": THREADS,
                "seed": seed + index,
                "peers": peers,
                "before": before,
                "rounds": told,
                "transplants": PROMPTS,
                "temperature": TEMPERATURE,
                "max_tokens": MAX_TOKENS,
                "group_size": case.samples,
                "checkpointing": system.checkpointing,
                "extraction": extraction.__file__,
                "graded": str(HERE / "graded.py") if case.equal else "",
                "folder": str(home),
            }
            (home / "job.json").write_text(json.dumps(job))
            await player.start(
                [str(python), str(HERE / "original.py"), str(home / "job.json")],
                {
                    "OMP_NUM_THREADS": str(THREADS),
                    "HF_HUB_OFFLINE": "1",
                    # How many values a gathering waits for: the own and the peer's.
                    "HIVEMIND_WORLD_SIZE": "2",
                    "PYTHONPATH": "",
                },
                home / "node.log",
            )
            loaded = await player.heard("loaded", patience=180)
            own = f"/{player.place.address}/"
            peers = [address for address in loaded.event["addresses"] if own in address]
        for player in players:
            player.tell(b"go")
        await asyncio.gather(*(player.over() for player in players))
        return [cost for player in players for cost in _costs(player, rounds)]


def _costs(player: Player, rounds: int) -> list[RoundCost]:
    costs = []
    for number in range(1, rounds):
        marks = _round(player, number)
        begun, sampled, gathered, learned, ended = (mark[1] for mark in marks)
        whole = ended - begun
        own = marks[1][0]["groups"]
        costs.append(
            RoundCost(
                work_seconds=whole.at,
                cpu=whole.cpu,
                sample_cpu=(sampled - begun).cpu,
                gather_cpu=(gathered - sampled).cpu,
                learn_cpu=(learned - gathered).cpu,
                sent=whole.sent,
                received=whole.received,
                tokens=marks[1][0]["tokens"],
                own_groups=own,
                peer_groups=marks[3][0]["groups"] - own,
                peak_resident=player.peak_resident,
                peak_proportional=player.peak_proportional,
            )
        )
    return costs


def _round(player: Player, number: int) -> list[tuple[dict[str, Any], Reading]]:
    """The five marks of a round, in order. Raises ArenaError if one is missing."""
    wanted = ["round_opened", "sampled", "gathered", "learned", "round"]
    names = [mark.event["event"] for mark in player.marks]
    starts = [i for i, name in enumerate(names) if name == "round_opened"]
    found = player.marks[starts[number] : starts[number] + len(wanted)]
    if [mark.event["event"] for mark in found] != wanted:
        raise ArenaError(f"round {number} of the original went wrong: {names[starts[number] :]}")
    return [(mark.event, mark.reading) for mark in found]
