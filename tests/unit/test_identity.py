"""Peer key and account: who can bind what, and what undoes it."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account as Wallet
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from rlswarm.identity.account import (
    ORDER,
    Account,
    attester,
    checksum,
    parse_address,
    recover,
)
from rlswarm.identity.binding import LAST_NONCE, Binding, Bound, Release, follow, refusal
from rlswarm.identity.typed_data import Domain

DOMAIN = Domain(0, bytes(range(20)))
OWNER, OTHER, THIEF = (Account(bytes([n]) * 32) for n in (1, 2, 3))
PEER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)

secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))


def bind(
    account: Account = OWNER,
    nonce: int = 0,
    *,
    peer: Ed25519PrivateKey = PEER,
    domain: Domain = DOMAIN,
) -> Binding:
    draft = Binding(
        chain_id=domain.chain_id,
        contract=domain.contract,
        peer=peer.public_key().public_bytes_raw(),
        account=account.address,
        attester=attester(peer.private_bytes_raw(), nonce).address,
        nonce=nonce,
    ).signed_by_peer(peer)
    return draft.signed_by_account(account.sign(draft.digest))


def let_go(binding: Binding, nonce: int, account: Account = OWNER) -> Release:
    draft = Release(binding, nonce)
    return msgspec.structs.replace(draft, account_signature=account.sign(draft.digest))


@given(secret=secrets, digest=st.binary(min_size=32, max_size=32))
def test_accounts_agree_with_eth_account(secret: bytes, digest: bytes) -> None:
    account, wallet = Account(secret), Wallet.from_key(secret)
    assert checksum(account.address) == wallet.address
    assert account.sign(digest) == wallet.unsafe_sign_hash(digest).signature
    assert recover(digest, account.sign(digest)) == account.address


@given(secret=secrets, nonce=st.integers(0, LAST_NONCE - 1), chain=st.integers(0, 2**64))
def test_a_wallet_signs_the_printed_data_and_gets_the_same_digest(
    secret: bytes, nonce: int, chain: int
) -> None:
    binding = msgspec.structs.replace(
        bind(Account(secret), domain=Domain(chain, b"c" * 20)), nonce=nonce
    )
    for statement in (binding, Release(binding, LAST_NONCE)):
        shown = encode_typed_data(full_message=statement.typed_data())
        signature = Wallet.sign_message(shown, secret).signature
        assert recover(statement.digest, signature) == Account(secret).address


def test_a_high_s_is_no_signature() -> None:
    signature = OWNER.sign(b"\1" * 32)
    high = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    flipped = signature[:32] + high + bytes([55 - signature[64]])
    assert recover(b"\1" * 32, flipped) is None


@given(st.binary(max_size=70), st.binary(min_size=32, max_size=32))
def test_rubbish_is_no_signature_and_raises_nothing(signature: bytes, digest: bytes) -> None:
    address = recover(digest, signature)
    assert address is None or len(address) == 20


@pytest.mark.parametrize("secret", [b"", b"\0" * 32, ORDER.to_bytes(32, "big"), b"\1" * 31])
def test_bytes_that_are_no_key(secret: bytes) -> None:
    with pytest.raises(ValueError, match="not a secp256k1"):
        Account(secret)


def test_a_secret_is_never_shown() -> None:
    assert OWNER.secret.hex() not in repr(OWNER)


def test_addresses_with_a_mistyped_digit_are_refused() -> None:
    text = checksum(OWNER.address)
    assert parse_address(text) == parse_address(text.lower()) == OWNER.address
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    with pytest.raises(ValueError, match="checksum"):
        parse_address(wrong)
    for rubbish in ("", "0x", "hello", text[:-2]):
        with pytest.raises(ValueError, match="not an address"):
            parse_address(rubbish)


def test_a_complete_binding_holds() -> None:
    assert refusal(bind(), DOMAIN) == ""
    assert refusal(let_go(bind(), 1), DOMAIN) == ""


@pytest.mark.parametrize(
    "field", ["peer", "account", "attester", "nonce", "account_signature", "peer_signature"]
)
def test_no_field_can_be_changed(field: str) -> None:
    binding = bind()
    value = getattr(binding, field)
    changed = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    assert refusal(msgspec.structs.replace(binding, **{field: changed}), DOMAIN)


@given(
    chain=st.integers(0, 5),
    contract=st.binary(min_size=20, max_size=20),
)
def test_a_binding_counts_nowhere_else(chain: int, contract: bytes) -> None:
    elsewhere = Domain(chain, contract)
    assert (refusal(bind(), elsewhere) == "") == (elsewhere == DOMAIN)
    moved = msgspec.structs.replace(bind(), chain_id=chain, contract=contract)
    assert (refusal(moved, elsewhere) == "") == (elsewhere == DOMAIN)


def test_nobody_binds_a_peer_that_is_not_theirs() -> None:
    """Squatting another's peer id is inert: the peer's own signature is missing."""
    thief = Ed25519PrivateKey.from_private_bytes(b"\x66" * 32)
    draft = msgspec.structs.replace(bind(THIEF, peer=thief), peer=bind().peer)
    forged = draft.signed_by_peer(thief).signed_by_account(THIEF.sign(draft.digest))
    assert refusal(forged, DOMAIN) == "the peer did not sign it"


def test_nobody_binds_an_account_that_is_not_theirs() -> None:
    draft = bind(THIEF)
    draft = msgspec.structs.replace(draft, account=OWNER.address).signed_by_peer(PEER)
    with pytest.raises(ValueError, match="is by 0x"):
        draft.signed_by_account(THIEF.sign(draft.digest))
    forged = msgspec.structs.replace(draft, account_signature=THIEF.sign(draft.digest))
    assert refusal(forged, DOMAIN) == "the account did not sign it"


def test_only_the_bound_account_lets_go() -> None:
    assert refusal(let_go(bind(), 1, THIEF), DOMAIN) == "the account did not sign it"
    assert "not higher" in refusal(let_go(bind(nonce=3), 3), DOMAIN)
    forged = msgspec.structs.replace(bind(), attester=bytes(20))
    assert "the binding it releases" in refusal(let_go(forged, 1), DOMAIN)


def test_a_rotation_replaces_and_a_replay_does_not_bring_back() -> None:
    first, second = bind(nonce=0), bind(nonce=1)
    assert first.attester != second.attester
    held = follow(follow(None, first), second)
    assert held == Bound(second, 1)
    assert follow(held, first) == held


def test_a_thief_of_the_peer_key_takes_it_to_no_other_account() -> None:
    held = follow(None, bind(OWNER, 0))
    assert follow(held, bind(THIEF, 9)) == held
    assert follow(held, let_go(bind(THIEF, 8), 9, THIEF)) == held


def test_the_account_lets_go_and_another_takes_over() -> None:
    held = follow(None, bind(OWNER, 0))
    held = follow(held, let_go(bind(OWNER, 0), 1))
    assert held == Bound(None, 1)
    assert follow(held, bind(OTHER, 1)) == held
    assert follow(held, bind(OTHER, 2)).binding == bind(OTHER, 2)


@given(st.permutations([bind(OWNER, 0), bind(OWNER, 1), let_go(bind(OWNER, 1), LAST_NONCE)]))
def test_a_revocation_is_for_ever_whenever_it_comes(order: list[Binding | Release]) -> None:
    held = None
    for statement in order:
        held = follow(held, statement)
    assert held is not None
    assert held.revoked
    assert held.binding is None
    assert follow(held, bind(OWNER, 5)) == held
