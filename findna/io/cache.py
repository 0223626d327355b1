"""The cache directory, for files that findna can make again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The cache directory: $FINDNA_CACHE, else $XDG_CACHE_HOME/findna, else ~/.cache/findna. Not created."""
    if own := os.environ.get("FINDNA_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "findna"
