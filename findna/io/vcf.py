"""Variants: records of VCF, BCF and TSV as sites."""

import itertools
import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Self

import pysam

from findna.counts import counted
from findna.errors import VariantError
from findna.io.bam_index import NO_INDEX
from findna.io.compressed import BGZF_EOF, START, ByteStream, Mark, end_of
from findna.io.meter import Meter
from findna.io.remedies import vcf_header
from findna.io.sniff import missing_header, refuse_without_alleles
from findna.io.summed import SUM_LINE
from findna.io.tap import is_bgzf

Kind = Literal["vcf", "tsv"]

COLUMNS = ("chrom", "pos", "ref", "alt")
"""Columns that a TSV of variants must have; POS is 1-based as in VCF."""

VCF_COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
INFO, _LEAST = VCF_COLUMNS.index("INFO"), len(VCF_COLUMNS)

_BCF = b"BCF\x02"
_LONGEST_POS = 18
"""Maximum digits of a POS, which must fit in 64 bits."""


class Site(NamedTuple):
    """One record of a VCF or TSV.

    Args:
        chrom: Contig.
        start: 0-based position of the first base of REF; -1 for POS 0.
        ref: REF as the file has it.
        alts: ALT alleles as the file has them; () for ".".
        row: 0-based index among the records of the file.
        line: 1-based line of a text file; None for a BCF.
        fields: The record's columns as text.
    """

    chrom: str
    start: int
    ref: str
    alts: tuple[str, ...]
    row: int = 0
    line: int | None = None
    fields: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start + 1} {brief(self.ref)}>{brief(','.join(self.alts) or '.')}"


