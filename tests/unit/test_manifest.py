"""The manifest: what all agree on, and what happens when someone mistypes it."""

import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.config.manifest import Manifest, load_manifest, parse_manifest, render_manifest
from rlswarm.config.presets import starter_manifest
from rlswarm.errors import ManifestError

GENESIS = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def text(manifest: Manifest | None = None) -> str:
    return render_manifest(manifest or starter_manifest("test", GENESIS))


@given(
    name=st.text(min_size=1, max_size=64),
    pace=st.floats(0.2, 50),
    slots=st.integers(1, 64),
    group=st.integers(2, 64),
)
def test_what_is_written_is_read_back(name: str, pace: float, slots: int, group: int) -> None:
    manifest = starter_manifest(
        name, GENESIS, pace=pace, slots=slots, group_size=group, bootstrap=("/dns4/x/tcp/1",)
    )
    again = parse_manifest(render_manifest(manifest))
    assert again == manifest
    assert again.swarm_id == manifest.swarm_id


def test_bootstrap_addresses_are_hints_and_everything_else_is_the_swarm() -> None:
    base = starter_manifest("test", GENESIS)
    hinted = starter_manifest("test", GENESIS, bootstrap=("/ip4/127.0.0.1/tcp/1",))
    other = msgspec.structs.replace(
        base,
        learning=msgspec.structs.replace(
            base.learning, learning_rate=base.learning.learning_rate * 2
        ),
    )
    assert base.swarm_id == hinted.swarm_id
    assert base.swarm_id != other.swarm_id


def test_rounds_are_windows_of_the_clock() -> None:
    manifest = starter_manifest("test", GENESIS)
    opens = manifest.opens(7)
    assert manifest.round_at(opens) == 7
    assert manifest.round_at(opens - 0.001) == 6
    assert manifest.round_at(GENESIS.timestamp() - 0.001) == -1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("group_size = 8", "group_sise = 8"), "`game.group_sise`; did you mean `game.group_size`"),
        (("[rounds]", "[runds]"), "`runds`; did you mean `rounds`"),
        (("window = 4.0", "windw = 4.0"), "did you mean `game.stages.window`"),
        (("slots = 2", "slots = 0"), "`game.slots` must be between 1 and 256"),
        (("slots = 2", 'slots = "many"'), "Expected `int`, got `str`"),
        (("seconds = 33.0", "seconds = 5.0"), "the stages alone take"),
        (("genesis = 2026-01-02T03:04:05.000Z", "genesis = 2026-01-02T03:04:05"), "time zone"),
        (('name = "test"', ""), "missing required field `name`"),
        (("slots = 2", "slots = "), "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key(change: tuple[str, str], says: str) -> None:
    wrong = text().replace(*change, 1)
    assert wrong != text()
    with pytest.raises(ManifestError) as caught:
        parse_manifest(wrong, "swarm.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("swarm.toml")


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="rlswarm swarm new"):
        load_manifest(tmp_path / "none.toml")


def test_a_manifest_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "swarm.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="can't be read"):
        load_manifest(tmp_path / "swarm.toml")


def test_the_reference_page_names_every_key() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "manifest.md"
    if not page.exists():
        pytest.skip("the documentation is not installed")
    written = page.read_text(encoding="utf-8")

    def keys(content: dict[str, object]) -> set[str]:
        found = set(content)
        for key, value in content.items():
            for item in value if isinstance(value, tuple | list) else [value]:
                if isinstance(item, dict) and key != "config":
                    found |= keys(item)
        return found

    names = keys(msgspec.to_builtins(starter_manifest("test", GENESIS)))
    missing = {name for name in names if f"`{name}`" not in written and f"{name}]" not in written}
    assert not missing
