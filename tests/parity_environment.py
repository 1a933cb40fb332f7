"""An environment that even a random model has a signal on, as an installed package would bring it.

A completion is right if its last letter has an even code: about half of all completions are.
"""

from pathlib import Path

_MODULE = '''
import random

from rlswarm.environments.environment import Environment, Item


class Parity(Environment):
    """Say something that ends with a letter of even code."""

    def generate(self, seed):
        drawn = random.Random(seed)
        return Item(question=f"Say a word about number {drawn.randrange(10**9)}.", reference="b")

    def extract(self, completion, item):
        return completion.strip()[-1:] or None

    def grade(self, answer, item):
        return float(ord(answer) % 2 == 0)


class Stubborn(Parity):
    """Hangs on every answer."""

    def grade(self, answer, item):
        while True:
            pass
'''


def install_parity(folder: Path) -> Path:
    """Write the package to `folder`, to be put on PYTHONPATH; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity_environment_package.py").write_text(_MODULE)
    info = folder / "parity_environment_package-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: parity-environment-package\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[rlswarm.environments]\n"
        "parity = parity_environment_package:Parity\n"
        "stubborn = parity_environment_package:Stubborn\n"
    )
    return folder
