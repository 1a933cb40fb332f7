"""The front door: ``rlswarm``. Commands are imported when they are called."""

import importlib
import sys
from typing import Any

import click

from rlswarm import __version__
from rlswarm.errors import RlswarmError

INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        """`lazy`: command name → (``module:attribute``, one line of help)."""
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._lazy:
            return None
        module, attribute = self._lazy[name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self._lazy.items()])


@click.group(
    cls=LazyGroup,
    lazy={
        "node": ("rlswarm.cli.node:node", "Start a node of a swarm."),
        "swarm": ("rlswarm.cli.swarm:swarm", "Make, inspect or run a whole swarm."),
        "rounds": ("rlswarm.cli.rounds:rounds", "What happened in each round, and why."),
        "replay": ("rlswarm.cli.replay:replay", "Compute a journal's rounds again."),
        "receipt": ("rlswarm.cli.receipt:receipt", "Prove what a round counted of a peer."),
        "keys": ("rlswarm.cli.keys:keys", "The node's identity."),
        "model": ("rlswarm.cli.model:model", "The models here, and what training made of them."),
        "doctor": ("rlswarm.cli.doctor:doctor", "Whether a node would do well here, and why not."),
        "env": ("rlswarm.cli.env:env", "The environments that tasks come from."),
        "bench": ("rlswarm.cli.bench:bench", "Measurements beside the nearest peers."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="rlswarm")
def cli() -> None:
    """Language models that teach each other by reinforcement learning, peer to peer."""


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong usage, 130 interrupted, else see errors."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except RlswarmError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code or 0)
