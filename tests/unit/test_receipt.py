"""Receipts hold by themselves, and nothing in one can be changed."""

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rlswarm._core import Identity, merkle_root
from rlswarm.cli.main import cli
from rlswarm.errors import JournalError, ReceiptError
from rlswarm.journal.journal import Basis, Journal
from rlswarm.ledger.ledger import Ledger, Line, Work, leaf
from rlswarm.ledger.receipt import Receipt, make_receipt, read_receipt, verify_receipt

SWARM = bytes(range(32))


def line_of(number: int, *, work: bool = True) -> Line:
    key = Identity.from_seed(number.to_bytes(32, "little"))
    return Line(
        peer=key.public_key,
        peer_id=key.peer_id,
        work=(Work(0, 0, 2, 16), Work(1, 0, 1, 8)) if work else (),
        credit=1_000_000 * number + 7,
        adapter=bytes([number]) * 32,
    )


def ledger_of(peers: int, number: int = 3) -> Ledger:
    lines = tuple(sorted((line_of(n) for n in range(1, peers + 1)), key=lambda line: line.peer))
    root = merkle_root([leaf(SWARM, number, line) for line in lines])
    return Ledger(SWARM, number, (*lines, line_of(99, work=False)), root)


@given(peers=st.integers(1, 40), chosen=st.integers(0))
def test_every_line_has_a_receipt_that_leads_to_the_root(peers: int, chosen: int) -> None:
    ledger = ledger_of(peers)
    line = ledger.lines[chosen % peers]
    receipt = make_receipt(SWARM, 3, ledger.lines, line.peer_id)
    assert verify_receipt(read_receipt(receipt.encode())) == ledger.root
    assert len(receipt.proof) <= 6


def changed(receipt: Receipt) -> list[Receipt]:
    """The receipt with each thing in it changed in turn."""

    def flip(text: str) -> str:
        return text[:-1] + ("0" if text[-1] != "0" else "1")

    replace = msgspec.structs.replace
    found = [
        replace(receipt, leaf={**receipt.leaf, name: flip(value)})
        for name, value in receipt.leaf.items()
    ]
    found += [
        replace(receipt, root=flip(receipt.root)),
        replace(receipt, peer_id=line_of(50).peer_id),
        replace(receipt, types=receipt.types[::-1]),
        replace(receipt, leaf=dict(reversed(receipt.leaf.items()))),
        replace(receipt, proof=receipt.proof[:-1]),
        replace(receipt, proof=(*receipt.proof, receipt.root)),
        replace(receipt, work=receipt.work[:1]),
        replace(receipt, work=({**receipt.work[0], "groups": 3}, *receipt.work[1:])),
        replace(receipt, work=({"stage": 1},)),
        replace(receipt, leaf={**receipt.leaf, "credit": "-1"}),
        replace(receipt, leaf={**receipt.leaf, "credit": "٣"}),
        replace(receipt, leaf={**receipt.leaf, "credit": str(2**256)}),
        replace(receipt, leaf={**receipt.leaf, "credit": "0" + receipt.leaf["credit"]}),
        replace(receipt, leaf={**receipt.leaf, "swarm": "0x12"}),
    ]
    return found


def test_nothing_in_a_receipt_can_be_changed() -> None:
    ledger = ledger_of(5)
    receipt = make_receipt(SWARM, 3, ledger.lines, ledger.lines[0].peer_id)
    for forged in changed(receipt):
        with pytest.raises(ReceiptError):
            verify_receipt(read_receipt(forged.encode()))


def test_a_peer_without_counted_work_has_no_receipt() -> None:
    with pytest.raises(ReceiptError, match="rounds show 3"):
        make_receipt(SWARM, 3, ledger_of(2).lines, line_of(99).peer_id)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\ud800", '{"format": "other"}', "1" * 100_000])
def test_what_is_no_receipt(text: str) -> None:
    with pytest.raises(ReceiptError, match="no receipt"):
        read_receipt(text.encode("utf-8", "surrogatepass"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal.sqlite3", SWARM)
    journal.ledger(ledger_of(3), 0.0, Basis((), ()))
    journal.close()
    return tmp_path


def run(*arguments: object, text: str | None = None) -> str:
    result = CliRunner().invoke(cli, ["receipt", *map(str, arguments)], input=text)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_receipt_from_a_journal_verifies_against_it(home: Path) -> None:
    peer = ledger_of(3).lines[0].peer_id
    shown = run("show", 3, "--peer", peer, "--home", home)
    assert "was not checked" in run("verify", "-", text=shown)
    checked = json.loads(run("verify", "-", "--home", home, "--json", text=shown))
    assert checked["root_checked"] is True
    assert checked["root"] == ledger_of(3).root.hex()
    with pytest.raises(ReceiptError, match="round 3 has"):
        run("verify", "-", "--root", "00" * 32, text=shown)
    with pytest.raises(ReceiptError, match="64 hexadecimal"):
        run("verify", "-", "--root", "hello", text=shown)
    with pytest.raises(JournalError, match="no ledger of round 4"):
        run("show", 4, "--peer", peer, "--home", home)


OPENZEPPELIN = """
const { StandardMerkleTree } = require("@openzeppelin/merkle-tree");
const receipt = JSON.parse(require("fs").readFileSync(0));
const leaf = Object.values(receipt.leaf);
console.log(StandardMerkleTree.verify(receipt.root, receipt.types, leaf, receipt.proof));
"""


@pytest.mark.npm
def test_openzeppelins_library_says_the_same(openzeppelin: Path) -> None:
    ledger = ledger_of(7)
    receipt = make_receipt(SWARM, 3, ledger.lines, ledger.lines[2].peer_id)
    forged = msgspec.structs.replace(receipt, leaf={**receipt.leaf, "credit": "1"})
    for document, holds in ((receipt, "true"), (forged, "false")):
        said = subprocess.run(
            ["node", "-e", OPENZEPPELIN],
            input=document.encode(),
            cwd=openzeppelin,
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == holds


@pytest.fixture(scope="session")
def openzeppelin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenZeppelin's npm package."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("openzeppelin")
    subprocess.run(
        [
            "npm",
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "@openzeppelin/merkle-tree@1.0.8",
        ],
        cwd=folder,
        check=True,
        timeout=240,
    )
    return folder
