"""The first pass of a sharded run: finds the starts of cells, and duplicate ids."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence

from findna.errors import FastaError, InputError
from findna.io.check import InputSummary, OnItem
from findna.io.compressed import Mark
from findna.io.ids import IdSet, RepeatedIds, base_of
from findna.io.source import Begin, TooManyN
from findna.record import Record
from findna.region import Region
from findna.runs.shard import Part, ShardCuts

Found = Record | Region | InputError
Pass = Callable[[OnItem], InputSummary]


class Scout:
    """Finds the starts of cells, and in a second pass the records with a duplicate id.

    Args:
        ids: Takes the ids of regions; in a second pass, those of all records. In the first pass, it is also the set of
            the reader, which adds the others. Empty at the start.

    Attributes:
        repeats: The records with a duplicate id, each as (index, id).
    """

    def __init__(self, ids: IdSet) -> None:
        self._cells = array("q")  # five of each: input, records of earlier inputs, place (-1: not known)
        self._ids, self._is_second = ids, isinstance(ids, RepeatedIds)
        self.repeats: list[tuple[int, str]] = []
        self._n_records = self._n_before = 0
        self._source, self._is_new = 0, True

    def see(self, source: int, mark: Mark | None, found: Found) -> None:
        """Add a record of an input, and its start."""
        if source != self._source:
            self._source, self._n_before = source, self._n_records
        if self._is_new:
            self._cells.extend((source, self._n_before, *(mark or (-1, -1, -1))))
            self._is_new = False
        if self._is_second or isinstance(found, Region):
            id, given = _take_id(self._ids, found)
            if id != given:
                self.repeats.append((self._n_records, id))

    def count(self, *, is_end: bool) -> None:
        """Complete the record; returns whether a cell ends with it."""
        self._n_records += 1
        self._is_new = is_end

    def begin(self, part: Part, cuts: ShardCuts, taken: tuple[str, ...]) -> Begin | None:
        """The start of a shard; None if not known."""
        cell = 5 * cuts.cell_of(part.first)
        if not part.n_records or cell >= len(self._cells) or self._cells[cell + 2] < 0:
            return None
        source, n_before, *mark = self._cells[cell : cell + 5]
        return Begin(source, n_before, Mark(*mark), taken)


def taken_ids(one_pass: Pass, repeats: Sequence[tuple[int, str]], parts: Sequence[Part]) -> dict[int, list[str]]:
    """For each shard, the earlier ids that collide with its ids: equal ids, also with suffixes _2, _3, ..."""
    sought = {id for _, id in repeats}
    known = IdSet()
    by_base: dict[str, list[tuple[int, str]]] = defaultdict(list)
    n_records = 0

    def see(source: int, mark: Mark | None, found: Found) -> None:
        nonlocal n_records
        id = _id_of(found)
        if {id, id.rpartition("_")[0]} & sought:
            _, given = _take_id(known, found)
            for base in {given, given.rpartition("_")[0]} & sought:
                by_base[base].append((n_records, given))
        n_records += 1

    one_pass(see)
    taken: dict[int, list[str]] = {}
    for part in parts:
        asked = {id for index, id in repeats if index in part.records}
        ids = {id for base in asked for index, id in by_base[base] if index < part.first}
        if ids:
            taken[part.shard.number] = sorted(ids)
    return taken


def _id_of(found: Found) -> str:
    return found.record if isinstance(found, InputError) else found.id


def _take_id(ids: IdSet, found: Found) -> tuple[str, str]:
    """The id of a record, and the one that it gets: with a suffix, or none ("") for a FASTA record."""
    if isinstance(found, Region):
        return found.id, ids.unique(found.id)
    if isinstance(found, InputError) and not isinstance(found, FastaError | TooManyN):
        return "", ""  # a region that does not fit the genome
    id = _id_of(found)
    if not id or not ids.add(id):
        return id, ""
    # A read with a duplicate id already has a suffix _2, _3, ...
    base = base_of(id)
    return (base if base in ids else id), id
