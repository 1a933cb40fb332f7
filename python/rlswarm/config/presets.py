"""Manifests that work as they are: what `swarm new`, `swarm up` and a bare `node start` use."""

import datetime

from rlswarm.config.manifest import Bootstrap, Manifest, Model, Rounds
from rlswarm.game.stages import Game, answer_critique_revise
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.worker.messages import LearningRule, LoraShape

BUNDLED_MODEL = "smollm2-135m-instruct"


def letters_manifest(
    name: str,
    genesis: datetime.datetime,
    *,
    model: str = BUNDLED_MODEL,
    pace: float = 1.0,
    slots: int = 4,
    group_size: int = 8,
    bootstrap: tuple[str, ...] = (),
) -> Manifest:
    """A swarm that learns to count letters and to add: tasks that a 135M model can learn from.

    `pace` stretches every window; 1 suits three nodes of SmolLM2-135M on two CPU cores.
    """
    short = min(1.0, pace)  # reveals and settling take no longer because nodes are slow
    return Manifest(
        name=name,
        genesis=genesis,
        rounds=Rounds(
            seconds=45.0 * pace, clock_offset=0.25 * short, settle=1.0 * short, staleness=2
        ),
        game=Game(
            slots=slots,
            group_size=group_size,
            stages=answer_critique_revise(
                answer=10.0 * pace,
                critique=9.0 * pace,
                revise=8.0 * pace,
                reveal=1.0 * short,
                answer_tokens=24,
            ),
        ),
        environments=(
            EnvironmentSpec(
                name="letter_counting",
                weight=3,
                shots=3,
                config={"min_words": 1, "max_words": 3},
            ),
            EnvironmentSpec(
                name="chain_sum",
                weight=1,
                shots=3,
                config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
            ),
        ),
        model=Model(name=model, lora=LoraShape()),
        learning=LearningRule(),
        bootstrap=Bootstrap(addresses=bootstrap),
    )
