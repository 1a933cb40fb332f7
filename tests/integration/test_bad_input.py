"""Bad input gets one clear sentence and its exit code; what can be survived is survived."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, NodeProcess, write_manifest

DEAD = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


def start_and_fail(*arguments: str) -> tuple[int, str]:
    """(exit code, the sentence on stderr) of a node that can't start."""
    done = subprocess.run(
        [sys.executable, "-m", "rlswarm", "node", "start", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    sentences = done.stderr.strip().splitlines()
    assert len(sentences) == 1, done.stderr
    assert sentences[0].startswith("error: ")
    return done.returncode, sentences[0]


@pytest.fixture
def manifest(tmp_path: Path, tiny_model: Path, parity: Path) -> Path:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    return tmp_path / "swarm.toml"


def test_no_such_model(tmp_path: Path, manifest: Path) -> None:
    code, sentence = start_and_fail(
        *("--home", str(tmp_path / "a"), "--swarm", str(manifest)),
        *("--model", str(tmp_path / "nowhere")),
    )
    assert code == 5
    assert "nowhere" in sentence


def test_a_model_folder_without_weights(tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, sentence = start_and_fail(
        *("--home", str(tmp_path / "a"), "--swarm", str(manifest)),
        *("--model", str(tmp_path / "empty")),
    )
    assert code == 5
    assert "empty" in sentence


def test_a_corrupt_key_file(tmp_path: Path, manifest: Path) -> None:
    home = tmp_path / "a"
    home.mkdir()
    (home / "identity.pem").write_text("-----BEGIN PRIVATE KEY-----\nrubbish\n")
    code, sentence = start_and_fail("--home", str(home), "--swarm", str(manifest))
    assert code == 4
    assert "identity.pem" in sentence
    assert "restore it from a backup" in sentence
    assert (home / "identity.pem").read_text().endswith("rubbish\n")


def test_a_typo_in_the_manifest(tmp_path: Path, manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("group_size", "group_sise"))
    code, sentence = start_and_fail("--home", str(tmp_path / "a"), "--swarm", str(manifest))
    assert code == 3
    assert "`game.group_sise`; did you mean `game.group_size`?" in sentence


def test_a_port_in_use(tmp_path: Path, manifest: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, sentence = start_and_fail(
            *("--home", str(tmp_path / "a"), "--swarm", str(manifest)),
            *("--listen", f"/ip4/127.0.0.1/tcp/{port}"),
        )
    assert code == 7
    assert str(port) in sentence


@pytest.mark.parametrize("address", ["localhost:4001", "/ip4/127.0.0.1/tcp/notaport", "", "/"])
def test_a_peer_address_that_is_none(tmp_path: Path, manifest: Path, address: str) -> None:
    code, sentence = start_and_fail(
        *("--home", str(tmp_path / "a"), "--swarm", str(manifest), "--peer", address)
    )
    assert code == 8
    assert address in sentence


def test_too_little_memory_says_how_much_is_needed(tmp_path: Path, manifest: Path) -> None:
    code, sentence = start_and_fail(
        *("--home", str(tmp_path / "a"), "--swarm", str(manifest), "--memory", "1")
    )
    assert code == 6
    assert re.search(r"\d+(\.\d+)? [MG]i?B", sentence)


def test_an_unknown_environment(tmp_path: Path, tiny_model: Path, parity: Path) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model, environment="letter_countign")
    code, sentence = start_and_fail(
        "--home", str(tmp_path / "a"), "--swarm", str(tmp_path / "swarm.toml")
    )
    assert code == 11
    assert "letter_counting" in sentence


def test_a_home_that_is_in_use(tmp_path: Path, manifest: Path, start: Any) -> None:
    node: NodeProcess = start(tmp_path / "a", manifest)
    node.wait_for("started")
    code, sentence = start_and_fail("--home", str(tmp_path / "a"), "--swarm", str(manifest))
    assert code == 9
    assert f"in use by another node (process {node.process.pid})" in sentence


def test_a_home_of_another_swarm(tmp_path: Path, manifest: Path, start: Any) -> None:
    node: NodeProcess = start(tmp_path / "a", manifest)
    node.wait_for("started")
    node.process.terminate()
    assert node.end() == 0
    manifest.write_text(manifest.read_text().replace('name = "test"', 'name = "other"'))
    code, sentence = start_and_fail("--home", str(tmp_path / "a"), "--swarm", str(manifest))
    assert code == 12
    assert "belongs to another swarm" in sentence


def test_an_unreachable_peer_and_a_peer_of_another_swarm_stop_nobody(
    tmp_path: Path, tiny_model: Path, start: Any
) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    write_manifest(tmp_path / "other.toml", tiny_model, name="other")
    other: NodeProcess = start(tmp_path / "b", tmp_path / "other.toml")
    address = other.wait_for("started")["addresses"][0]
    node: NodeProcess = start(
        tmp_path / "a", tmp_path / "swarm.toml", "--peer", DEAD, "--peer", address
    )
    told = node.wait_for("trouble", lambda d: "can't reach" in d["message"])
    assert "/ip4/127.0.0.1/tcp/1" in told["message"]
    assert "going on alone" in told["message"]
    told = node.wait_for("trouble", lambda d: "another swarm" in d["message"])
    assert "check that both use the same swarm.toml" in told["message"]
    assert node.wait_for("learned", lambda d: d["stepped"])["external_groups"] == 0


def test_a_checkpoint_that_cannot_be_written(tmp_path: Path, tiny_model: Path, start: Any) -> None:
    write_manifest(tmp_path / "swarm.toml", tiny_model)
    node: NodeProcess = start(tmp_path / "a", tmp_path / "swarm.toml")
    first = node.wait_for("learned", lambda d: d["stepped"])
    # What a full disk does to a save, without needing one: the folder can't take a new file.
    checkpoints = tmp_path / "a" / "checkpoints"
    kept = tmp_path / "a" / "kept"
    checkpoints.rename(kept)
    checkpoints.write_text("in the way")
    told = node.wait_for("trouble", lambda d: "checkpoint" in d["message"])
    assert "training goes on from memory" in told["message"]
    node.wait_for("learned", lambda d: d["round"] > first["round"] + 1 and d["stepped"])
    assert node.process.poll() is None
    assert list(kept.iterdir())


def test_wrong_usage_is_code_two() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlswarm", "node", "strat"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_a_round_that_a_journal_does_not_have(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlswarm", "rounds", "show", "3", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 12
    assert "there is no journal" in done.stderr
