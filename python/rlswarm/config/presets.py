"""Manifests that work as they are: what `swarm new`, `swarm up` and a bare `node start` use."""

import datetime

from rlswarm.config.manifest import Bootstrap, Manifest, Model, Rounds
from rlswarm.game.stages import Game, answer_critique_revise
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.worker.messages import LearningRule, LoraShape

BUNDLED_MODEL = "smollm2-135m-instruct"


def starter_manifest(
    name: str,
    genesis: datetime.datetime,
    *,
    model: str = BUNDLED_MODEL,
    pace: float = 1.0,
    slots: int = 2,
    group_size: int = 8,
    bootstrap: tuple[str, ...] = (),
) -> Manifest:
    """A swarm that learns to count letters and to multiply: what a 135M model can learn from.

    `pace` stretches every window; 1 suits three nodes of SmolLM2-135M on two CPU cores. Both sets
    have enough distinct prompts for a held-out figure, and no constant answer is right in more
    than half of their tasks.
    """
    short = min(1.0, pace)  # reveals and settling take no longer because nodes are slow
    return Manifest(
        name=name,
        genesis=genesis,
        rounds=Rounds(
            seconds=33.0 * pace, clock_offset=0.2 * short, settle=0.8 * short, staleness=2
        ),
        game=Game(
            slots=slots,
            group_size=group_size,
            stages=answer_critique_revise(
                answer=4.0 * pace,
                critique=4.8 * pace,
                revise=4.2 * pace,
                reveal=0.8 * short,
                answer_tokens=24,
            ),
        ),
        environments=(
            EnvironmentSpec(
                name="letter_counting", shots=3, config={"min_words": 3, "max_words": 6}
            ),
            EnvironmentSpec(
                name="products",
                shots=3,
                config={"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
            ),
        ),
        model=Model(name=model, lora=LoraShape()),
        learning=LearningRule(learning_rate=5e-4),
        bootstrap=Bootstrap(addresses=bootstrap),
    )
