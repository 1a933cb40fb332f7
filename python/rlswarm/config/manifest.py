"""The manifest: everything that all nodes of a swarm must agree on (``swarm.toml``).

The swarm's id is the BLAKE3 hash of the manifest's canonical form, so any change of a setting is
another swarm. Bootstrap addresses are hints and stay outside the id.
"""

import datetime
import difflib
import math
import tomllib
import typing
from pathlib import Path
from types import UnionType
from typing import Any

import msgspec

from rlswarm._core import blake3, prf
from rlswarm.errors import ManifestError
from rlswarm.game.stages import Game, mistakes
from rlswarm.scorer.messages import EnvironmentSpec
from rlswarm.worker.messages import LearningRule, LoraShape


class Rounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The clock of the swarm."""

    seconds: float
    """Length of a round: all stage windows and reveals, then learning."""
    staleness: int = 3
    """Rounds for which a late rollout may still teach."""
    clock_offset: float = 2.0
    """Seconds by which a peer's clock may be off."""
    settle: float = 1.0
    """Seconds after the last reveal deadline in which bodies may still arrive for the ledger."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    base: str = ""
    """Hex hash that the policy's `base` must have; empty accepts any."""
    temperature: float = 1.0
    lora: LoraShape = LoraShape()
    full: bool = False
    """Train all weights and no adapter. Needs 16 bytes a parameter, and a lower learning rate."""


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Held-out results that every node measures of its own policy and signs."""

    every_rounds: int = 0
    """0 = none."""
    tasks: int = 64
    """By environment; the same ones each time, on every node."""
    seconds: float = 2.0
    """What learning leaves free in a round with an evaluation to begin or to go on with."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bytes that one peer may make others handle."""

    body_stored: int = 4 << 20
    body_raw: int = 16 << 20
    author_quota: int = 16 << 20
    """Stored body bytes of one author in one round."""


class Persona(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A way of answering that nodes may take."""

    name: str
    """1 to 64 bytes; what headers carry."""
    system: str
    """The system prompt."""


class Bootstrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    addresses: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    genesis: datetime.datetime
    """When round 0 opens; with a time zone."""
    rounds: Rounds
    game: Game
    environments: tuple[EnvironmentSpec, ...]
    model: Model
    learning: LearningRule = LearningRule()
    evaluation: Evaluation = Evaluation()
    limits: Limits = Limits()
    personas: tuple[Persona, ...] = ()
    bootstrap: Bootstrap = Bootstrap()

    @property
    def genesis_ms(self) -> int:
        """Unix milliseconds."""
        return round(self.genesis.timestamp() * 1000)

    def canonical(self) -> bytes:
        """Sorted JSON of everything but the bootstrap hints; what the swarm id hashes."""
        content = msgspec.to_builtins(self)
        content.pop("bootstrap")
        content["genesis"] = self.genesis_ms
        return msgspec.json.encode(content, order="sorted")

    @property
    def swarm_id(self) -> bytes:
        return blake3(b"rlswarm manifest v1\n" + self.canonical())

    def round_at(self, now: float) -> int:
        """Number of the round that `now` (Unix seconds) falls into; negative before genesis."""
        return math.floor((now - self.genesis_ms / 1000) / self.rounds.seconds)

    def opens(self, number: int) -> float:
        """Unix seconds at which a round opens."""
        return self.genesis_ms / 1000 + number * self.rounds.seconds


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError with the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(
            f"there is no manifest at {path}; make one with `rlswarm swarm new`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"the manifest {path} can't be read: {error}") from None
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str = "the manifest") -> Manifest:
    """Parse TOML text. Raises ManifestError naming `where`, the key and a suggestion."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{where} is not valid TOML: {error}") from None
    _refuse_unknown_keys(content, Manifest, "", where)
    try:
        manifest = msgspec.convert(content, Manifest)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {_in_words(str(error))}") from None
    _check(manifest, where)
    return manifest


def _in_words(message: str) -> str:
    return message.replace("Object missing", "missing").replace(" - at `$.", " in `")


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, directly or in a tuple; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    if typing.get_origin(annotation) in (tuple, list, typing.Union, UnionType):
        for inner in typing.get_args(annotation):
            if found := _struct_in(inner):
                return found
    return None


def _refuse_unknown_keys(
    content: dict[str, Any], struct: type[msgspec.Struct], prefix: str, where: str
) -> None:
    hints = typing.get_type_hints(struct)
    names = struct.__struct_fields__
    for key, value in content.items():
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f"did you mean `{prefix}{close[0]}`?" if close else f"known: {', '.join(names)}"
            raise ManifestError(f"{where}: there is no key `{prefix}{key}`; {hint}")
        inner = _struct_in(hints[key])
        if inner is not None:
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    _refuse_unknown_keys(item, inner, f"{prefix}{key}.", where)


