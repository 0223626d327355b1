"""Scored variants on their way out: VCF with an index, TSV or Parquet, whole or not at all."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, cast, get_args

import pysam

from findna.errors import ConfigError, OutputError, VariantError
from findna.io.files import publish, raise_output_error
from findna.io.tables import require_pyarrow
from findna.io.vcf import COLUMNS, Field, Outcome, Site, VariantReader, vcf_header, vcf_line

Format = Literal["vcf", "tsv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

STDOUT = Path("-")

_BUFFER = 1 << 20
_GROUP = 65_536
_LONGEST_TBI = 1 << 29
"""Contigs of more bases need a .csi index."""


class ScoreWriter(ABC):
    """Records with their scores, in order; a context manager.

    The output gets its name in `finish`; after an error nothing is left of it.

    Args:
        path: The output; `STDOUT` for a stream of text.
        reader: Where the records are from.
        fields: The scores.
        facts: Name and text of what the output says of the run.
        contigs: Name and length of the genome's contigs.
        force: Replace an existing output.

    Attributes:
        n_records: Records written.

    Raises:
        OutputError: The output exists, or cannot be written.
        MissingExtraError: The format needs a package that is not installed.
    """

    def __init__(
        self,
        path: Path,
        reader: VariantReader,
        fields: Sequence[Field],
        facts: Mapping[str, str],
        contigs: Mapping[str, int],
        *,
        force: bool = False,
    ) -> None:
        self.path, self.reader, self.fields = path, reader, fields
        self.facts, self.contigs = facts, contigs
        self.n_records = 0
        self._temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._outputs = self._names()
        for name in self._outputs if path != STDOUT else []:
            if name.exists() and not name.is_file():
                raise OutputError(f"{name}: is not a regular file")
            if name.exists() and not force:
                raise OutputError(f"{name}: exists already; --force replaces it")
        self._stack = ExitStack()
        try:
            self._open()
        except OSError as error:
            raise_output_error(error, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            self._stack.close()
        if self.path != STDOUT:
            for suffix in ("", ".tbi", ".csi"):
                Path(f"{self._temp}{suffix}").unlink(missing_ok=True)

    def write(self, site: Site, outcomes: Sequence[Outcome]) -> None:
        """Write a record.

        Raises:
            OutputError: It cannot be written.
            VariantError: The output gets an index, and the record is not sorted.
        """
        self.n_records += 1
        try:
            self._write(site, outcomes)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise_output_error(error, self.path)

    def finish(self) -> list[Path]:
        """Give the output its name.

        Returns:
            The files, the index after what it indexes; none of a stream.
        """
        try:
            self._finish()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise_output_error(error, self.path)
        return [] if self.path == STDOUT else self._outputs

    def _names(self) -> list[Path]:
        return [self.path]

    def _finish(self) -> None:
        self._stack.close()
        if self.path == STDOUT:
            sys.stdout.buffer.flush()
        else:
            publish(self._temp, self.path)

    def _text(self) -> BinaryIO:
        """Where text goes: stdout, a plain file, or for a name that ends in .gz BGZF blocks."""
        if self.path == STDOUT:
            return sys.stdout.buffer
        if self.path.suffix == ".gz":
            return cast(BinaryIO, self._stack.enter_context(pysam.BGZFile(str(self._temp), "wb", None)))
        return self._stack.enter_context(self._temp.open("wb", buffering=_BUFFER))

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, site: Site, outcomes: Sequence[Outcome]) -> None: ...


class VcfWriter(ScoreWriter):
    """A VCF; of a name that ends in .gz with its index beside it."""

    def _names(self) -> list[Path]:
        if self.path.suffix != ".gz":
            return [self.path]
        self._suffix = ".csi" if max(self.contigs.values(), default=0) > _LONGEST_TBI else ".tbi"
        return [self.path, Path(f"{self.path}{self._suffix}")]

    def _open(self) -> None:
        self._chroms: set[str] = set()
        self._last = ("", -1)
        self._file = self._text()
        self._file.write(
            vcf_header(self.reader, self.fields, self.facts, self.contigs).encode(errors="surrogateescape")
        )

    def _write(self, site: Site, outcomes: Sequence[Outcome]) -> None:
        if len(self._outputs) > 1:
            self._require_sorted(site)
        line = vcf_line(site, self.fields, outcomes, kind=self.reader.kind)
        self._file.write(line.encode(errors="surrogateescape"))

    def _require_sorted(self, site: Site) -> None:
        chrom, start = self._last
        is_sorted = site.start >= start if site.chrom == chrom else site.chrom not in self._chroms
        if not is_sorted:
            raise VariantError(
                f"not sorted: it follows {chrom}:{start + 1}, and {self.path.name} gets an index, which needs sorted "
                f"records: run bcftools sort first, or name the output {self.path.name.removesuffix('.gz')}",
                path=self.reader.name,
                line=site.line,
                record=str(site),
            )
        self._chroms.add(site.chrom)
        self._last = (site.chrom, site.start)

    def _finish(self) -> None:
        if len(self._outputs) > 1:
            self._stack.close()
            pysam.tabix_index(str(self._temp), preset="vcf", force=True, csi=self._suffix == ".csi")
        super()._finish()
        if len(self._outputs) > 1:
            publish(Path(f"{self._temp}{self._suffix}"), self._outputs[1])


class _Table(ScoreWriter):
    """One row per ALT: the columns of the input, the scores, and a status that says why there are none."""

    def _columns(self) -> list[str]:
        """All columns; those of the input first."""
        own = [field.name for field in self.fields]
        if self.reader.kind == "vcf":
            return ["chrom", "pos", "id", "ref", "alt", *own, "status"]
        self._kept = [i for i, name in enumerate(self.reader.columns) if name not in (*own, "status")]
        return [*(self.reader.columns[i] for i in self._kept), *own, "status"]

    def _first(self, site: Site, alt: str) -> list[str]:
        """What the row has from the input."""
        if self.reader.kind == "vcf":
            return [site.chrom, str(site.start + 1), site.fields[2], site.ref, alt]
        place = [name.lower() for name in self.reader.columns].index(COLUMNS[-1])
        fields = [*site.fields, *[""] * (len(self.reader.columns) - len(site.fields))]
        fields[place] = alt
        return [fields[i] for i in self._kept]


class TsvWriter(_Table):
    """A TSV; lines that begin with ## say what the run was. A whole stream ends with `# complete n_rows=N`."""

    def _open(self) -> None:
        self._n_rows = 0
        self._file = self._text()
        lines = [f"##findna_score{name}={' '.join(text.split())}" for name, text in self.facts.items()]
        self._put("\n".join([*lines, "\t".join(self._columns())]) + "\n")

    def _write(self, site: Site, outcomes: Sequence[Outcome]) -> None:
        for alt, outcome in zip(site.alts or (".",), outcomes, strict=True):
            values = [f"{value:.6g}" for value in outcome.values or ()] or [""] * len(self.fields)
            self._put("\t".join([*self._first(site, alt), *values, outcome.reason or "ok"]) + "\n")
            self._n_rows += 1

    def _finish(self) -> None:
        if self.path == STDOUT:
            self._put(f"# complete n_rows={self._n_rows}\n")
        super()._finish()

    def _put(self, text: str) -> None:
        self._file.write(text.encode(errors="surrogateescape"))


