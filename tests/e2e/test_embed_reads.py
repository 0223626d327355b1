"""`findna embed` on BAM and CRAM: which reads, and which bases of them."""

from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
from command import Oracle, assert_close, call, embedded, read, reverse_complement

Write = Callable[..., Path]
LONG = "ACGTTGCAAGGATCGGATTACCAGT"


@pytest.fixture
def sam(bases: dict[str, str]) -> str:
    """Reads on the genome; the bases stand as SAM has them, on its forward strand."""
    chr1 = bases["chr1"].upper()
    rows = [
        ("fwd", 0, "chr1", 11, 60, "25M", LONG),
        ("rev", 16, "chr1", 21, 50, "3S22M", LONG[::-1]),
        ("pair", 99, "chr1", 301, 40, "20M", chr1[300:320]),
        ("pair", 147, "chr1", 351, 40, "20M", chr1[350:370]),
        ("cut", 16, "chr1", 401, 10, "10M5N3D2I10M", chr1[400:422]),
        ("sec", 256, "chr1", 501, 60, "10M", chr1[500:510]),
        ("sup", 2048, "chr2", 1, 60, "10M", "ACGTACGTAC"),
        ("free", 4, "*", 0, 0, "*", "TTGGCCAANN"),
    ]
    head = "@HD\tVN:1.6\tSO:unsorted\n" + "".join(f"@SQ\tSN:{n}\tLN:{len(t)}\n" for n, t in bases.items())
    return head + "".join(
        f"{name}\t{flag}\t{chrom}\t{pos}\t{mapq}\t{cigar}\t*\t0\t0\t{seq}\t*\n"
        for name, flag, chrom, pos, mapq, cigar, seq in rows
    )


@pytest.fixture
def bam(write: Write, sam: str) -> Path:
    """Those reads as BAM, not indexed."""
    pysam.view("-b", "-o", "r.bam", str(write("r.sam", sam)), catch_stdout=False)
    return Path("r.bam")


