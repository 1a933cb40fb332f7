"""The files that hold a node's secrets: its peer key and, but for a cold wallet's, its account.

As made they are plain and mode 0600; encrypted they are PKCS#8 (peer key) and a version 3 keystore
(account), the formats that OpenSSL and every wallet read.
"""

import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rlswarm.errors import KeyFileError, PasswordError, StorageError
from rlswarm.identity.account import Account, checksum

REMEDY = "restore it from a backup, or move it away to get a new one"


def is_encrypted(path: Path) -> bool:
    """Whether a key file needs a password. Raises KeyFileError if it can't be read."""
    text = _read(path)
    return "ENCRYPTED PRIVATE KEY" in text or text.lstrip().startswith("{")


def read_peer_key(path: Path, password: str | None = None) -> Ed25519PrivateKey:
    """The Ed25519 key of a PEM file. Raises KeyFileError, PasswordError."""
    return parse_peer_key(_read(path), str(path), password)


def parse_peer_key(text: str, where: str, password: str | None) -> Ed25519PrivateKey:
    """The Ed25519 key of PEM text; `where` names it in errors.

    Raises KeyFileError, PasswordError.
    """
    locked = "ENCRYPTED PRIVATE KEY" in text
    if locked and password is None:
        raise PasswordError(f"the key file {where} is encrypted; give its password")
    try:
        key = serialization.load_pem_private_key(
            text.encode(), password.encode() if locked and password is not None else None
        )
    except (ValueError, TypeError) as error:
        if locked and "password" in str(error).lower():
            raise PasswordError(f"the password does not open {where}") from None
        reason = "it is damaged" if locked else "not an Ed25519 private key in PKCS#8 PEM"
        raise KeyFileError(
            f"the key file {where} holds no Ed25519 private key ({reason}); {REMEDY}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"the key file {where} holds another kind of key; {REMEDY}")
    return key


def peer_key_text(key: Ed25519PrivateKey, password: str | None = None) -> str:
    """The key as PKCS#8 PEM, encrypted if a password is given."""
    encryption = (
        serialization.BestAvailableEncryption(password.encode())
        if password is not None
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode("ascii")


def read_account(path: Path, password: str | None = None) -> Account:
    """The account of a key file. Raises KeyFileError, PasswordError."""
    return parse_account(_read(path), str(path), password)


def parse_account(text: str, where: str, password: str | None) -> Account:
    """The account of a version 3 keystore, or of 64 hexadecimal digits.

    `where` names it in errors. Raises KeyFileError, PasswordError.
    """
    damaged = KeyFileError(f"the account file {where} holds no private key; {REMEDY}")
    if not text.lstrip().startswith("{"):
        try:
            return Account(bytes.fromhex(text.strip().removeprefix("0x")))
        except ValueError:
            raise damaged from None
    if password is None:
        raise PasswordError(f"the account file {where} is encrypted; give its password")
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        return Account(decode_keyfile_json(json.loads(text), password.encode()))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise PasswordError(f"the password does not open {where}") from None
        raise damaged from None
    except (KeyError, TypeError, NotImplementedError):  # fields missing, or of unknown kinds
        raise damaged from None


def account_text(account: Account, password: str | None = None) -> str:
    """64 hexadecimal digits, or a version 3 keystore (Web3 Secret Storage) if a password is given.

    The keystore takes a second or more to make and to open: that is its protection.
    """
    if password is None:
        return account.secret.hex() + "\n"
    from eth_keyfile.keyfile import create_keyfile_json

    keystore: dict[str, Any] = create_keyfile_json(
        account.secret, password.encode(), kdf="scrypt", salt_size=16
    )
    keystore["address"] = checksum(account.address)[2:].lower()
    return json.dumps(keystore) + "\n"


def write_secret(path: Path, text: str) -> None:
    """Put a secret into a file of mode 0600, whole or not at all. Raises StorageError."""
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        raise StorageError(f"the key {path} can't be written: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyFileError(f"there is no key at {path}; `rlswarm keys new` makes one") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"the key file {path} is not text; {REMEDY}") from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} can't be read: {error.strerror}") from None
