"""A stream that reports what is read from it."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
HEAD = 1 << 16
TAIL = 64
BLOCK_HEAD = 18


def is_bgzf(head: bytes) -> bool:
    """Whether a file that begins with `head` is compressed in blocks, as bgzip and BAM are."""
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:16] == b"BC\x02\x00"


def iter_blocks(descriptor: int, head: bytes) -> Iterator[tuple[int, int]]:
    """Yield the offset and text length of each BGZF block; last, the end offset and 0."""
    place = 0
    while is_bgzf(head):
        end = place + int.from_bytes(head[16:18], "little") + 1
        found = os.pread(descriptor, 4 + BLOCK_HEAD, end - 4)
        yield place, int.from_bytes(found[:4], "little")
        place, head = end, found[4:]
    yield place, 0


def block_sizes(descriptor: int, start: int) -> tuple[int, int]:
    """The length of the BGZF block at an offset, compressed and decompressed, in bytes; 0 and 0 if there is none."""
    head = os.pread(descriptor, BLOCK_HEAD, start)
    if not is_bgzf(head):
        return 0, 0
    length = int.from_bytes(head[16:18], "little") + 1
    return length, int.from_bytes(os.pread(descriptor, 4, start + length - 4), "little")


class Tap(io.RawIOBase):
    """A file whose first bytes can be inspected before reading, and whose last bytes afterwards."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = self.tail = b""
        self._place = 0
        while len(self.head) < HEAD and (piece := file.read(HEAD - len(self.head))):
            self.head += piece
        self._pending = memoryview(self.head)

    def skip_to(self, offset: int) -> None:
        """Continue at a byte of the file."""
        self._file.seek(offset)
        self._place = offset
        self._pending = memoryview(b"")

    def skip_blocks(self, n_bytes: int) -> int:
        """Skip complete BGZF blocks, by their sizes, up to a number of bytes of text; returns the remaining bytes."""
        place = 0
        for place, n_text in iter_blocks(self._file.fileno(), self.head):  # noqa: B007
            if n_text > n_bytes:
                break
            n_bytes -= n_text
        if place:
            self.skip_to(place)
        return n_bytes

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self._pending:
            n_read = min(len(buffer), len(self._pending))
            buffer[:n_read] = self._pending[:n_read]
            self._pending = self._pending[n_read:]
        else:
            data = self._file.read(len(buffer)) or b""
            n_read = len(data)
            buffer[:n_read] = data
        self._place += n_read
        self.tail = (self.tail + bytes(buffer[max(0, n_read - TAIL) : n_read]))[-TAIL:]
        return n_read
