"""What a scored record looks like: a line of VCF, or a row per ALT of a TSV or Parquet table; the head of each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from findna.io.vcf import COLUMNS, Field, Outcome, Site, VariantReader, vcf_header, vcf_line

FACT = "##findna_score"
"""What a line of a head begins with that says what the run was."""


class ScoreRows(ABC):
    """Makes of records and their scores what an output holds.

    Args:
        reader: Where the records are from.
        fields: The scores.
        facts: Name and text of what the output says of the run.
        contigs: Name and length of the genome's contigs.
    """

    def __init__(
        self, reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
    ) -> None:
        self.reader, self.fields, self.facts, self.contigs = reader, fields, facts, contigs

    @property
    @abstractmethod
    def head(self) -> Any:
        """What comes before the first record."""

    @abstractmethod
    def of(self, site: Site, outcomes: Sequence[Outcome]) -> Any:
        """What a record becomes: its lines, or its rows."""


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
    """One row per ALT: the columns of the input, the scores, and a status that says why there are none."""

    def __init__(
        self, reader: VariantReader, fields: Sequence[Field], facts: Mapping[str, str], contigs: Mapping[str, int]
    ) -> None:
        super().__init__(reader, fields, facts, contigs)
        self.own = [field.name for field in fields]
        names = reader.columns
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
        """What the row has from the input; of a TSV all columns but those that an earlier run wrote."""
        if self.reader.kind == "vcf":
            return [site.chrom, str(site.start + 1), site.fields[2], site.ref, alt]
        fields = [*site.fields, *[""] * (len(self.reader.columns) - len(site.fields))]
        fields[self._alt] = alt
        return [fields[i] for i in self._kept]


class TsvRows(TableRows):
    """The rows as text; lines that begin with ## say what the run was."""

    @property
    def head(self) -> str:
        """The facts, and the line of the columns."""
        lines = [f"{FACT}{name}={' '.join(text.split())}" for name, text in self.facts.items()]
        return "\n".join([*lines, "\t".join(self.columns)]) + "\n"

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
    """Of a table the names and kinds (string, int64 or float) of the columns, and the facts."""

    columns: Sequence[tuple[str, str]]
    facts: Mapping[str, str]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.6g}"


ROWS: Mapping[str, type[ScoreRows]] = {"vcf": VcfRows, "bcf": VcfRows, "tsv": TsvRows, "parquet": ParquetRows}
"""What makes the rows of each format."""
