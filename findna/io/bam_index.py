"""Whether the index beside a BAM file is of this file: its places of each contig are looked up in the BAM."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysam

Spans = dict[int, tuple[int, int]]
"""By the number of a contig, the virtual offsets of its first record and after its last."""


def is_index_of(index: Path, bam: Path) -> bool:
    """Whether a .bai or .csi fits a BAM file; one without the places of whole contigs counts as no.

    The contigs' records must follow each other without a gap from the first record on, begin with a record of that
    contig, and end with the end of the placed records. Dates do not count.
    """
    try:
        n_contigs, spans = _read(index)
        with pysam.AlignmentFile(str(bam), "rb", check_sq=False) as file:
            return n_contigs == file.nreferences and _fits(file, spans)
    except (OSError, ValueError, IndexError, struct.error, EOFError):
        return False


def _fits(file: Any, spans: Spans) -> bool:
    end = file.tell()
    for contig, (begin, after) in sorted(spans.items()):
        if begin != end or _contig_at(file, begin) != contig:
            return False
        end = after
    return _contig_at(file, end) == -1


def _contig_at(file: Any, offset: int) -> int:
    """The contig of the record at a virtual offset, -1 if it is not placed or there is none."""
    file.seek(offset)
    record = next(file, None)
    return -1 if record is None else int(record.reference_id)


def _read(index: Path) -> tuple[int, Spans]:
    data = index.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:4] == b"CSI\1":
        _, depth, n_aux = struct.unpack_from("<3i", data, 4)
        summary, at, is_csi = ((1 << 3 * (depth + 1)) - 1) // 7 + 1, 16 + n_aux, True
    elif data[:4] == b"BAI\1":
        summary, at, is_csi = 37450, 4, False
    else:
        raise ValueError("neither .bai nor .csi")
    (n_contigs,) = struct.unpack_from("<i", data, at)
    return n_contigs, dict(_spans(data, at + 4, n_contigs, summary=summary, is_csi=is_csi))


def _spans(
    data: bytes, at: int, n_contigs: int, *, summary: int, is_csi: bool
) -> Iterator[tuple[int, tuple[int, int]]]:
    bin_form = "<IQi" if is_csi else "<Ii"
    for contig in range(n_contigs):
        (n_bins,) = struct.unpack_from("<i", data, at)
        at += 4
        for _ in range(n_bins):
            number, *_, n_chunks = struct.unpack_from(bin_form, data, at)
            at += struct.calcsize(bin_form)
            if number == summary:
                yield contig, struct.unpack_from("<2Q", data, at)
            at += 16 * n_chunks
        if not is_csi:
            at += 4 + 8 * struct.unpack_from("<i", data, at)[0]
    if at > len(data):
        raise ValueError("truncated")
