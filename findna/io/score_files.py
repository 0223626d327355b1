"""Files of scored variants: VCF and BCF with an index, TSV, Parquet; whole or not at all."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, cast, get_args

import pysam
import pysam.bcftools
from pysam.utils import SamtoolsError

from findna.errors import OutputError, VariantError
from findna.io.arrays import require_absent
from findna.io.files import publish, raise_output_error, refuse_irregular
from findna.io.scores import TableHead
from findna.io.summed import SummedText
from findna.io.tables import require_pyarrow
from findna.io.vcf import Site

Format = Literal["vcf", "bcf", "tsv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

STDOUT = Path("-")

_BUFFER = 1 << 20
_GROUP = 65_536
_BGZF = (".gz", ".bgz")
_LONGEST_TBI = 1 << 29
"""Contigs of more bases need a .csi index."""


class ScoreFile(ABC):
    """An output, record by record; a context manager.

    It gets its name in `finish`; after an error nothing is left of it.

    Args:
        path: The output; `STDOUT` for a stream of text.
        head: What comes first, see `findna.io.scores`.
        source: What to call the input in a message.
        longest: Bases of the longest contig.
        force: Replace an existing output.
        temp: Where it is written until it is whole; None is beside it.

    Attributes:
        n_records: Records written.

    Raises:
        OutputError: The output exists, or cannot be written.
        MissingExtraError: The format needs a package that is not installed.
    """

    def __init__(
        self,
        path: Path,
        head: Any,
        *,
        source: str = "",
        longest: int = 0,
        force: bool = False,
        temp: Path | None = None,
    ) -> None:
        self.path, self._head, self._source = path, head, source
        self._index = self._index_of(longest)
        self.n_records = 0
        if path != STDOUT:
            refuse_irregular(path)
        self._temp = temp or path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._outputs = [path, *([Path(f"{path}{self._index}")] if self._index else [])]
        for name in self._outputs if path != STDOUT else []:
            require_absent(name, force=force)
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
            for suffix in ("", ".text", ".tbi", ".csi"):
                Path(f"{self._temp}{suffix}").unlink(missing_ok=True)

    def write(self, site: Site, content: Any) -> None:
        """Write what a record became.

        Raises:
            OutputError: It cannot be written.
            VariantError: The output gets an index, and the record is not sorted.
        """
        self.n_records += 1
        try:
            self._write(site, content)
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

    def _index_of(self, longest: int) -> str:
        """The ending of the index, "" without one."""
        return ""

    def _finish(self) -> None:
        self._stack.close()
        if self.path == STDOUT:
            sys.stdout.buffer.flush()
        else:
            publish(self._temp, self.path)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, site: Site, content: Any) -> None: ...


class TextFile(ScoreFile):
    """Lines of text, compressed in BGZF blocks for a name that ends in .gz or .bgz."""

    _text: SummedText | None = None

    def _open(self) -> None:
        if self.path == STDOUT:
            self._file: BinaryIO = sys.stdout.buffer
        elif self.path.suffix in _BGZF:
            self._file = cast(BinaryIO, self._stack.enter_context(pysam.BGZFile(str(self._temp), "wb", None)))
        else:
            self._file = self._stack.enter_context(self._temp.open("wb", buffering=_BUFFER))
            self._text = SummedText(self._file, self._head)
            return
        self._put(self._head)

    def _write(self, site: Site, content: str) -> None:
        self._put(content)

    def _put(self, text: str) -> None:
        if self._text:
            self._text.write(text)
        else:
            self._file.write(text.encode(errors="surrogateescape"))

    def _finish(self) -> None:
        if self._text:
            self._text.settle()
        super()._finish()


class TsvFile(TextFile):
    """A TSV. A whole stream ends with `# complete n_rows=N`."""

    _n_rows = 0

    def _write(self, site: Site, content: str) -> None:
        self._n_rows += content.count("\n")
        self._put(content)

    def _finish(self) -> None:
        if self.path == STDOUT:
            self._put(f"# complete n_rows={self._n_rows}\n")
        super()._finish()


class VcfFile(TextFile):
    """A VCF; of a name that ends in .gz with its index beside it."""

    def _index_of(self, longest: int) -> str:
        if self.path.suffix not in _BGZF:
            return ""
        return ".csi" if longest > _LONGEST_TBI else ".tbi"

    def _open(self) -> None:
        self._chroms: set[str] = set()
        self._last = ("", -1)
        super()._open()

    def _write(self, site: Site, content: str) -> None:
        if self._index:
            self._require_sorted(site)
        self._put(content)

    def _require_sorted(self, site: Site) -> None:
        chrom, start = self._last
        is_sorted = site.start >= start if site.chrom == chrom else site.chrom not in self._chroms
        if not is_sorted:
            raise VariantError(
                f"not sorted: it follows {chrom}:{start + 1}, and {self.path.name} gets an index, which needs sorted "
                f"records: run bcftools sort first, or write a .vcf",
                path=self._source,
                line=site.line,
                record=str(site),
            )
        self._chroms.add(site.chrom)
        self._last = (site.chrom, site.start)

    def _finish(self) -> None:
        if self._index:
            self._stack.close()
            self._make_index()
        super()._finish()
        if self._index:
            publish(Path(f"{self._temp}{self._index}"), self._outputs[1])

    def _make_index(self) -> None:
        pysam.tabix_index(str(self._temp), preset="vcf", force=True, csi=self._index == ".csi")


class BcfFile(VcfFile):
    """A BCF with its index; it is written as text first."""

    def _index_of(self, longest: int) -> str:
        return ".csi"

    def _open(self) -> None:
        self._chroms, self._last = set(), ("", -1)
        self._plain = Path(f"{self._temp}.text")
        self._file = self._stack.enter_context(self._plain.open("wb", buffering=_BUFFER))
        self._put(self._head)

    def _make_index(self) -> None:
        bcftools: Any = pysam.bcftools
        try:
            bcftools.view("--no-version", "-Ob", "-o", str(self._temp), str(self._plain), catch_stdout=False)
            bcftools.index("--csi", "--force", str(self._temp), catch_stdout=False)
        except SamtoolsError as error:
            raise OutputError(f"{self.path}: not written: {' '.join(str(error).split())}") from error


class ParquetFile(ScoreFile):
    """Parquet: columns of the input as text, pos as a number, scores as float32, null where there is none."""

    def _open(self) -> None:
        arrow = self._arrow = require_pyarrow()
        head: TableHead = self._head
        kinds = {"string": arrow.string(), "int64": arrow.int64(), "float": arrow.float32()}
        self._schema = arrow.schema([(name, kinds[kind]) for name, kind in head.columns], metadata=dict(head.facts))
        self._rows: list[list[Any]] = []
        self._parquet = self._stack.enter_context(
            arrow.parquet.ParquetWriter(self._temp, self._schema, write_page_checksum=True)
        )

    def _write(self, site: Site, content: list[list[Any]]) -> None:
        self._rows += content
        while len(self._rows) >= _GROUP:
            self._flush()

    def _finish(self) -> None:
        self._flush()
        super()._finish()

    def _flush(self) -> None:
        """Write a group of rows, so many whatever records they are from."""
        rows, self._rows = self._rows[:_GROUP], self._rows[_GROUP:]
        columns = list(zip(*rows, strict=True)) or [()] * len(self._schema.names)
        arrays = []
        for field, values in zip(self._schema, columns, strict=True):
            plain = map(int, values) if field.name == "pos" else values
            arrays.append(self._arrow.array(list(plain), field.type))
        self._parquet.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


FILES: Mapping[Format, type[ScoreFile]] = {"vcf": VcfFile, "bcf": BcfFile, "tsv": TsvFile, "parquet": ParquetFile}
"""The writer of each format."""


def format_of(name: str) -> Format | None:
    """The format that the name of an output asks for.

    >>> format_of("a.vcf.gz"), format_of("a.bcf"), format_of("a")
    ('vcf', 'bcf', None)
    """
    suffix = Path(name.removesuffix(".gz").removesuffix(".bgz")).suffix.removeprefix(".")
    return next((kind for kind in FORMATS if kind == suffix), None)
