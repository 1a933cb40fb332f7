"""A receipt: one peer's line of a ledger with its path to the root, as a small JSON document.

It needs nothing but itself to be checked, here, with OpenZeppelin's ``merkle-tree`` package or by a
contract; whether the *root* is the round's is another question, which only somebody who knows the
root can answer.
"""

import re
from collections.abc import Iterable

import msgspec

from rlswarm._core import merkle_leaf, merkle_proof, merkle_root, merkle_verify, peer_id
from rlswarm.errors import ReceiptError
from rlswarm.ledger.ledger import LEAF, Line, Work, leaf, leaf_words, work_hash

FORMAT = "rlswarm receipt 1"


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As in the JSON document. Hashes and keys are ``0x`` and 64 hexadecimal digits."""

    format: str
    peer_id: str
    types: tuple[str, ...]
    """Solidity types of `leaf`, in order."""
    leaf: dict[str, str]
    """The words of the leaf by name, in order; numbers in decimal digits."""
    work: tuple[dict[str, int], ...]
    """The counts whose hash the leaf holds."""
    proof: tuple[str, ...]
    """Sibling hashes from the leaf up."""
    root: str

    def encode(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


def make_receipt(swarm: bytes, number: int, lines: Iterable[Line], peer: str) -> Receipt:
    """The receipt of the peer with that PeerId. Raises ReceiptError if the round counted nothing
    of it."""
    counted = [line for line in lines if line.work]
    own = next((line for line in counted if line.peer_id == peer), None)
    if own is None:
        raise ReceiptError(
            f"round {number} counted no work of {peer}; `rlswarm rounds show {number}` says why"
        )
    leaves = [leaf(swarm, number, line) for line in counted]
    words = leaf_words(swarm, number, own)
    return Receipt(
        format=FORMAT,
        peer_id=peer,
        types=tuple(kind for _, kind in LEAF),
        leaf={
            name: _hex(word) if kind == "bytes32" else str(int.from_bytes(word, "big"))
            for (name, kind), word in zip(LEAF, words, strict=True)
        },
        work=tuple(msgspec.structs.asdict(work) for work in own.work),
        proof=tuple(_hex(node) for node in merkle_proof(leaves, leaf(swarm, number, own))),
        root=_hex(merkle_root(leaves)),
    )


def read_receipt(text: str | bytes) -> Receipt:
    """Parse a document. Raises ReceiptError if it is no receipt."""
    try:
        receipt = msgspec.json.decode(text, type=Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReceiptError(f"this is no receipt ({error})") from None
    if receipt.format != FORMAT:
        raise ReceiptError(f"this receipt has the format {receipt.format!r}, not {FORMAT!r}")
    return receipt


def verify_receipt(receipt: Receipt) -> bytes:
    """Check everything that a receipt says of itself. Returns the root that it leads to.

    Raises ReceiptError with what does not fit.
    """
    if receipt.types != tuple(kind for _, kind in LEAF) or list(receipt.leaf) != [
        name for name, _ in LEAF
    ]:
        raise ReceiptError("the leaf does not have the fields of a ledger line, in their order")
    words = [_word(name, kind, receipt.leaf[name]) for name, kind in LEAF]
    by_name = dict(zip(receipt.leaf, words, strict=True))
    if peer_id(by_name["peer"]) != receipt.peer_id:
        raise ReceiptError("the PeerId is not the one of the leaf's peer key")
    if any(set(entry) != set(Work.__struct_fields__) for entry in receipt.work):
        raise ReceiptError("the counted work does not have the fields that it should have")
    work = tuple(Work(**entry) for entry in receipt.work)
    if work_hash(work) != by_name["work"]:
        raise ReceiptError("the counted work is not what the leaf's hash stands for")
    for name in ("groups", "samples"):
        if str(sum(getattr(entry, name) for entry in work)) != receipt.leaf[name]:
            raise ReceiptError(f"the {name} of the leaf are not the sum of the counted work")
    root = _word("root", "bytes32", receipt.root)
    path = [_word("proof", "bytes32", node) for node in receipt.proof]
    if not merkle_verify(root, merkle_leaf(b"".join(words)), path):
        raise ReceiptError("the proof does not lead from the leaf to the root")
    return root


def _hex(word: bytes) -> str:
    return "0x" + word.hex()


def _word(name: str, kind: str, value: str) -> bytes:
    """The 32 bytes of a value. Raises ReceiptError."""
    if kind == "uint256" and value.isdecimal() and value.isascii() and len(value) <= 78:
        number = int(value)
        if number < 2**256 and str(number) == value:
            return number.to_bytes(32, "big")
    if kind == "bytes32" and re.fullmatch("0x[0-9a-f]{64}", value):
        return bytes.fromhex(value[2:])
    raise ReceiptError(f"`{name}` is not a {kind}")
