"""Rewards with their reasons: what `rlswarm rounds show` prints beside each completion."""

from collections.abc import Sequence

from rlswarm.game import rewards
from rlswarm.game.stages import Stage
from rlswarm.scorer.messages import MICRO
from rlswarm.worker.messages import Rollout

Earned = tuple[int | None, str]
"""(millionths or None if unscorable, why)."""


def answer(
    score: int | None, shown: Sequence[int | None] | None, rollout: Rollout, stage: Stage
) -> Earned:
    """An answer, or a revision of the answers whose scores are `shown`, with its form."""
    if score is None:
        return None, "unscorable: beyond a limit that is the same for everybody"
    why = "right" if score == MICRO else "wrong" if score == 0 else f"scored {_plain(score)}"
    reward = score
    if shown is not None:
        improved = rewards.improvement(score, shown)
        assert improved is not None
        reward = improved
        known = [value for value in shown if value is not None]
        if known:
            before = sum(known) // len(known)
            why += (
                f", the answers it was shown {_plain(before)} on average: "
                f"{_plain(score)} + ½ · {_plain(score - before)}"
            )
    form = rewards.form(rollout, stage)
    if form:
        why += f"; well-formed, + {_plain(form)}"
    elif not rewards.finished(rollout, stage):
        why += "; cut off by its budget"
    elif stage.format:
        why += f"; not exactly one “{stage.marker}”"
    return reward + form, why


def judgement(text: str, truths: Sequence[bool]) -> Earned:
    """A text that judges answers, whose `truths` the receiver has from its scorer."""
    parts = []
    stated = rewards.stated_probabilities(text, len(truths))
    for letter, percent, truth in zip("ABCDEFGH", stated, truths, strict=False):
        really = "right" if truth else "wrong"
        if percent is None:
            parts.append(f"{letter} is {really}, nothing said of it: 0")
            continue
        said = f"right {percent}%" if percent >= 50 else f"wrong {100 - percent}%"
        parts.append(f"{letter} is {really}, said {said}: {_plain(rewards.brier(percent, truth))}")
    return rewards.judgement(text, truths), "; ".join(parts)


def challenge(valid: bool, solved: Sequence[Sequence[int]]) -> Earned:
    """A proposal, with the scores of every other peer that tried it."""
    reward = rewards.challenge(valid, solved)
    if not valid:
        return reward, "not one proposal and nothing else"
    if not solved:
        return reward, "well-formed; nobody was drawn to try it"
    s = sum(sum(scores) // len(scores) for scores in solved) // len(solved)
    peers = "1 peer" if len(solved) == 1 else f"{len(solved)} peers"
    return reward, (
        f"{peers} tried it, {_plain(s)} right: 0.1 + 0.9 · 4 · {_plain(s)} · {_plain(MICRO - s)}"
    )


def _plain(value: int) -> str:
    return f"{value / MICRO:.3g}".replace("-", "−")
