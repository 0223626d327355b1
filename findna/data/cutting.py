"""Removes labelled sequences and regions from the sources of windows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from findna.data.kmers import LONGEST, canonical_kmers
from findna.data.labelled_rows import holds_records, read_sequences
from findna.data.origins import Origin, Stretch
from findna.data.overlap import hashed
from findna.errors import InputError
from findna.io.bed import read_bed
from findna.io.compressed import ByteStream
from findna.io.sniff import sniff
from findna.region import Region
from findna.sequence import Codes, reverse_complement

_CHUNK = 1 << 22
_N_BITS = 26


class Cuts(NamedTuple):
    """The places that are removed from every source.

    Args:
        sequences: Their exact places are removed, on either strand.
        regions: Regions by contig, removed by coordinate.
    """

    sequences: "SequenceIndex"
    regions: dict[str, list[Region]]


class SequenceIndex:
    """Finds exact occurrences of sequences of at least 31 bases, on either strand.

    Args:
        sequences: Shorter sequences, and those with an N among their first or last 31 bases, may not be found.

    Attributes:
        longest: Length of the longest sequence; 0 if there is none.
        n_not_found: Number of sequences that may not be found.
    """

    def __init__(self, sequences: Iterable[Codes]) -> None:
        unique = {codes.tobytes(): codes for codes in sequences}
        found: list[tuple[int, Codes]] = []
        self.n_not_found = 0
        for codes in unique.values():
            both = [(_first_kmer(turned), turned) for turned in (codes, reverse_complement(codes))]
            keys = [(key, turned) for key, turned in both if key is not None]
            self.n_not_found += len(keys) < 2
            found += keys
        found.sort(key=lambda pair: pair[0])
        self._keys = np.array([key for key, _ in found], dtype=np.uint64)
        self._codes = [codes for _, codes in found]
        self._may_have = np.zeros(1 << _N_BITS, dtype=np.bool_)
        self._may_have[hashed(self._keys, _N_BITS)] = True
        self.longest = max(map(len, self._codes), default=0)

    def places_in(self, codes: Codes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of every occurrence of one of the sequences, by start."""
        kmers, is_known = canonical_kmers(codes, LONGEST)
        candidates = np.flatnonzero(is_known & self._may_have[hashed(kmers, _N_BITS)])
        lows = np.searchsorted(self._keys, kmers[candidates], side="left").tolist()
        highs = np.searchsorted(self._keys, kmers[candidates], side="right").tolist()
        for start, low, high in zip(candidates.tolist(), lows, highs, strict=True):
            for sequence in self._codes[low:high]:
                if np.array_equal(codes[start : start + len(sequence)], sequence):
                    yield start, start + len(sequence)


def read_cuts(paths: Sequence[str | Path]) -> Cuts:
    """The sequences of tables and FASTA files, and the regions of BED files.

    Raises:
        InputError: A file is damaged or of another kind.
    """
    sequences: list[Codes] = []
    regions: dict[str, list[Region]] = {}
    for path in paths:
        if not _is_bed(path):
            sequences += read_sequences(path)
            continue
        for row in read_bed(Path(path)):
            if isinstance(row.region, InputError):
                raise row.region
            regions.setdefault(row.region.chrom, []).append(row.region)
    return Cuts(SequenceIndex(sequences), regions)


def _is_bed(path: str | Path) -> bool:
    if not holds_records(str(path)):
        return False
    with ByteStream(path) as stream:
        return sniff(stream) in ("bed", "narrowpeak")


def cut_out(origin: Origin, cuts: Cuts) -> tuple[Origin, int]:
    """An origin without these places, and the number of removed bases."""
    training, n_training = _without(origin.training, origin, cuts)
    held_out, n_held_out = _without(origin.held_out, origin, cuts)
    return replace(origin, training=training, held_out=held_out), n_training + n_held_out


def _without(stretches: Sequence[Stretch], origin: Origin, cuts: Cuts) -> tuple[tuple[Stretch, ...], int]:
    kept: list[Stretch] = []
    n_cut = 0
    for stretch in stretches:
        is_cut = np.zeros(len(stretch), dtype=np.bool_)
        for start, end in _places(stretch, origin, cuts):
            is_cut[start:end] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[True], is_cut, [True]]).astype(np.int8))).tolist()
        kept += [stretch.piece(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        n_cut += int(is_cut.sum())
    return tuple(kept), n_cut


def _places(stretch: Stretch, origin: Origin, cuts: Cuts) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each place to remove, relative to the start of the stretch."""
    own = Region(stretch.chrom, stretch.start, stretch.start + len(stretch))
    for region in cuts.regions.get(stretch.chrom, ()):
        start, end = max(0, region.start - own.start), min(len(stretch), region.end - own.start)
        if start < end:
            yield (start, end) if stretch.strand == "+" else (len(stretch) - end, len(stretch) - start)
    if not cuts.sequences.longest:
        return
    for first in range(0, len(stretch), _CHUNK):
        last = min(len(stretch), first + _CHUNK + cuts.sequences.longest - 1)
        (codes,) = origin.fetch([stretch.piece(first, last).region])
        for start, end in cuts.sequences.places_in(codes):
            yield first + start, first + end


def _first_kmer(codes: Codes) -> int | None:
    """The canonical 31-mer at the start of a sequence; None if it contains N or is too short."""
    kmers, is_known = canonical_kmers(codes[:LONGEST], LONGEST)
    return int(kmers[0]) if len(kmers) and is_known[0] else None
