"""One node of the original: GenRL over hivemind, as installed. Runs in GenRL's own environment.

``python original.py JOB.json`` plays the rounds of the job and prints one JSON object a line:
``loaded``, then for each round ``round_opened``, ``sampled``, ``gathered``, ``learned``, ``round``.
After ``loaded`` it waits for a line on stdin, so that two nodes begin together.

What is not GenRL's own is said at its place: everything else (generation, game tree, gathering,
GRPO trainer and their defaults) is used as it is.
"""

import importlib.util
import json
import random
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import hivemind
from hivemind.utils import get_dht_time

# GenRL 0.3.0 imports this name from hivemind's top level, where 1.1.12 no longer has it.
hivemind.get_dht_time = get_dht_time

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from genrl.communication.communication import Communication  # noqa: E402
from genrl.communication.hivemind.hivemind_backend import (  # noqa: E402
    HivemindBackend,
    HivemindRendezvouz,
)
from genrl.data import LocalMemoryTextDataManager  # noqa: E402
from genrl.examples.rgym.data import ReasoningGymDataManager  # noqa: E402
from genrl.examples.rgym.rewards import parse_game_state  # noqa: E402
from genrl.game.game_manager import BaseGameManager  # noqa: E402
from genrl.rewards import DefaultRewardManager, RewardFnStore, RoundRewardFnStore  # noqa: E402
from genrl.state import GameState  # noqa: E402
from genrl.trainer.grpo_trainer import (  # noqa: E402
    GRPOLanguageTrainerModule,
    GRPOTrainerConfig,
)
from reasoning_gym.factory import get_score_answer_fn  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402


def tell(event: str, **data: Any) -> None:
    print(json.dumps({"event": event, **data}), flush=True)


def module_at(path: str) -> ModuleType:
    """A module that needs nothing but the standard library, from its file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Tasks(ReasoningGymDataManager):
    """The job's tasks, one list a round, and its chat around each question."""

    def __init__(self, job: dict[str, Any]) -> None:
        # Past GenRL's constructor, which would generate tasks of its own from a file.
        LocalMemoryTextDataManager.__init__(
            self,
            train_dataset=None,
            num_train_samples=None,
            column_name_map={key: key for key in ("question", "answer", "metadata")},
            batch_item_id_column="question",
            data_generator=self._next,
        )
        self.system_prompt = ""
        self.num_transplant_trees = job["transplants"]
        self._before = job["before"]
        self._rounds = iter(job["rounds"])

    def _next(self, **_: Any) -> Dataset:
        tasks = next(self._rounds, [])
        return Dataset.from_list(tasks) if tasks else Dataset.from_dict({})

    def get_round_data(self, **kwargs: Any) -> list[Any]:
        data = self._next()
        return list(self.prepare_data(data)) if len(data) else []

    def prompt_map(self, flattened_data: Any) -> dict[str, Any]:
        turns = [dict(turn) for turn in self._before]
        question = flattened_data["user_prompt"]
        if turns and turns[-1]["role"] == "user":  # instructions, with no example between
            question = f"{turns.pop()['content']}\n\n{question}"
        return {"prompt": [*turns, {"role": "user", "content": question}]}

    def transplant_trees(
        self, current_state: GameState, swarm_states: dict[Any, Any], num_transplants: int
    ) -> dict[Any, Any]:
        """Peers' groups, drawn uniformly as RL Swarm does; GenRL's own choice indexes a payload
        that can't be indexed, and skips groups without a right answer."""
        found = {
            (agent, batch): payload
            for agent in swarm_states
            if agent not in current_state.trees
            for batch, payloads in swarm_states[agent].items()
            for payload in payloads
        }
        chosen = random.sample(sorted(found), min(num_transplants, len(found)))
        return {key: found[key] for key in chosen}


class Rewards:
    """The score of each completion: exact, or the harness's graded one."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._extract = module_at(job["extraction"]).extract_answer
        self._grade = module_at(job["graded"]).graded if job["graded"] else None
        self._score = get_score_answer_fn("letter_counting")

    def __call__(self, state: GameState) -> dict[Any, Any]:
        completions, answers, metadata = parse_game_state(state, 0)
        return {
            agent: {
                batch: [
                    [
                        self._one(text, answers[agent][batch][i], metadata[agent][batch][i])
                        for text in texts
                    ]
                    for i, texts in enumerate(nodes)
                ]
                for batch, nodes in batches.items()
            }
            for agent, batches in completions.items()
        }

    def _one(self, text: str, answer: str, metadata: Any) -> float:
        if self._grade is not None:
            return float(self._grade(text, answer))
        found = self._extract(text, answer)
        entry = {"answer": answer, "metadata": metadata}
        return 0.0 if found is None else float(self._score(found, entry) > 1 - 1e-9)


class Trainer(GRPOLanguageTrainerModule):
    """GenRL's trainer, saying when it is done with what."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        groups = super().generate(*args, **kwargs)
        texts = [text for group in groups for text in group]
        tokens = sum(len(ids) for ids in self.processing_class(text=texts).input_ids)
        tell("sampled", groups=len(groups), tokens=tokens)
        return groups

    def train(self, state: GameState, *args: Any) -> None:
        groups = sum(len(batches) for batches in state.trees.values())
        try:
            super().train(state, *args)
        except Exception:  # GenRL would go on without saying what failed
            traceback.print_exc()
            raise
        tell("learned", groups=groups)


class Backend(HivemindBackend):
    """GenRL's backend, saying when the gathering is over."""

    def all_gather_object(self, obj: Any) -> Any:
        gathered = super().all_gather_object(obj)
        tell("gathered", peers=len(gathered) - 1)
        return gathered


class Game(BaseGameManager):
    """GenRL's game of one stage."""

    def run_game_round(self) -> None:
        number = self.state.round
        tell("round_opened", round=number)
        super().run_game_round()
        tell("round", round=number)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    rounds = len(job["rounds"])
    HivemindRendezvouz.init(is_master=not job["peers"])
    Communication.set_backend(Backend)
    backend = Backend(initial_peers=job["peers"])
    model = AutoModelForCausalLM.from_pretrained(job["model"])
    config = GRPOTrainerConfig(
        temperature=job["temperature"],
        max_new_tokens=job["max_tokens"],
        num_generations=job["group_size"],
        enable_gradient_checkpointing=job["checkpointing"],
    )
    game = Game(
        max_stage=1,
        max_round=rounds,
        game_state=GameState(round=0, stage=0),
        reward_manager=DefaultRewardManager(
            RewardFnStore(rounds, [RoundRewardFnStore(1, [Rewards(job)])])
        ),
        trainer=Trainer([model], config, log_dir=job["folder"]),
        data_manager=Tasks(job),
        communication=backend,
    )
    addresses = [str(address) for address in backend.dht.get_visible_maddrs(latest=True)]
    tell("loaded", addresses=addresses)
    sys.stdin.readline()
    game.run_game()
    tell("stopped")
    backend.dht.shutdown()


if __name__ == "__main__":
    main()
