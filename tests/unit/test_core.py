"""The pure functions of the Rust core: the shared vectors, and what must be refused."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlswarm import _core

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "records.json").read_text(encoding="utf-8")
)
IDENTITY = _core.Identity.from_seed(bytes.fromhex(VECTORS["key"]["seed"]))
SWARM = bytes.fromhex(VECTORS["swarm"])
ZERO = bytes(32)
HASHES = ("swarm", "lottery_root", "base", "adapter")


def seal(**changes: Any) -> _core.Record:
    fields: dict[str, Any] = {
        "swarm": SWARM,
        "kind": 1,
        "round": 0,
        "lottery_root": ZERO,
        "stage": 0,
        "slots": [],
        "sequence": 0,
        "created_at_ms": 0,
        "base": ZERO,
        "adapter": ZERO,
        "persona": "",
        "body": b"body",
    }
    return _core.seal(IDENTITY, **{**fields, **changes})


def test_identity() -> None:
    key = VECTORS["key"]
    assert IDENTITY.public_key.hex() == key["public_key"]
    assert IDENTITY.peer_id == _core.peer_id(IDENTITY.public_key) == key["peer_id"]
    assert IDENTITY.to_pem() == key["pem"]
    assert _core.Identity.from_pem(key["pem"]).peer_id == key["peer_id"]
    assert _core.Identity.generate().peer_id != _core.Identity.generate().peer_id
    assert key["seed"] not in repr(IDENTITY)


@pytest.mark.parametrize("case", VECTORS["headers"], ids=lambda case: case["name"])
def test_headers(case: dict[str, Any]) -> None:
    fields = {k: bytes.fromhex(v) if k in HASHES else v for k, v in case["fields"].items()}
    body = bytes.fromhex(case["body"])
    record = _core.seal(IDENTITY, body=body, **fields)
    header = _core.decode_header(bytes.fromhex(case["encoded"]), SWARM)
    assert header == record.header
    assert hash(header) == hash(record.header)
    assert record.stored.hex() == case["stored"]
    for name in ("author", "hash", "encoded", "body_hash"):
        assert getattr(header, name).hex() == case[name], name
    for name, value in fields.items():
        assert getattr(header, name) == value, name
    assert (header.body_stored, header.body_raw) == (case["body_stored"], case["body_raw"])
    assert header.peer_id == IDENTITY.peer_id
    assert _core.open_body(header, record.stored, len(body)) == body


@pytest.mark.parametrize("case", VECTORS["malformed"], ids=lambda case: case["name"])
def test_malformed_headers(case: dict[str, Any]) -> None:
    with pytest.raises(_core.RecordError):
        _core.decode_header(bytes.fromhex(case["encoded"]), SWARM)


@pytest.mark.parametrize("case", VECTORS["merkle"], ids=lambda case: case["name"])
def test_merkle(case: dict[str, Any]) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in case["leaves"]]
    root = bytes.fromhex(case["root"])
    assert [_core.merkle_leaf(bytes.fromhex(words)) for words in case["words"]] == leaves
    assert _core.merkle_root(leaves) == _core.merkle_root(leaves[::-1]) == root
    for leaf, proof in zip(leaves, case["proofs"], strict=True):
        path = _core.merkle_proof(leaves, leaf)
        assert [node.hex() for node in path] == proof
        assert _core.merkle_verify(root, leaf, path)
        assert not _core.merkle_verify(root, bytes(31) + b"x", path)
    assert _core.merkle_root([]) == ZERO
    with pytest.raises(ValueError, match="not one of the leaves"):
        _core.merkle_proof(leaves, bytes(31) + b"x")


def test_randomness() -> None:
    for case in VECTORS["prf"]:
        parts = [bytes.fromhex(part) for part in case["parts"]]
        assert _core.prf(case["domain"], parts).hex() == case["hash"]
    for case in VECTORS["uniforms"]:
        key = bytes.fromhex(case["key"])
        numbers = _core.uniforms(key, case["sample"], 5)
        assert numbers.hex() == case["bytes"]
        assert list(struct.unpack("<5d", numbers)) == case["values"]
        assert _core.uniforms(key, case["sample"], 2) == numbers[:16]
    assert _core.uniforms(ZERO, 0, 0) == b""
    known = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert _core.blake3(b"").hex() == known


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0},
        {"kind": 10},
        {"kind": -1},
        {"kind": 256},
        {"round": -1},
        {"round": 2**64},
        {"stage": 256},
        {"slots": [1, 1]},
        {"slots": [2, 1]},
        {"slots": [65536]},
        {"slots": [-1]},
        {"slots": range(257)},
        {"sequence": 2**64},
        {"created_at_ms": -1},
        {"swarm": b"short"},
        {"lottery_root": b""},
        {"base": bytes(33)},
        {"adapter": bytes(31)},
        {"persona": "x" * 65},
        {"persona": "é" * 33},
        {"persona": "bell\a"},
    ],
    ids=str,
)
def test_seal_refuses_what_is_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(_core.RecordError):
        seal(**changes)


def test_bodies_are_checked_before_they_are_opened() -> None:
    record = seal(body=bytes(1_000_000))
    assert _core.open_body(record.header, record.stored, 1_000_000) == bytes(1_000_000)
    other = seal(body=b"other")
    for stored, limit in (
        (record.stored, 999_999),
        (record.stored[:-1], 1_000_000),
        (record.stored[:-1] + b"\1", 1_000_000),
        (other.stored, 1_000_000),
        (b"", 1_000_000),
    ):
        with pytest.raises(_core.RecordError):
            _core.open_body(record.header, stored, limit)


def test_lengths_and_types_are_checked() -> None:
    for call in (
        lambda: _core.Identity.from_seed(b"short"),
        lambda: _core.peer_id(b"short"),
        lambda: _core.uniforms(b"short", 0, 1),
        lambda: _core.uniforms(ZERO, 0, 2**40),
        lambda: _core.merkle_leaf(bytes(31)),
        lambda: _core.merkle_root([b"short"]),
        lambda: _core.merkle_proof([ZERO], b"short"),
        lambda: _core.merkle_verify(ZERO, ZERO, [b"short"]),
        lambda: _core.decode_header(b"", b"short"),
    ):
        with pytest.raises(ValueError, match="wanted"):
            call()
    for text in ("", "nonsense", VECTORS["key"]["pem"].replace("M", "N", 1)):
        with pytest.raises(_core.KeyFileError):
            _core.Identity.from_pem(text)
    with pytest.raises(TypeError):
        seal(body="text")
    for error in ("Record", "Address", "PortInUse", "KeyFile", "Network"):
        assert issubclass(getattr(_core, f"{error}Error"), _core.CoreError)
        assert getattr(_core, f"{error}Error").__module__ == "rlswarm._core"


@given(st.binary(max_size=2100))
def test_any_bytes_are_refused_cleanly(data: bytes) -> None:
    with pytest.raises(_core.RecordError):
        _core.decode_header(data, SWARM)


@given(st.binary(max_size=5000), st.text(max_size=16, alphabet="abcdef é"))
def test_records_survive(body: bytes, persona: str) -> None:
    record = seal(body=body, persona=persona)
    header = _core.decode_header(record.header.encoded, SWARM)
    assert header.persona == persona
    assert _core.open_body(header, record.stored, 5000) == body
