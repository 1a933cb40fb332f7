"""Tasks that players choose for each other, within what everyone can generate and verify.

A proposal is one line, "Kind K, seed S": K counts the manifest's environments from 1, S is a
number of at most nine digits. The task follows from that text, its author and the round, so
every node regenerates it and its verifier; no word of the proposer's reaches a solver.
"""

import re

from rlswarm._core import prf
from rlswarm.scorer.messages import MICRO, SlotRequest

VALID = MICRO // 10
"""What a well-formed proposal earns whoever solves it: its form, paid once and weakly."""

_PROPOSAL = re.compile(r"\s*Kind (\d{1,3}), seed (\d{1,9})\s*", re.ASCII)


def read_proposal(beacon: bytes, author: bytes, text: str, kinds: int) -> SlotRequest | None:
    """The task that a proposal names; None if it is not one proposal and nothing else.

    `beacon` is the round's task beacon and `author` the proposer's public key: the same words of
    another peer, or in another round, are another task, so that none is met twice. `kinds` is the
    number of environments.
    """
    found = _PROPOSAL.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= kinds:
        return None
    kind = int(found[1]) - 1
    seed = int(found[2]).to_bytes(8, "little")
    key = prf("rlswarm 2026 proposed task", [beacon, author, kind.to_bytes(2, "little"), seed])
    return SlotRequest(environment=kind, seed_key=key)
