"""``rlswarm keys``: private files, formats that others read, errors that say what to do."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from eth_account import Account as Wallet
from eth_account.messages import encode_typed_data

from rlswarm.cli.main import cli
from rlswarm.errors import BindingError, KeyFileError, PasswordError, RlswarmError, StorageError
from rlswarm.identity.binding import LAST_NONCE, refusal
from rlswarm.identity.node_keys import open_keys
from rlswarm.identity.typed_data import Domain

CONTRACT = "0x" + "11" * 20
PLACE = ("--chain-id", "685685", "--contract", CONTRACT)
DOMAIN = Domain(685685, bytes.fromhex("11" * 20))
COLD = Wallet.from_key(b"\x42" * 32)


def run(*arguments: object, environment: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(
        cli, ["keys", *map(str, arguments)], env=environment, catch_exceptions=True
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def show(home: Path, **environment: str) -> dict[str, object]:
    shown: dict[str, object] = json.loads(
        run("show", "--json", "--home", home, environment=environment).stdout
    )
    return shown


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    run("new", "--home", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    return file


def test_new_keys_are_private_and_shown_without_secrets(home: Path) -> None:
    for name in ("identity.pem", "account.key"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    shown = show(home)
    assert str(shown["peer_id"]).startswith("12D3KooW")
    secret = (home / "account.key").read_text().strip()
    assert shown["account"] == Wallet.from_key(secret).address
    assert secret not in json.dumps(shown)
    assert shown["encrypted"] is False
    assert not list(home.glob("*.part"))


def test_new_never_replaces_a_key(home: Path) -> None:
    before = (home / "identity.pem").read_text()
    with pytest.raises(KeyFileError, match="stays as it is"):
        run("new", "--home", home)
    assert (home / "identity.pem").read_text() == before


def test_encrypted_keys_are_standard_files_and_open_with_the_password(
    home: Path, password: Path
) -> None:
    before = show(home)
    secret = (home / "account.key").read_text().strip()
    run("encrypt", "--home", home, "--new-password-file", password)
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (home / "identity.pem").read_text()
    keystore = (home / "account.key").read_text()
    assert json.loads(keystore)["version"] == 3
    assert Wallet.decrypt(keystore, "correct horse").hex() == secret
    assert secret not in keystore
    after = show(home, RLSWARM_PASSWORD="correct horse")
    assert after == {**before, "encrypted": True}
    assert stat.S_IMODE((home / "account.key").stat().st_mode) == 0o600


def test_a_wrong_or_missing_password_says_so_and_changes_nothing(
    home: Path, password: Path, tmp_path: Path
) -> None:
    run("encrypt", "--home", home, "--new-password-file", password)
    files = {path: path.read_bytes() for path in home.iterdir()}
    with pytest.raises(PasswordError, match="--password-file"):
        show(home)
    with pytest.raises(PasswordError, match=r"does not open .*identity\.pem"):
        show(home, RLSWARM_PASSWORD="wrong")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(PasswordError, match="empty password"):
        run(
            *("encrypt", "--home", home, "--password-file", password),
            *("--new-password-file", tmp_path / "empty"),
        )
    with pytest.raises(PasswordError, match="can't be read"):
        run("encrypt", "--home", home, "--password-file", tmp_path / "nowhere")
    assert {path: path.read_bytes() for path in home.iterdir()} == files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("identity.pem", "rubbish"),
        ("identity.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("identity.pem", "\xff\xfe"),
        ("account.key", "12345"),
        ("account.key", "00" * 32),
    ],
)
def test_a_damaged_key_file(home: Path, name: str, content: str) -> None:
    (home / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(KeyFileError, match=r"restore it from a backup"):
        show(home)


@pytest.mark.parametrize("content", ["{", "{}", '{"version": 3, "crypto": {}}'])
def test_a_damaged_keystore(home: Path, content: str) -> None:
    (home / "account.key").write_text(content)
    with pytest.raises(KeyFileError, match=r"account\.key"):
        show(home, RLSWARM_PASSWORD="any")


def test_a_damaged_list_of_bindings(home: Path) -> None:
    (home / "bindings.json").write_text("[1,")
    with pytest.raises(BindingError, match="move the file away"):
        show(home)


def test_binding_to_the_account_made_here(home: Path) -> None:
    run("bind", "--home", home, *PLACE)
    keys = open_keys(home)
    bound = keys.bound(DOMAIN)
    assert bound is not None
    assert bound.binding is not None
    assert refusal(bound.binding, DOMAIN) == ""
    assert keys.attester(bound.binding).address == bound.binding.attester
    assert "already" in run("bind", "--home", home, *PLACE).stderr
    run("rotate", "--home", home, *PLACE)
    rotated = open_keys(home).bound(DOMAIN)
    assert rotated is not None
    assert rotated.binding is not None
    assert rotated.nonce == 1
    assert rotated.binding.attester != bound.binding.attester


def test_binding_to_a_cold_wallet(home: Path) -> None:
    cold = ("--account", COLD.address, *PLACE)
    with pytest.raises(BindingError, match="--print-typed-data"):
        run("bind", "--home", home, *cold)
    printed = run("bind", "--home", home, *cold, "--print-typed-data").stdout
    assert not (home / "bindings.json").exists()
    signed = COLD.sign_message(encode_typed_data(full_message=json.loads(printed)))
    run("bind", "--home", home, *cold, "--signature", signed.signature.hex())
    bound = open_keys(home).bound(DOMAIN)
    assert bound is not None
    assert bound.binding is not None
    assert bound.binding.account == bytes.fromhex(COLD.address[2:])
    with pytest.raises(BindingError, match="release it first"):
        run("bind", "--home", home, *PLACE)


def test_a_signature_by_another_wallet_is_refused(home: Path) -> None:
    cold = ("--account", COLD.address, *PLACE)
    printed = run("bind", "--home", home, *cold, "--print-typed-data").stdout
    other = Wallet.from_key(b"\x43" * 32)
    signed = other.sign_message(encode_typed_data(full_message=json.loads(printed)))
    for signature in (signed.signature.hex(), "0x1234", "no hex"):
        with pytest.raises(BindingError):
            run("bind", "--home", home, *cold, "--signature", signature)
    assert not (home / "bindings.json").exists()


def test_letting_go_and_revoking(home: Path) -> None:
    run("bind", "--home", home, *PLACE)
    run("revoke", "--release", "--home", home, *PLACE)
    run("bind", "--home", home, *PLACE)
    assert run("revoke", "--home", home, *PLACE, "--yes").exit_code == 0
    bound = open_keys(home).bound(DOMAIN)
    assert bound is not None
    assert bound.nonce == LAST_NONCE
    with pytest.raises(BindingError, match="revoked for ever"):
        run("bind", "--home", home, *PLACE)
    assert show(home)["bindings"] == [
        {
            "chain_id": 685685,
            "contract": CONTRACT,
            "account": None,
            "attester": None,
            "nonce": LAST_NONCE,
            "state": "revoked",
        }
    ]


def test_a_backup_brings_back_the_same_node(home: Path, password: Path, tmp_path: Path) -> None:
    run("bind", "--home", home, *PLACE)
    file = tmp_path / "backup.json"
    run("backup", file, "--home", home, "--new-password-file", password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (home / "account.key").read_text().strip() not in file.read_text()
    copy = tmp_path / "copy"
    with pytest.raises(PasswordError):
        run("restore", file, "--home", copy, environment={"RLSWARM_PASSWORD": "wrong"})
    assert not list(copy.iterdir())
    run("restore", file, "--home", copy, "--password-file", password)
    there = show(copy, RLSWARM_PASSWORD="correct horse")
    here = show(home)
    assert {k: v for k, v in there.items() if "file" not in k and k != "encrypted"} == {
        k: v for k, v in here.items() if "file" not in k and k != "encrypted"
    }
    with pytest.raises(KeyFileError, match="would be lost"):
        run("restore", file, "--home", home, "--password-file", password)
    with pytest.raises(StorageError, match="never replaces"):
        run("backup", file, "--home", home, "--new-password-file", password)


@pytest.mark.parametrize("content", ["", "{}", "rubbish", '{"format": 1}'])
def test_a_file_that_is_no_backup(tmp_path: Path, password: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(KeyFileError, match="no backup"):
        run("restore", tmp_path / "file", "--home", tmp_path / "x", "--password-file", password)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--chain-id", "1"),
        ("--contract", CONTRACT),
        ("--chain-id", "1", "--contract", "0x12"),
        (),
        ("--account", "0x12", *PLACE),
    ],
)
def test_a_place_or_account_that_is_none(home: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(RlswarmError):
        run("bind", "--home", home, *arguments)


def test_no_keys_yet(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="keys new"):
        show(tmp_path)
