"""Random access to files: plain, or compressed in blocks (BGZF) with their .gzi table."""

import os
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from findna.errors import GenomeError
from findna.io.compressed import BGZF_EOF
from findna.io.tap import is_bgzf

Blocks = NDArray[np.uint64]
"""Where each block begins, in the file and in the text: shape (n, 2). The first row is 0, 0."""

_HEADER = 18
_FOOTER = 8
_N_CACHED = 32


class RandomAccess(Protocol):
    """Something to read text from at any place.

    Attributes:
        size: Length of the text, in bytes.
    """

    size: int

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The text at [offset, offset + n_bytes), cut at its end."""

    def close(self) -> None:
        """Close the file."""


class PlainFile:
    """Random access to a file that is not compressed."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._fd).st_size

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The bytes at [offset, offset + n_bytes), cut at the file's end."""
        return os.pread(self._fd, n_bytes, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class BgzfFile:
    """Random access to the text of a BGZF file; the blocks used last are kept.

    Args:
        path: The file.
        blocks: Its table, from `scan_blocks` or `read_gzi`; made if absent.

    Attributes:
        size: Length of the text, in bytes.

    Raises:
        GenomeError: The file is truncated or damaged, or the table is another file's.
    """

    def __init__(self, path: Path, blocks: Blocks | None = None) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY)
        self._n_bytes = os.fstat(self._fd).st_size
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        try:
            if os.pread(self._fd, len(BGZF_EOF), max(0, self._n_bytes - len(BGZF_EOF))) != BGZF_EOF:
                self._fail("truncated: BGZF EOF marker missing")
            start = (0, 0) if blocks is None else (int(blocks[-1, 0]), int(blocks[-1, 1]))
            rest, self.size = self._walk(*start)
            self.blocks = rest if blocks is None else np.concatenate([blocks[:-1], rest])
        except GenomeError:
            self.close()
            raise
        self._starts = self.blocks[:, 1].tolist()

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The text at [offset, offset + n_bytes), cut at its end."""
        end = min(offset + n_bytes, self.size)
        index = int(np.searchsorted(self.blocks[:, 1], np.uint64(offset), side="right")) - 1
        pieces = []
        while offset < end:
            text, start = self._block(index), self._starts[index]
            pieces.append(text[offset - start : end - start])
            offset = start + len(text)
            index += 1
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _walk(self, place: int, offset: int) -> tuple[Blocks, int]:
        rows = []
        while place < self._n_bytes:
            n_packed, n_text = self._block_sizes(place)
            if n_text:
                rows.append((place, offset))
            place, offset = place + n_packed, offset + n_text
        if place != self._n_bytes:
            self._fail("truncated within the last BGZF block")
        return np.array(rows, dtype=np.uint64).reshape(-1, 2), offset

    def _block_sizes(self, place: int) -> tuple[int, int]:
        head = os.pread(self._fd, _HEADER, place)
        if len(head) < _HEADER or not is_bgzf(head):
            self._fail(f"no BGZF block at byte {place}: the file is damaged, or its .gzi is another file's")
        n_packed = int.from_bytes(head[16:18], "little") + 1
        return n_packed, int.from_bytes(os.pread(self._fd, 4, place + n_packed - 4), "little")

    def _block(self, index: int) -> bytes:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        place = int(self.blocks[index, 0])
        n_packed, n_text = self._block_sizes(place)
        packed = os.pread(self._fd, n_packed, place)
        try:
            text = zlib.decompress(packed[_HEADER:-_FOOTER], wbits=-15)
        except zlib.error as problem:
            self._fail(f"the BGZF block at byte {place} is damaged: {problem}", cause=problem)
        if zlib.crc32(text) != int.from_bytes(packed[-_FOOTER:-4], "little") or len(text) != n_text:
            self._fail(f"the BGZF block at byte {place} is damaged: its checksum is wrong")
        next_start = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        if self._starts[index] + n_text != next_start:
            self._fail(f"the .gzi is another file's: the block at byte {place} has {n_text} bytes")
        self._cache[index] = text
        if len(self._cache) > _N_CACHED:
            self._cache.popitem(last=False)
        return text

    def _fail(self, reason: str, *, cause: Exception | None = None) -> NoReturn:
        raise GenomeError(reason, path=self._path) from cause


def read_gzi(data: bytes) -> Blocks | None:
    """The table in the bytes of a .gzi file; None if they are none."""
    if len(data) < 8 or len(data) != 8 + 16 * int.from_bytes(data[:8], "little"):
        return None
    rows = np.frombuffer(data, dtype="<u8", offset=8).reshape(-1, 2).astype(np.uint64)
    blocks = np.concatenate([np.zeros((1, 2), dtype=np.uint64), rows])
    return blocks if bool((np.diff(blocks.astype(np.int64), axis=0) > 0)[:, 0].all()) else None


def write_gzi(blocks: Blocks) -> bytes:
    """The bytes of a .gzi file, as bgzip writes them: the first block goes without saying."""
    return (len(blocks) - 1).to_bytes(8, "little") + blocks[1:].astype("<u8").tobytes()
