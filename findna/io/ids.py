"""The ids that are already used, at 8 to 13 bytes per id."""

from array import array

import numpy as np

_N_TABLES = 64
_SMALLEST = 64
_GROWTH = 1.3
_MAX_LOAD = 0.85
_SPARE = 32


class IdSet:
    """A set of ids that keeps a 64-bit hash of each, so that ten million take about 100 MB.

    Two different ids share a hash once in 400,000 runs of ten million ids; the second is then
    taken for a repeat. Of the many small tables one grows at a time, so that growing needs no
    second copy of everything.
    """

    def __init__(self) -> None:
        self._tables = [_HashTable() for _ in range(_N_TABLES)]

    def add(self, id: str) -> bool:
        """Take in an id; False if it is a duplicate."""
        key = hash(id) & 0xFFFF_FFFF_FFFF_FFFF or 1
        return self._tables[key % _N_TABLES].add(key)

    def __contains__(self, id: str) -> bool:
        key = hash(id) & 0xFFFF_FFFF_FFFF_FFFF or 1
        return self._tables[key % _N_TABLES].has(key)

    def unique(self, id: str) -> str:
        """The id, or with `_2`, `_3` ... behind it the first that is free; it is taken in.

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


class _HashTable:
    """Open addressing with linear probing; 0 is an empty slot. Probes run on into spare slots, not round."""

    def __init__(self) -> None:
        self._n_slots, self._n_keys = _SMALLEST, 0
        self._slots = array("Q", bytes(8 * (_SMALLEST + _SPARE)))

    def _find(self, key: int) -> int:
        slots = self._slots
        slot = (key // _N_TABLES) % self._n_slots
        while slots[slot] and slots[slot] != key:
            slot += 1
        return slot

    def has(self, key: int) -> bool:
        return self._slots[self._find(key)] == key

    def add(self, key: int) -> bool:
        slot = self._find(key)
        if self._slots[slot] == key:
            return False
        self._slots[slot] = key
        self._n_keys += 1
        if self._n_keys > _MAX_LOAD * self._n_slots or slot + 2 > len(self._slots):
            self._grow()
        return True

    def _grow(self) -> None:
        keys = np.frombuffer(self._slots, dtype=np.uint64)
        keys = keys[keys != 0]
        self._n_slots = int(self._n_slots * _GROWTH)
        home = (keys // np.uint64(_N_TABLES)) % np.uint64(self._n_slots)
        order = np.argsort(home, kind="stable")
        # In order of home slot each key goes to its home or right behind the key before it.
        rank = np.arange(len(keys))
        place = np.maximum.accumulate(home[order].astype(np.int64) - rank) + rank
        size = max(self._n_slots + _SPARE, int(place[-1]) + 2)
        slots = np.zeros(size, dtype=np.uint64)
        slots[place] = keys[order]
        self._slots = array("Q", slots.tobytes())
