"""The cache directory, for files that findna can make again."""

import os
from pathlib import Path

from findna.errors import ConfigError


def cache_dir() -> Path:
    """The cache directory: $FINDNA_CACHE, else $XDG_CACHE_HOME/findna, else ~/.cache/findna. Not created.

    Raises:
        ConfigError: None of them is set, and the user has no home directory, as in some containers.
    """
    if own := os.environ.get("FINDNA_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "findna"
    except RuntimeError as error:
        raise ConfigError("the user has no home directory: set FINDNA_CACHE to a folder for the cache") from error
