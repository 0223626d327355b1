"""FASTA and FASTQ records in file order; damage that a library would not report is an error."""

import itertools
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.errors import FastaError
from findna.io.compressed import ByteStream, Mark
from findna.io.ids import IdSet
from findna.io.rows import printable
from findna.record import Record
from findna.sequence import BLANK, ENCODE, WHITE, Codes, encode, protein_hint

_MIN_PROTEIN = 10
_BOM = b"\xef\xbb\xbf"
_PLAIN = bytes(range(ord(" "), ord("~") + 1)) + b"\t\r\n"
_WHITE = 0xFF
_CODES = bytes(_WHITE if byte in WHITE else ENCODE[byte] for byte in range(256))
_MATE = re.compile(r"([12]):[YN]:\d+:")


def read_fasta(source: str | Path | ByteStream, *, ids: IdSet | None = None) -> Iterator[Record | FastaError]:
    """Yield the records of a FASTA file; a record that cannot be used is yielded as its error.

    Errors of a record are: no id, a duplicate id, no bases, letters that are not nucleotide
    codes, or more IUPAC codes than bases (a protein whose letters are all such codes).

    Args:
        source: Path (plain, gzip or BGZF), "-" for stdin, or an open stream.
        ids: The ids so far, if several files are read as one.

    Raises:
        FastaError: The file is truncated or damaged, or has text before its first header.
    """
    with _opened(source) as stream:
        used = IdSet() if ids is None else ids
        row = stream.begin.row
        for piece in _pieces(stream):
            row = yield from _records(stream, piece, row=row, used=used)


class _Piece(NamedTuple):
    """Complete records of a FASTA file: their text, and the number of bytes and lines before them."""

    offset: int
    line: int
    text: bytes


def _pieces(stream: ByteStream) -> Iterator[_Piece]:
    """Yield the text in pieces that begin with a header.

    Raises:
        FastaError: The file is truncated or damaged, or has text before its first header.
    """
    offset, line = stream.begin.offset, stream.begin.line
    held: list[bytes] = []
    for chunk in itertools.chain(stream.chunks(), [None]):
        place = 0 if chunk is None else chunk.rfind(b"\n>") + 1
        is_new = chunk is None or (chunk.startswith(b">") and bool(held) and held[-1].endswith(b"\n"))
        if place or is_new:
            text = b"".join([*held, chunk[:place]] if chunk else held)
            held.clear()
            yield _from_header(stream, _Piece(offset, line, text))
            offset, line = offset + len(text), line + text.count(b"\n")
        if chunk is not None:
            held.append(chunk[place:])


def _from_header(stream: ByteStream, piece: _Piece) -> _Piece:
    """The piece without a byte order mark and blank lines before its first header."""
    offset, line, text = piece
    first = len(_BOM) if not offset and text.startswith(_BOM) else 0
    begin = first if text.startswith(b">", first) else text.find(b"\n>") + 1 or len(text)
    for number, before in enumerate(text[first:begin].split(b"\n"), start=line + 1):
        if before.strip():
            stream.fail("text before the first '>' header", line=number)
    return _Piece(offset + begin, line + text.count(b"\n", 0, begin), text[begin:]) if begin else piece


def _records(stream: ByteStream, piece: _Piece, *, row: int, used: IdSet) -> Generator[Record | FastaError, None, int]:
    """Yield the records of a piece; returns the row after them.

    Plain records are encoded together; all others by `_record`.
    """
    offset, line, text = piece
    if not text:
        return row
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    begins = np.concatenate([[0], ends[ends < len(text) - 1] + 1])[: len(text)]  # of lines
    headers = np.flatnonzero(raw[begins] == ord(">"))
    starts = begins[headers]
    places = zip((offset + starts).tolist(), (line + headers).tolist(), itertools.count(row))
    is_plain = len(starts) > 1 and not text.translate(None, _PLAIN)
    encoded = _encoded(text, begins, headers) if is_plain else itertools.repeat(None)
    header_ends = np.append(ends, len(text))[headers].tolist()
    stops = [*starts[1:].tolist(), len(text)]
    source = stream.source
    for start, end, stop, place, codes in zip(starts.tolist(), header_ends, stops, places, encoded, strict=False):
        stream.mark = tuple.__new__(Mark, place)  # takes a third of the time of calling Mark
        if codes is not None:
            words = text[start + 1 : end].decode().split(None, 1)
            if words and used.add(words[0]):
                name = words[1].strip().replace("\t", " ") if len(words) > 1 else ""
                yield Record(words[0], codes, 0, place[2], source, name)
                continue
        header, bases = text[start + 1 : end].removesuffix(b"\r"), text[end + 1 : stop]
        yield _record(stream, header, bases, row=place[2], line=place[1] + 1, used=used)
    return row + len(headers)


