"""``rlswarm receipt``: proof of what a round counted of a peer."""

import json
from pathlib import Path
from typing import IO

import click

from rlswarm.cli.options import home_option, json_option

_HOME = home_option("Folder of the node whose journal is read.")


@click.group()
def receipt() -> None:
    """Prove what a round counted of a peer."""


@receipt.command()
@click.argument("number", metavar="ROUND", type=int)
@click.option("--peer", metavar="PEER_ID", help="Whose receipt [default: this node's].")
@_HOME
def show(number: int, peer: str | None, home: Path | None) -> None:
    """Print the receipt of a round as JSON: a ledger line and its path to the root."""
    from rlswarm.journal.journal import Journal
    from rlswarm.ledger.receipt import make_receipt
    from rlswarm.node.home import default_home

    journal = Journal.read((home or default_home()) / "journal.sqlite3")
    _, lines = journal.ledger_of(number)
    made = make_receipt(journal.swarm, number, lines, peer or journal.own_peer_id())
    journal.close()
    click.echo(made.encode())


@receipt.command()
@click.argument("file", type=click.File("rb"))
@click.option("--root", metavar="HEX", help="The round's root as you know it.")
@_HOME
@json_option
def verify(file: IO[bytes], root: str | None, home: Path | None, as_json: bool) -> None:
    """Check the receipt in FILE (- for standard input).

    Whether the root is the round's is checked against --root, or against the journal in --home;
    without either only the receipt itself is checked, and that is said. Ends with 15 if anything
    does not hold.
    """
    from rlswarm.errors import ReceiptError
    from rlswarm.ledger.receipt import read_receipt, verify_receipt

    given = read_receipt(file.read())
    found = verify_receipt(given)
    number = int(given.leaf["round"])
    known = _known_root(number, root, home)
    if known is not None and known != found:
        raise ReceiptError(
            f"the receipt leads to the root {found.hex()}, but round {number} has {known.hex()}"
        )
    data = {
        "peer_id": given.peer_id,
        "round": number,
        "groups": int(given.leaf["groups"]),
        "samples": int(given.leaf["samples"]),
        "credit": int(given.leaf["credit"]) / 1_000_000,
        "root": found.hex(),
        "root_checked": known is not None,
    }
    if as_json:
        click.echo(json.dumps(data))
        return
    click.echo(
        f"the receipt holds: {data['groups']} groups, {data['samples']} samples and credit "
        f"{data['credit']:.3f} of {given.peer_id} in round {number}, under the root {found.hex()}"
    )
    if known is None:
        click.echo("whether that is the round's root was not checked: give --root or --home")


def _known_root(number: int, root: str | None, home: Path | None) -> bytes | None:
    from rlswarm.errors import ReceiptError
    from rlswarm.journal.journal import Journal

    if root is not None:
        try:
            known = bytes.fromhex(root.removeprefix("0x"))
        except ValueError:
            known = b""
        if len(known) != 32:
            raise ReceiptError("--root takes 64 hexadecimal digits")
        return known
    if home is None:
        return None
    journal = Journal.read(home / "journal.sqlite3")
    known, _ = journal.ledger_of(number)
    journal.close()
    return known
