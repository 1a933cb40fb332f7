"""``rlswarm keys bind``, ``rotate``, ``revoke``: the account that a node's work is credited to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlswarm.cli.keys import open_home_keys, password_option
from rlswarm.cli.options import home_option

if TYPE_CHECKING:
    from rlswarm.identity.binding import Binding, Release
    from rlswarm.identity.node_keys import NodeKeys
    from rlswarm.identity.typed_data import Domain


def _place_options(command: Any) -> Any:
    """Where a binding counts, and how a wallet elsewhere signs it."""
    for option in reversed(
        (
            click.option(
                "--swarm",
                "manifest",
                type=click.Path(path_type=Path, dir_okay=False),
                envvar="RLSWARM_SWARM",
                help="Manifest of the swarm [default: swarm.toml here or in the home].",
            ),
            click.option("--chain-id", type=click.IntRange(1), help="Of a contract on a chain."),
            click.option("--contract", metavar="ADDRESS", help="The swarm contract on that chain."),
            click.option(
                "--print-typed-data",
                is_flag=True,
                help="Print what a wallet must sign (EIP-712 JSON), and change nothing.",
            ),
            click.option("--signature", metavar="HEX", help="What the wallet made of it."),
        )
    ):
        command = option(command)
    return command


@click.command()
@home_option()
@password_option
@click.option("--account", metavar="ADDRESS", help="An account whose key is in another wallet.")
@_place_options
def bind(
    home: Path | None,
    password_file: Path | None,
    account: str | None,
    manifest: Path | None,
    chain_id: int | None,
    contract: str | None,
    print_typed_data: bool,
    signature: str | None,
) -> None:
    """Bind the peer key to an account; `node start` does it alone with the account made here.

    With the account in another wallet: once with --account and --print-typed-data, sign what is
    printed there, then again with --account and --signature.
    """
    from rlswarm.errors import BindingError
    from rlswarm.identity.account import checksum, parse_address

    keys = open_home_keys(home, password_file)
    domain = _domain(keys, manifest, chain_id, contract)
    if account is not None:
        try:
            address = parse_address(account)
        except ValueError as error:
            raise BindingError(str(error)) from None
    elif keys.account is not None:
        address = keys.account.address
    else:
        raise BindingError("this home holds no account; name one with --account")
    bound = keys.bound(domain)
    if bound is not None and bound.binding is not None and bound.binding.account == address:
        click.echo(f"bound to {checksum(address)} already", err=True)
        return
    _complete(keys, keys.draft(domain, address), print_typed_data, signature)


@click.command()
@home_option()
@password_option
@_place_options
def rotate(
    home: Path | None,
    password_file: Path | None,
    manifest: Path | None,
    chain_id: int | None,
    contract: str | None,
    print_typed_data: bool,
    signature: str | None,
) -> None:
    """Attest with a fresh key from now on; peer key and account stay."""
    from rlswarm.errors import BindingError

    keys = open_home_keys(home, password_file)
    domain = _domain(keys, manifest, chain_id, contract)
    bound = keys.bound(domain)
    if bound is None or bound.binding is None:
        raise BindingError("this peer is bound to no account yet; `rlswarm keys bind` comes first")
    _complete(keys, keys.draft(domain, bound.binding.account), print_typed_data, signature)


@click.command()
@home_option()
@password_option
@click.option("--release", is_flag=True, help="Only let go, so that another account can be bound.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@_place_options
def revoke(
    home: Path | None,
    password_file: Path | None,
    release: bool,
    yes: bool,
    manifest: Path | None,
    chain_id: int | None,
    contract: str | None,
    print_typed_data: bool,
    signature: str | None,
) -> None:
    """Undo the binding: the peer key earns nothing any more, for ever unless --release is given.

    Peers learn of it at the next `rlswarm node start` of this home.
    """
    keys = open_home_keys(home, password_file)
    domain = _domain(keys, manifest, chain_id, contract)
    statement = keys.draft_release(domain, for_ever=not release)
    if not (release or yes or print_typed_data):
        click.confirm(f"Revoke {keys.identity.peer_id} for ever?", abort=True, err=True)
    _complete(keys, statement, print_typed_data, signature)


def _domain(
    keys: NodeKeys, manifest: Path | None, chain_id: int | None, contract: str | None
) -> Domain:
    """The contract named, or else the swarm's own place. Raises BindingError, ManifestError."""
    from rlswarm.config.manifest import load_manifest
    from rlswarm.errors import BindingError
    from rlswarm.identity.account import parse_address
    from rlswarm.identity.typed_data import Domain

    if (chain_id is None) != (contract is None):
        raise BindingError("--chain-id and --contract belong together")
    if chain_id is not None and contract is not None:
        try:
            return Domain(chain_id, parse_address(contract))
        except ValueError as error:
            raise BindingError(str(error)) from None
    for place in (manifest, Path("swarm.toml"), keys.folder / "swarm.toml"):
        if place is not None and (place == manifest or place.is_file()):
            return Domain.of_swarm(load_manifest(place).swarm_id)
    raise BindingError("name the swarm with --swarm, or a contract with --chain-id and --contract")


def _complete(
    keys: NodeKeys, statement: Binding | Release, print_typed_data: bool, signature: str | None
) -> None:
    """Sign with the account here, or with what a wallet gave, and keep the statement."""
    from rlswarm.errors import BindingError
    from rlswarm.identity.account import checksum
    from rlswarm.identity.binding import Release

    if print_typed_data:
        click.echo(json.dumps(statement.typed_data()))
        return
    owner = statement.binding.account if isinstance(statement, Release) else statement.account
    try:
        if signature is not None:
            complete = statement.signed_by_account(bytes.fromhex(signature.removeprefix("0x")))
        elif keys.account is not None and keys.account.address == owner:
            complete = statement.signed_by_account(keys.account.sign(statement.digest))
        else:
            raise BindingError(
                f"the key of {checksum(owner)} is not here: run this with --print-typed-data, sign "
                "what it prints in your wallet, and run it again with --signature"
            )
    except ValueError as error:
        raise BindingError(str(error)) from None
    keys.add(complete)
    done = "let go by" if isinstance(complete, Release) else "bound to"
    click.echo(f"{keys.identity.peer_id} is {done} {checksum(owner)} now", err=True)