def _encoded(text: bytes, begins: NDArray[np.int64], headers: NDArray[np.int64]) -> list[Codes | None]:
    """The codes of all records, encoded together; None for one that has other letters than A, C, G, T, N, or no bases.

    Args:
        text: The records.
        begins: The starts of its lines.
        headers: Indices of the lines that are headers.
    """
    codes = np.frombuffer(text.translate(_CODES), np.uint8)
    is_header = np.zeros(len(begins), np.bool_)
    is_header[headers] = True
    is_base = (codes != _WHITE) & ~np.repeat(is_header, np.diff(begins, append=len(text)))
    starts = begins[headers]
    n_bases = np.add.reduceat(is_base, starts, dtype=np.int64)
    worst = np.maximum.reduceat(codes * is_base, starts)
    is_plain = (n_bases > 0) & (worst < BLANK)
    bases, ends = codes[is_base], np.cumsum(n_bases).tolist()
    bounds = zip([0, *ends], ends, is_plain.tolist(), strict=False)
    return [bases[begin:end] if is_usable else None for begin, end, is_usable in bounds]


def read_fastq(source: str | Path | ByteStream, *, ids: IdSet | None = None) -> Iterator[Record | FastaError]:
    """Yield the records of a FASTQ file; a record that cannot be used is yielded as its error.

    Sequence and quality may be wrapped, the quality only if the sequence is. The id of a mate ends in /1 or /2, also
    if only the description says which mate it is (`1:N:0:ATCACG`). A duplicate id gets `_2`, `_3`. Otherwise like
    `read_fasta`.

    Raises:
        FastaError: The file is truncated or damaged, a record has no '@' or '+' line, or its quality has
            another length than its bases: what comes after cannot be trusted.
    """
    with _opened(source) as stream:
        used = IdSet() if ids is None else ids
        row = stream.begin.row - 1
        numbered = stream.numbered()
        for line, header in numbered:
            if not header.strip():
                continue
            offset = stream.offset
            name = _name(header)
            if not header.startswith(b"@"):
                stream.fail("a record must begin with '@'", line=line)
            row += 1
            bases: list[bytes] = []
            for number, text in numbered:
                if text.startswith(b"+"):
                    break
                if text.startswith(b"@"):
                    stream.fail("no '+' line before the next record", line=number, record=name)
                bases.append(text.translate(None, WHITE))
            else:
                stream.fail("truncated: no '+' line and no quality", line=line, record=name)
            sequence, n_quality = b"".join(bases), 0
            for _ in range(len(bases)):
                if (quality := next(numbered, None)) is None:
                    stream.fail("truncated: the quality is incomplete", line=line, record=name)
                n_quality += len(quality[1].strip())
            if n_quality != len(sequence):
                reason = f"{n_quality} quality values for {counted(len(sequence), 'base')}"
                stream.fail(reason, line=line, record=name)
            stream.mark = Mark(offset, line - 1, row)
            yield _record(stream, header[1:], sequence, row=row, line=line, used=used, is_read=True)


def _opened(source: str | Path | ByteStream) -> ByteStream:
    stream = source if isinstance(source, ByteStream) else ByteStream(source, error=FastaError)
    stream.error = FastaError
    return stream


def _name(header: bytes) -> str:
    words = header[1:].split(None, 1)
    return words[0].decode(errors="backslashreplace") if words else ""


def _record(
    stream: ByteStream, header: bytes, raw: bytes, *, row: int, line: int, used: IdSet, is_read: bool = False
) -> Record | FastaError:
    id, description = [word.decode(errors="backslashreplace") for word in (*header.split(None, 1), b"", b"")][:2]

    def fault(reason: str) -> FastaError:
        return FastaError(reason, path=stream.name, line=line, record=id, row=row)

    if not id:
        return fault("the header has no id")
    if printable(id) != id:
        return fault(f"the id {id!r} contains a line-end character")
    if is_read:
        mate = _MATE.match(description)
        id = used.unique(f"{id}/{mate[1]}" if mate else id)
    elif not used.add(id):
        return fault("duplicate id: the text before the first blank must be unique, for instance after seqkit rename")
    bases = raw.translate(None, WHITE)
    if not bases:
        return fault("no bases")
    try:
        codes, n_iupac = encode(bases)
    except ValueError as problem:
        return fault(protein_hint(problem))
    if len(codes) >= _MIN_PROTEIN and 2 * (n_iupac - bases.count(b"X") - bases.count(b"x")) > len(codes):
        return fault("most letters are neither A, C, G, T nor N (is it protein?)")
    return Record(id, codes, n_iupac, row, stream.source, name=description.strip().replace("\t", " "))
