"""The kind of an input, recognised by its content."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, get_args

from findna.errors import InputError
from findna.io.bed import is_bed_header
from findna.io.compressed import UTF_16, WORKBOOK, ByteStream, is_workbook

Kind = Literal["fasta", "fastq", "table", "bed", "narrowpeak", "gtf", "gff", "vcf", "bigbed", "bam", "cram", "region"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FOREIGN = {
    b"BZh": "bzip2: decompress it with bunzip2",
    b"\xfd7zXZ": "xz: decompress it with xz -d",
    b"\x28\xb5\x2f\xfd": "zstd: decompress it with zstd -d",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\xff\xfe": UTF_16,
    b"\xfe\xff": UTF_16,
    b"\x89HDF": "HDF5, such as an output of findna: not an input",
    b"\x43\x27\x41\x1a": "a 2bit genome: give it as genome=FILE, and regions as the input",
    b"\x1a\x41\x27\x43": "a 2bit genome: give it as genome=FILE, and regions as the input",
    b"\x26\xfc\x8f\x88": "bigWig, which has no regions",
    b"\x88\x8f\xfc\x26": "bigWig, which has no regions",
    b"BCF": "BCF: convert it with bcftools view",
}
_MAGICS: Mapping[bytes, Kind] = {
    b"BAM\1": "bam",
    b"\xeb\xf2\x89\x87": "bigbed",
    b"\x87\x89\xf2\xeb": "bigbed",
    b"##fileformat=VCF": "vcf",
    b"##gff-version": "gff",
}
_WITHOUT_ALLELES: Mapping[Kind, str] = {
    **dict.fromkeys(("bed", "narrowpeak", "gtf", "gff", "bigbed"), "regions"),
    **dict.fromkeys(("fasta", "fastq", "table"), "sequences"),
    **dict.fromkeys(("bam", "cram"), "reads"),
}
_OF_ROWS: tuple[Kind, ...] = ("bed", "narrowpeak", "table")
_SAM_HEADERS = ("@HD\t", "@SQ\t", "@RG\t", "@PG\t", "@CO\t")
_SIDES = ("+", "-", ".", "?")
SEQUENCE_COLUMNS = ("sequence", "seq", "dna")
"""Names of the column with the sequence of a table, in any case."""

SEMICOLONS = "columns are separated by semicolons: save the table with commas or tabs"
NO_HEADER = "one sequence per line: add the header line `sequence`"

_CHROM_NAMES = {"chrom", "chr", "chromosome", "seqname", "seqnames", "contig", "#chrom"}
_START_NAMES = {"start", "chromstart", "begin", "pos", "start_position"}
_FROM_0 = "starts in BED count from 0, so subtract 1 from starts that count from 1"
_FOREIGN_TEXT = {
    "intervals": "this is an interval_list, whose positions are 1-based: convert it with picard IntervalListToBed",
    "maf": "this is MAF (multiple alignments): convert its blocks to BED first",
    "mutations": "this is MAF (mutations), whose positions are 1-based: convert it to BED first",
    "commas": "columns are separated by commas, but BED needs tabs: HOW",
    "semicolons": SEMICOLONS,
    "header": f"this is a table with a header: remove the header line, or put '#' before it; {_FROM_0}",
    "commas and header": "columns are separated by commas, and the first line is a header, but BED needs tabs and no "
    f"header: HOW; {_FROM_0}",
}
_REMEDIES = {"commas": "tr ',' '\\t'", "commas and header": "tail -n +2 | tr ',' '\\t'"}
"""Shell commands that make BED of a text."""

_SAM = re.compile(rb"@(HD|SQ|RG|PG|CO)\t|[^\t\n]+\t\d+\t[^\t\n]+\t\d+\t\d+\t(\*|(\d+[MIDNSHPX=])+)\t")
_FASTA_NAME = re.compile(r"\.(fa|fasta|fna|ffn|frn|fas)(\.b?gz)?$", re.IGNORECASE)
_BED_NAME = re.compile(r"\.bed\d*(\.b?gz)?$", re.IGNORECASE)
_PEAK_NAME = re.compile(r"\.narrowpeak(\.b?gz)?$", re.IGNORECASE)
_WHOLE = re.compile(r"-?\d+")
_VCF_RECORD = re.compile(r"[^\t]+\t\d+\t(?!\d+\t)[^\t]+\t[ACGTN]+\t([^\t]*\t){3}", re.IGNORECASE)
"""Its third column is an ID, where ANNOVAR has the end: a whole number."""
_CELL_END = re.compile(r"[\s,;]+")
_ALLELE = re.compile(r"[ACGTN]+", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?|-?\.\d+|inf|nan", re.IGNORECASE)


def sniff(stream: ByteStream) -> Kind:
    """The kind of a file or stdin. Nothing is consumed.

    The content decides. Only if the first row of a text is damaged, the file name decides, so that the reader can
    report the error.

    Raises:
        InputError: It is empty, or nothing that findna reads.
    """
    head = stream.head
    if stream.raw_head[:4] == b"CRAM":
        return "cram"
    for magic, kind in _MAGICS.items():
        if head.startswith(magic):
            return kind
    if not head.strip():
        for _ in stream.chunks():  # damaged and truncated files raise their own error
            pass
        stream.fail("the file is empty")
    if is_workbook(head):
        stream.fail(f"this is {WORKBOOK}")
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            stream.fail(f"this is {what}")
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    if foreign := _foreign_text(text):
        line, what = foreign
        if what in KINDS:
            return check_kind(what)
        how = stream.converted_by(_REMEDIES.get(what, ""), "tab.bed")
        stream.fail(_FOREIGN_TEXT[what].replace("HOW", how), line=line)
    if _SAM.match(head):
        stream.fail("this is SAM text: convert it with samtools view -b")
    found = _sniff_text(stream.name, text)
    if found is None:
        from findna.sequence import looks_like_bases  # numpy: help pages import this module

        if looks_like_bases(text.strip().split("\n", 1)[0].strip()):
            stream.fail(NO_HEADER)
        stream.fail(
            f"cannot infer the format from the content; in_format must be one of {', '.join(KINDS[:-1])}; "
            f"a table needs a column called {', '.join(SEQUENCE_COLUMNS)}, or sequence_column"
        )
    return found


def _foreign_text(text: str) -> tuple[int, str] | None:
    """The first row of a text, and its kind (of `KINDS` or `_FOREIGN_TEXT`) if it only looks like BED."""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.startswith("##maf"):
            return number, "maf"
        if line.startswith(_SAM_HEADERS) or is_bed_header(line):
            continue
        if line[0] in ">@":
            return None
        kind = _foreign_row(line)
        return (number, kind) if kind else None
    return None


def _foreign_row(line: str) -> str:
    """The kind of a row that is not BED, of `KINDS` or `_FOREIGN_TEXT`; else ""."""
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) == 5 and _are_whole(columns[1:3]) and columns[3] in ("+", "-"):
        return "intervals"
    if len(columns) >= 8 and _are_whole(columns[3:5]) and not _WHOLE.fullmatch(columns[2]) and columns[6] in _SIDES:
        return "gtf" if len(columns) > 8 and ' "' in columns[8] else "gff"
    if columns[0] == "Hugo_Symbol" or {"Chromosome", "Start_Position"} <= set(columns):
        return "mutations"
    fields = line.split(",")
    if len(columns) == 1 and len(fields) >= 3 and _are_whole([field.strip() for field in fields[1:3]]):
        return "commas"
    marks = line.split(";")
    words = next((found for found in (columns, fields, marks) if len(found) > 1), line.split())
    names = {word.strip(' "').lower() for word in words}
    if words is marks and names & {*SEQUENCE_COLUMNS, *_CHROM_NAMES}:
        return "semicolons"
    if names & {*SEQUENCE_COLUMNS} and not any(map(_WHOLE.fullmatch, names)):
        return "table"
    if names & _CHROM_NAMES and names & _START_NAMES:
        return "header" if words is not fields else "commas and header"
    return ""


def _are_whole(columns: list[str]) -> bool:
    return len(columns) == 2 and all(_WHOLE.fullmatch(column) for column in columns)


def refuse_without_alleles(stream: ByteStream) -> None:
    """Raise if a file that should have variants has regions, sequences or reads.

    Raises:
        InputError: It has.
    """
    what = None
    with suppress(InputError):  # a file that is neither
        kind = sniff(stream)
        rows = stream.head.decode(errors="replace").splitlines() if kind in _OF_ROWS else []
        what = None if any(map(_has_alleles, rows)) else _WITHOUT_ALLELES.get(kind)
    if what:
        stream.fail(
            f"holds {what} without alleles: give a VCF, BCF, or TSV with the columns chrom, pos, ref and alt; "
            f"`findna mutagenesis` scores every change of {what}"
        )


def missing_header(line: str) -> str:
    """The header that is missing before a row of variants, in words; "" for another line."""
    if _VCF_RECORD.match(line):
        return "a VCF begins with ##fileformat=VCF; this one has no header"
    if _has_alleles(line) and re.search(r"\b\d+\b", line):
        return "there is no header line; add one that names each column, such as `chrom pos ref alt`, with tabs"
    return ""


def _has_alleles(line: str) -> bool:
    return sum(_ALLELE.fullmatch(cell) is not None for cell in _CELL_END.split(line)) >= 2


def check_kind(name: str) -> Kind:
    """Check the name of a kind.

    Raises:
        ValueError: The kind does not exist.

    >>> check_kind("bed")
    'bed'
    """
    for kind in KINDS:
        if kind == name.lower():
            return kind
    raise ValueError(f"{name!r} is not a kind of input: choose from {', '.join(KINDS)}")


def _sniff_text(name: str, text: str) -> Kind | None:
    is_peak_track = False
    for line in text.replace("\r\n", "\n").split("\n"):
        if line[:1] in (">", "@"):
            return "fasta" if line[0] == ">" else "fastq"
        if is_bed_header(line):
            is_peak_track |= "type=narrowPeak" in line
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        if is_peak_track or _PEAK_NAME.search(name) or _is_narrowpeak(columns):
            return "narrowpeak"
        if len(columns) >= 2 and any(_WHOLE.fullmatch(text.strip()) for text in columns[1:3]):
            return "bed"
        break
    if _BED_NAME.search(name):
        return "bed"
    return "fasta" if _FASTA_NAME.search(name) else None


def _is_narrowpeak(columns: list[str]) -> bool:
    return (
        len(columns) == 10
        and columns[5] in ("+", "-", ".")
        and all(_NUMBER.fullmatch(text) for text in columns[6:9])
        and _WHOLE.fullmatch(columns[9]) is not None
    )
