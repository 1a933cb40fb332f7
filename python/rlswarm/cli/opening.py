"""Opening environments for a command as a node would: in a scorer process, under its settings."""

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlswarm.scorer.messages import EnvironmentSpec, Opened


def opened_as_in_a_node(environments: "Sequence[EnvironmentSpec]") -> "Opened":
    """Fingerprints and versions as every node finds them: some tasks depend on Python's hash seed,
    which only a scorer settles. Raises ScorerError, also for an environment that can't be used."""
    from rlswarm.errors import ScorerError
    from rlswarm.node.processes import ScorerProcess
    from rlswarm.scorer.messages import Open

    async def opened() -> "Opened":
        with tempfile.TemporaryDirectory() as folder:
            scorer = ScorerProcess(
                Path(folder) / "scorer.log", lambda said: click.echo(said, err=True)
            )
            try:
                return await scorer.open(Open(tuple(environments)))
            finally:
                await scorer.close(5.0)

    found = asyncio.run(opened())
    if found.mismatches:
        raise ScorerError(found.mismatches[0][1])
    return found
