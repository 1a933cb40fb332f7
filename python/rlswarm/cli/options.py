"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def home_option(help: str = "Folder of the node.") -> Callable[[Any], Any]:
    """``--home``, or RLSWARM_HOME: a node's folder."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RLSWARM_HOME",
        help=help,
    )


json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
"""``--json``, where a command prints one document."""
