"""``rlswarm keys``: the node's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlswarm.cli.main import LazyGroup
from rlswarm.cli.options import home_option, json_option

if TYPE_CHECKING:
    from rlswarm.identity.node_keys import NodeKeys

password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line is the password; else RLSWARM_PASSWORD, the OS keyring, a prompt.",
)


@click.group(
    cls=LazyGroup,
    lazy={
        "new": ("rlswarm.cli.keys:new", "Make a peer key and an account."),
        "show": ("rlswarm.cli.keys:show", "Print who this node is; never a secret."),
        "bind": ("rlswarm.cli.bindings:bind", "Bind the peer key to an account."),
        "rotate": ("rlswarm.cli.bindings:rotate", "Attest with a fresh key from now on."),
        "revoke": ("rlswarm.cli.bindings:revoke", "Let the peer key go, for ever or for another."),
        "encrypt": ("rlswarm.cli.keys:encrypt", "Put a password on the keys, or another one."),
        "backup": ("rlswarm.cli.keys:backup", "Write all keys into one encrypted file."),
        "restore": ("rlswarm.cli.keys:restore", "Bring the keys of a backup into a home."),
    },
)
def keys() -> None:
    """The node's identity: a peer key, and the account that its work is credited to."""


def folder_of(home: Path | None) -> Path:
    """The home asked for, or the default one."""
    from rlswarm.node.home import default_home

    return home or default_home()


def open_home_keys(home: Path | None, password_file: Path | None) -> NodeKeys:
    """The keys of a home that has some. Raises KeyFileError, PasswordError, BindingError."""
    from rlswarm.errors import KeyFileError
    from rlswarm.identity.node_keys import PEER_KEY, has_keys
    from rlswarm.identity.password import unlock

    folder = folder_of(home)
    if not has_keys(folder):
        raise KeyFileError(
            f"there is no key at {folder / PEER_KEY}; `rlswarm keys new` makes one, and so does "
            "the first `rlswarm node start`"
        )
    return unlock(folder, password_file)


def tell(data: dict[str, Any], as_json: bool) -> None:
    """Print fields as JSON or one a line."""
    if as_json:
        click.echo(json.dumps(data))
        return
    width = max(map(len, data)) + 2
    for key, value in data.items():
        click.echo(f"{key.replace('_', ' '):<{width}}{'-' if value is None else value}")


def _described(keys: NodeKeys) -> dict[str, Any]:
    from rlswarm.identity.account import checksum
    from rlswarm.identity.node_keys import ACCOUNT, PEER_KEY, needs_password
    from rlswarm.names import animal_name

    return {
        "peer_id": keys.identity.peer_id,
        "name": animal_name(keys.identity.peer_id),
        "public_key": keys.identity.public_key.hex(),
        "file": str(keys.folder / PEER_KEY),
        "account": None if keys.account is None else checksum(keys.account.address),
        "account_file": None if keys.account is None else str(keys.folder / ACCOUNT),
        "encrypted": needs_password(keys.folder),
    }


@click.command()
@home_option()
@json_option
def new(home: Path | None, as_json: bool) -> None:
    """Make a peer key (Ed25519) and an account (secp256k1) in a home that has none.

    The files are mode 0600 and plain; `rlswarm keys encrypt` puts a password on them.
    """
    from rlswarm.errors import KeyFileError, StorageError
    from rlswarm.identity.node_keys import PEER_KEY, has_keys, make_keys, open_keys

    folder = folder_of(home)
    if has_keys(folder):
        raise KeyFileError(
            f"there is a key at {folder / PEER_KEY} already, and it stays as it is; another node "
            "needs another --home"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the home {folder} can't be made: {error.strerror}") from None
    make_keys(folder)
    tell(_described(open_keys(folder)), as_json)


@click.command()
@home_option()
@password_option
@json_option
def show(home: Path | None, password_file: Path | None, as_json: bool) -> None:
    """Print the PeerId, the account, the files and every binding; never a secret."""
    from rlswarm.identity.account import checksum

    keys = open_home_keys(home, password_file)
    bindings = []
    for domain in dict.fromkeys(keys.domains()):
        bound = keys.bound(domain)
        assert bound is not None
        bindings.append(
            {
                "chain_id": domain.chain_id,
                "contract": checksum(domain.contract),
                "account": bound.binding and checksum(bound.binding.account),
                "attester": bound.binding and checksum(bound.binding.attester),
                "nonce": bound.nonce,
                "state": "bound" if bound.binding else "revoked" if bound.revoked else "released",
            }
        )
    data = _described(keys)
    if as_json:
        click.echo(json.dumps({**data, "bindings": bindings}))
        return
    tell(data, False)
    for binding in bindings:
        click.echo("")
        tell(binding, False)


@click.command()
@home_option()
@password_option
@click.option(
    "--new-password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line is the new password [default: asked for].",
)
@click.option("--keyring", is_flag=True, help="Keep the new password in the OS keyring.")
def encrypt(
    home: Path | None, password_file: Path | None, new_password_file: Path | None, keyring: bool
) -> None:
    """Put a password on the keys, or change it.

    The peer key becomes encrypted PKCS#8, the account a version 3 keystore. `rlswarm node start`
    then needs the password: from a file, from RLSWARM_PASSWORD, from the OS keyring or typed in.
    """
    from rlswarm.identity.node_keys import encrypt_keys
    from rlswarm.identity.password import keep_in_keyring, new_password

    keys = open_home_keys(home, password_file)
    password = new_password(new_password_file)
    if keyring:
        keep_in_keyring(keys.folder, password)
    encrypt_keys(keys, password)
    click.echo(f"the keys in {keys.folder} are encrypted now", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@home_option()
@password_option
@click.option(
    "--new-password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line is the backup's password [default: asked for].",
)
def backup(
    file: Path, home: Path | None, password_file: Path | None, new_password_file: Path | None
) -> None:
    """Write peer key, account and bindings into FILE, encrypted."""
    from rlswarm.errors import StorageError
    from rlswarm.identity.key_files import write_secret
    from rlswarm.identity.node_keys import backup as backup_text
    from rlswarm.identity.password import new_password

    if file.exists():
        raise StorageError(f"{file} exists; a backup never replaces a file")
    keys = open_home_keys(home, password_file)
    write_secret(file, backup_text(keys, new_password(new_password_file)))
    click.echo(f"the keys of {keys.identity.peer_id} are in {file}", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@home_option()
@password_option
def restore(file: Path, home: Path | None, password_file: Path | None) -> None:
    """Bring the keys of the backup FILE into a home that has none; they stay encrypted."""
    from rlswarm.errors import KeyFileError, PasswordError, StorageError
    from rlswarm.identity.node_keys import restore as restore_text
    from rlswarm.identity.password import find_password

    folder = folder_of(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise KeyFileError(f"{file} is no backup of keys") from None
    except OSError as error:
        raise StorageError(f"{error.filename} can't be used: {error.strerror}") from None
    password = find_password(folder, password_file)
    if password is None:
        raise PasswordError("a backup is encrypted: use --password-file or RLSWARM_PASSWORD")
    keys = restore_text(text, folder, password)
    click.echo(f"{folder} is {keys.identity.peer_id} now", err=True)
