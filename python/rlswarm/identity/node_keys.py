"""The keys of one home, and what was signed with them."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rlswarm._core import Identity
from rlswarm.errors import BindingError, KeyFileError
from rlswarm.identity import account as accounts
from rlswarm.identity import key_files
from rlswarm.identity.account import Account
from rlswarm.identity.binding import LAST_NONCE, Binding, Bound, Release, Statement, follow
from rlswarm.identity.typed_data import Domain

PEER_KEY = "identity.pem"
ACCOUNT = "account.key"
BINDINGS = "bindings.json"


class NodeKeys:
    """Peer key, account (None if it is in a wallet elsewhere) and the own statements."""

    def __init__(
        self,
        folder: Path,
        peer_key: Ed25519PrivateKey,
        account: Account | None,
        statements: tuple[Statement, ...],
    ) -> None:
        self.folder = folder
        self.peer_key = peer_key
        self.account = account
        self.statements = statements
        """Everything signed about this peer key, oldest first."""
        seed = peer_key.private_bytes_raw()
        self._seed = seed
        self.identity = Identity.from_seed(seed)

    def domains(self) -> list[Domain]:
        """Where this peer has stated anything, in order."""
        return [_domain(statement) for statement in self.statements]

    def bound(self, domain: Domain) -> Bound | None:
        """What the own statements say for one swarm or contract."""
        held: Bound | None = None
        for statement in self.stated(domain):
            held = follow(held, statement)
        return held

    def attester(self, binding: Binding) -> Account:
        """The key that the binding names for attesting."""
        return accounts.attester(self._seed, binding.nonce)

    def draft(self, domain: Domain, account: bytes) -> Binding:
        """The next binding to `account` (20 bytes), signed by the peer key only.

        Raises BindingError if the peer key was revoked or is bound to another account.
        """
        held = self.bound(domain)
        if held is not None and held.revoked:
            raise BindingError(
                "this peer key was revoked for ever; make another with `rlswarm keys new` in a "
                "fresh home"
            )
        if held is not None and held.binding is not None and held.binding.account != account:
            raise BindingError(
                f"this peer is bound to {accounts.checksum(held.binding.account)}; let that "
                "account release it first (`rlswarm keys revoke --release`)"
            )
        nonce = 0 if held is None else held.nonce + 1
        return Binding(
            chain_id=domain.chain_id,
            contract=domain.contract,
            peer=self.identity.public_key,
            account=account,
            attester=accounts.attester(self._seed, nonce).address,
            nonce=nonce,
        ).signed_by_peer(self.peer_key)

    def draft_release(self, domain: Domain, *, for_ever: bool) -> Release:
        """The release of the binding that stands, not yet signed. Raises BindingError."""
        held = self.bound(domain)
        if held is None or held.binding is None:
            raise BindingError("this peer is bound to no account here, so there is nothing to undo")
        return Release(held.binding, LAST_NONCE if for_ever else held.nonce + 1)

    def ensure_bound(self, domain: Domain) -> Bound | None:
        """Bind to the own account if this peer has no statement here yet and holds its key.

        Raises StorageError if the binding can't be written.
        """
        held = self.bound(domain)
        if held is None and self.account is not None:
            binding = self.draft(domain, self.account.address)
            self.add(binding.signed_by_account(self.account.sign(binding.digest)))
            return self.bound(domain)
        return held

    def add(self, statement: Statement) -> None:
        """Keep a complete statement. Raises StorageError."""
        statements = (*self.statements, statement)
        key_files.write_secret(
            self.folder / BINDINGS, msgspec.json.encode(statements).decode() + "\n"
        )
        self.statements = statements

    def stated(self, domain: Domain) -> tuple[Statement, ...]:
        """The own statements for one swarm or contract, oldest first."""
        return tuple(s for s in self.statements if _domain(s) == domain)


def _domain(statement: Statement) -> Domain:
    return statement.binding.domain if isinstance(statement, Release) else statement.domain


def make_keys(folder: Path) -> None:
    """Make what is missing: a peer key, and an account unless one was bound before.

    Raises StorageError.
    """
    if not (folder / PEER_KEY).exists():
        key = Ed25519PrivateKey.generate()
        key_files.write_secret(folder / PEER_KEY, key_files.peer_key_text(key))
    if not (folder / ACCOUNT).exists() and not (folder / BINDINGS).exists():
        key_files.write_secret(folder / ACCOUNT, key_files.account_text(Account.generate()))


def has_keys(folder: Path) -> bool:
    """Whether a folder holds a peer key."""
    return (folder / PEER_KEY).exists()


def needs_password(folder: Path) -> bool:
    """Whether any key in a folder is encrypted. Raises KeyFileError."""
    return any(
        key_files.is_encrypted(folder / name)
        for name in (PEER_KEY, ACCOUNT)
        if (folder / name).exists()
    )


def open_keys(folder: Path, password: str | None = None) -> NodeKeys:
    """Read the keys of a home. Raises KeyFileError, PasswordError, BindingError."""
    peer_key = key_files.read_peer_key(folder / PEER_KEY, password)
    account = None
    if (folder / ACCOUNT).exists():
        account = key_files.read_account(folder / ACCOUNT, password)
    return NodeKeys(folder, peer_key, account, read_statements(folder / BINDINGS))


def read_statements(path: Path) -> tuple[Statement, ...]:
    """What `NodeKeys.add` kept; nothing if there is no such file. Raises BindingError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Statement, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise BindingError(
            f"the bindings {path} can't be read ({error}); restore them from a backup, or move "
            "the file away and bind again"
        ) from None


