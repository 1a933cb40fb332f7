"""A secp256k1 key: the EVM account of a node's owner, or the key a node attests with."""

import secrets

import coincurve

from rlswarm._core import prf
from rlswarm.identity.typed_data import keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the curve's group (SEC 2, §2.4.1)."""


class Account:
    """A private key with its address. Its text form never shows the secret."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes. Raises ValueError if they are no key of the curve."""
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < ORDER:
            raise ValueError("not a secp256k1 private key")
        self._key = coincurve.PrivateKey(secret)
        self.address = address_of(self._key.public_key)

    @staticmethod
    def generate() -> "Account":
        """A fresh key from the operating system's randomness."""
        return Account((1 + secrets.randbelow(ORDER - 1)).to_bytes(32, "big"))

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes."""
        secret: bytes = self._key.secret
        return secret

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r ‖ s ‖ v over a 32-byte digest, s low, v 27 or 28 (as wallets give it)."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return bytes(signature[:64]) + bytes([27 + signature[64]])

    def __repr__(self) -> str:
        return f"Account({checksum(self.address)})"


def attester(seed: bytes, nonce: int) -> Account:
    """The attester key of a peer key's `seed` for one binding: another nonce, another key.

    So a backup of the peer key is a backup of this one, and rotating it needs no new file.
    """
    number = int.from_bytes(prf("rlswarm 2026 attester", [seed, nonce.to_bytes(8, "little")]))
    return Account((1 + number % (ORDER - 1)).to_bytes(32, "big"))


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Address (20 bytes) that signed `digest`; None if `signature` is no signature.

    A high s is refused (EIP-2), so that every signature has one form.
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > ORDER // 2:
        return None
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
        )
    except Exception:  # coincurve raises a plain Exception as well as ValueError
        return None
    return address_of(key)


def address_of(key: coincurve.PublicKey) -> bytes:
    """The last 20 bytes of the hash over the uncompressed point."""
    return keccak256(key.format(compressed=False)[1:])[-20:]


def checksum(address: bytes) -> str:
    """An address as text with the checksum of EIP-55."""
    digits = address.hex()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) > 7 else digit
        for digit, mark in zip(digits, marks, strict=False)
    )


def parse_address(text: str) -> bytes:
    """20 bytes. Raises ValueError for text that is no address, or whose checksum is wrong."""
    digits = text.removeprefix("0x")
    try:
        address = bytes.fromhex(digits)
    except ValueError:
        address = b""
    if len(address) != 20:
        raise ValueError(f"{text!r} is not an address (0x and 40 hexadecimal digits)")
    if digits not in (digits.lower(), digits.upper()) and checksum(address) != "0x" + digits:
        raise ValueError(f"{text!r} has a wrong checksum (EIP-55); a digit may be mistyped")
    return address
