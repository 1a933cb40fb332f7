"""What the demo's swarm asks of a sampler: prompts of the starter manifest's environments."""

import datetime

from rlswarm._core import blake3
from rlswarm.config.presets import starter_manifest
from rlswarm.environments.draw import training_task
from rlswarm.environments.registry import open_environment
from rlswarm.game.prompts import critique_prompt
from rlswarm.worker.messages import GroupRequest

GROUP_SIZE = 8


def answers(count: int, max_tokens: int, label: str = "answers") -> list[GroupRequest]:
    """`count` groups of the demo's answer stage, its environments in turn."""
    manifest = _manifest()
    opened = [open_environment(e.name, e.config, e.shots) for e in manifest.environments]
    groups = []
    for number in range(count):
        environment = opened[number % len(opened)]
        key = blake3(f"{label} {number}".encode())
        _, item = training_task(environment, key)
        groups.append(GroupRequest(environment.prompt(item), key, GROUP_SIZE, max_tokens))
    return groups


def mixed(count: int, max_tokens: int, label: str = "mixed") -> list[GroupRequest]:
    """Groups of answers (short) and of critiques (as long as they are let) in turn."""
    game = _manifest().game
    stage = game.stages[1]
    groups = answers(count, max_tokens, label)
    for number in range(1, count, 2):
        group = groups[number]
        question = group.prompt[-1].content
        prompt = critique_prompt(game, stage, question, [f"It is {number}.", f"{number + 3}"])
        groups[number] = GroupRequest(prompt, group.key, group.samples, group.max_tokens)
    return groups


def _manifest():  # type: ignore[no-untyped-def]
    return starter_manifest("bench", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
