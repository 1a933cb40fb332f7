"""The first version of somebody's own environment: one file that works at once."""

import keyword
from pathlib import Path

from rlswarm.environments.environment import UnusableEnvironmentError
from rlswarm.errors import StorageError

_FILE = '''"""{title}: what the tasks are, in one sentence."""

import random

from rlswarm.environments.environment import Environment, Item


class {kind}(Environment):
    """Change `generate` and `grade`; the rest of rlswarm needs no change."""

    def generate(self, seed: int) -> Item:
        """The task of a seed: the same on every machine, so use nothing but the seed and config."""
        draw = random.Random(seed)
        largest = self.config.get("largest", 99)
        a, b = draw.randint(1, largest), draw.randint(1, largest)
        return Item(question=f"What is {{a}} + {{b}}?", reference=str(a + b))

    def grade(self, answer: str, item: Item) -> float:
        """1.0 for a right answer, 0.0 for a wrong one. The answer may be any text: never run it."""
        return float(answer == item.reference)
'''
_PROJECT = """[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "{project}"
version = "0.1.0"
dependencies = ["rlswarm"]

[project.entry-points."rlswarm.environments"]
{name} = "{name}:{kind}"

[tool.setuptools]
py-modules = ["{name}"]
"""


def write_new(name: str, folder: Path) -> tuple[Path, str]:
    """Write the environment and what makes it installable to `folder`/`name`.

    Returns the file and the class's name. Raises UnusableEnvironmentError for a name that can't be
    one, and StorageError for a folder that exists or can't be written.
    """
    if not (name.isidentifier() and name.isascii() and name.islower()) or keyword.iskeyword(name):
        raise UnusableEnvironmentError(
            f"{name!r} can't be an environment's name; use small letters, digits and underscores, "
            "as in my_sums."
        )
    kind = "".join(word.capitalize() for word in name.split("_"))
    place = folder / name
    try:
        place.mkdir(parents=True)
        title = name.replace("_", " ").strip().capitalize()
        file = place / f"{name}.py"
        file.write_text(_FILE.format(title=title, kind=kind), encoding="utf-8")
        project = name.strip("_").replace("_", "-")
        text = _PROJECT.format(project=project, name=name, kind=kind)
        (place / "pyproject.toml").write_text(text, encoding="utf-8")
    except FileExistsError:
        raise StorageError(f"{place} exists already; choose another name or remove it.") from None
    except OSError as error:
        raise StorageError(f"{place} can't be written: {error}.") from error
    return file, kind