def encrypt_keys(keys: NodeKeys, password: str) -> None:
    """Replace the key files by encrypted ones. Raises StorageError; then none was lost."""
    key_files.write_secret(keys.folder / PEER_KEY, key_files.peer_key_text(keys.peer_key, password))
    if keys.account is not None:
        key_files.write_secret(
            keys.folder / ACCOUNT, key_files.account_text(keys.account, password)
        )


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a home in one encrypted file."""

    format: str
    peer_key: str
    """Encrypted PKCS#8 PEM."""
    account: str | None
    """Version 3 keystore; None for an account that is elsewhere."""
    statements: tuple[Statement, ...]


_FORMAT = "rlswarm keys 1"


def backup(keys: NodeKeys, password: str) -> str:
    """Everything that a home needs to be the same node again, encrypted, as JSON."""
    return msgspec.json.encode(
        Backup(
            _FORMAT,
            key_files.peer_key_text(keys.peer_key, password),
            None if keys.account is None else key_files.account_text(keys.account, password),
            keys.statements,
        )
    ).decode()


def restore(text: str, folder: Path, password: str) -> NodeKeys:
    """Write the keys of a backup into a home that has none; they stay encrypted there.

    Raises KeyFileError (no backup, or keys are there already), PasswordError, StorageError.
    """
    try:
        kept = msgspec.json.decode(text, type=Backup)
    except msgspec.MsgspecError as error:
        raise KeyFileError(f"this is no backup of keys ({error})") from None
    if kept.format != _FORMAT:
        raise KeyFileError(f"this backup has the format {kept.format!r}; a newer rlswarm reads it")
    for name in (PEER_KEY, ACCOUNT, BINDINGS):
        if (folder / name).exists():
            raise KeyFileError(
                f"{folder / name} exists and would be lost; restore into an empty --home"
            )
    # Opened before anything is written: a wrong password leaves nothing behind.
    key_files.parse_peer_key(kept.peer_key, "in the backup", password)
    if kept.account is not None:
        key_files.parse_account(kept.account, "in the backup", password)
        key_files.write_secret(folder / ACCOUNT, kept.account)
    if kept.statements:
        key_files.write_secret(folder / BINDINGS, msgspec.json.encode(kept.statements).decode())
    key_files.write_secret(folder / PEER_KEY, kept.peer_key)
    return open_keys(folder, password)
