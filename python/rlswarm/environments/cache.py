"""Where what environments need is kept: compiled by, or downloaded by, a person's command."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """``RLSWARM_CACHE``, or the user's cache folder for rlswarm."""
    override = os.environ.get("RLSWARM_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("rlswarm"))
