"""Variants in and out: VCF, BCF and TSV records as sites, and the same records with scores."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pysam
from numpy.typing import NDArray

from findna.errors import VariantError
from findna.io.compressed import BGZF_EOF, START, STDIN, ByteStream, Mark, end_of, is_bgzf
from findna.io.meter import Meter

Kind = Literal["vcf", "tsv"]

COLUMNS = ("chrom", "pos", "ref", "alt")
"""Columns that a TSV of variants must have; POS is 1-based as in VCF."""

_VCF_COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_INFO, _LEAST = _VCF_COLUMNS.index("INFO"), len(_VCF_COLUMNS)

_BCF = b"BCF\x02"


class Site(NamedTuple):
    """One record of a VCF or TSV.

    Args:
        chrom: Contig.
        start: 0-based position of the first base of REF; -1 for POS 0.
        ref: REF as the file has it.
        alts: ALT alleles as the file has them; () for ".".
        row: 0-based index among the records of the file.
        line: 1-based line of a text file, None of a BCF.
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
        return f"{self.chrom}:{self.start + 1} {_brief(self.ref)}>{_brief(','.join(self.alts) or '.')}"


class VariantReader:
    """The records of a VCF, BCF or TSV file or of stdin, read once, in order; a context manager.

    The text of a VCF is read as it is, so that a writer can give every column back unchanged. BCF goes through
    pysam. Gzip and bgzip are recognised by content.

    Args:
        source: Path, or "-" for stdin.
        begin: Place of the record to begin with; the header is read in any case.

    Attributes:
        mark: Place of the record that was yielded last, None where it has none.
        name: What to call it in a message.
        kind: "vcf" (BCF too) or "tsv".
        header: The lines that begin with ##.
        columns: Column names: of a VCF those of the `#CHROM` line.

    Raises:
        VariantError: It cannot be opened, or is none of these.
    """

    def __init__(self, source: str | Path, *, begin: Mark = START) -> None:
        self.begin = begin
        self.mark: Mark | None = None
        self._offset: int | None = None
        self._stack = ExitStack()
        self._stream = self._stack.enter_context(ByteStream(source, error=VariantError))
        self._meter = Meter([self._stream.source])
        self.name = self._stream.name
        self.kind: Kind = "vcf"
        self.header: list[str] = []
        self.columns: list[str] = []
        head = self._stream.head
        try:
            if head[:4] == _BCF:
                self._open_bcf()
            elif not head.strip():
                for _ in self._stream.chunks():  # says what is wrong with damaged gzip
                    pass
                self._stream.fail("the file is empty")
            else:
                self._open_text(head)
                if begin.row:
                    self._stream = self._stack.enter_context(ByteStream(source, error=VariantError))
                    self._stream.begin = begin
                    self._lines = self._text_lines()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    @property
    def is_stdin(self) -> bool:
        """Whether the records come from stdin."""
        return self._stream.source == STDIN

    @property
    def n_expected(self) -> int | None:
        """How many records the file holds: an estimate while it is read, None if it is not known."""
        return self._meter.n_records

    def __iter__(self) -> Iterator[Site]:
        """Yield the records.

        Raises:
            VariantError: The file is truncated or damaged, or a line is not a record.
        """
        if self.kind == "tsv":
            place = [[name.lower() for name in self.columns].index(name) for name in COLUMNS]
            least = max(place) + 1
        else:
            place, least = [0, 1, 3, 4], _LEAST
        for row, (line, text) in enumerate(self._records(), start=self.begin.row):
            self._meter.count(self._stream)
            fields = text.split("\t")
            if len(fields) < least:
                self._stream.fail(f"{len(fields)} columns where at least {least} must be", line=line)
            chrom, pos, ref, alt = (fields[index].strip() for index in place)
            if not pos.isascii() or not pos.isdigit():
                self._stream.fail(f"POS {pos!r} is not a positive whole number", line=line)
            if not chrom or not ref:
                self._stream.fail("CHROM or REF is empty", line=line)
            alts = tuple(alt.split(",")) if alt not in ("", ".") else ()
            self.mark = None if self._offset is None else Mark(self._offset, max(0, line - 1), row)
            yield Site(chrom, int(pos) - 1, ref, alts, row, line if line else None, fields)
        self._meter.finish(self._stream.source)

    def _records(self) -> Iterator[tuple[int, str]]:
        """Line number (0 of a BCF) and text of every record; blank lines are passed over."""
        for number, text in self._lines:
            if text:
                yield number, text

    def _text_lines(self) -> Iterator[tuple[int, str]]:
        for number, line in self._stream.numbered():
            self._offset = self._stream.offset
            yield number, line.decode("utf-8", "surrogateescape")

    def _open_text(self, head: bytes) -> None:
        self._lines = self._text_lines()
        is_vcf = head.startswith((b"##fileformat=VCF", b"\xef\xbb\xbf##fileformat=VCF"))
        for number, line in self._lines:
            if line.startswith("##"):
                self.header.append(line)
            elif is_vcf:
                self._take_vcf_columns(number, line)
                return
            elif line:
                self._take_tsv_columns(number, line)
                return
        self._stream.fail("the #CHROM line is missing" if is_vcf else "has no rows")

    def _take_vcf_columns(self, number: int, line: str) -> None:
        if line.split("\t")[:_LEAST] != _VCF_COLUMNS:
            self._stream.fail("the #CHROM line must follow the ## lines, tab-separated", line=number)
        self.columns = line.split("\t")

    def _take_tsv_columns(self, number: int, line: str) -> None:
        self.kind = "tsv"
        self.columns = line.removeprefix("#").split("\t")
        names = [name.lower() for name in self.columns]
        if absent := [name for name in COLUMNS if name not in names]:
            is_record = len(names) >= _LEAST and names[1].isdigit()
            hint = "a VCF begins with ##fileformat=VCF; this one has no header" if is_record else ""
            hint = hint or f"a TSV of variants has a line with the columns {', '.join(COLUMNS)}"
            self._stream.fail(f"column {absent[0]!r} not found: {hint}", line=number)

    def _open_bcf(self) -> None:
        verbosity = pysam.set_verbosity(0)
        self._stack.callback(pysam.set_verbosity, verbosity)
        is_file = self._stream.is_rereadable
        opened = self._stream.source if is_file else self._stack.enter_context(self._stream.as_pipe())
        try:
            with warnings.catch_warnings(action="ignore"):  # of a missing end, which is an error below
                file = self._stack.enter_context(pysam.VariantFile(opened, ignore_truncation=True))
            *self.header, columns = str(file.header).rstrip("\n").split("\n")
        except (OSError, ValueError) as problem:  # of a text that is not UTF-8 too
            self._stream.fail("damaged: its BCF header cannot be read", cause=problem)
        self.columns = columns.split("\t")
        self._lines = self._bcf_records(file)

    def _bcf_records(self, file: Any) -> Iterator[tuple[int, str]]:
        n_records, has_offsets = self.begin.row, self._stream.is_rereadable
        if n_records:
            file.seek(self.begin.offset)
        try:
            self._offset = file.tell() if has_offsets else None
            for record in file:
                yield 0, str(record).rstrip("\n")
                self._offset = file.tell() if has_offsets else None
                n_records += 1
        except (OSError, ValueError) as problem:
            self._stream.fail(f"truncated or damaged after {n_records:,} records", cause=problem)
        tail = end_of(self._stream.source) if has_offsets else self._stream.tail
        if not tail.endswith(BGZF_EOF) and is_bgzf(self._stream.raw_head):
            self._stream.fail(f"truncated after {n_records:,} records: BGZF EOF marker missing")


