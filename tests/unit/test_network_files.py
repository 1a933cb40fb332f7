"""What a node remembers between runs, and how it attaches to the network."""

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.errors import StorageError
from rlswarm.network.options import NetworkOptions, everywhere, is_free, kept_port
from rlswarm.network.peer_files import (
    MOST_ADDRESSES,
    MOST_BYTES,
    MOST_PEERS,
    load_blocked,
    load_met,
    save_blocked,
    save_met,
)
from rlswarm.node.attachment import attach, blocked_file, met_file

ADDRESS = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_peers_met_come_back_latest_first_and_bounded(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    assert load_met(file) == ()
    save_met(file, [([f"/a/{n}"] * (2 * MOST_ADDRESSES), n) for n in range(50)])
    known = load_met(file)
    assert known[0] == "/a/49"
    assert len(known) == 50 * MOST_ADDRESSES
    save_met(file, [([f"/a/{n}"], n) for n in range(3 * MOST_PEERS)])
    assert len(load_met(file)) == MOST_PEERS
    assert not list(tmp_path.glob("*.part"))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_a_damaged_cache_is_an_empty_one(tmp_path_factory: Any, junk: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "junk.json"
    file.write_bytes(junk)
    assert all(isinstance(address, str) for address in load_met(file))


def test_a_cut_or_huge_cache_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    save_met(file, [([ADDRESS], 1)])
    whole = file.read_bytes()
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        assert load_met(file) == ()
    file.write_bytes(whole + b" " * MOST_BYTES)
    assert load_met(file) == ()


def test_blocked_peers_persist(tmp_path: Path) -> None:
    file = tmp_path / "blocked"
    assert load_blocked(file) == ()
    save_blocked(file, ["b", "a"])
    assert load_blocked(file) == ("b", "a")
    file.write_text("# rude\n\na # since May\n a\nb\n")
    assert load_blocked(file) == ("a", "b")


def test_the_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    file = tmp_path / "port"
    port = kept_port(file)
    assert is_free(port)
    assert kept_port(file) == port
    with socket.create_server(("0.0.0.0", port)):
        assert kept_port(file) != port
    file.write_text("nonsense")
    assert 0 < kept_port(file) < 65536
    with pytest.raises(StorageError, match="can't be written"):
        kept_port(tmp_path / "absent" / "port")


def test_attaching(tmp_path: Path) -> None:
    save_met(met_file(tmp_path), [([ADDRESS], 1)])
    save_blocked(blocked_file(tmp_path), ["x"])
    options = attach(tmp_path, listen=[], port=4001, peers=["/p"])
    assert options.listen == everywhere(4001, private=False)
    assert any("quic" in address for address in options.listen)
    assert (options.known, options.blocked, options.peers) == ((ADDRESS,), ("x",), ("/p",))
    assert not options.is_local
    assert NetworkOptions().is_local
    assert attach(tmp_path, listen=[], port=None, peers=[]).listen == everywhere(
        int((tmp_path / "port").read_text()), private=False
    )


def test_a_swarm_key_in_the_home_makes_the_swarm_private(tmp_path: Path) -> None:
    (tmp_path / "swarm.key").write_text("secret")
    said: list[str] = []
    options = attach(tmp_path, listen=[], port=4001, peers=[], note=said.append)
    assert options.swarm_key == "secret"
    assert not any("quic" in address for address in options.listen)
    assert "only TCP" in said[0]
    with pytest.raises(StorageError, match="swarm key"):
        attach(tmp_path, listen=[], port=1, peers=[], swarm_key=tmp_path / "absent")


def test_status_files_of_the_dead_are_not_believed(tmp_path: Path) -> None:
    from rlswarm.node.housekeeping import NodeStatus, read_status, status_file

    assert read_status(tmp_path) is None
    status = NodeStatus(
        pid=2**22 + 1,
        peer_id="p",
        name="n",
        swarm="s",
        swarm_name="s",
        started=0.0,
        updated=0.0,
        round=None,
        addresses=(),
        reachability="unknown",
        reachability_reason="",
        peers=(),
        blocked=(),
        traffic={},
    )
    status_file(tmp_path).write_bytes(msgspec.json.encode(status))
    assert read_status(tmp_path) is None
    status_file(tmp_path).write_bytes(b"{")
    assert read_status(tmp_path) is None
