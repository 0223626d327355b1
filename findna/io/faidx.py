"""The places of contigs in a FASTA file (.fai): built, checked against the file, read and written."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import GenomeError
from findna.io.bgzf import RandomAccess
from findna.sequence import WHITE

_NO_HEADER = "text before the first '>' header"
_MOST_HEADER = 1 << 20
_MOST_DIGITS = 18
_MOST_READ = 4096
_BLANKS = b" \t\v\f"
_IS_BASE = bytes(byte not in WHITE for byte in range(256))
_Places = NDArray[np.intp]


class Contig(NamedTuple):
    """One line of a .fai, as samtools and pyfaidx write it.

    Args:
        length: Bases.
        offset: Byte of the first base.
        line_bases: Bases in a full line.
        line_width: Bytes in a full line, with the white space at its end.
    """

    length: int
    offset: int
    line_bases: int
    line_width: int

    def byte(self, position: int) -> int:
        """Where the base at a 0-based position lies in the file."""
        line, column = divmod(position, self.line_bases)
        return self.offset + line * self.line_width + column


Faidx = dict[str, Contig]


def parse_fai(text: str) -> Faidx | None:
    """The index that a .fai file holds, or None if it is none."""
    index: Faidx = {}
    for line in text.removesuffix("\n").split("\n"):
        name, *numbers = line.removesuffix("\r").split("\t")
        is_row = len(numbers) == 4 and all(number.isascii() and number.isdigit() for number in numbers)
        if not is_row or max(map(len, numbers)) > _MOST_DIGITS:
            return None
        contig = Contig(*map(int, numbers))
        is_line = 0 <= contig.line_width - contig.line_bases <= _MOST_READ and (contig.line_bases or not contig.length)
        if name in index or not is_line:
            return None
        index[name] = contig
    return index or None


def format_fai(index: Faidx) -> str:
    """The text of a .fai file."""
    return "".join("\t".join([name, *map(str, contig)]) + "\n" for name, contig in index.items())


def is_index_of(index: Faidx, file: RandomAccess) -> bool:
    """Whether each record begins and ends where the index says, and nothing else is in the file.

    The header before each first base is read, the line ends of a first, a middle and a last line,
    and what follows the last base. Dates do not count: a copy or a checkout changes them.
    """
    position = 0
    for name, contig in sorted(index.items(), key=lambda item: item[1].offset):
        if not 0 < contig.offset - position < _MOST_HEADER:
            return False
        header = file.read_at(position, contig.offset - position)
        words = header.split()
        is_line = header.endswith(b"\n") and b"\n" not in header.strip()
        if not is_line or not header.lstrip().startswith(b">") or words[0][1:] != name.encode():
            return False
        if position and not header.startswith((b"\n", b"\r\n")):
            return False
        position = contig.byte(contig.length - 1) + 1 if contig.length else contig.offset
        if position > file.size or not _lines_fit(contig, file):
            return False
    rest = file.size - position
    return 0 <= rest < _MOST_HEADER and not file.read_at(position, rest).strip()


def is_contig_of(name: str, contig: Contig, file: RandomAccess) -> bool:
    """Whether one record begins and ends where the index says; nothing is known of the others."""
    first = max(0, contig.offset - _MOST_HEADER)
    header = file.read_at(first, contig.offset - first).removesuffix(b"\n").rpartition(b"\n")[2]
    words = header.split(None, 1)
    return bool(words) and words[0] == b">" + name.encode() and _lines_fit(contig, file)


def _lines_fit(contig: Contig, file: RandomAccess) -> bool:
    n_full = (contig.length - 1) // contig.line_bases if contig.length else 0
    for line in {0, n_full // 2, n_full - 1} if n_full else ():
        if not _line_fits(contig, file, line, contig.line_bases).endswith(b"\n"):
            return False
    return not contig.length or bool(_line_fits(contig, file, n_full, contig.length - n_full * contig.line_bases))


def _line_fits(contig: Contig, file: RandomAccess, line: int, n_bases: int) -> bytes:
    """The end of a line, if it is bases, white space after them and nothing else; b"" if not."""
    n_read = min(n_bases, _MOST_READ)
    first = contig.byte(line * contig.line_bases) + n_bases - n_read
    found = file.read_at(first, n_read + contig.line_width - contig.line_bases)
    bases, newline, _ = found.partition(b"\n")
    is_line = len(bases[:n_read].translate(None, WHITE + b">")) == n_read and not bases[n_read:].strip()
    return bases + newline if is_line else b""


def build_fai(chunks: Iterable[bytes], *, path: str) -> Faidx:
    """The index of a FASTA file, from its text in pieces.

    Raises:
        GenomeError: It is not FASTA, a contig has no name or comes twice, or its lines have different lengths.
    """
    builder = _Builder(path)
    for block in _whole_lines(chunks):
        builder.add(block)
    return builder.finish()


class _Part(NamedTuple):
    """The facts of a line of which only the beginning was read."""

    n_bases: int = 0
    n_bytes: int = 0
    has_blank: bool = False
    """White space at its end so far, such as the line end."""


class _Builder:
    def __init__(self, path: str) -> None:
        self._path, self._index = path, Faidx()
        self._offset = self._n_lines = 0
        self._name: str | None = None
        self._start, self._length, self._bases, self._width, self._is_over = 0, 0, 0, 0, False
        self._part: _Part | None = None

    def add(self, block: bytes) -> None:
        """Take in whole lines, or a piece of a line that is too long to be held whole."""
        if self._part or (b"\n" not in block and not block.startswith(b">")):
            piece, newline, block = block.partition(b"\n")
            self._add_piece(piece + newline)
            if newline:
                self._end_part(has_newline=True)
        if block:
            self._add_lines(block)

    def _add_piece(self, piece: bytes) -> None:
        """Count a piece of a line of bases; only the counts are kept."""
        part = self._part or _Part()
        n_bases, n_span = len(piece.translate(None, WHITE)), len(piece.rstrip(WHITE))
        if n_bases < n_span or (n_bases and part.has_blank):
            raise self._blank(self._n_lines + 1)
        self._part = _Part(part.n_bases + n_bases, part.n_bytes + len(piece), n_span < len(piece))

    def _end_part(self, *, has_newline: bool) -> None:
        if self._part is None:
            return
        (n_bases, n_bytes, _), self._part = self._part, None
        self._count(np.array([n_bases]), np.array([n_bytes]), np.array([has_newline]), first=0)
        self._offset += n_bytes
        self._n_lines += 1

    def _add_lines(self, block: bytes) -> None:
        if len(block) > _MOST_HEADER and b"\n" not in block:
            raise GenomeError("a header of more than 1 MiB", path=self._path, line=self._n_lines + 1)
        text = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(text == ord("\n")) + 1
        if not len(ends) or ends[-1] != len(text):
            ends = np.append(ends, len(text))
        starts = np.concatenate([[0], ends[:-1]])
        headers = np.flatnonzero(text[starts] == ord(">"))
        edges = [*headers.tolist(), len(starts)]
        self._lines(text, starts[: edges[0]], ends[: edges[0]], first=0)
        for header, after in pairwise(edges):
            end = int(ends[header])
            self._close()
            self._open(block[starts[header] + 1 : end], line=self._n_lines + header + 1)
            self._start = self._offset + end
            self._lines(text, starts[header + 1 : after], ends[header + 1 : after], first=header + 1)
        self._offset += len(block)
        self._n_lines += len(starts)

    def finish(self) -> Faidx:
        self._end_part(has_newline=False)
        self._close()
        if not self._index:
            raise GenomeError("the file is empty", path=self._path)
        return self._index

    def _open(self, header: bytes, *, line: int) -> None:
        words = header.split(None, 1)
        if not words or header[:1].isspace():
            raise GenomeError("a contig without a name", path=self._path, line=line)
        self._name = words[0].decode(errors="backslashreplace")
        if self._name in self._index:
            raise GenomeError("the contig comes twice", path=self._path, line=line, record=self._name)
        self._length = self._bases = self._width = 0
        self._is_over = False

    def _close(self) -> None:
        if self._name is not None:
            self._index[self._name] = Contig(self._length, self._start, self._bases, self._width)

    def _lines(self, text: NDArray[np.uint8], starts: _Places, ends: _Places, *, first: int) -> None:
        if not len(starts):
            return
        has_newline = text[ends - 1] == ord("\n")
        has_return = has_newline & (ends - starts > 1) & (text[np.maximum(ends - 2, 0)] == ord("\r"))
        widths = ends - starts
        bases = widths - has_newline - has_return
        part = text[starts[0] : ends[-1]].tobytes()
        if any(blank in part for blank in _BLANKS):
            bases = self._bases_before_blanks(part, starts - starts[0], first=first)
        self._count(bases, widths, has_newline, first=first)

    def _count(self, bases: _Places, widths: _Places, has_newline: NDArray[np.bool_], *, first: int) -> None:
        """Take in lines of one contig: their bases, their bytes, and whether they end."""
        if self._name is None:
            if bases.any():
                line = self._n_lines + first + int(np.argmax(bases > 0)) + 1
                raise GenomeError(_NO_HEADER, path=self._path, line=line)
            return
        if not self._bases and bases[0]:
            self._bases, self._width = int(bases[0]), int(widths[0]) + int(not has_newline[0])
        is_full = (bases == self._bases) & (widths == self._width)
        n_full = 0 if self._is_over else int(np.argmin(is_full)) if not is_full.all() else len(is_full)
        rest = bases[n_full:]
        if len(rest):
            is_bad = rest > 0
            is_bad[0] = rest[0] > (0 if self._is_over else self._bases)
            if is_bad.any():
                line = self._n_lines + first + n_full + int(np.argmax(is_bad)) + 1
                reason = "lines of different lengths in one contig; rewrap it, for instance with seqtk seq -l 60"
                raise GenomeError(reason, path=self._path, line=line, record=self._name)
            self._is_over = True
        self._length += int(bases.sum())

    def _bases_before_blanks(self, text: bytes, starts: _Places, *, first: int) -> _Places:
        """Bases of each line, where lines have blanks: they may only stand at its end."""
        is_base = np.frombuffer(text.translate(_IS_BASE), dtype=np.uint8)
        bases = np.add.reduceat(is_base, starts, dtype=np.intp)
        places = np.arange(len(text)) + 1 - np.repeat(starts, np.diff([*starts, len(text)]))
        spans = np.maximum.reduceat(places * is_base, starts)
        if (spans > bases).any():
            line = self._n_lines + first + int(np.argmax(spans > bases)) + 1
            raise self._blank(line)
        return bases

    def _blank(self, line: int) -> GenomeError:
        if self._name is None:
            return GenomeError(_NO_HEADER, path=self._path, line=line)
        reason = "white space before or between bases; rewrap it, for instance with seqtk seq -l 60"
        return GenomeError(reason, path=self._path, line=line, record=self._name)


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines, and a line of more than 1 MiB in pieces."""
    pieces: list[bytes] = []
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join([*pieces, chunk[:cut]])
            pieces = []
        pieces.append(chunk[cut:])
        if sum(map(len, pieces)) > _MOST_HEADER:
            yield b"".join(pieces)
            pieces = []
    if last := b"".join(pieces):
        yield last
