"""What a running node keeps in its home, on a disk that may fail."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from rlswarm import _core
from rlswarm.network.peer_files import load_met, save_blocked
from rlswarm.node import housekeeping
from rlswarm.node.attachment import blocked_file, met_file
from rlswarm.node.housekeeping import Housekeeping, read_status, status_file

PEER = _core.Identity.from_seed(bytes(32)).peer_id
ADDRESS = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"


class Core:
    """Stands in for the endpoint."""

    peer_id = PEER

    def __init__(self) -> None:
        self.banned: list[str] = []

    def reachability(self) -> tuple[str, str]:
        return "private", "because"

    def addresses(self) -> list[str]:
        return [ADDRESS]

    def links(self) -> list[Any]:
        return []

    def statistics(self) -> dict[str, int]:
        return {"bytes_in": 1}

    def met(self) -> list[tuple[list[str], int]]:
        return [([ADDRESS], 7)]

    def blocked(self) -> list[str]:
        return list(self.banned)

    def block(self, peer: str) -> None:
        self.banned.append(peer)

    def unblock(self, peer: str) -> None:
        self.banned.remove(peer)


class Transport:
    def __init__(self) -> None:
        self.endpoint = self
        self.core = Core()


def keep(home: Path, troubles: list[str]) -> tuple[Housekeeping, Core]:
    transport: Any = Transport()
    return Housekeeping(home, transport, "ab" * 32, "test", troubles.append), transport.core


async def looks(house: Housekeeping, seconds: float = 0.05) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(house.keep(), seconds)


def test_status_peers_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "EVERY", 0.01)
    troubles: list[str] = []
    house, core = keep(tmp_path, troubles)
    house.observe("round_opened", {"round": 4})
    asyncio.run(looks(house))
    status = read_status(tmp_path)
    assert status is not None
    assert (status.round, status.reachability, status.addresses) == (4, "private", (ADDRESS,))
    save_blocked(blocked_file(tmp_path), [PEER])
    asyncio.run(looks(house))
    assert core.banned == [PEER]
    save_blocked(blocked_file(tmp_path), [])
    asyncio.run(looks(house))
    assert core.banned == []
    house.close()
    assert load_met(met_file(tmp_path)) == (ADDRESS,)
    assert read_status(tmp_path) is None
    assert troubles == []


def test_a_failing_disk_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "EVERY", 0.01)
    troubles: list[str] = []
    house, _ = keep(tmp_path, troubles)
    status_file(tmp_path).mkdir()
    asyncio.run(looks(house, 0.2))
    assert len(troubles) == 1
    status_file(tmp_path).rmdir()
    asyncio.run(looks(house))
    assert read_status(tmp_path) is not None