class ParquetWriter(_Table):
    """Parquet: columns of the input as text, pos as a number, scores as float32, null where there is none."""

    def _open(self) -> None:
        self._arrow: Any = require_pyarrow()
        names = self._columns()
        own = {field.name for field in self.fields}
        kinds = [self._arrow.float32() if n in own else self._arrow.int64() if n == "pos" else None for n in names]
        self._schema = self._arrow.schema(
            [(name, kind or self._arrow.string()) for name, kind in zip(names, kinds, strict=True)],
            metadata={f"findna_score{name}": text for name, text in self.facts.items()},
        )
        self._rows: list[list[Any]] = []
        self._parquet = self._stack.enter_context(self._arrow.parquet.ParquetWriter(self._temp, self._schema))

    def _write(self, site: Site, outcomes: Sequence[Outcome]) -> None:
        for alt, outcome in zip(site.alts or (".",), outcomes, strict=True):
            values = list(outcome.values) if outcome.values is not None else [None] * len(self.fields)
            self._rows.append([*self._first(site, alt), *values, outcome.reason or "ok"])
        if len(self._rows) >= _GROUP:
            self._flush()

    def _finish(self) -> None:
        self._flush()
        super()._finish()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema.names)
        arrays = []
        for field, values in zip(self._schema, columns, strict=True):
            plain = map(int, values) if field.name == "pos" else values
            arrays.append(self._arrow.array(list(plain), field.type))
        self._parquet.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


_WRITERS: dict[Format, type[ScoreWriter]] = {"vcf": VcfWriter, "tsv": TsvWriter, "parquet": ParquetWriter}


def writer_of(kind: Format) -> type[ScoreWriter]:
    """The writer of a format."""
    return _WRITERS[kind]


def format_of(name: str) -> Format | None:
    """The format that the name of an output asks for.

    >>> format_of("a.vcf.gz"), format_of("a.tsv"), format_of("a")
    ('vcf', 'tsv', None)

    Raises:
        ConfigError: It is BCF, which is not written.
    """
    if name.endswith(".bcf"):
        raise ConfigError(f"{name}: BCF is not written: write .vcf.gz, of which bcftools view -Ob makes BCF")
    suffix = Path(name.removesuffix(".gz")).suffix.removeprefix(".")
    return next((kind for kind in FORMATS if kind == suffix), None)
