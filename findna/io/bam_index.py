"""Checks whether an index matches its BAM or CRAM file, by its offsets."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pysam

from findna.io.files import MOST_INDEX, read_regular
from findna.io.tap import GZIP_MAGIC

Spans = dict[int, tuple[int, int]]
"""For each contig number, the virtual offsets of its first record and after its last."""

NO_INDEX = "##idx##/dev/null/none"
"""Appended to a file name, it tells htslib not to look for an index."""

_DEEPEST = 10
"""Levels of a .csi: their bins have numbers of 32 bits."""

_CRAM_HEAD = 26
_SEVERAL = -2
"""The contig number of a CRAM container with reads of several contigs."""


def is_index_of(index: Path, path: Path) -> bool:
    """Whether a .bai, .csi or .crai matches a BAM or CRAM file. Dates do not matter.

    BAM: from the first record, the ranges of the contigs must follow each other without a gap, each must begin with a
    record of its contig, and the last must end with the placed records. An index without offsets of contigs does not
    match. CRAM: the index must list every slice of every container, with the contig of the container.
    """
    try:
        if index.suffix == ".crai":
            return _fits_cram(index, path)
        n_contigs, spans = _read(index)
        with pysam.AlignmentFile(f"{path}{NO_INDEX}", "rb", check_sq=False) as file:
            return n_contigs == file.nreferences and _fits(file, spans)
    except (OSError, ValueError, IndexError, struct.error, EOFError, zlib.error):
        return False


def _fits(file: Any, spans: Spans) -> bool:
    end = file.tell()
    for contig, (begin, after) in sorted(spans.items()):
        if begin != end or _contig_at(file, begin) != contig:
            return False
        end = after
    return _contig_at(file, end) == -1


def _contig_at(file: Any, offset: int) -> int:
    """The contig number of the record at a virtual offset; -1 for an unplaced record, or if there is none."""
    file.seek(offset)
    record = next(file, None)
    return -1 if record is None else int(record.reference_id)


def _read(index: Path) -> tuple[int, Spans]:
    data = _unpacked(index)
    if data[:4] == b"CSI\1":
        depth, n_aux = _count(data, 8), _count(data, 12)
        if depth > _DEEPEST:
            raise ValueError("too many levels")
        summary, at, is_csi = ((1 << 3 * (depth + 1)) - 1) // 7 + 1, 16 + n_aux, True
    elif data[:4] == b"BAI\1":
        summary, at, is_csi = 37450, 4, False
    else:
        raise ValueError("neither .bai nor .csi")
    n_contigs = _count(data, at)
    return n_contigs, dict(_spans(data, at + 4, n_contigs, summary=summary, is_csi=is_csi))


def _spans(
    data: bytes, at: int, n_contigs: int, *, summary: int, is_csi: bool
) -> Iterator[tuple[int, tuple[int, int]]]:
    n_head = 16 if is_csi else 8
    for contig in range(n_contigs):
        n_bins = _count(data, at)
        at += 4
        for _ in range(n_bins):
            (number,) = struct.unpack_from("<I", data, at)
            at += n_head
            n_chunks = _count(data, at - 4)
            if number == summary:
                yield contig, struct.unpack_from("<2Q", data, at)
            at += 16 * n_chunks
        if not is_csi:
            at += 4 + 8 * _count(data, at)
    if at > len(data):
        raise ValueError("truncated")


def _unpacked(index: Path) -> bytes:
    """The bytes of an index, decompressed; a longer one is truncated, and does not match."""
    data = read_regular(index, most=MOST_INDEX)
    if data[:2] != GZIP_MAGIC:
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(MOST_INDEX)


def _count(data: bytes, at: int) -> int:
    (count,) = struct.unpack_from("<i", data, at)
    if count < 0:
        raise ValueError("a negative count")
    return int(count)


def _fits_cram(index: Path, path: Path) -> bool:
    """Whether a .crai lists the slices of all containers with their contigs."""
    text = _unpacked(index).decode("ascii")
    listed: dict[tuple[int, int], set[int]] = {}
    for line in text.splitlines():
        contig, _, _, container, slice_, _ = map(int, line.split("\t"))
        listed.setdefault((container, slice_), set()).add(contig)
    there = dict(_slices(path))
    return listed.keys() == there.keys() and all(
        contig == _SEVERAL or listed[place] == {contig} for place, contig in there.items()
    )


def _slices(path: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """For each slice of a CRAM file: the offset of its container, its offset in it, the contig of the container."""
    with path.open("rb") as file:
        head = file.read(_CRAM_HEAD)
        if head[:4] != b"CRAM" or head[4] not in (2, 3):
            raise ValueError("not CRAM 2 or 3")
        n_bytes = path.stat().st_size
        is_first = True
        while (offset := file.tell()) < n_bytes:
            (length,) = struct.unpack("<i", file.read(4))
            contig, _, _, n_records, *_ = (_number(file, 32) for _ in range(4))
            _number(file, 64 if head[4] == 3 else 32)
            _number(file, 64)
            _number(file, 32)
            landmarks = [_number(file, 32) for _ in range(_number(file, 32))]
            if length < 0 or len(landmarks) > length:
                raise ValueError("damaged")
            if not is_first and n_records:  # the first has the header, the last nothing
                yield from (((offset, place), contig) for place in landmarks)
            is_first = False
            file.seek(length + 4 * (head[4] == 3), 1)


def _number(file: BinaryIO, n_bits: int) -> int:
    """A signed ITF8 (32-bit) or LTF8 (64-bit) number of CRAM: the leading ones are the number of further bytes."""
    first = file.read(1)[0]
    n_more = min(8 - (first ^ 0xFF).bit_length(), n_bits // 8 if n_bits == 64 else 4)
    more = int.from_bytes(file.read(n_more), "big")
    if n_bits == 32 and n_more == 4:
        value = (first & 0x0F) << 28 | more >> 8 << 4 | more & 0x0F
    else:
        value = (first & (0x7F >> n_more)) << 8 * n_more | more
    value &= (1 << n_bits) - 1
    return value - (1 << n_bits) if value >> (n_bits - 1) else value