def assembly_of(reader: VariantReader) -> str:
    """What a VCF header calls its reference, "" where it is silent."""
    for pattern in (r"##reference=(?:file://)?(.+)", r"##contig=<.*\bassembly=\"?([^,\">]+)"):
        for line in reader.header:
            if match := re.match(pattern, line):
                return match[1]
    return ""


class Field(NamedTuple):
    """A score of each ALT: its name in a table, and what the header of a VCF says of it."""

    name: str
    text: str

    @property
    def key(self) -> str:
        """Its INFO key.

        >>> Field("llr", "").key
        'FINDNA_LLR'
        """
        return "FINDNA_" + re.sub(r"[^A-Za-z0-9_.]", "_", self.name).upper()


SKIPPED = "FINDNA_SKIPPED"
"""INFO key of why an ALT has no score."""


SHARD = "##findna_scoreShard="
"""How the line of a header begins that says which part of a run a file is."""


class Vectors(NamedTuple):
    """The vectors of both alleles: REF, ALT.

    Args:
        x: Shape (2, F), float32.
        length: Bases of a window.
        frac_n: Share of N in each window.
    """

    x: NDArray[np.float32]
    length: int
    frac_n: tuple[float, float]


class Outcome(NamedTuple):
    """What became of one ALT.

    Args:
        values: Its scores in the order of the fields, None without.
        reason: Why it has none.
        vectors: Those of its alleles, if they were asked for.
    """

    values: Sequence[float] | None
    reason: str = ""
    vectors: Vectors | None = None


