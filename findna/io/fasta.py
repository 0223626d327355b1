"""FASTA and FASTQ records in file order, with every damage that a library would not report."""

import re
from collections.abc import Iterator
from pathlib import Path

from findna.errors import FastaError
from findna.io.compressed import ByteStream, Mark
from findna.io.ids import IdSet
from findna.io.rows import printable
from findna.record import Record
from findna.sequence import WHITE, encode, protein_hint

_MIN_PROTEIN = 10
_MATE = re.compile(r"([12]):[YN]:\d+:")


def read_fasta(source: str | Path | ByteStream, *, ids: IdSet | None = None) -> Iterator[Record | FastaError]:
    """Yield the records of a FASTA file; a record that cannot be used is yielded as its error.

    A record's own fault is: no id, a duplicate id, no bases, letters that are not nucleotide
    codes, or more IUPAC codes than bases (a protein whose letters all happen to be such codes).

    Args:
        source: Path (plain, gzip or BGZF), "-" for stdin, or an open stream.
        ids: The ids used so far, for files that are read as one.

    Raises:
        FastaError: The file is truncated or damaged, or has text before its first header.
    """
    with _opened(source) as stream:
        used = IdSet() if ids is None else ids
        first = stream.begin.row
        row, line, offset, header, bases = first - 1, 0, 0, b"", bytearray()
        for number, text in stream.numbered():
            if text.startswith(b">"):
                if row >= first:
                    stream.mark = Mark(offset, line - 1, row)
                    yield _record(stream, header, bytes(bases), row=row, line=line, used=used)
                row, line, offset, header, bases = row + 1, number, stream.offset, text[1:], bytearray()
            elif row >= first:
                bases += text
            elif text.strip():
                stream.fail("text before the first '>' header", line=number)
        if row >= first:
            stream.mark = Mark(offset, line - 1, row)
            yield _record(stream, header, bytes(bases), row=row, line=line, used=used)


def read_fastq(source: str | Path | ByteStream, *, ids: IdSet | None = None) -> Iterator[Record | FastaError]:
    """Yield the records of a FASTQ file; a record that cannot be used is yielded as its error.

    Sequence and quality may be wrapped, the quality only if the sequence is. The id of a mate ends in /1 or /2, also
    where only the description says which one it is (`1:N:0:ATCACG`); a repeated id gets `_2`, `_3`. For the rest see
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
                reason = f"{n_quality} quality values for {len(sequence)} bases"
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

    def fault(reason: str, *, is_systematic: bool = False) -> FastaError:
        problem = FastaError(reason, path=stream.name, line=line, record=id, row=row)
        problem.is_systematic = is_systematic
        return problem

    if not id:
        return fault("the header has no id")
    if printable(id) != id:
        return fault(f"the id {id!r} holds a character that ends a line")
    if is_read:
        mate = _MATE.match(description)
        id = used.unique(f"{id}/{mate[1]}" if mate else id)
    elif not used.add(id):
        return fault("duplicate id; ids must be unique, for instance after seqkit rename", is_systematic=True)
    bases = raw.translate(None, WHITE)
    if not bases:
        return fault("no bases")
    try:
        codes, n_iupac = encode(bases)
    except ValueError as problem:
        return fault(protein_hint(problem), is_systematic=True)
    if len(codes) >= _MIN_PROTEIN and 2 * (n_iupac - bases.count(b"X") - bases.count(b"x")) > len(codes):
        return fault("most letters are neither A, C, G, T nor N (is it protein?)", is_systematic=True)
    return Record(id, codes, n_iupac, row, stream.source, name=description.strip().replace("\t", " "))