def _check(manifest: Manifest, where: str) -> None:
    def require(condition: bool, sentence: str) -> None:
        if not condition:
            raise ManifestError(f"{where}: {sentence}")

    game, rounds = manifest.game, manifest.rounds
    require(manifest.genesis.tzinfo is not None, "`genesis` needs a time zone, e.g. a final Z")
    require(bool(manifest.name) and len(manifest.name) <= 64, "`name` needs 1 to 64 characters")
    for mistake in mistakes(game):
        raise ManifestError(f"{where}: {mistake}")
    require(
        all(
            persona.system and 1 <= len(persona.name.encode()) <= 64 and persona.name.isprintable()
            for persona in manifest.personas
        ),
        "every one of `personas` needs a `name` of 1 to 64 bytes and a `system` prompt",
    )
    require(
        len({persona.name for persona in manifest.personas}) == len(manifest.personas),
        "two of `personas` have the same name",
    )
    require(bool(manifest.environments), "`environments` is empty; a swarm needs tasks")
    require(
        all(spec.weight > 0 for spec in manifest.environments),
        "every `environments.weight` must be at least 1",
    )
    require(
        all(len(spec.levels) <= 16 for spec in manifest.environments),
        "an environment has at most 16 `levels`",
    )
    require(
        manifest.evaluation.every_rounds >= 0 and 1 <= manifest.evaluation.tasks <= 1024,
        "`evaluation.every_rounds` must not be negative, `evaluation.tasks` between 1 and 1,024",
    )
    require(
        not manifest.evaluation.every_rounds or 0 <= manifest.evaluation.seconds < rounds.seconds,
        "`evaluation.seconds` must be less than a round",
    )
    require(0 < manifest.model.temperature <= 10, "`model.temperature` must be in (0, 10]")
    needed = sum(stage.window + stage.reveal for stage in game.stages) + rounds.settle
    require(
        rounds.seconds > needed,
        f"`rounds.seconds` is {rounds.seconds:g}, but the stages alone take {needed:g} seconds; "
        "raise it or shorten the windows",
    )
    if manifest.model.base:
        require(
            len(manifest.model.base) == 64
            and all(c in "0123456789abcdef" for c in manifest.model.base),
            "`model.base` must be 64 lower-case hexadecimal digits",
        )


def choose_persona(manifest: Manifest, peer: bytes, name: str | None) -> str:
    """The persona of a peer (public key): the one named, else one drawn by its key; empty where
    the manifest has none. Raises ManifestError for a name that is not in the manifest."""
    names = [persona.name for persona in manifest.personas]
    if name is not None:
        if name in names:
            return name
        known = f"it has {', '.join(names)}" if names else "it has none"
        raise ManifestError(f"the manifest has no persona {name!r}; {known}")
    if not names:
        return ""
    draw = prf("rlswarm 2026 persona", [manifest.swarm_id, peer])
    return names[int.from_bytes(draw[:8], "little") % len(names)]


def render_manifest(manifest: Manifest) -> str:
    """The manifest as commented TOML that `parse_manifest` reads back to an equal one."""
    genesis = manifest.genesis.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    lines = [
        "# What all nodes of this swarm agreed on. A change (but of [bootstrap]) is another swarm.",
        f"name = {_toml(manifest.name)}",
        f"genesis = {genesis.replace('+00:00', 'Z')}  # when round 0 opens",
    ]

    def table(name: str, struct: msgspec.Struct, *, array: bool = False) -> None:
        lines.append("")
        lines.append(f"[[{name}]]" if array else f"[{name}]")
        for field in struct.__struct_fields__:
            value = getattr(struct, field)
            nested = isinstance(value, msgspec.Struct) or (
                isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct)
            )
            if not nested:
                lines.append(f"{field} = {_toml(value)}")

    table("rounds", manifest.rounds)
    table("game", manifest.game)
    for stage in manifest.game.stages:
        table("game.stages", stage, array=True)
    for spec in manifest.environments:
        table("environments", spec, array=True)
    table("model", manifest.model)
    table("model.lora", manifest.model.lora)
    table("learning", manifest.learning)
    table("evaluation", manifest.evaluation)
    table("limits", manifest.limits)
    for persona in manifest.personas:
        table("personas", persona, array=True)
    table("bootstrap", manifest.bootstrap)
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """One value as TOML. JSON strings are TOML basic strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"a manifest can't hold a {type(value).__name__}")