def vcf_header(
    reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
) -> str:
    """The header of the scored VCF, ending with the `#CHROM` line.

    Args:
        reader: The records; of a TSV a header is made.
        fields: The scores.
        facts: Lines `##findna_scoreNAME=TEXT`.
        contigs: Names and lengths, written where the file itself names none.
    """
    own = {SKIPPED, *(field.key for field in fields)}
    lines = [line for line in reader.header if _info_id(line) not in own and not line.startswith(SHARD)]
    if reader.kind == "tsv":
        lines = ["##fileformat=VCFv4.3"]
    if not any(line.startswith("##contig=") for line in lines):
        lines += [f"##contig=<ID={name},length={length}>" for name, length in contigs.items()]
    lines += [f'##INFO=<ID={f.key},Number=A,Type=Float,Description="{f.text}">' for f in fields]
    lines.append(f'##INFO=<ID={SKIPPED},Number=.,Type=String,Description="Why an ALT has no score">')
    lines += [f"##findna_score{name}={' '.join(text.split())}" for name, text in facts.items()]
    columns = (
        reader.columns if reader.kind == "vcf" else ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    )
    return "\n".join([*lines, "\t".join(columns)]) + "\n"


def vcf_line(site: Site, fields: Sequence[Field], outcomes: Sequence[Outcome], *, kind: Kind = "vcf") -> str:
    """A record with its scores in INFO; every other column is as it was.

    Scores that an earlier run wrote under the same keys are replaced.

    Args:
        site: The record.
        fields: The scores.
        outcomes: One per ALT; of a record without an ALT one that says so.
        kind: Of the file that the record is from; a record of a TSV gets the columns of a VCF.
    """
    columns = list(site.fields)
    if kind == "tsv":
        columns = [site.chrom, str(site.start + 1), ".", site.ref, ",".join(site.alts) or ".", ".", ".", "."]
    own = {SKIPPED, *(field.key for field in fields)}
    info = [] if columns[_INFO] == "." else columns[_INFO].split(";")
    info = [entry for entry in info if entry.partition("=")[0] not in own]
    if any(outcome.values is not None for outcome in outcomes):
        for index, field in enumerate(fields):
            values = [f"{o.values[index]:.6g}" if o.values is not None else "." for o in outcomes]
            info.append(f"{field.key}={','.join(values)}")
    if any(outcome.reason for outcome in outcomes):
        info.append(f"{SKIPPED}={','.join(outcome.reason or '.' for outcome in outcomes)}")
    columns[_INFO] = ";".join(info) or "."
    return "\t".join(columns) + "\n"


def _info_id(line: str) -> str:
    match = re.match(r"##INFO=<ID=([^,>]+)", line)
    return match[1] if match else ""


def _brief(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:17]}..."
