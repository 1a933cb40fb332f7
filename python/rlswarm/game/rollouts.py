"""The body of a `rollouts` record: groups of completions, and what their prompts quoted."""

from collections.abc import Sequence

import msgspec

from rlswarm.game.inputs import Quote
from rlswarm.game.stages import Game, Stage
from rlswarm.worker.messages import Rollout

_TEXT_FACTOR = 64
"""Bytes of text that one token may stand for, at most."""


class Group(msgspec.Struct, frozen=True, array_like=True):
    """The G rollouts of one node for one (task, stage, shown inputs)."""

    slot: int
    quotes: tuple[Quote, ...]
    rollouts: tuple[Rollout, ...]


class RolloutsBody(msgspec.Struct, frozen=True, omit_defaults=True):
    groups: tuple[Group, ...]
    seeded: bool = True
    """False if a sampler drew the tokens that nobody can check (design §7)."""


class BodyError(ValueError):
    """A body that does not have the shape the game demands; the message says what is wrong."""


_decoder = msgspec.msgpack.Decoder(RolloutsBody)


def encode_body(groups: Sequence[Group], *, seeded: bool = True) -> bytes:
    return msgspec.msgpack.encode(RolloutsBody(tuple(groups), seeded))


def is_seeded(body: bytes) -> bool:
    """Whether a body that was verified before says that its tokens can be checked."""
    return _decoder.decode(body).seeded


def decode_body(body: bytes, slots: Sequence[int], game: Game, stage: int) -> tuple[Group, ...]:
    """Decode and check the shape of a stranger's body of a stage (index). Raises BodyError.

    Afterwards: one group for each slot that the header names, G rollouts in each, token ids and
    log-probs of equal count, no text beyond what its tokens could spell, hashes of 32 bytes.
    """
    try:
        groups = _decoder.decode(body).groups
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(f"the body can't be decoded: {error}") from None
    if [group.slot for group in groups] != list(slots):
        raise BodyError("the body's slots are not the header's")
    rules, most, samples = game.stages[stage], game.slots_of(stage), game.samples_of(stage)
    if len(groups) > most:
        raise BodyError(f"{len(groups)} groups, but a peer plays at most {most}")
    quotes = _most_quotes(game, stage)
    highest = max(game.slots_of(index) for index in range(len(game.stages)))
    for group in groups:
        if not 0 <= group.slot < most:
            raise BodyError(f"slot {group.slot} does not exist in this game")
        if len(group.rollouts) != samples:
            raise BodyError(f"{len(group.rollouts)} rollouts in a group of {samples}")
        if len(group.quotes) > quotes or (quotes and not group.quotes):
            raise BodyError(f"{len(group.quotes)} quotes in stage {rules.name}")
        if any(len(q.record) != 32 or not 0 <= q.slot < highest for q in group.quotes):
            raise BodyError("a quote is not a record hash with a slot")
        for rollout in group.rollouts:
            _check_rollout(rollout, rules)
    return groups


def texts_of(body: bytes, slot: int) -> tuple[str, ...]:
    """The completions of one group of a body that was verified before."""
    groups = {group.slot: group for group in _decoder.decode(body).groups}
    return tuple(rollout.text for rollout in groups[slot].rollouts)


def _most_quotes(game: Game, stage: int) -> int:
    rules = game.stages[stage]
    turns = sum(earlier.sides for earlier in game.stages[:stage])
    return {
        "task": 0,
        "family": 0,
        "answers": 1,
        "proposals": 1,
        "critiques": 1 + game.critics,
        "arguments": 1 + (turns if rules.sides else 2 * turns),
    }[rules.inputs]


def _check_rollout(rollout: Rollout, stage: Stage) -> None:
    count, rest = divmod(len(rollout.tokens), 4)
    if rest or len(rollout.logprobs) != 2 * count:
        raise BodyError("token ids and log-probs of a rollout differ in number")
    if not 1 <= count <= stage.max_tokens:
        raise BodyError(
            f"a rollout of {count} tokens; stage {stage.name} allows 1 to {stage.max_tokens}"
        )
    try:
        size = len(rollout.text.encode())
    except UnicodeEncodeError:
        raise BodyError("a rollout's text is not valid Unicode") from None
    if size > _TEXT_FACTOR * count:
        raise BodyError(f"a rollout of {count} tokens claims {size} bytes of text")
