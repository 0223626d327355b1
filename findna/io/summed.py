"""Text files whose second line has the sha256 of all other lines; it is filled in at the end."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from Bio import bgzf

from findna.errors import TableError
from findna.io.compressed import ByteStream

SUM_LINE = "##findna_sha256="
_LENGTH = 64
_LONGEST_LINE = 1 << 24


@contextmanager
def open_bgzf(path: Path) -> Iterator[BinaryIO]:
    """Open a new BGZF file. pysam's writer crashes if the file cannot be opened."""
    make: Any = bgzf.BgzfWriter
    with path.open("wb") as file, make(fileobj=file) as writer:
        yield writer


class SummedText:
    """Writes text to a file that can seek.

    Args:
        file: The file, empty.
        head: The beginning of the file; the checksum is inserted after its first line.
        has_sum: Whether to write a checksum; BGZF has its own and cannot seek.
    """

    def __init__(self, file: BinaryIO, head: str, *, has_sum: bool = True) -> None:
        self._file, self._sum, self._has_sum = file, hashlib.sha256(), has_sum
        first, newline, rest = head.partition("\n")
        self.write(first + newline)
        if has_sum:
            self._place = file.tell() + len(SUM_LINE)
            file.write(f"{SUM_LINE}{'0' * _LENGTH}\n".encode())
        self.write(rest)

    def write(self, text: str) -> None:
        """Add text; bytes that are not UTF-8 are surrogate characters."""
        content = text.encode(errors="surrogateescape")
        if self._has_sum:
            self._sum.update(content)
        self._file.write(content)

    def settle(self) -> None:
        """Fill in the checksum."""
        if not self._has_sum:
            return
        self._file.seek(self._place)
        self._file.write(self._sum.hexdigest().encode())


def compare_sum(chunks: Iterable[bytes]) -> bool | None:
    """Whether a text, in pieces, matches the checksum in it; None if it has none."""
    rest, head = iter(chunks), b""
    while head.count(b"\n") < 2 and len(head) < _LONGEST_LINE and (chunk := next(rest, b"")):
        head += chunk
    line = head.find(b"\n") + 1
    end = line + len(SUM_LINE) + _LENGTH + 1
    if not head.startswith(SUM_LINE.encode(), line):
        return None
    found = hashlib.sha256(head[:line] + head[end:])
    for chunk in rest:
        found.update(chunk)
    return head[line + len(SUM_LINE) : end] == f"{found.hexdigest()}\n".encode()


def check_text(path: Path) -> str:
    """Read a file and compare it with the checksum in it; returns what was compared, "" without a checksum.

    Raises:
        TableError: They differ.
    """
    with ByteStream(path, error=TableError) as stream:
        is_same = compare_sum(stream.chunks())
    if is_same is False:
        raise TableError("its sha256 differs: the content is not what was written", path=path)
    return "sha256 agrees" if is_same else ""
