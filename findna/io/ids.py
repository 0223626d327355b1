"""Sets of ids, with 8 to 13 bytes per id in memory, or 8 in a temporary file."""

import re
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Self

import numpy as np

from findna.io.files import writing

_N_TABLES = 64
_SMALLEST = 64
_GROWTH = 1.3
_MAX_LOAD = 0.85
_SPARE = 32
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_NUMBERED = re.compile(r"(.+)_\d+")
_EDGES = np.array([(part << 56) - (1 << 63) for part in range(1, 256)], np.int64)


class IdSet:
    """A set of ids, stored as 64-bit hashes: ten million take about 100 MB.

    In one of 400,000 runs with ten million ids, two different ids share a hash, and the second counts as a
    duplicate. The set has many small tables that grow one at a time, so growing never copies everything.

    Args:
        ids: The first ids.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._tables = [_HashTable() for _ in range(_N_TABLES)]
        for id in ids:
            self.add(id)

    def add(self, id: str) -> bool:
        """Add an id; False if it is a duplicate."""
        key = hash(id) & _MASK or 1
        table = self._tables[key % _N_TABLES]
        slots, slot = table.slots, (key // _N_TABLES) % table.n_slots
        while (found := slots[slot]) and found != key:
            slot += 1
        if found:
            return False
        slots[slot] = key
        table.n_keys += 1
        if table.n_keys > table.most_keys or slot + 2 > len(slots):
            table.grow()
        return True

    def __contains__(self, id: str) -> bool:
        key = hash(id) & _MASK or 1
        table = self._tables[key % _N_TABLES]
        slot = (key // _N_TABLES) % table.n_slots
        while (found := table.slots[slot]) and found != key:
            slot += 1
        return bool(found)

    def unique(self, id: str) -> str:
        """Add an id, if necessary with the first free suffix `_2`, `_3`, ...; returns the unique id.

        >>> ids = IdSet()
        >>> [ids.unique(id) for id in ("a", "a", "b", "a")]
        ['a', 'a_2', 'b', 'a_3']
        """
        if self.add(id):
            return id
        # The suffixes in use are 2, 3, ... without a gap: double, then bisect.
        taken, free = 1, 2
        while f"{id}_{free}" in self:
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            taken, free = (middle, free) if f"{id}_{middle}" in self else (taken, middle)
        self.add(f"{id}_{free}")
        return f"{id}_{free}"


class IdFile(IdSet):
    """The hashes of ids in a temporary file, in sorted runs: tells at the end which repeat. Memory holds only these.

    A context manager; the file is deleted at its end.

    Args:
        n_sorted: Ids of a sorted run.
    """

    def __init__(self, n_sorted: int = 1 << 20) -> None:
        super().__init__()
        self._n_sorted = n_sorted
        self._file = TemporaryFile()  # noqa: SIM115
        self._keys = array("q")
        self._bounds: list[list[int]] = []  # for each run, the starts of its 256 parts, and the end

    def add(self, id: str) -> bool:
        """Add an id; always True, because a duplicate is found only at the end.

        Raises:
            OutputError: The temporary folder is full.
        """
        self._keys.append(hash(id))
        if len(self._keys) == self._n_sorted:
            self._write()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a failed write is tried again here
            self._file.close()

    def repeated(self) -> set[int]:
        """The hashes of the ids that were added more than once."""
        self._write()
        found: set[int] = set()
        for part in range(len(_EDGES) + 1):
            pieces, place = [], 0
            for bounds in self._bounds:
                self._file.seek(8 * (place + bounds[part]))
                pieces.append(np.frombuffer(self._file.read(8 * (bounds[part + 1] - bounds[part])), np.int64))
                place += bounds[-1]
            keys = np.sort(np.concatenate(pieces))
            found.update(keys[1:][keys[1:] == keys[:-1]].tolist())
        return found

    def _write(self) -> None:
        keys = np.sort(np.array(self._keys, np.int64))
        self._bounds.append([0, *np.searchsorted(keys, _EDGES).tolist(), len(keys)])
        with writing(Path(gettempdir()), hint="set TMPDIR to another folder"):
            self._file.write(keys.tobytes())
            self._file.flush()
        self._keys = array("q")


class RepeatedIds(IdSet):
    """A set that stores only ids that repeat, and these with a suffix `_2`, `_3`, ...: no other id can be a duplicate.

    Args:
        repeated: The hashes of the ids that repeat, from `IdFile.repeated`.
    """

    def __init__(self, repeated: set[int]) -> None:
        super().__init__()
        self._repeated = repeated

    def add(self, id: str) -> bool:
        """Add an id; False if it is a duplicate."""
        return super().add(id) if any(hash(base) in self._repeated for base in _bases_of(id)) else True


def base_of(id: str) -> str:
    """An id without its number suffix; "" if it has none.

    >>> base_of("a_12"), base_of("a")
    ('a', '')
    """
    match = _NUMBERED.fullmatch(id)
    return match[1] if match else ""


def _bases_of(id: str) -> Iterator[str]:
    """Yield an id, then the id without its number suffixes, one by one."""
    while id:
        yield id
        id = base_of(id)


class _HashTable:
    """Open addressing with linear probing, into spare slots at the end instead of around; 0 is an empty slot."""

    def __init__(self) -> None:
        self.n_slots, self.n_keys = _SMALLEST, 0
        self.most_keys = _MAX_LOAD * _SMALLEST
        self.slots = array("Q", bytes(8 * (_SMALLEST + _SPARE)))

    def grow(self) -> None:
        keys = np.frombuffer(self.slots, dtype=np.uint64)
        keys = keys[keys != 0]
        self.n_slots = int(self.n_slots * _GROWTH)
        self.most_keys = _MAX_LOAD * self.n_slots
        home = (keys // np.uint64(_N_TABLES)) % np.uint64(self.n_slots)
        order = np.argsort(home, kind="stable")
        # In order of home slot, each key goes to its home or directly after the previous key.
        rank = np.arange(len(keys))
        place = np.maximum.accumulate(home[order].astype(np.int64) - rank) + rank
        size = max(self.n_slots + _SPARE, int(place[-1]) + 2)
        slots = np.zeros(size, dtype=np.uint64)
        slots[place] = keys[order]
        self.slots = array("Q", slots.tobytes())
