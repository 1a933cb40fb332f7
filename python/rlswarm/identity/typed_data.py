"""EIP-712 hashes of flat structs: what an account signs, so that any wallet can show it.

Source: https://eips.ethereum.org/EIPS/eip-712. Only atomic 32-byte types are supported, which is
all that the swarm signs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from Crypto.Hash import keccak

NAME = "rlswarm"
VERSION = "1"

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DOMAIN_FIELDS = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)

Fields = Sequence[tuple[str, str]]
"""(name, Solidity type) of each field: ``bytes32``, ``address`` or an unsigned integer."""


class Domain(msgspec.Struct, frozen=True):
    """Where a signature counts. Without a chain: id 0 and the swarm id's first 20 bytes."""

    chain_id: int
    contract: bytes
    """20 bytes."""

    @staticmethod
    def of_swarm(swarm: bytes) -> "Domain":
        """The domain of a swarm that has no chain."""
        return Domain(0, swarm[:20])

    @property
    def separator(self) -> bytes:
        """32 bytes, as EIP-712 defines it."""
        return keccak256(
            keccak256(_DOMAIN_TYPE.encode())
            + keccak256(NAME.encode())
            + keccak256(VERSION.encode())
            + self.chain_id.to_bytes(32, "big")
            + self.contract.rjust(32, b"\0")
        )


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, 32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()


def digest(domain: Domain, name: str, fields: Fields, values: Mapping[str, bytes | int]) -> bytes:
    """The 32 bytes that are signed for a struct. Raises KeyError for a field without a value."""
    kind = f"{name}({','.join(f'{type_} {field}' for field, type_ in fields)})"
    words = b"".join(_word(values[field]) for field, _ in fields)
    return keccak256(b"\x19\x01" + domain.separator + keccak256(keccak256(kind.encode()) + words))


def typed_data(
    domain: Domain, name: str, fields: Fields, values: Mapping[str, bytes | int]
) -> dict[str, Any]:
    """The same as JSON that `eth_signTypedData_v4` takes: for wallets that hold the key."""

    def shown(value: bytes | int) -> str | int:
        return "0x" + value.hex() if isinstance(value, bytes) else value

    return {
        "types": {
            "EIP712Domain": [{"name": n, "type": t} for n, t in _DOMAIN_FIELDS],
            name: [{"name": n, "type": t} for n, t in fields],
        },
        "primaryType": name,
        "domain": {
            "name": NAME,
            "version": VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.contract.hex(),
        },
        "message": {field: shown(values[field]) for field, _ in fields},
    }


def _word(value: bytes | int) -> bytes:
    """One ABI word: numbers and addresses are padded on the left."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    return value.rjust(32, b"\0")
