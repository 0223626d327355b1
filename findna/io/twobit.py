"""The bases of a .2bit file, in either byte order and with 32-bit or 64-bit offsets.

No library reads these files safely: Biopython trusts the counts in a file and refuses 64-bit offsets. Here every count
is compared with the size of the file before memory is allocated for it.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from findna.errors import GenomeError

TWOBIT_MAGICS = (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43")

_LETTERS = np.frombuffer(b"TCAG", np.uint8)
_QUADS = _LETTERS[(np.arange(256)[:, None] >> np.array([6, 4, 2, 0])) & 3]  # (256, 4): the four bases of a byte
_HEADER = 16


class _Contig(NamedTuple):
    """The place of a contig.

    Args:
        length: Bases.
        offset: Byte of the first four bases.
        starts: First base of each run of N, shape (n,), ascending.
        ends: One past its last base, shape (n,).
    """

    length: int
    offset: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class TwoBit:
    """Bases by contig and position from a .2bit file.

    Raises:
        GenomeError: The file is truncated or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._size = os.fstat(self._file).st_size
            self._contigs = self._read_contigs()
        except BaseException:
            self.close()
            raise
        self.contigs = {name: contig.length for name, contig in self._contigs.items()}

    def place(self, chrom: str, start: int) -> int:
        """The byte of a base in the file."""
        return self._contigs[chrom].offset + start // 4

    def bases(self, chrom: str, start: int, end: int) -> bytes:
        """The letters of [start, end); soft-masked bases are upper case like all others."""
        contig = self._contigs[chrom]
        first = start // 4
        packed = self._bytes(contig.offset + first, (end + 3) // 4 - first, chrom)
        letters = _QUADS[np.frombuffer(packed, np.uint8)].reshape(-1)[start - 4 * first : end - 4 * first]
        run = int(np.searchsorted(contig.ends, start, side="right"))
        while run < len(contig.starts) and contig.starts[run] < end:
            letters[max(0, int(contig.starts[run]) - start) : int(contig.ends[run]) - start] = ord("N")
            run += 1
        return bytes(letters)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _read_contigs(self) -> dict[str, _Contig]:
        head = self._bytes(0, _HEADER)
        order = "<" if head[:4] == TWOBIT_MAGICS[0] else ">"
        version, n_contigs, _ = struct.unpack(f"{order}3I", head[4:])
        if version not in (0, 1):
            self._fail(f"version {version} of the format is unknown")
        self._number = np.dtype(f"{order}u4")
        n_offset = 8 if version else 4
        if n_contigs * (2 + n_offset) > self._size:  # a name of one letter, at least
            self._fail(f"{n_contigs:,} contigs do not fit into {self._size:,} bytes")
        if not n_contigs:
            self._fail("it holds no contigs")
        places: dict[str, int] = {}
        at = _HEADER
        for _ in range(n_contigs):
            n_name = self._bytes(at, 1)[0]
            entry = self._bytes(at + 1, n_name + n_offset)
            name = entry[:n_name].decode(errors="backslashreplace")
            if not name or name in places:
                self._fail(f"duplicate contig {name!r}" if name else "a contig has no name")
            places[name] = int.from_bytes(entry[n_name:], "little" if order == "<" else "big")
            at += 1 + n_name + n_offset
        contigs = {name: self._read_contig(name, place) for name, place in places.items()}
        self._refuse_overlaps(at, places, contigs)
        return contigs

    def _read_contig(self, name: str, place: int) -> _Contig:
        length, n_runs = self._numbers(place, 2, name).tolist()
        starts, sizes = self._numbers(place + 8, 2 * n_runs, name).reshape(2, -1)
        ends = starts + sizes
        is_damaged = n_runs and (ends[-1] > length or bool((sizes < 1).any() or (starts[1:] < ends[:-1]).any()))
        if is_damaged:
            self._fail("runs of N overlap or reach past the end of the contig", name)
        place += 8 + 8 * n_runs
        n_masks = int(self._numbers(place, 1, name)[0])
        offset = place + 4 + 8 * n_masks + 4
        if offset + (length + 3) // 4 > self._size:
            self._fail(f"the file is truncated: {length:,} bases do not fit into it", name)
        return _Contig(length, offset, starts, ends)

    def _refuse_overlaps(self, end: int, places: dict[str, int], contigs: dict[str, _Contig]) -> None:
        """Contigs that share bytes would let a small file take any memory."""
        for name, place in sorted(places.items(), key=lambda item: item[1]):
            if place < end:
                self._fail("its bytes overlap another contig or the index", name)
            end = contigs[name].offset + (contigs[name].length + 3) // 4

    def _numbers(self, place: int, n: int, name: str) -> NDArray[np.int64]:
        return np.frombuffer(self._bytes(place, 4 * n, name), self._number).astype(np.int64)

    def _bytes(self, place: int, n: int, name: str = "") -> bytes:
        if place + n > self._size:
            self._fail("the file is truncated", name)
        found = os.pread(self._file, n, place)
        if len(found) < n:
            self._fail("the file is truncated", name)
        return found

    def _fail(self, reason: str, name: str = "") -> NoReturn:
        raise GenomeError(f"not a valid .2bit file: {reason}", path=self._path, record=name)
