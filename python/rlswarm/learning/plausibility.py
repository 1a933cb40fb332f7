"""Groups that can't be what they claim, refused before they cost a forward pass."""

from math import isfinite

import numpy as np

from rlswarm.worker.messages import TrainGroup


def refusal(group: TrainGroup, *, vocabulary: int, longest: int) -> str:
    """Why a group can't be learned from, as part of a sentence; empty if it can.

    `vocabulary` is the number of token ids, `longest` the most tokens of one completion.
    """
    if len(group.rewards) != len(group.rollouts):
        return f"{len(group.rewards)} rewards for {len(group.rollouts)} rollouts"
    if len(group.rollouts) < 2:
        return "fewer than two rollouts"
    if not group.prompt:
        return "an empty prompt"
    if not all(isfinite(reward) for reward in group.rewards):
        return "a reward that is not a finite number"
    for rollout in group.rollouts:
        count, rest = divmod(len(rollout.tokens), 4)
        if rest or len(rollout.logprobs) != 2 * count:
            return "token ids and log-probs of different lengths"
        if count > longest:
            return f"a completion of {count} tokens, more than {longest}"
        if count and int(np.frombuffer(rollout.tokens, dtype="<u4").max()) >= vocabulary:
            return "a token id outside the vocabulary"
    return ""
