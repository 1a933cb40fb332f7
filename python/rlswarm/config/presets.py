"""Manifests that work as they are: what `swarm new`, `swarm up` and a bare `node start` use."""

import datetime

import msgspec

from rlswarm.config.manifest import Bootstrap, Manifest, Model, Rounds
from rlswarm.game.presets import load_game, paced
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.worker.messages import LearningRule, LoraShape

LEARN_SECONDS = 17.6
"""Of a round, at pace 1, to settle and learn."""

BUNDLED_MODEL = "smollm2-135m-instruct"

_EASY = (
    EnvironmentSpec(name="letter_counting", shots=3, config={"min_words": 3, "max_words": 6}),
    EnvironmentSpec(
        name="products",
        shots=3,
        config={"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
    ),
)
_HARD = (
    EnvironmentSpec(name="letter_counting", shots=3, config={"min_words": 7, "max_words": 12}),
    EnvironmentSpec(
        name="products",
        shots=3,
        config={"min_terms": 2, "max_terms": 3, "min_digits": 2, "max_digits": 2},
    ),
)


def starter_manifest(
    name: str,
    genesis: datetime.datetime,
    *,
    model: str = BUNDLED_MODEL,
    pace: float = 1.0,
    game: str = "answer-critique-revise",
    slots: int | None = None,
    group_size: int | None = None,
    bootstrap: tuple[str, ...] = (),
) -> Manifest:
    """A swarm that learns to count letters and to multiply: what a 135M model can learn from.

    `pace` stretches every window; 1 suits three nodes of SmolLM2-135M on two CPU cores. `game` is
    one that ships or the path of a file (`load_game`; raises ManifestError), whose `slots` and
    `group_size` hold where none are given. Both sets have enough distinct prompts for a held-out
    figure, and no constant answer is right in more than half of their tasks. Where players propose
    tasks they find a harder kind of each beside them.
    """
    short = min(1.0, pace)  # reveals and settling take no longer because nodes are slow
    rules = paced(load_game(game), pace)
    rules = msgspec.structs.replace(
        rules, slots=slots or rules.slots, group_size=group_size or rules.group_size
    )
    proposing = any(stage.inputs == "family" for stage in rules.stages)
    played = sum(stage.window + stage.reveal for stage in rules.stages)
    return Manifest(
        name=name,
        genesis=genesis,
        rounds=Rounds(
            seconds=round(played + LEARN_SECONDS * pace, 1),
            clock_offset=0.2 * short,
            settle=0.8 * short,
            staleness=2,
        ),
        game=rules,
        environments=(*_EASY, *_HARD) if proposing else _EASY,
        model=Model(name=model, lora=LoraShape()),
        learning=LearningRule(learning_rate=5e-4),
        bootstrap=Bootstrap(addresses=bootstrap),
    )
