"""Scored records: lines of a VCF, or one row per ALT of a TSV or Parquet table; their headers."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import VariantError
from findna.io.vcf import COLUMNS, INFO, VCF_COLUMNS, Kind, Site, VariantReader

FACT = "##findna_score"
"""The beginning of the header line that describes the run."""

MISFITS = {"ref_mismatch", "contig_not_found", "out_of_range"}
"""Reasons of the records that do not fit the genome."""

_PREFIX = "FINDNA_"
SKIPPED = f"{_PREFIX}SKIPPED"
"""INFO key with the reason why an ALT has no score."""

_ENDS = re.compile(r"[\r\n\t]")
_IDENTITY = re.compile(r"(; (sha256|digest|bytes|modified_ns)=[^; ]*)*\Z")


class Field(NamedTuple):
    """A score of each ALT: its name in a table, and its description in the header of a VCF."""

    name: str
    text: str

    @property
    def key(self) -> str:
        """Its INFO key.

        >>> Field("llr", "").key
        'FINDNA_LLR'
        """
        return _key(self.name)


@cache
def _key(name: str) -> str:
    return _PREFIX + re.sub(r"[^A-Za-z0-9_.]", "_", name).upper()


class Vectors(NamedTuple):
    """The vectors of both alleles: REF, ALT.

    Args:
        x: Shape (2, F), float32.
        length: Bases of a window.
        frac_n: N fraction of each window.
    """

    x: NDArray[np.float32]
    length: int
    frac_n: tuple[float, float]


class Outcome(NamedTuple):
    """The outcome of one ALT.

    Args:
        values: Its scores in the order of the fields, or None.
        reason: Why it has none.
        vectors: Those of its alleles, if requested.
    """

    values: Sequence[float] | None
    reason: str = ""
    vectors: Vectors | None = None


def vcf_header(
    reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
) -> str:
    """The header of the scored VCF, ending with the `#CHROM` line.

    Args:
        reader: The records; for a TSV, a header is made.
        fields: The scores.
        facts: Lines `##findna_scoreNAME=TEXT`.
        contigs: Names and lengths, written if the file itself has none.
    """
    lines = [line for line in reader.header if not line.startswith((f"##INFO=<ID={_PREFIX}", f"{FACT}Shard="))]
    if reader.kind == "tsv":
        lines = ["##fileformat=VCFv4.3"]
    if not any(line.startswith("##contig=") for line in lines):
        lines += [f"##contig=<ID={name},length={length}>" for name, length in contigs.items()]
    lines += [f'##INFO=<ID={f.key},Number=A,Type=Float,Description="{f.text}">' for f in fields]
    lines.append(f'##INFO=<ID={SKIPPED},Number=.,Type=String,Description="Why an ALT has no score">')
    lines += _fact_lines(facts)
    columns = reader.columns if reader.kind == "vcf" else VCF_COLUMNS
    return "\n".join([*lines, "\t".join(columns)]) + "\n"


def vcf_line(site: Site, fields: Sequence[Field], outcomes: Sequence[Outcome], *, kind: Kind = "vcf") -> str:
    """A record with its scores in INFO; all other columns are unchanged.

    All scores of an earlier run are replaced.

    Args:
        site: The record.
        fields: The scores.
        outcomes: One per ALT; a record without ALT has one with this reason.
        kind: Kind of the input; a record of a TSV gets the columns of a VCF.
    """
    columns = list(site.fields)
    if kind == "tsv":
        columns = [site.chrom, str(site.start + 1), ".", site.ref, ",".join(site.alts) or ".", ".", ".", "."]
    info = [] if columns[INFO] in ("", ".") else columns[INFO].split(";")
    info = [entry for entry in info if not entry.startswith(_PREFIX)]
    if any(outcome.values is not None for outcome in outcomes):
        for index, field in enumerate(fields):
            values = [f"{o.values[index]:.6g}" if o.values is not None else "." for o in outcomes]
            info.append(f"{field.key}={','.join(values)}")
    if any(outcome.reason for outcome in outcomes):
        info.append(f"{SKIPPED}={','.join(outcome.reason or '.' for outcome in outcomes)}")
    columns[INFO] = ";".join(info) or "."
    return "\t".join(columns) + "\n"


def _fact_lines(facts: Mapping[str, str]) -> list[str]:
    """A header line for each fact. Blanks are kept, because they may be part of a file name."""
    return [f"{FACT}{name}={_ENDS.sub(' ', text)}" for name, text in facts.items()]


def named_fact(text: str) -> tuple[str, dict[str, str]]:
    """The name or path in a fact about a model or file, and what identifies its content.

    >>> named_fact("a; b.fa; digest=ab12; bytes=90")
    ('a; b.fa', {'digest': 'ab12', 'bytes': '90'})
    """
    match = _IDENTITY.search(text)
    start = match.start() if match else len(text)
    pairs = (pair.partition("=") for pair in text[start:].split("; ")[1:])
    return text[:start], {name: value for name, _, value in pairs}


class ScoreRows(ABC):
    """Turns records and their scores into the rows of an output.

    Args:
        reader: The reader of the records.
        fields: The scores.
        facts: Name and text of each fact about the run.
        contigs: Name and length of the genome's contigs.
    """

    def __init__(
        self, reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
    ) -> None:
        self.reader, self.fields, self.facts, self.contigs = reader, fields, facts, contigs
        self.longest = max(contigs.values(), default=0)

    @property
    @abstractmethod
    def head(self) -> Any:
        """The lines before the first record."""

    @abstractmethod
    def of(self, site: Site, outcomes: Sequence[Outcome]) -> Any:
        """The lines or rows of a record."""


class VcfRows(ScoreRows):
    """One line per record; the head is the header."""

    @property
    def head(self) -> str:
        """The header, with `#CHROM`."""
        return vcf_header(self.reader, self.fields, self.facts, self.contigs)

    def of(self, site: Site, outcomes: Sequence[Outcome]) -> str:
        """The record's line."""
        return vcf_line(site, self.fields, outcomes, kind=self.reader.kind)


