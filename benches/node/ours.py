"""Our side: the same round as a manifest, and what it costs a node."""

import asyncio
import datetime
import json
import sys
from pathlib import Path

import msgspec
from arena import ArenaError, Mark, Player, two_players
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
from graded import NAME

from rlswarm.config.manifest import Manifest, render_manifest
from rlswarm.config.presets import starter_manifest
from rlswarm.game.presets import load_game
from rlswarm.scorer.messages import EnvironmentSpec

HERE = Path(__file__).parent
OPENING_SECONDS = 3.0
"""From the last node's readiness to the first round: for the two to find each other."""

REVEAL_SECONDS = 1.5
SETTLE_SECONDS = 1.0
WHOSE = ("own", "external")


class NotWholeError(ArenaError):
    """A round was cut short by its windows; wider ones are needed."""


def manifest(
    system: System, case: Case, model: Path, genesis: datetime.datetime, stretch: float = 1.0
) -> Manifest:
    """The swarm of one round's shape. Windows are wide: a node that waits uses no CPU. `stretch`
    widens them further, for slower machines."""
    tokens = PROMPTS * case.samples * MAX_TOKENS
    slow = stretch * (4.0 if system.full else 1.6 if system.dtype else 1.0)
    window = stretch * (8.0 + 0.012 * tokens) * (1.0 if system.stages == 1 else 1.5)
    learn = 4.0 + 0.025 * slow * tokens * system.stages
    # The original's game is the first stage alone, paid for being right and nothing else.
    stages = tuple(
        msgspec.structs.replace(
            stage, window=window, reveal=REVEAL_SECONDS, max_tokens=MAX_TOKENS, format=0.0
        )
        for stage in load_game("answer-critique-revise").stages[: system.stages]
    )
    playing = sum(stage.window + stage.reveal for stage in stages)
    starter = starter_manifest("bench", genesis, model=str(model))
    return msgspec.structs.replace(
        starter,
        rounds=msgspec.structs.replace(
            starter.rounds, seconds=playing + SETTLE_SECONDS + learn, settle=SETTLE_SECONDS
        ),
        # Every task is its node's own, as the original's are.
        game=msgspec.structs.replace(
            starter.game, slots=PROMPTS, group_size=case.samples, overlap=0.0, stages=stages
        ),
        environments=(
            EnvironmentSpec(
                name=NAME if case.equal else "letter_counting",
                shots=case.shots,
                config=LETTER_COUNTING,
            ),
        ),
        model=msgspec.structs.replace(starter.model, temperature=TEMPERATURE, full=system.full),
        learning=msgspec.structs.replace(
            starter.learning, learning_rate=1e-6 if system.full else starter.learning.learning_rate
        ),
    )


def install_graded(folder: Path) -> None:
    """Make the graded environment an installed package of whoever has `folder` on its path."""
    information = folder / "graded_environment-1.0.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: graded-environment\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        f"[rlswarm.environments]\n{NAME} = graded_environment:GradedLetterCounting\n"
    )


async def play(
    system: System, case: Case, model: Path, folder: Path, rounds: int, stretch: float = 1.0
) -> list[RoundCost]:
    """Two nodes play `rounds` rounds; the costs of all but the first. Raises NotWholeError."""
    install_graded(folder / "packages")
    file = folder / "swarm.toml"
    now = datetime.datetime.now(datetime.UTC)
    rules = manifest(system, case, model, now, stretch)
    file.write_text(render_manifest(rules))
    options = ["--dtype", system.dtype] if system.dtype else []
    async with two_players() as players:
        for index, player in enumerate(players):
            home = folder / f"node-{index}"
            home.mkdir(parents=True, exist_ok=True)
            await player.start(
                [
                    *(sys.executable, "-m", "rlswarm", "node", "start", "--json", "--hold"),
                    *("--home", str(home), "--swarm", str(file), "--rounds", str(rounds)),
                    *("--threads", str(THREADS)),
                    *("--listen", f"/ip4/{player.place.address}/tcp/0"),
                    *options,
                ],
                {
                    "OMP_NUM_THREADS": str(THREADS),
                    "HF_HUB_OFFLINE": "1",
                    "PYTHONPATH": f"{folder / 'packages'}:{HERE}:{_our_path()}",
                },
                home / "node.log",
            )
        await asyncio.gather(*(player.heard("loaded", patience=180) for player in players))
        opens = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=OPENING_SECONDS)
        file.write_text(render_manifest(msgspec.structs.replace(rules, genesis=opens)))
        players[0].tell(b'{"peers": []}')
        started = await players[0].heard("started")
        players[1].tell(json.dumps({"peers": started.event["addresses"][:1]}).encode())
        await asyncio.gather(*(player.over() for player in players))
        return [cost for player in players for cost in _costs(player, rounds, system.stages)]


def _our_path() -> str:
    """Where this very rlswarm is imported from, for the nodes' Python."""
    import rlswarm

    return str(Path(rlswarm.__file__).parent.parent)


def _costs(player: Player, rounds: int, stages: int) -> list[RoundCost]:
    """Raises NotWholeError if a round was not played and learned from whole."""
    costs = []
    for number in range(1, rounds):
        begun = _mark(player, "round_opened", number)
        played = _marks(player, "stage", number)
        learned = _mark(player, "learned", number)
        ended = _mark(player, "round", number)
        if len(played) != stages or any(mark.event["groups"] != PROMPTS for mark in played):
            raise NotWholeError(f"round {number} was cut short while sampling")
        taught = learned.event
        if any(taught[f"{whose}_used"] != taught[f"{whose}_informative"] for whose in WHOSE):
            raise NotWholeError(f"round {number} was cut short while learning: {taught}")
        whole = ended.reading - begun.reading
        sampled = (played[0].reading - begun.reading).cpu if stages == 1 else None
        idle = begun.reading - _mark(player, "round", number - 1).reading
        costs.append(
            RoundCost(
                work_seconds=sum(mark.event["seconds"] for mark in [*played, learned]),
                cpu=whole.cpu,
                sample_cpu=sampled,
                gather_cpu=None,
                learn_cpu=None if sampled is None else whole.cpu - sampled,
                sent=whole.sent,
                received=whole.received,
                tokens=sum(mark.event["tokens"] for mark in played),
                own_groups=taught["own_used"],
                peer_groups=taught["external_used"],
                peak_resident=player.peak_resident,
                peak_proportional=player.peak_proportional,
                idle_cores=idle.cpu / idle.at,
            )
        )
    return costs


def _mark(player: Player, event: str, number: int) -> Mark:
    if found := _marks(player, event, number):
        return found[0]
    raise NotWholeError(f"round {number} has no `{event}`: the round before took too long")


def _marks(player: Player, event: str, number: int) -> list[Mark]:
    return [
        mark
        for mark in player.marks
        if mark.event["event"] == event and mark.event["round"] == number
    ]