class VariantReader:
    """The records of a VCF, BCF or TSV file or of stdin, read once, in order; a context manager.

    pysam.VariantFile parses VCF and BCF. The text of a VCF is read in parallel, so that a writer can keep every column
    unchanged. Gzip and bgzip are recognised by content.

    Args:
        source: Path, or "-" for stdin.
        begin: Place of the first record to read; the header is always read.

    Attributes:
        mark: Place of the last record, or None.
        name: Its name in messages.
        kind: "vcf" (BCF too) or "tsv".
        header: The lines that begin with ##.
        columns: Column names; for a VCF those of the `#CHROM` line.

    Raises:
        VariantError: It cannot be opened, or is none of these.
    """

    def __init__(self, source: str | Path, *, begin: Mark = START) -> None:
        self.begin = begin
        self.mark: Mark | None = None
        self.kind: Kind = "vcf"
        self.header: list[str] = []
        self.columns: list[str] = []
        self._waiting: deque[tuple[Mark, bytes]] = deque()  # lines that pysam has not parsed yet
        with ExitStack() as stack:
            self._stream = stack.enter_context(ByteStream(source, error=VariantError))
            self.name, self._meter = self._stream.name, Meter([self._stream.source])
            head = self._stream.head
            self._is_bcf = head[:4] == _BCF
            if self._is_bcf:
                self._open_bcf(stack)
            elif not head.strip():
                for _ in self._stream.chunks():  # says what is wrong with damaged gzip
                    pass
                self._stream.fail("the file is empty")
            else:
                if b"\0" in head:
                    refuse_without_alleles(self._stream)
                self._open_text(stack, is_vcf=head.removeprefix(b"\xef\xbb\xbf").startswith(b"##fileformat=VCF"))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def n_expected(self) -> int | None:
        """Number of records of the file: an estimate while it is read; None if not known."""
        return self._meter.n_records

    def __iter__(self) -> Iterator[Site]:
        """Yield the records.

        Raises:
            VariantError: The file is truncated or damaged, or a line is not a record.
        """
        for site in self._tsv_sites() if self.kind == "tsv" else self._vcf_sites():
            self._meter.count(self._stream)
            yield site
        self._meter.finish(self._stream.source)

    def _tsv_sites(self) -> Iterator[Site]:
        place = [[name.lower() for name in self.columns].index(name) for name in COLUMNS]
        least = max(place) + 1
        for row, (mark, text) in enumerate(self._marked(), start=self.begin.row):
            line, self.mark = mark.line + 1, mark._replace(row=row)
            fields = text.decode("utf-8", "surrogateescape").split("\t")
            if len(fields) < least:
                self._stream.fail(f"{counted(len(fields), 'column')} where at least {least} must be", line=line)
            if len(fields) > len(self.columns):
                self._stream.fail(self._other_width(text), line=line)
            chrom, pos, ref, alt = (fields[index].strip() for index in place)
            if not pos.isascii() or not pos.isdigit() or len(pos) > _LONGEST_POS:
                self._stream.fail(f"POS {pos!r} is not a positive whole number", line=line)
            if not chrom or not ref:
                self._stream.fail("CHROM or REF is empty", line=line)
            alts = tuple(alt.split(",")) if alt not in ("", ".") else ()
            yield Site(chrom, int(pos) - 1, ref, alts, row, line, fields)

    def _vcf_sites(self) -> Iterator[Site]:
        has_offsets = self._is_bcf and self._stream.is_rereadable
        for row in itertools.count(self.begin.row):
            offset = self._file.tell() if has_offsets else 0
            try:
                record = next(self._file)
                place = record.chrom, record.start, record.ref or "", tuple(record.alts or ())
            except StopIteration:
                break
            except (OSError, ValueError) as problem:  # of a name that is not UTF-8 too
                self._refuse(row, problem)
            if self._is_bcf:
                self._stream.mark = self.mark = Mark(offset, 0, row) if has_offsets else None
                yield Site(*place, row, None, str(record).rstrip("\n").split("\t", _LEAST))
                continue
            if self._waiting[0][1].count(b"\t") + 1 != len(self.columns):
                self._refuse(row)
            mark, text = self._waiting.popleft()
            line, self.mark = mark.line + 1, mark._replace(row=row)
            fields = text.decode("utf-8", "surrogateescape").split("\t", _LEAST)
            if not fields[0] or not fields[3]:
                self._stream.fail("CHROM or REF is empty", line=line)
            if (fields[0], fields[3]) != (record.chrom, record.ref):
                raise ValueError(f"line {line} of {self.name}: pysam is at another record")
            yield Site(*place, row, line, fields)
        if self._stream.fault:
            raise self._stream.fault
        tail = end_of(self._stream.source) if has_offsets else self._stream.tail
        if self._is_bcf and not tail.endswith(BGZF_EOF) and is_bgzf(self._stream.raw_head):
            self._stream.fail(
                f"truncated after {counted(row, 'record')}: BGZF EOF marker missing; copy or make the file again"
            )

    def _refuse(self, n_records: int, problem: Exception | None = None) -> NoReturn:
        """Raise the reason why pysam cannot read the next record."""
        if self._stream.fault:
            raise self._stream.fault
        if not self._waiting:
            self._stream.fail(f"truncated or damaged after {counted(n_records, 'record')}", cause=problem)
        mark, text = self._waiting[0]
        fields = text.decode("utf-8", "backslashreplace").split("\t")
        if len(fields) != len(self.columns):
            reason = self._other_width(text)
        elif not fields[1].isascii() or not fields[1].isdigit():
            reason = f"POS {fields[1]!r} is not a positive whole number"
        else:
            reason = "not a valid VCF record (bcftools view names the problem)"
        self._stream.fail(reason, line=mark.line + 1, cause=problem)

    def _other_width(self, text: bytes) -> str:
        n_columns = text.count(b"\t") + 1
        return f"{counted(n_columns, 'column')}, but the header has {len(self.columns)}"

    def _marked(self) -> Iterator[tuple[Mark, bytes]]:
        """The lines of the records with their places; blank lines are skipped."""
        for number, text in self._lines:
            if text:
                yield Mark(self._stream.offset, number - 1), text

    def _open_text(self, stack: ExitStack, *, is_vcf: bool) -> None:
        self._lines = self._stream.numbered()
        self._read_header(is_vcf=is_vcf)
        if self.begin.row:
            self._stream = stack.enter_context(ByteStream(self._stream.source, error=VariantError))
            self._stream.begin = self.begin
            self._lines = self._stream.numbered()
        if self.kind == "vcf":
            self._parse(stack, stack.enter_context(self._stream.as_pipe(self._passing())))

    def _read_header(self, *, is_vcf: bool) -> None:
        for number, raw in self._lines:
            line = raw.decode("utf-8", "surrogateescape")
            if line.startswith("##"):
                if not line.startswith(SUM_LINE):  # of the file that is read
                    self.header.append(line)
            elif is_vcf:
                if line.split("\t")[:_LEAST] != VCF_COLUMNS:
                    self._stream.fail(vcf_header(line, VCF_COLUMNS, self.name), line=number)
                self.columns = line.split("\t")
                return
            elif line:
                self._take_tsv_columns(number, line)
                return
        self._stream.fail("the #CHROM line is missing" if is_vcf else "has no rows")

    def _passing(self) -> Iterator[bytes]:
        """The text for pysam; each line is kept until its record is parsed."""
        header = "".join(f"{line}\n" for line in [*self.header, "\t".join(self.columns)])
        yield header.encode("utf-8", "surrogateescape")
        for mark, text in self._marked():
            self._waiting.append((mark, text))
            yield text + b"\n"

    def _take_tsv_columns(self, number: int, line: str) -> None:
        if line.removeprefix("#").upper().split("\t")[:_LEAST] == [name.lstrip("#") for name in VCF_COLUMNS]:
            self._stream.fail("a VCF without its header: its first line must be ##fileformat=VCFv4.3", line=number)
        self.kind = "tsv"
        self.columns = line.removeprefix("#").split("\t")
        names = [name.lower() for name in self.columns]
        if absent := [name for name in COLUMNS if name not in names]:
            if not (hint := missing_header(line)):
                refuse_without_alleles(self._stream)
                hint = f"a TSV of variants has a line with the columns {', '.join(COLUMNS)}, separated by tabs"
            self._stream.fail(f"column {absent[0]!r} not found: {hint}", line=number)
        for name in COLUMNS:
            if (n := names.count(name)) > 1:
                self._stream.fail(f"{n} columns are named {name!r}: rename all but one", line=number)

    def _open_bcf(self, stack: ExitStack) -> None:
        is_file = self._stream.is_rereadable
        self._parse(
            stack, f"{self._stream.source}{NO_INDEX}" if is_file else stack.enter_context(self._stream.as_pipe())
        )
        if self.begin.row:
            self._file.seek(self.begin.offset)
        try:
            *header, columns = str(self._file.header).rstrip("\n").split("\n")
        except ValueError as problem:  # not UTF-8
            self._stream.fail("damaged: its BCF header cannot be read", cause=problem)
        self.header = [line for line in header if not line.startswith(SUM_LINE)]
        self.columns = columns.split("\t")

    def _parse(self, stack: ExitStack, source: Any) -> None:
        """Open a file with pysam, whose own messages are not shown."""
        stack.callback(pysam.set_verbosity, pysam.set_verbosity(0))
        try:
            with warnings.catch_warnings(action="ignore"):  # of a missing end, which is an error later
                file = pysam.VariantFile(source, ignore_truncation=True)
            self._file = stack.enter_context(file)
        except (OSError, ValueError) as problem:
            kind = "BCF" if self._is_bcf else "VCF"
            self._stream.fail(f"its {kind} header cannot be read (bcftools view names the problem)", cause=problem)


def assembly_of(reader: VariantReader) -> str:
    """The reference in a VCF header; "" if there is none."""
    for pattern in (r"##reference=(?:file://)?(.+)", r"##contig=<.*\bassembly=\"?([^,\">]+)"):
        for line in reader.header:
            if match := re.match(pattern, line):
                return match[1]
    return ""


def with_assembly(fault: VariantError, reader: VariantReader) -> VariantError:
    """The error, with the assembly from the file's header."""
    assembly = assembly_of(reader)
    reason = f"{fault.reason} The header says {assembly}" if assembly else fault.reason
    return VariantError(reason, path=fault.path, line=fault.line, record=fault.record, row=fault.row)


def brief(text: str) -> str:
    """An allele for a message, shortened."""
    return text if len(text) <= 20 else f"{text[:17]}..."