def test_primary_reads_are_embedded_as_they_were_sequenced(
    bam: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    embedded(bam, "-m", model)
    table = read(Path("r.h5"))
    assert table.obs["id"] == ["fwd", "rev", "pair/1", "pair/2", "cut", "free"]
    assert table.obs["name"] == ["fwd", "rev", "pair", "pair", "cut", "free"]
    assert table.obs["flag"] == [0, 16, 99, 147, 16, 4]
    assert table.obs["mapq"] == [60, 50, 40, 40, 10, 0]
    assert table.obs["chrom"] == ["chr1"] * 5 + [""]
    assert table.obs["start"] == [10, 20, 300, 350, 400, -1]
    assert table.obs["end"] == [35, 42, 320, 370, 428, -1]
    assert table.obs["strand"] == ["+", "-", "+", "-", "-", "."]
    chr1 = bases["chr1"].upper()
    for row, sequenced in enumerate(
        [
            LONG,
            reverse_complement(LONG[::-1]),
            chr1[300:320],
            reverse_complement(chr1[350:370]),
            reverse_complement(chr1[400:422]),
            "TTGGCCAANN",
        ]
    ):
        assert_close(table.x[row], oracle.vector(sequenced))


def test_reads_are_chosen_by_region_quality_and_flags(bam: Path, model: Path) -> None:
    def ids(*flags: object) -> list[str]:
        embedded(bam, "-m", model, "-o", "out.h5", "--force", *flags)
        return read(Path("out.h5")).obs["id"]

    assert ids("--region", "chr1:30-310") == ["fwd", "rev", "pair/1"]
    assert ids("--region", "chr1:36-310") == ["rev", "pair/1"]
    assert ids("--min-mapq", 50) == ["fwd", "rev"]
    assert ids("--exclude-flags", "0x904") == ["fwd", "rev", "pair/1", "pair/2", "cut"]
    assert ids("--exclude-flags", 16) == ["fwd", "pair/1", "sec", "sup", "free"]
    pysam.sort("-o", "sorted.bam", str(bam))
    pysam.index("sorted.bam")
    embedded("sorted.bam", "-m", model, "--region", "chr1:30-310")
    assert read(Path("sorted.h5")).obs["id"] == ["fwd", "rev", "pair/1"]


def test_the_reference_under_reads_is_spliced_and_on_their_strand(
    bam: Path, genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    embedded(bam, "-m", model, "-g", genome, "--reference-bases", "--exclude-flags", "0x904")
    table = read(Path("r.h5"))
    chr1 = bases["chr1"]
    under = [
        chr1[10:35],
        reverse_complement(chr1[20:42]),
        chr1[300:320],
        reverse_complement(chr1[350:370]),
        reverse_complement(chr1[400:410] + chr1[415:428]),
    ]
    assert table.obs["length"] == [25, 22, 20, 20, 23]
    for row, text in enumerate(under):
        assert_close(table.x[row], oracle.vector(text))


def test_an_unaligned_read_has_no_reference_and_is_skipped_only_on_request(
    bam: Path, genome: Path, model: Path
) -> None:
    flags = (bam, "-m", model, "-g", genome, "--reference-bases")
    result = call("embed", *flags)
    assert result.code == 1
    assert "r.bam, record free: is not aligned" in result.err
    assert "--exclude-flags 0x904" in result.err
    assert not Path("r.h5").exists()
    assert not Path("r.h5.partial").exists()
    embedded(*flags, "--on-error", "skip")
    table = read(Path("r.h5"))
    assert (len(table.x), table.skipped["id"], table.skipped["line"]) == (5, ["free"], [-1])


def test_a_cram_needs_its_reference(write: Write, sam: str, genome: Path, model: Path, oracle: Oracle) -> None:
    pysam.view("-C", "-T", str(genome), "-o", "r.cram", str(write("r.sam", sam)), catch_stdout=False)
    embedded("r.cram", "-m", model, "-g", genome)
    table = read(Path("r.h5"))
    assert table.obs["id"] == ["fwd", "rev", "pair/1", "pair/2", "cut", "free"]
    assert_close(table.x[0], oracle.vector(LONG))
    other = write("other.fa", ">chr1\n" + "A" * 2000 + "\n>chr2\n" + "C" * 300 + "\n>chrN\n" + "G" * 200 + "\n")
    Path("g.fa").rename("moved.fa")
    for flags, reason in (((), "CRAM whose reference is needed: --genome"), (("-g", other), "reference")):
        result = call("embed", "r.cram", "-m", model, "-o", "out.h5", *flags)
        assert result.code == 1
        assert result.err.startswith("findna: BAM file r.cram: ")
        assert reason in result.err
        assert result.err.count("\n") == 1
        assert not Path("out.h5").exists()
        assert not Path("out.h5.partial").exists()


def test_a_bam_on_stdin(bam: Path, model: Path) -> None:
    embedded("-", "-m", model, "-o", "piped.h5", stdin=bam.read_bytes())
    embedded(bam, "-m", model, "-o", "file.h5")
    piped, file = read(Path("piped.h5")), read(Path("file.h5"))
    assert (piped.x == file.x).all()
    assert piped.obs["flag"] == file.obs["flag"]


def test_reads_and_other_records_cannot_share_a_table(bam: Path, write: Write, genome: Path, model: Path) -> None:
    seqs, bed = write("a.fa", ">x\nACGT\n"), write("a.bed", "chr1\t0\t9\n")
    for inputs in ((bam, seqs), (seqs, bam), (bed, bam), ("chr1:1-9", bam)):
        result = call("embed", *inputs, "-m", model, "-g", genome, "-o", "out.h5")
        assert result.code == 2, inputs
        assert result.err.startswith("findna: reads (r.bam) and other inputs (")
        assert "in separate runs" in result.err
        assert not Path("out.h5.partial").exists()
