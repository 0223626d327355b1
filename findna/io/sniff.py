"""Which kind of input something is, told from its content."""

import re
from typing import Literal, get_args

from findna.io.bed import is_bed_header
from findna.io.compressed import GZIP_MAGIC, ByteStream

Kind = Literal["fasta", "fastq", "bed", "narrowpeak", "bam", "cram", "region"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FOREIGN = {
    b"BZh": "bzip2: decompress it with bunzip2",
    b"\xfd7zXZ": "xz: decompress it with xz -d",
    b"\x28\xb5\x2f\xfd": "zstd: decompress it with zstd -d",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x89HDF": "HDF5, such as findna writes, not reads here",
    b"\x43\x27\x41\x1a": "a 2bit genome: give it with --genome and regions as the input",
    b"\x1a\x41\x27\x43": "a 2bit genome: give it with --genome and regions as the input",
    b"\xeb\xf2\x89\x87": "bigBed: make it BED with bigBedToBed",
    b"\x87\x89\xf2\xeb": "bigBed: make it BED with bigBedToBed",
    b"\x26\xfc\x8f\x88": "bigWig, which holds no regions",
    b"\x88\x8f\xfc\x26": "bigWig, which holds no regions",
    b"BCF": "BCF: make BED of its variants first",
    b"##fileformat=VCF": "VCF: make BED of its variants first",
    b"##gff-version": "GFF: make BED of it first",
}
_SAM = re.compile(rb"@(HD|SQ|RG|PG|CO)\t|[^\t\n]+\t\d+\t[^\t\n]+\t\d+\t\d+\t(\*|(\d+[MIDNSHPX=])+)\t")
_FASTA_NAME = re.compile(r"\.(fa|fasta|fna|ffn|frn|fas)(\.b?gz)?$", re.IGNORECASE)
_BED_NAME = re.compile(r"\.bed\d*(\.b?gz)?$", re.IGNORECASE)
_PEAK_NAME = re.compile(r"\.narrowpeak(\.b?gz)?$", re.IGNORECASE)
_WHOLE = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?|-?\.\d+|inf|nan", re.IGNORECASE)


def sniff(stream: ByteStream) -> Kind:
    """What a file or stdin holds. Nothing is consumed.

    The content decides; only a text that does not tell (a first row that is broken) is taken for
    what the file's name says, so that its reader can say what is wrong with it.

    Raises:
        InputError: It is empty, or nothing that findna reads.
    """
    head = stream.head
    if stream.raw_head[:4] == b"CRAM":
        return "cram"
    if head[:4] == b"BAM\1":
        return "bam"
    if not head.strip():
        is_damaged = stream.raw_head[:2] == GZIP_MAGIC and len(stream.raw_head) < 20
        stream.fail("truncated: the gzip stream has no end" if is_damaged else "the file is empty")
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            stream.fail(f"this is {what}")
    if _SAM.match(head):
        stream.fail("this is SAM text: make it BAM with samtools view -b")
    kind = _sniff_text(stream.name, head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace"))
    if kind is None:
        kinds = ", ".join(KINDS[:-1])
        stream.fail(f"neither FASTA, FASTQ, BED, narrowPeak, BAM nor CRAM; --in-format takes {kinds}")
    return kind


def check_kind(name: str) -> Kind:
    """The kind that a user named.

    Raises:
        ValueError: There is no such kind.

    >>> check_kind("bed")
    'bed'
    """
    for kind in KINDS:
        if kind == name.lower():
            return kind
    raise ValueError(f"{name!r} is not a kind of input; known are {', '.join(KINDS)}")


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
