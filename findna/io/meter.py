"""The number of records in inputs, estimated while they are read."""

from collections.abc import Sequence
from pathlib import Path

from findna.io.compressed import STDIN, ByteStream

_EVERY = 16
"""Number of records between two updates of the position in a file."""


class Meter:
    """Estimates the number of records in inputs from the part that was read.

    Args:
        inputs: Paths, region strings, or "-" for stdin.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        paths = {text: Path(text) for text in inputs if text != STDIN and Path(text).exists()}
        self._is_known = STDIN not in inputs and all(path.is_file() for path in paths.values())
        self._sizes = {text: path.stat().st_size for text, path in paths.items() if path.is_file()}
        self._n_left, self._n_records, self._n_before = len(inputs), 0, 0
        self._seen = 0, 0.0  # records, and the bytes that they took

    @property
    def n_records(self) -> int | None:
        """Number of records of all inputs: exact when all are read, before that an estimate; None if unknown."""
        if not self._n_left:
            return self._n_records
        n_records, n_bytes = self._seen
        if not self._is_known or not n_bytes:
            return None
        return int(float(f"{n_records * sum(self._sizes.values()) / n_bytes:.3g}"))

    def count(self, stream: ByteStream | None) -> None:
        """Count a record of an input."""
        self._n_records += 1
        is_due = self._n_records < _EVERY or self._n_records % _EVERY == 0
        if is_due and stream is not None and self._is_known:
            self._seen = self._n_records, self._n_before + stream.fraction * self._sizes[stream.source]

    def finish(self, text: str) -> None:
        """Mark an input as finished."""
        self._n_before += self._sizes.get(text, 0)
        self._n_left -= 1
