"""Files of scored variants: VCF and BCF with an index, TSV, Parquet; complete or not written."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pysam
import pysam.bcftools
from pysam.utils import SamtoolsError

from findna.errors import OutputError, VariantError
from findna.io.files import publish, replacing, temp_beside
from findna.io.score_sink import BGZF, STDOUT, ScoreFile, TextFile
from findna.io.scores import TableHead
from findna.io.tables import require_pyarrow
from findna.io.vcf import INFO, Site

Format = Literal["vcf", "bcf", "tsv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

_GROUP = 65_536
_ENDS = {".tbi": 1 << 29, ".csi": 1 << 32, ".bcf": (1 << 31) - 1}
"""The last base that an index, or a BCF, can contain."""
_CONTIG = re.compile(r"##contig=<(?:.*,)?ID=([^,>]+)")


class TsvFile(TextFile):
    """A TSV. A complete stream ends with `# complete n_rows=N`."""

    _n_rows = 0

    def _write(self, site: Site, content: str) -> None:
        self._n_rows += content.count("\n")
        self._text.write(content)

    def _finish(self) -> None:
        if self.path == STDOUT:
            self._text.write(f"# complete n_rows={self._n_rows}\n")
        super()._finish()


class VcfFile(TextFile):
    """A VCF; with an index beside it if its name ends in .gz.

    Contigs that are missing in the header get a header line at the end, except in a stream.
    """

    @staticmethod
    def index_of(path: Path, longest: int) -> str:
        """As in `ScoreFile`."""
        if path.suffix not in BGZF:
            return ""
        return ".csi" if longest > _ENDS[".tbi"] else ".tbi"

    @staticmethod
    def make_index(path: Path, written: Path, index: Path) -> None:
        """As in `ScoreFile`."""
        try:
            pysam.tabix_index(str(written), preset="vcf", force=True, csi=index.suffix == ".csi", index=str(index))
        except OSError as error:
            if error.errno:
                raise
            reason = f"its {index.suffix} cannot be written: the disk is full, or a record ends too far from its start"
            raise OutputError(f"{path}: {reason}") from error

    def _open(self) -> None:
        self._named = {match[1] for match in map(_CONTIG.match, self._head.split("\n")) if match}
        self._unnamed: list[str] = []
        self._chroms: set[str] = set()
        self._last = ("", -1)
        super()._open()

    def _write(self, site: Site, content: str) -> None:
        if self._index:
            self._require_indexable(site)
        if site.chrom not in self._named:
            self._named.add(site.chrom)
            self._unnamed.append(site.chrom)
        self._text.write(content)

    def _require_indexable(self, site: Site) -> None:
        chrom, start = self._last
        is_sorted = site.start >= start if site.chrom == chrom else site.chrom not in self._chroms
        reason, kind = "", self.path.suffix if self.path.suffix in _ENDS else self._index
        if not is_sorted:
            reason = (
                f"not sorted: it follows {chrom}:{start + 1}, and {self.path.name} gets an index, which needs sorted "
            )
            reason += "records: run bcftools sort first, or write a .vcf"
        elif (end := _end_of(site)) > _ENDS[kind]:
            reason = f"ends at base {end:,}, and a {kind} cannot hold more than {_ENDS[kind]:,}: write a .vcf"
        if reason:
            raise VariantError(reason, path=self._source, line=site.line, record=str(site))
        self._chroms.add(site.chrom)
        self._last = (site.chrom, site.start)

    def _finish(self) -> None:
        if self._unnamed and self.path != STDOUT:
            self._name_contigs()
        if self._index:
            self._stack.close()
            self._make_index(Path(f"{self._temp}{self._index}"))
        super()._finish()
        if self._index:
            publish(Path(f"{self._temp}{self._index}"), self._outputs[1])

    def _name_contigs(self) -> None:
        """Rewrite the file with a header line for each contig that had none."""
        self._stack.close()
        old = Path(f"{self._temp}.old")
        self._written.replace(old)
        lines = self._head.split("\n")
        place = max((i for i, line in enumerate(lines) if _CONTIG.match(line)), default=len(lines) - 3) + 1
        lines[place:place] = [f"##contig=<ID={name}>" for name in self._unnamed]
        self._head = "\n".join(lines)
        self._open()
        with gzip.open(old) if self.path.suffix in BGZF else old.open("rb") as file:
            for line in file:
                if not line.startswith(b"#"):
                    self._text.write(line.decode(errors="surrogateescape"))

    def _make_index(self, index: Path) -> None:
        self.make_index(self.path, self._temp, index)


class BcfFile(VcfFile):
    """A BCF with its index; it is written as text first."""

    _has_sum = False

    @staticmethod
    def index_of(path: Path, longest: int) -> str:
        """As in `ScoreFile`."""
        return ".csi"

    @staticmethod
    def make_index(path: Path, written: Path, index: Path) -> None:
        """As in `ScoreFile`."""
        _bcftools(path, "index", "--csi", "--force", "-o", str(index), str(written.absolute()))

    @property
    def _written(self) -> Path:
        return Path(f"{self._temp}.text")

    def _make_index(self, index: Path) -> None:
        _bcftools(self.path, "view", "--no-version", "-Ob", "-o", str(self._temp), str(self._written.absolute()))
        super()._make_index(index)


def _bcftools(path: Path, command: str, *flags: str) -> None:
    """Run a command of bcftools; an input is an absolute path, because a name that begins with "-" is a flag."""
    bcftools: Any = pysam.bcftools
    try:
        getattr(bcftools, command)(*flags, catch_stdout=False)
    except SamtoolsError as error:
        raise OutputError(f"{path}: not written: {' '.join(str(error).split())}") from error


def restore_index(path: Path, kind: Format, longest: int) -> None:
    """Make the index of a complete output that lost it, or whose run was killed before the index got its name."""
    ending = FILES[kind].index_of(path, longest)
    index = Path(f"{path}{ending}")
    if not ending or index.exists():
        return
    with replacing(index, Path(f"{temp_beside(path)}{ending}")) as temp:
        FILES[kind].make_index(path, path, temp)


def _end_of(site: Site) -> int:
    """The last base of a record for an index: that of REF, or END in INFO."""
    info = site.fields[INFO] if len(site.fields) > INFO else ""
    ends = [int(end) for end in re.findall(r"(?:^|;)END=(\d+)", info)] if "END=" in info else []
    return max([site.start + len(site.ref), *ends])


class ParquetFile(ScoreFile):
    """Parquet: columns of the input as text, pos as a number, scores as float32 or null."""

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
        """Write a row group of fixed size, across records."""
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
    """The format of an output, from its file name.

    >>> format_of("a.vcf.gz"), format_of("a.bcf"), format_of("a")
    ('vcf', 'bcf', None)
    """
    suffix = Path(name.removesuffix(".gz").removesuffix(".bgz")).suffix.removeprefix(".")
    return next((kind for kind in FORMATS if kind == suffix), None)