class TableRows(ScoreRows):
    """One row per ALT: the columns of the input, the scores, and a status with the reason if there are none.

    Scores and status of an earlier run are replaced.

    Raises:
        VariantError: A column that no earlier run wrote has the name of one of them.
    """

    def __init__(
        self, reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
    ) -> None:
        super().__init__(reader, fields, facts, contigs)
        self.own = [field.name for field in fields]
        names = reader.columns
        is_scored = any(line.startswith(FACT) for line in reader.header)
        if reader.kind == "tsv" and not is_scored and (taken := {*self.own, "status"}.intersection(names)):
            reason = f"column {min(taken)!r} has the name of a column that findna writes: rename it"
            raise VariantError(reason, path=reader.name)
        self._kept = [i for i, name in enumerate(names) if name not in (*self.own, "status")]
        kept = ["chrom", "pos", "id", "ref", "alt"] if reader.kind == "vcf" else [names[i] for i in self._kept]
        self.columns = [*kept, *self.own, "status"]
        if reader.kind == "tsv":
            self._alt = [name.lower() for name in names].index(COLUMNS[-1])

    def rows(self, site: Site, outcomes: Sequence[Outcome]) -> list[list[Any]]:
        """The rows of a record, one per ALT; an ALT without a score has None as its values."""
        nothing = [None] * len(self.own)
        return [
            [*self._first(site, alt), *(nothing if outcome.values is None else outcome.values), outcome.reason or "ok"]
            for alt, outcome in zip(site.alts or (".",), outcomes, strict=True)
        ]

    def _first(self, site: Site, alt: str) -> list[str]:
        """The columns of the input; for a TSV, without those of an earlier run."""
        if self.reader.kind == "vcf":
            return [site.chrom, str(site.start + 1), site.fields[2], site.ref, alt]
        fields = [*site.fields, *[""] * (len(self.reader.columns) - len(site.fields))]
        fields[self._alt] = alt
        return [fields[i] for i in self._kept]


class TsvRows(TableRows):
    """The rows as text; lines that begin with ## describe the run."""

    @property
    def head(self) -> str:
        """The facts, and the line of the columns."""
        return "\n".join([*_fact_lines(self.facts), "\t".join(self.columns)]) + "\n"

    def of(self, site: Site, outcomes: Sequence[Outcome]) -> str:
        """The record's lines."""
        return "".join("\t".join(map(_text, row)) + "\n" for row in self.rows(site, outcomes))


class ParquetRows(TableRows):
    """The rows as values."""

    @property
    def head(self) -> "TableHead":
        """The columns, and the facts as metadata."""
        kinds = dict.fromkeys(self.own, "float") | {"pos": "int64"}
        facts = {f"{FACT.lstrip('#')}{name}": text for name, text in self.facts.items()}
        return TableHead([(name, kinds.get(name, "string")) for name in self.columns], facts)

    def of(self, site: Site, outcomes: Sequence[Outcome]) -> list[list[Any]]:
        """The record's rows."""
        return self.rows(site, outcomes)


class TableHead(NamedTuple):
    """Names and kinds (string, int64 or float) of the columns of a table, and the facts."""

    columns: Sequence[tuple[str, str]]
    facts: Mapping[str, str]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.6g}"


ROWS: Mapping[str, type[ScoreRows]] = {"vcf": VcfRows, "bcf": VcfRows, "tsv": TsvRows, "parquet": ParquetRows}
"""The class that makes the rows of each format."""
