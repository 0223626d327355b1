"""Features of annotations and variants as regions: GTF, GFF3, VCF and bigBed."""

from collections.abc import Callable, Iterator
from pathlib import Path

from findna.counts import counted
from findna.errors import BedError
from findna.io.bed import STRANDS, BedRow
from findna.io.compressed import ByteStream, Mark
from findna.io.tracks import require_pybigtools
from findna.region import Region

TSS = "tss"
"""The feature that is the first base of each transcript."""

_GENES = ("gene", "pseudogene", "ncrna_gene")
_N_TYPES = 8
_NAMES = {True: ("gene_name", "Name", "gene_id", "ID"), False: ("transcript_id", "Name", "ID", "gene_id")}


class FeatureError(BedError):
    """A record of an annotation or variant file is not a region."""

    kind = "annotation file"


def read_features(stream: ByteStream, feature: str = "gene") -> Iterator[BedRow]:
    """Yield the features of one type of a GTF or GFF3 file in file order.

    Args:
        stream: The file.
        feature: "gene" (and pseudogenes), "transcript" (and mRNA, other RNA), "tss" (the first base of each
            transcript, on its strand), or a type of column 3 such as "exon".

    Raises:
        FeatureError: The file is damaged, or has no feature of this type.
    """
    types: dict[str, None] = {}

    def region(columns: list[str]) -> Region | None:
        if len(columns) != 9:
            raise ValueError(f"{counted(len(columns), 'column')}, but GTF and GFF have 9, separated by tabs")
        chrom, _, kind, first, last, _, strand, _, attributes = columns
        if len(types) < _N_TYPES:
            types[kind] = None
        if not _is_of(kind, feature):
            return None
        start, end = _positions(first, last)
        strand = strand if strand in STRANDS else "."
        if feature == TSS:
            start, end = (end - 1, end) if strand == "-" else (start, start + 1)
        return Region(chrom, start, end, _name(attributes, is_gene=kind.lower() in _GENES), strand)

    n_rows = 0
    for row in _rows(stream, region):
        n_rows += 1
        yield row
    if not n_rows and types:
        first, is_transcript = next(iter(types)), any(_is_of(kind, TSS) for kind in types)
        hint = f"choose one with feature={first}{' (or tss)' * (is_transcript and feature != TSS)}"
        stream.fail(f"it has no {feature} lines. It has: {', '.join(types)}. {hint.capitalize()}")


def read_variant_places(stream: ByteStream) -> Iterator[BedRow]:
    """Yield the place of each record of a VCF: the bases of REF, with the id or CHROM:POS:REF:ALT as the name.

    Raises:
        FeatureError: The file is damaged.
    """

    def region(columns: list[str]) -> Region:
        if len(columns) < 5:
            raise ValueError(f"{counted(len(columns), 'column')}, but VCF has at least 8, separated by tabs")
        chrom, position, name, ref, alt = columns[:5]
        start, _ = _positions(position, position)
        return Region(chrom, start, start + len(ref), f"{chrom}:{position}:{ref}:{alt}" if name in (".", "") else name)

    return _rows(stream, region)


def read_bigbed(stream: ByteStream) -> Iterator[BedRow]:
    """Yield the rows of a bigBed file, contig by contig; `line` is the number of the row.

    Raises:
        FeatureError: The file is damaged, stdin or a pipe.
        MissingExtraError: pybigtools is not installed.
    """
    stream.error = FeatureError
    if not stream.is_rereadable:
        stream.fail("bigBed cannot be read from stdin or a pipe: give the name of a file")
    pybigtools = require_pybigtools("bigBed")
    n_rows = 0
    try:
        file = pybigtools.open(str(Path(stream.source)))
        for chrom in file.chroms():
            for start, end, *rest in file.records(chrom):
                name = rest[0] if rest and rest[0] != "." else ""
                strand = rest[2] if len(rest) > 2 and rest[2] in STRANDS else "."
                yield BedRow(n_rows, n_rows + 1, Region(chrom, start, end, name, strand))
                n_rows += 1
    except (pybigtools.BBIReadError, ValueError) as problem:
        stream.fail(f"truncated or damaged after {counted(n_rows, 'row')}", cause=problem)


def _rows(stream: ByteStream, region: Callable[[list[str]], Region | None]) -> Iterator[BedRow]:
    """The regions of lines that are not comments, or errors of invalid lines; lines without a region are skipped."""
    stream.error = FeatureError
    row = stream.begin.row
    with stream:
        for line, raw in stream.numbered():
            text = raw.decode(errors="backslashreplace").rstrip("\r\n")
            if text.startswith("##FASTA"):
                return
            if not text.strip() or text.startswith("#"):
                continue
            found: Region | FeatureError | None
            try:
                found = region([column.strip() for column in text.split("\t")])
            except ValueError as problem:
                found = FeatureError(str(problem), path=stream.name, line=line, row=row)
            if found is None:
                continue
            stream.mark = Mark(stream.offset, line - 1, row)
            yield BedRow(row, line, found)
            row += 1


def _is_of(kind: str, feature: str) -> bool:
    kind, feature = kind.lower(), feature.lower()
    if feature in ("transcript", TSS):
        return kind == "transcript" or kind.endswith(("rna", "_transcript"))
    return kind in _GENES if feature == "gene" else kind == feature


def _positions(first: str, last: str) -> tuple[int, int]:
    """Converts 1-based inclusive positions to 0-based half-open ones."""
    for text in (first, last):
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"position {text!r} is not a whole number")
    start, end = int(first) - 1, int(last)
    if not 0 <= start < end:
        raise ValueError(f"start {first} and end {last} must satisfy 1 <= start <= end")
    return start, end


def _name(attributes: str, *, is_gene: bool) -> str:
    """The best name in column 9 of GTF (`gene_id "a";`) or GFF3 (`ID=a;`).

    >>> _name('gene_id "ENSG1"; gene_name "TP53";', is_gene=True), _name("ID=rna1;Name=NM_1", is_gene=False)
    ('TP53', 'NM_1')
    """
    values: dict[str, str] = {}
    for part in attributes.split(";"):
        key, mark, value = part.strip().partition("=")
        if not mark or " " in key:
            key, _, value = part.strip().partition(" ")
        values.setdefault(key, value.strip().strip('"'))
    return next((values[key] for key in _NAMES[is_gene] if values.get(key)), "")
