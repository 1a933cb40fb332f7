"""Where a password comes from: a file, the environment, the OS keyring or the terminal.

Never the command line, which every user of a machine can read.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rlswarm.errors import PasswordError
from rlswarm.identity.node_keys import NodeKeys, needs_password, open_keys

VARIABLE = "RLSWARM_PASSWORD"
"""Environment variable that may hold the password."""

KEYRING_SERVICE = "rlswarm"


def find_password(
    home: Path, file: Path | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The password of a home's keys, asked for where it can be; None if there is none to be had.

    In this order: the first line of `file`, the environment, the OS keyring (entry ``rlswarm``,
    user = the home's path), the terminal. Raises PasswordError if `file` can't be read.
    """
    if file is not None:
        return _first_line(file)
    if VARIABLE in environment:
        return environment[VARIABLE]
    if (kept := _from_keyring(home)) is not None:
        return kept
    return ask(f"Password of {home}") if sys.stdin.isatty() else None


def unlock(folder: Path, file: Path | None) -> NodeKeys:
    """Open the keys of a home, with a password if they need one.

    Raises KeyFileError, PasswordError, BindingError.
    """
    password = None
    if needs_password(folder):
        password = find_password(folder, file)
        if password is None:
            raise PasswordError(
                f"the keys in {folder} are encrypted: use --password-file or {VARIABLE}, or run "
                "this in a terminal"
            )
    return open_keys(folder, password)


def new_password(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """A password to encrypt with. Raises PasswordError if there is none or it is empty."""
    if file is not None:
        password = _first_line(file)
    elif VARIABLE in environment:
        password = environment[VARIABLE]
    elif sys.stdin.isatty():
        password = ask("New password", confirm=True)
    else:
        raise PasswordError(
            f"no password: use --password-file or {VARIABLE}, or run this in a terminal"
        )
    if not password:
        raise PasswordError("an empty password protects nothing; choose another")
    return password


def keep_in_keyring(home: Path, password: str) -> None:
    """Store a home's password in the OS keyring. Raises PasswordError if there is none."""
    import keyring
    from keyring.errors import KeyringError

    try:
        keyring.set_password(KEYRING_SERVICE, str(home), password)
    except KeyringError as error:
        raise PasswordError(
            f"the OS keyring can't be used ({error}); use --password-file instead"
        ) from None


def ask(prompt: str, *, confirm: bool = False) -> str:
    """Ask at the terminal, without showing what is typed."""
    import click

    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").split("\n", 1)[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordError(f"the password file {file} can't be read: {error}") from None


def _from_keyring(home: Path) -> str | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(KEYRING_SERVICE, str(home))
    except (KeyringError, RuntimeError):  # a keyring without a session to unlock it
        return None
