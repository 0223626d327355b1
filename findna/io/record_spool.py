"""The spool of an unfinished run over records: the results of each, in order."""

import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from findna.io.spool import Spool
from findna.record import Record

Arrays = Sequence[NDArray[np.float32]]
"""The results for one record."""

_EVERY = 1.0
"""Seconds between two commits."""


class RecordSpool:
    """A spool with `n_done` committed records; a context manager.

    After an error without a commit, the folder is deleted.

    Args:
        folder: The spool's folder.
        names: Its files.
        fingerprint: What must be the same for a resume; JSON values.
        resume: Continue an existing run.
        force: Delete an existing run.

    Attributes:
        n_done: Number of records that the resumed run has computed.

    Raises:
        OutputError: As for `findna.io.spool.Spool`.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], fingerprint: Mapping[str, Any], *, resume: bool, force: bool
    ) -> None:
        self._spool = Spool(folder, names, fingerprint, resume=resume, discard=force and not resume)
        self._counts: dict[str, int] = {"records": 0} | self._spool.state
        self.n_done = self._counts["records"]
        self._committed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._spool.leave(is_failed=kind is not None)

    def temp(self, path: Path) -> Path:
        """Path of an output until it is complete."""
        return self._spool.path(f"{path.name}.new")

    @property
    def is_resumed(self) -> bool:
        """Whether an existing run is resumed."""
        return self._spool.is_resumed

    def remove(self) -> None:
        """Delete the spool."""
        self._spool.remove()

    def _count(self, n_records: int) -> None:
        """Count added records, and commit them unless the last commit was very recent."""
        self._counts["records"] += n_records
        if time.monotonic() - self._committed_at >= _EVERY:
            self._commit()

    def _commit(self) -> None:
        self._spool.commit(self._counts)
        self._committed_at = time.monotonic()


class ArraySpool(RecordSpool):
    """Arrays of records; see `RecordSpool`."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any], *, resume: bool, force: bool) -> None:
        super().__init__(folder, ["arrays"], fingerprint, resume=resume, force=force)

    def through(
        self, records: Iterable[Record], make: Callable[[Sequence[Record]], Sequence[Arrays]], *, n_bases: int = 0
    ) -> Iterator[tuple[Record, Arrays]]:
        """Yield each record with its arrays; those in the spool are not computed again.

        Args:
            records: The records, from the first one on.
            make: Computes the arrays of a group of records; the same number for each record.
            n_bases: Number of bases per group. A resumed run has the same groups and the same bits.
        """
        waiting = iter(records)
        with self._spool.path("arrays").open("rb") as file:
            for record in itertools.islice(waiting, self.n_done):
                yield record, [np.load(file, allow_pickle=False) for _ in range(self._counts["arrays"])]
        while group := list(_group(waiting, n_bases)):
            made = make(group)
            content = io.BytesIO()
            for array in itertools.chain.from_iterable(made):
                np.save(content, array)
            self._spool.append("arrays", content.getvalue())
            self._counts["arrays"] = len(made[0])
            self._count(len(group))
            yield from zip(group, made, strict=True)


def _group(records: Iterator[Record], n_bases: int) -> Iterator[Record]:
    for record in records:
        yield record
        n_bases -= len(record.codes)
        if n_bases <= 0:
            return
