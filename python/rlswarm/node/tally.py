"""What a node did, for its summary."""

import statistics
from typing import Any

from rlswarm.resources import peak_rss
from rlswarm.worker.messages import Learned


class Tally:
    """Counts and times since the node started."""

    def __init__(self, started: float) -> None:
        """`started`: Unix seconds at which the node's process began."""
        self.started = started
        self.rounds = 0
        self.learn_steps = 0
        self.own_used = 0
        self.external_available = 0
        self.external_used = 0
        self.rewards: list[float] = []
        """Mean answer-stage reward of own groups, one a round."""
        self.round_seconds: list[float] = []
        self.first_learn_step: float | None = None
        """Seconds from the start of the process."""
        self.roots: dict[int, str] = {}
        self.worker_peak_rss = 0
        """Bytes."""
        self.heldout: dict[str, Any] = {"heldout_before": None, "heldout_after": None}

    def learned(self, learned: Learned, now: float) -> None:
        """Note a learn window that ended at `now` (Unix seconds)."""
        self.worker_peak_rss = max(self.worker_peak_rss, learned.peak_rss)
        self.own_used += learned.own_used
        self.external_used += learned.external_used
        if learned.stepped:
            self.learn_steps += 1
            if self.first_learn_step is None:
                self.first_learn_step = now - self.started

    def round_over(self, mean_reward: float | None, seconds: float) -> None:
        """Note a played round."""
        self.rounds += 1
        self.round_seconds.append(seconds)
        if mean_reward is not None:
            self.rewards.append(mean_reward)

    def summary(self, peer_id: str, scorer_peak_rss: int) -> dict[str, Any]:
        """The fields of ``swarm up --json`` (``docs/reference/events.md``)."""
        first = self.first_learn_step
        return {
            "peer_id": peer_id,
            "rounds": self.rounds,
            "learn_steps": self.learn_steps,
            "own_groups_used": self.own_used,
            "external_groups_available": self.external_available,
            "external_groups_used": self.external_used,
            "mean_reward_first": self.rewards[0] if self.rewards else None,
            "mean_reward_last": self.rewards[-1] if self.rewards else None,
            **self.heldout,
            "node_peak_rss_mb": round(peak_rss() / 1e6, 1),
            "worker_peak_rss_mb": round(self.worker_peak_rss / 1e6, 1),
            "scorer_peak_rss_mb": round(scorer_peak_rss / 1e6, 1),
            "first_learn_step_s": None if first is None else round(first, 2),
            "round_seconds_median": (
                round(statistics.median(self.round_seconds), 3) if self.round_seconds else None
            ),
            "roots": {str(number): root for number, root in self.roots.items()},
        }
