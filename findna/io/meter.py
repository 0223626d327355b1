"""The number of records in inputs, estimated while they are read."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Never, TypeVar

from findna.errors import FindnaError
from findna.io.compressed import STDIN, ByteStream
from findna.phases import Estimate
from findna.record import Record

T = TypeVar("T")

_EVERY = 16
"""Number of records between two updates of the position in a file."""

_SAMPLE = 64, 1 << 18
"""Maximum numbers of records and of bases from which the first estimate is made."""


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
        """Number of records of all inputs: exact when all are read, before that an `Estimate`; None if unknown."""
        if not self._n_left:
            return self._n_records
        n_records, n_bytes = self._seen
        if not self._is_known or not n_bytes:
            return None
        return Estimate(float(f"{n_records * sum(self._sizes.values()) / n_bytes:.3g}"))

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

    def sampled(self, records: Iterator[T]) -> Iterator[T]:
        """The same records; the first ones of files are read now, so there is an estimate before the first result.

        An error of a whole file is raised at its place.

        Args:
            records: Of the inputs; each is counted as it is read.
        """
        first: list[T] = []
        fault, n_bases = None, 0
        try:
            while self._is_known and len(first) < _SAMPLE[0] and n_bases < _SAMPLE[1]:
                first.append(next(records))
                n_bases += len(first[-1].codes) if isinstance(first[-1], Record) else 0
        except StopIteration:
            pass
        except FindnaError as error:
            fault = error
        return itertools.chain(first, records if fault is None else _raising(fault))


def _raising(fault: FindnaError) -> Iterator[Never]:
    raise fault
    yield
