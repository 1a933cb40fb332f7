"""Which groups a learn window takes, and in which order, so that it may stop after any of them."""

from collections.abc import Sequence

from rlswarm._core import prf
from rlswarm.worker.messages import TrainGroup


def informative(group: TrainGroup) -> bool:
    """Whether the rewards differ: otherwise every advantage is zero."""
    return len(set(group.rewards)) > 1


def learning_order(groups: Sequence[TrainGroup], round: int, sender_share: float) -> list[int]:
    """Indices of the informative groups to learn from, in order.

    Own groups first, then external ones: fresh before stale, and among equally old ones each
    sender's first before anyone's second, senders in an order drawn from the round. In every
    beginning of the list no sender has more than `sender_share` of the groups (or one group, where
    that is less): what would break this waits until enough others came, or is left out.
    """
    order = [i for i, group in enumerate(groups) if not group.sender and informative(group)]
    waiting = _external(groups, round)
    counts: dict[str, int] = {}
    while waiting:
        most = max(1, int(sender_share * (len(order) + 1) + 1e-9))
        chosen = next((i for i in waiting if counts.get(groups[i].sender, 0) < most), None)
        if chosen is None:
            break
        waiting.remove(chosen)
        order.append(chosen)
        counts[groups[chosen].sender] = counts.get(groups[chosen].sender, 0) + 1
    return order


def _external(groups: Sequence[TrainGroup], round: int) -> list[int]:
    seen: dict[tuple[int, str], int] = {}
    keys: dict[int, tuple[int, int, bytes]] = {}
    for i, group in enumerate(groups):
        if group.sender and informative(group):
            turn = seen.get((group.age, group.sender), 0)
            seen[group.age, group.sender] = turn + 1
            parts = [round.to_bytes(8, "little"), group.sender.encode()]
            keys[i] = (group.age, turn, prf("rlswarm learning order", parts))
    return sorted(keys, key=lambda i: (*keys[i], i))
