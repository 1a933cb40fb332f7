"""A peer key and an account, bound by signatures under both (design §7).

What the account signs is EIP-712 typed data, and the peer key signs the same digest, so nobody can
bind a peer that is not theirs, nor an account that is not theirs, nor replay a binding on another
chain, contract or swarm. What follows what:

- a higher nonce replaces a lower one;
- a binding to *another* account counts only after a release by the account that was bound, so that
  a thief of the peer key can't take the peer to an account of their own;
- a release with the highest nonce is a revocation: the peer key is never bound again.
"""

from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from rlswarm.identity import account as accounts
from rlswarm.identity import typed_data
from rlswarm.identity.typed_data import Domain

LAST_NONCE = 2**64 - 1
"""A release with this nonce can't be followed by any binding."""

_PEER_DOMAIN = b"rlswarm 2026 binding\n"
_BINDING_FIELDS = (
    ("peer", "bytes32"),
    ("account", "address"),
    ("attester", "address"),
    ("nonce", "uint64"),
)
_RELEASE_FIELDS = (("peer", "bytes32"), ("nonce", "uint64"))


class Binding(msgspec.Struct, frozen=True, array_like=True, tag="binding"):
    """Peer `peer` belongs to `account` and attests with `attester`."""

    chain_id: int
    contract: bytes
    peer: bytes
    """Ed25519 public key."""
    account: bytes
    """20 bytes."""
    attester: bytes
    """20 bytes: address of the key that signs ledgers."""
    nonce: int
    account_signature: bytes = b""
    """65 bytes over `digest`."""
    peer_signature: bytes = b""
    """64 bytes, Ed25519 over a domain prefix and `digest`."""

    @property
    def domain(self) -> Domain:
        return Domain(self.chain_id, self.contract)

    @property
    def _values(self) -> dict[str, bytes | int]:
        return {
            "peer": self.peer,
            "account": self.account,
            "attester": self.attester,
            "nonce": self.nonce,
        }

    @property
    def digest(self) -> bytes:
        """What both keys sign: 32 bytes."""
        return typed_data.digest(self.domain, "Binding", _BINDING_FIELDS, self._values)

    def typed_data(self) -> dict[str, Any]:
        """For a wallet that holds the account's key (`eth_signTypedData_v4`)."""
        return typed_data.typed_data(self.domain, "Binding", _BINDING_FIELDS, self._values)

    def signed_by_peer(self, key: Ed25519PrivateKey) -> "Binding":
        return msgspec.structs.replace(self, peer_signature=key.sign(_PEER_DOMAIN + self.digest))

    def signed_by_account(self, signature: bytes) -> "Binding":
        """With the account's signature, made here or by a wallet. Raises ValueError if not its."""
        _require_signer(self.digest, signature, self.account)
        return msgspec.structs.replace(self, account_signature=signature)


class Release(msgspec.Struct, frozen=True, array_like=True, tag="release"):
    """The account lets the peer of `binding` go. It carries the binding to show its right to."""

    binding: Binding
    nonce: int
    """Higher than the binding's; `LAST_NONCE` revokes the peer key for ever."""
    account_signature: bytes = b""

    @property
    def _values(self) -> dict[str, bytes | int]:
        return {"peer": self.binding.peer, "nonce": self.nonce}

    @property
    def digest(self) -> bytes:
        """What the account signs: 32 bytes."""
        return typed_data.digest(self.binding.domain, "Release", _RELEASE_FIELDS, self._values)

    def typed_data(self) -> dict[str, Any]:
        """For a wallet that holds the account's key (`eth_signTypedData_v4`)."""
        return typed_data.typed_data(self.binding.domain, "Release", _RELEASE_FIELDS, self._values)

    def signed_by_account(self, signature: bytes) -> "Release":
        """With the account's signature, made here or by a wallet. Raises ValueError if not its."""
        _require_signer(self.digest, signature, self.binding.account)
        return msgspec.structs.replace(self, account_signature=signature)


Statement = Binding | Release


class Bound(msgspec.Struct, frozen=True):
    """What is known of one peer."""

    binding: Binding | None
    """None once it was released or revoked."""
    nonce: int
    """Of the newest statement."""

    @property
    def revoked(self) -> bool:
        return self.nonce == LAST_NONCE


def refusal(statement: Statement, domain: Domain) -> str:
    """Why a statement is invalid by itself, as part of a sentence; empty if it is valid."""
    if isinstance(statement, Release):
        if why := refusal(statement.binding, domain):
            return f"the binding it releases is invalid: {why}"
        if not statement.binding.nonce < statement.nonce <= LAST_NONCE:
            return "its nonce is not higher than the binding's"
        signer = accounts.recover(statement.digest, statement.account_signature)
        return "" if signer == statement.binding.account else "the account did not sign it"
    if statement.domain != domain:
        return "it is for another chain, contract or swarm"
    if (len(statement.peer), len(statement.account), len(statement.attester)) != (32, 20, 20):
        return "it is malformed"
    if not 0 <= statement.nonce < LAST_NONCE:
        return "its nonce is out of range"
    if accounts.recover(statement.digest, statement.account_signature) != statement.account:
        return "the account did not sign it"
    try:
        key = Ed25519PublicKey.from_public_bytes(statement.peer)
        key.verify(statement.peer_signature, _PEER_DOMAIN + statement.digest)
    except (InvalidSignature, ValueError):
        return "the peer did not sign it"
    return ""


def follow(held: Bound | None, statement: Statement) -> Bound:
    """What is known of a peer after one more valid statement; `held` if it changes nothing.

    A revocation counts whenever it comes. Otherwise the order in which nodes see statements by a
    stolen key can differ; what a sealed ledger or a contract says then decides.
    """
    if isinstance(statement, Release):
        if statement.nonce == LAST_NONCE or held is None:
            return Bound(None, statement.nonce)
        ours = held.binding is not None and held.binding.account == statement.binding.account
        return Bound(None, statement.nonce) if ours and statement.nonce > held.nonce else held
    if held is None:
        return Bound(statement, statement.nonce)
    stranger = held.binding is not None and held.binding.account != statement.account
    if stranger or statement.nonce <= held.nonce:
        return held
    return Bound(statement, statement.nonce)


def _require_signer(digest: bytes, signature: bytes, account: bytes) -> None:
    signer = accounts.recover(digest, signature)
    if signer != account:
        who = "no account" if signer is None else accounts.checksum(signer)
        raise ValueError(
            f"the signature is by {who}, not by {accounts.checksum(account)}; sign the printed "
            "data, unchanged, with that account"
        )
