"""The games that ship with rlswarm, and any other from a file: stages as TOML, no code."""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import msgspec

from rlswarm.errors import ManifestError
from rlswarm.game.stages import Game, Stage, mistakes


def game_names() -> list[str]:
    """Names of the games that ship."""
    return sorted(file.name.removesuffix(".toml") for file in _folder() if file.is_file())


def _folder() -> list[resources.abc.Traversable]:
    return [f for f in (resources.files(__package__) / "games").iterdir() if f.name[-5:] == ".toml"]


def load_game(name: str) -> Game:
    """A game by its name, or from the TOML file at that path: the keys of ``[game]`` at the top,
    its stages as ``[[stages]]``. Raises ManifestError saying what is wrong."""
    for file in _folder():
        if file.name == f"{name}.toml":
            return parse_game(file.read_text(encoding="utf-8"), name)
    try:
        return parse_game(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError):
        raise ManifestError(
            f"there is no game {name!r} and no readable file of that name; games that ship: "
            + ", ".join(game_names())
        ) from None


def parse_game(text: str, where: str) -> Game:
    """A game from TOML text. Raises ManifestError naming `where` and what is wrong."""
    try:
        game = msgspec.convert(tomllib.loads(text), Game)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ManifestError(f"the game {where} can't be read: {error}") from None
    for mistake in mistakes(game):
        raise ManifestError(f"the game {where}: {mistake}")
    return game


def paced(game: Game, pace: float) -> Game:
    """The game with every window stretched by `pace`. Reveals take no longer on slow nodes, and
    shorter ones only where everything is."""
    return msgspec.structs.replace(
        game,
        stages=tuple(
            msgspec.structs.replace(
                stage, window=stage.window * pace, reveal=stage.reveal * min(1.0, pace)
            )
            for stage in game.stages
        ),
    )


def retimed(
    name: str, windows: Sequence[float], reveal: float, max_tokens: int
) -> tuple[Stage, ...]:
    """Stages of a game that ships, with these windows and reveals (seconds) and this budget."""
    return tuple(
        msgspec.structs.replace(stage, window=window, reveal=reveal, max_tokens=max_tokens)
        for stage, window in zip(load_game(name).stages, windows, strict=True)
    )
