"""What must happen once, by a person's command, before an environment can be played here.

The scorer may neither write nor reach the network, so what is compiled or downloaded is made
beforehand, and only read there.
"""

from pathlib import Path

from rlswarm.environments.sandbox_module import (
    compile_module,
    compiled_path,
    installed_artifacts,
)


def prepare_sandbox() -> tuple[Path, bool]:
    """The compiled interpreter of the sandbox, and whether it had to be made: minutes, and 3 GB of
    memory. Raises UnusableEnvironmentError where the packages are missing, and StorageError."""
    artifacts = installed_artifacts()
    path = compiled_path(artifacts)
    if path.exists():
        return path, False
    return compile_module(artifacts), True
