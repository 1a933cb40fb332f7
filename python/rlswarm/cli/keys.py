"""``rlswarm keys``: the node's identity."""

import json
from pathlib import Path

import click


@click.group()
def keys() -> None:
    """The node's identity."""


@keys.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="RLSWARM_HOME",
    help="Folder of the node.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(home: Path | None, as_json: bool) -> None:
    """Print the PeerId, the name and the key file; never the secret."""
    from rlswarm.errors import KeyFileError
    from rlswarm.names import animal_name
    from rlswarm.node.home import default_home, read_identity

    path = (home or default_home()) / "identity.pem"
    if not path.exists():
        raise KeyFileError(f"there is no key at {path}; `rlswarm node start` makes one")
    identity = read_identity(path)
    data = {
        "peer_id": identity.peer_id,
        "name": animal_name(identity.peer_id),
        "public_key": identity.public_key.hex(),
        "file": str(path),
    }
    if as_json:
        click.echo(json.dumps(data))
    else:
        for key, value in data.items():
            click.echo(f"{key.replace('_', ' '):<11}{value}")
