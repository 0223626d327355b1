"""The places of contigs in a FASTA file (.fai): built, checked against the file, read and written."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from findna.errors import GenomeError
from findna.sequence import WHITE

_REWRAP = "rewrap it, for instance with seqtk seq -l 60"
_MOST_HEADER = 1 << 20
_MOST_DIGITS = 18
_MOST_READ = 4096


class Text(Protocol):
    """Text that can be read at any place."""

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The text at [offset, offset + n_bytes), shorter at the end."""


class Contig(NamedTuple):
    """One line of a .fai, as samtools and pyfaidx write it.

    Args:
        length: Bases.
        offset: Byte of the first base.
        line_bases: Bases in a full line.
        line_width: Bytes in a full line, including white space at its end.
    """

    length: int
    offset: int
    line_bases: int
    line_width: int

    def byte(self, position: int) -> int:
        """The byte of the base at a 0-based position."""
        line, column = divmod(position, self.line_bases or 1)  # an empty contig has no lines
        return self.offset + line * self.line_width + column


Faidx = dict[str, Contig]


def parse_fai(text: str) -> Faidx | None:
    """The index in a .fai file, or None if it is not valid."""
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


def is_index_of(index: Faidx, file: Text) -> bool:
    """Whether each record begins and ends where the index says, and the file contains nothing else.

    It reads the header before each first base, the ends of a first, a middle and a last line, and the
    bytes after the last base. Dates do not matter, because copying a file changes them.
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
        if not _lines_fit(contig, file):
            return False
    rest = file.read_at(position, _MOST_HEADER)
    return len(rest) < _MOST_HEADER and not rest.strip()


def is_contig_of(name: str, contig: Contig, file: Text) -> bool:
    """Whether one record begins and ends where the index says; the others are not checked."""
    for n_read in (_MOST_READ, _MOST_HEADER):
        first = max(0, contig.offset - n_read)
        _, newline, header = file.read_at(first, contig.offset - first).removesuffix(b"\n").rpartition(b"\n")
        if newline:
            break
    words = header.split(None, 1)
    return bool(words) and words[0] == b">" + name.encode() and _lines_fit(contig, file)


def _lines_fit(contig: Contig, file: Text) -> bool:
    n_full = (contig.length - 1) // contig.line_bases if contig.length else 0
    for line in {0, n_full // 2, n_full - 1} if n_full else ():
        if not _line_fits(contig, file, line, contig.line_bases).endswith(b"\n"):
            return False
    return not contig.length or bool(_line_fits(contig, file, n_full, contig.length - n_full * contig.line_bases))


def _line_fits(contig: Contig, file: Text, line: int, n_bases: int) -> bytes:
    """The end of a line, if it contains only bases and then white space; else b""."""
    n_read = min(n_bases, _MOST_READ)
    first = contig.byte(line * contig.line_bases) + n_bases - n_read
    found = file.read_at(first, n_read + contig.line_width - contig.line_bases)
    bases, newline, _ = found.partition(b"\n")
    is_line = len(bases[:n_read].translate(None, WHITE + b">")) == n_read and not bases[n_read:].strip()
    return bases + newline if is_line else b""


def build_fai(chunks: Iterable[bytes], *, path: str) -> Faidx:
    """The index of a FASTA file, computed from its text in pieces.

    Raises:
        GenomeError: It is not FASTA, a contig has no name or comes twice, or its lines have different lengths.
    """
    builder = _Builder(path)
    for chunk in chunks:
        first, last = chunk.find(b"\n") + 1, chunk.rfind(b"\n") + 1
        for piece in (chunk[:first], chunk[first:last], chunk[last:]):  # the end of a line, whole lines, a beginning
            builder.add(piece)
    return builder.finish()


class _Builder:
    """Counts the bases and bytes of lines; for a line in several pieces, only the counts are kept."""

    def __init__(self, path: str) -> None:
        self._path, self._index = path, Faidx()
        self._offset = self._n_lines = 0
        self._name: str | None = None
        self._start, self._length, self._bases, self._width, self._is_over = 0, 0, 0, 0, False
        self._header = b""
        self._n_bases, self._n_bytes, self._has_blank = 0, 0, False  # of the line so far

    def add(self, piece: bytes) -> None:
        """Add complete lines, or a piece of a line."""
        is_within = self._bases and not (self._is_over or self._header or self._n_bytes)
        n_lines = len(piece) // self._width if is_within else 0
        if n_lines and self._is_regular(piece, n_lines):
            self._length += n_lines * self._bases
            self._offset += len(piece)
            self._n_lines += n_lines
            return
        for line in piece.splitlines(keepends=True):
            if self._header or (not self._n_bytes and line.startswith(b">")):
                self._add_header(line)
            else:
                self._add_bases(line)

    def _is_regular(self, piece: bytes, n_lines: int) -> bool:
        """Whether all lines are full, so they need not be checked one by one."""
        columns = (piece[column :: self._width] for column in range(self._bases, self._width))
        return (
            len(piece) == n_lines * self._width
            and piece[self._width - 1 :: self._width] == b"\n" * n_lines
            and len(piece.translate(None, WHITE + b">")) == n_lines * self._bases
            and not any(column.strip(WHITE) for column in columns)
        )

    def _add_header(self, line: bytes) -> None:
        self._header += line
        if len(self._header) > _MOST_HEADER:
            raise self._error("a header of more than 1 MiB")
        if not line.endswith(b"\n"):
            return
        words = self._header[1:].split(None, 1)
        if not words or self._header[1:2].isspace():
            raise self._error("a contig without a name")
        self._close()
        self._name = words[0].decode(errors="backslashreplace")
        if self._name in self._index:
            raise self._error("duplicate contig", record=self._name)
        self._offset += len(self._header)
        self._n_lines += 1
        self._start, self._length, self._bases, self._width, self._is_over = self._offset, 0, 0, 0, False
        self._header = b""

    def _add_bases(self, line: bytes) -> None:
        n_bases, n_span = len(line.translate(None, WHITE)), len(line.rstrip(WHITE))
        if n_bases and self._name is None:
            raise self._error("text before the first '>' header")
        if n_bases < n_span or (n_bases and self._has_blank):
            raise self._error(f"white space before or between bases; {_REWRAP}", record=self._name)
        self._n_bases += n_bases
        self._n_bytes += len(line)
        self._has_blank = n_span < len(line)
        if line.endswith(b"\n"):
            self._end_line(self._n_bytes)

    def _end_line(self, width: int) -> None:
        if not (self._bases or self._is_over) and self._n_bases:
            self._bases, self._width = self._n_bases, width
        if self._n_bases > (0 if self._is_over else self._bases):
            raise self._error(f"lines of different lengths in one contig; {_REWRAP}", record=self._name)
        self._is_over |= (self._n_bases, width) != (self._bases, self._width)
        self._length += self._n_bases
        self._offset += self._n_bytes
        self._n_lines += 1
        self._n_bases, self._n_bytes, self._has_blank = 0, 0, False

    def _close(self) -> None:
        if self._name is not None:
            self._index[self._name] = Contig(self._length, self._start, self._bases, self._width)

    def finish(self) -> Faidx:
        if self._header:
            self._add_header(b"\n")
        if self._n_bytes:
            self._end_line(self._n_bytes + 1)
        self._close()
        if not self._index:
            raise GenomeError("the file is empty", path=self._path)
        return self._index

    def _error(self, reason: str, *, record: str | None = None) -> GenomeError:
        return GenomeError(reason, path=self._path, line=self._n_lines + 1, record=record or "")
