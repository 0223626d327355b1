"""Sequences and regions in memory, as records."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Any, SupportsBytes, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError, RegionError
from findna.io.genome import Genome
from findna.record import Record
from findna.region import Region
from findna.sequence import Codes, N, encode, reverse_complement

Bases = str | SupportsBytes | NDArray[np.uint8]
"""A sequence: text, bytes, what `bytes()` takes (a Biopython Seq or SeqRecord), or codes 0-4 = A C G T N."""

Place = tuple[str, SupportsIndex, SupportsIndex] | tuple[str, SupportsIndex, SupportsIndex, str, str]
"""(chrom, start, end), 0-based and half-open, or the same with name and strand."""


def read_sequences(sequences: Iterable[Bases], *, strand: str = "bed") -> Iterator[Record]:
    """Yield the record of each sequence in order; its id is its index, counted from 0.

    A collection is checked completely before the first record is yielded.

    Args:
        sequences: Sequences; IUPAC codes become N, U becomes T, case is ignored.
        strand: "-" reads the reverse complement of each.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
    """
    if isinstance(sequences, str | bytes):
        raise InputError("expected a list of sequences, found a single one: write [sequence]")
    if isinstance(sequences, Mapping | Set):
        hint = "write list(d.values())" if isinstance(sequences, Mapping) else "a set has no order"
        raise InputError(f"expected a list of sequences, found a {type(sequences).__name__}: {hint}")
    if isinstance(sequences, Collection):
        for index, bases in enumerate(sequences):
            codes_of(bases, index)
    for index, bases in enumerate(sequences):
        codes, n_iupac = codes_of(bases, index)
        if strand == "-":
            codes = reverse_complement(codes)
        yield Record(str(index), codes, n_iupac, index, "", strand="-" if strand == "-" else ".")


def codes_of(bases: Bases, index: int) -> tuple[Codes, int]:
    """The codes of a sequence, shape (n,), and how many IUPAC codes in it became N.

    Args:
        bases: The sequence.
        index: Its index, for the message.

    Raises:
        InputError: It is empty or not DNA.
    """
    try:
        codes, n_iupac = _encode(bases)
    except (ValueError, TypeError) as problem:
        raise InputError(f"sequence {index}: {problem}", row=index) from problem
    if not len(codes):
        raise InputError(f"sequence {index}: is empty", row=index)
    return codes, n_iupac


def _encode(bases: Any) -> tuple[Codes, int]:
    if isinstance(bases, np.ndarray):
        if bases.dtype != np.uint8 or bases.ndim != 1 or (bases > N).any():
            raise ValueError("an array must have shape (n,), type uint8 and the codes 0-4 = A C G T N")
        return bases, 0
    if isinstance(bases, str | bytes):
        return encode(bases)
    if hasattr(type(bases), "__bytes__"):
        return encode(bytes(bases))
    raise TypeError(f"expected text, bytes, a Biopython sequence or an array of codes, found {type(bases).__name__}")


def _position(value: Any) -> int:
    """A position: a whole number, also as a float (a data frame with empty cells has floats) or in digits."""
    number = int(value)
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal()
    if not is_digits and (isinstance(value, str | bytes | bool) or number != value):
        raise ValueError(f"{value!r} is not a position")
    return number


def iter_regions(regions: Iterable[Region | Place | str], genome: Genome) -> Iterator[Region]:
    """Yield each region as a `Region`.

    Args:
        regions: Regions, tuples (chrom, start, end[, name, strand]), 0-based and half-open, or region strings, 1-based.
        genome: Genome that is needed to parse region strings.

    Raises:
        RegionError: One is not a region; the text names its index.
    """
    for index, region in enumerate(regions):
        if isinstance(region, str):
            yield genome.parse(region)
            continue
        try:
            found = Region(str(region[0]), _position(region[1]), _position(region[2]), *region[3:])
        except (TypeError, ValueError, IndexError) as problem:
            reason = (
                f"expected (chrom, start, end) or (chrom, start, end, name, strand), found {region!r}; "
                "start and end are whole numbers"
            )
            raise RegionError(reason, path=f"[{index}]", row=index) from problem
        if not 0 <= found.start < found.end:
            reason = f"start {found.start} and end {found.end} must satisfy 0 <= start < end"
            raise RegionError(reason, path=f"[{index}]", row=index)
        if found.strand not in ("+", "-", "."):
            raise RegionError(f"strand must be +, - or ., not {found.strand!r}", path=f"[{index}]", row=index)
        yield found
