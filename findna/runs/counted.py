"""Counts the records of a run while it reads them."""

from collections.abc import Iterable, Iterator
from typing import Any

from findna.cells import Item
from findna.errors import InputError
from findna.record import Record
from findna.sequence import N, is_mostly_n


class ShortRegions:
    """The number of short regions, and the id of the first one."""

    def __init__(self) -> None:
        self._n, self._first = 0, ""

    def add(self, record: Record) -> None:
        """Count a record if it is a short region."""
        if record.is_short_region:
            self._n += 1
            self._first = self._first or record.id

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"n_short": self._n, "first_short": self._first}


class Counted:
    """Counts records, those that are mostly or entirely N, have IUPAC codes or are short regions, and bases to embed.

    Args:
        items: The records, which it yields.
        n_resumed: Records of earlier runs.
    """

    def __init__(self, items: Iterable[Item], *, n_resumed: int) -> None:
        self._items, self._n_resumed, self.n, self.n_bases = items, n_resumed, 0, 0
        self.n_mostly_n = self.n_only_n = self.n_with_iupac = 0
        self.first_mostly_n = ""
        self.short = ShortRegions()
        self.first_fault: InputError | None = None

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            self.n += 1
            if isinstance(item, Record):
                if is_mostly_n(item.codes):
                    self.n_mostly_n += 1
                    self.n_only_n += bool((item.codes == N).all())
                    self.first_mostly_n = self.first_mostly_n or item.id
                self.short.add(item)
                self.n_with_iupac += item.n_iupac > 0
                self.n_bases += len(item.codes) * (self.n > self._n_resumed)
            else:
                self.first_fault = self.first_fault or item
            yield item
