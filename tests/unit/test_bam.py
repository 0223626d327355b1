import gzip
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pysam
import pytest

from findna.errors import BamError, RegionError
from findna.io import bam_index
from findna.io.bam import read_bam
from findna.io.bam_index import is_index_of
from findna.io.genome import Genome
from findna.record import Record
from findna.sequence import decode, encode

Write = Callable[..., Path]
READS = (
    # name, flag, position (1-based), mapping quality, CIGAR, bases
    ("fwd", 0, 11, 60, "4M", "ACGT"),
    ("rev", 16, 11, 50, "2S3M", "GGAAC"),
    ("pair", 99, 21, 40, "4M", "AAAA"),
    ("pair", 147, 31, 40, "4M", "AACC"),
    ("pair", 1123, 21, 40, "4M", "AAAG"),
    ("sec", 256, 41, 40, "4M", "AAAA"),
    ("sup", 2064, 41, 40, "4M", "AAAA"),
    ("spliced", 16, 51, 30, "3M5N2M1I1M1D2M", "ACGTACGTA"),
    ("lost", 4, 0, 0, "*", "TTGG"),
    ("bare", 0, 61, 20, "4M", "*"),
)


def complement(text: str) -> str:
    return text.translate(str.maketrans("ACGTN", "TGCAN"))[::-1]


def sam(reads: Any = READS, length: int = 3210) -> str:
    text = f"@HD\tVN:1.6\tSO:unknown\n@SQ\tSN:chr1\tLN:{length}\n"
    for name, flag, position, quality, cigar, bases in reads:
        chrom = "chr1" if position else "*"
        text += f"{name}\t{flag}\t{chrom}\t{position}\t{quality}\t{cigar}\t*\t0\t0\t{bases}\t*\n"
    return text


@pytest.fixture
def bam(write: Write) -> Path:
    return to_bam(write("a.sam", sam()))


def to_bam(path: Path, *options: str) -> Path:
    out = path.with_suffix(".cram" if "-C" in options else ".bam")
    pysam.view("-o", str(out), *(options or ("-b",)), str(path), catch_stdout=False)
    return out


def records(*args: Any, **options: Any) -> list[Record]:
    return [record for record in read_bam(*args, **options) if isinstance(record, Record)]


def test_reads_have_their_bases_as_sequenced_and_where_they_are_aligned(bam: Path) -> None:
    found = records(bam)
    assert [(r.id, decode(r.codes), r.chrom, r.start, r.end, r.strand) for r in found] == [
        ("fwd", "ACGT", "chr1", 10, 14, "+"),
        ("rev", "GTTCC", "chr1", 10, 13, "-"),
        ("pair/1", "AAAA", "chr1", 20, 24, "+"),
        ("pair/2", "GGTT", "chr1", 30, 34, "-"),
        ("pair/1_2", "AAAG", "chr1", 20, 24, "+"),
        ("spliced", "TACGTACGT", "chr1", 50, 64, "-"),
        ("lost", "TTGG", "", -1, -1, "."),
    ]
    assert [dict(r.extra) for r in found[:2]] == [{"flag": 0, "mapq": 60}, {"flag": 16, "mapq": 50}]
    assert found[2].name == "pair"


def test_a_read_without_bases_is_that_records_fault(bam: Path) -> None:
    *_, problem = read_bam(bam)
    assert isinstance(problem, BamError)
    assert problem.row == 7
    assert str(problem) == f"BAM file {bam}, record bare: has no bases ('*')"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_mapq": 50}, ["fwd", "rev"]),
        ({"exclude_flags": 0x10}, ["fwd", "pair/1", "pair/1_2", "sec", "lost"]),
        ({"exclude_flags": 0xF04}, ["fwd", "rev", "pair/1", "pair/2", "spliced"]),
        ({"region": "chr1:14-21"}, ["fwd", "pair/1", "pair/1_2"]),
        ({"region": "chr1:15-20"}, []),
    ],
)
def test_filters_leave_reads_out(bam: Path, options: dict[str, Any], expected: list[str]) -> None:
    assert [record.id for record in records(bam, **options)] == expected


@pytest.mark.shared
def test_a_region_finds_the_same_reads_with_and_without_an_index(shared: Path, tmp_path: Path) -> None:
    path = shared / "inputs/triple_hg19_chr20/NA12878_small.bam"
    bare = tmp_path / "a.bam"
    bare.write_bytes(path.read_bytes())
    region = "chr20:10,000,100-10,003,000"
    streamed = [record.id for record in records(bare, region=region)]
    pysam.index(str(bare))
    assert [record.id for record in records(bare, region=region)] == streamed
    with pysam.AlignmentFile(str(path)) as file:
        assert len(streamed) == sum(not read.flag & 0x904 for read in file.fetch("chr20", 10_000_099, 10_003_000))


def test_an_index_older_than_its_file_is_not_used(write: Write) -> None:
    path = to_bam(write("a.sam", sam(READS[:1])))
    pysam.index(str(path))
    to_bam(write("a.sam", sam(READS[:5])))
    os.utime(f"{path}.bai", (1, 1))
    assert len(records(path, region="chr1:1-100")) == 5


def test_an_index_that_ends_htslib_is_not_opened(write: Write) -> None:
    path = to_bam(write("a.sam", sam(READS[:5])))
    for content in (
        b"CSI\1\x0e" + bytes(11) + b"\2" + bytes(3) + b"\2" + bytes(13) + b"\xff" * 17,
        b"CSI\1" + b"\x7e" * 60,
    ):
        Path(f"{path}.csi").write_bytes(content + bytes(60))
        assert len(records(path)) == len(records(path, region="chr1:1-100")) == 5


def test_a_region_of_another_contig_is_refused(bam: Path) -> None:
    with pytest.raises(RegionError, match="did you mean 'chr1'"):
        list(read_bam(bam, region="1:1-5"))


def test_a_strand_turns_reads_to_that_strand_of_the_genome(bam: Path) -> None:
    for strand, turn in (("+", str), ("-", complement)):
        found = {record.id: record for record in records(bam, strand=strand)}
        assert decode(found["rev"].codes) == turn("GGAAC")
        assert decode(found["fwd"].codes) == turn("ACGT")
        assert found["rev"].strand == strand


def test_reference_bases_are_the_genomes_without_introns_on_the_reads_strand(
    bam: Path, genome_path: Path, contigs: dict[str, str]
) -> None:
    chr1 = decode(encode(contigs["chr1"])[0])
    with Genome(genome_path) as genome:
        found = list(read_bam(bam, genome=genome, reference_bases=True))
    by_id = {record.id: decode(record.codes) for record in found if isinstance(record, Record)}
    assert by_id["fwd"] == chr1[10:14]
    assert by_id["rev"] == complement(chr1[10:13])
    assert by_id["spliced"] == complement(chr1[50:53] + chr1[58:64])
    assert by_id["bare"] == chr1[60:64]
    (problem,) = (item for item in found if isinstance(item, BamError))
    assert (problem.record, problem.row) == ("lost", 6)
    assert "not aligned" in problem.reason


def test_a_genome_with_other_lengths_is_refused(write: Write, genome_path: Path) -> None:
    path = to_bam(write("a.sam", sam(READS[:1], length=99)))
    with (
        Genome(genome_path) as genome,
        pytest.raises(BamError, match=r"another genome: chr1 has 99 bases here, 3,210 in genome.fa"),
    ):
        list(read_bam(path, genome=genome, reference_bases=True))


@pytest.mark.parametrize("n_cut", [1, 28, 60])
def test_a_cut_bam_is_refused_before_its_first_read(bam: Path, n_cut: int) -> None:
    bam.write_bytes(bam.read_bytes()[:-n_cut])
    with pytest.raises(BamError, match=r"a.bam: truncated: BGZF EOF marker missing"):
        next(read_bam(bam))


@pytest.mark.parametrize("name", [b"l\xd3s\xff", b"lo\tt", b"los\n"])
def test_a_read_whose_name_is_not_text_is_damage(bam: Path, name: bytes) -> None:
    content = gzip.decompress(bam.read_bytes())
    with pysam.BGZFile(str(bam), "wb") as file:
        file.write(content.replace(b"lost\0", name + b"\0"))
    with pytest.raises(BamError, match=r"a\.bam: damaged: the name of read 7 is not text"):
        list(read_bam(bam))


@pytest.mark.shared
def test_a_bam_damaged_in_the_middle_is_refused(shared: Path, tmp_path: Path) -> None:
    data = bytearray((shared / "inputs/triple_minigenome/alignments.bam").read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "a.bam"
    path.write_bytes(bytes(data))
    with pytest.raises(BamError, match="truncated or damaged"):
        list(read_bam(path))


@pytest.mark.parametrize("n_cut", [0, 28])
def test_a_bam_may_come_through_a_pipe_and_is_checked_at_its_end(
    bam: Path, n_cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bam.read_bytes()
    stdin = SimpleNamespace(buffer=io.BytesIO(data[: len(data) - n_cut]))
    monkeypatch.setattr("sys.stdin", stdin)
    if n_cut:
        with pytest.raises(BamError, match="stdin: truncated"):
            list(read_bam("-"))
    else:
        assert len(records("-")) == 7


def test_a_cram_needs_its_reference_and_its_end(bam: Path, genome_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REF_PATH", raising=False)
    Genome(genome_path).close()
    mapped = [read for read in READS if read[0] != "bare"]
    bam.with_suffix(".sam").write_text(sam(mapped))
    cram = to_bam(bam.with_suffix(".sam"), "-C", "-T", str(genome_path))
    expected = [decode(record.codes) for record in records(bam)]
    with Genome(genome_path) as genome:
        assert [decode(record.codes) for record in records(cram, genome=genome)] == expected
    cut = cram.read_bytes()[:-38]
    genome_path.rename(genome_path.with_name("moved.fa"))
    with pytest.raises(BamError, match="a CRAM whose reference is needed"):
        list(read_bam(cram))
    assert "REF_PATH" not in os.environ
    cram.write_bytes(cut)
    with Genome(genome_path.with_name("moved.fa")) as genome, pytest.raises(BamError, match="CRAM EOF"):
        list(read_bam(cram, genome=genome))


@pytest.mark.shared
def test_real_reads_have_the_bases_of_a_fastq_made_from_them(shared: Path) -> None:
    path = shared / "inputs/triple_hg19_chr20/NA12878_small.bam"
    expected = []
    for line in pysam.view("-F", "0x900", str(path)).splitlines():
        fields = line.split("\t")
        flag, bases = int(fields[1]), fields[9]
        mate = "/1" if flag & 0x40 else "/2"
        expected.append((fields[0] + mate, complement(bases) if flag & 16 else bases))
    found = [(re.sub(r"_\d+$", "", r.id), decode(r.codes)) for r in records(path)]
    assert found == expected
    assert len({record.id for record in records(path)}) == len(expected) == 973


@pytest.mark.shared
def test_real_reads_resemble_the_genome_under_them(shared: Path) -> None:
    folder = shared / "inputs/triple_hg19_chr20"
    path = folder / "NA12878_small.bam"
    with Genome(folder / "ucsc.hg19.chr20.unittest.fasta.gz") as genome:
        under = records(path, genome=genome, reference_bases=True, exclude_flags=0x904)
    own = records(path, exclude_flags=0x904)
    assert [record.id for record in under] == [record.id for record in own]
    alike = [
        (mine.codes == its.codes).mean()
        for mine, its in zip(own, under, strict=True)
        if len(mine.codes) == len(its.codes)
    ]
    assert len(alike) > 800
    assert sorted(alike)[len(alike) // 10] > 0.98


@pytest.mark.shared
def test_real_spliced_reads_have_the_genomes_exons(shared: Path) -> None:
    folder = shared / "inputs/triple_minigenome"
    path, fasta = folder / "alignments.bam", folder / "minigenome.fa"
    lines = fasta.read_text().splitlines()
    text = "".join(lines[1:]).upper()
    with Genome(fasta) as genome:
        found = records(path, genome=genome, reference_bases=True)
    n_spliced = 0
    rows = [line.split("\t") for line in pysam.view("-F", "0x900", str(path)).splitlines()]
    for record, fields in zip(found, rows, strict=True):
        position, expected = int(fields[3]) - 1, ""
        for length, operation in re.findall(r"(\d+)([MIDNSHP=X])", fields[5]):
            if operation in "MD=X":
                expected += text[position : position + int(length)]
            if operation in "MDN=X":
                position += int(length)
        n_spliced += "N" in fields[5]
        assert decode(record.codes) == (complement(expected) if int(fields[1]) & 16 else expected)
    assert n_spliced > 100


@pytest.mark.parametrize("kind", ["bai", "csi", "crai"])
def test_a_foreign_index_loses_no_read_though_it_is_newer(
    write: Write, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def indexed(name: str, n_reads: int) -> Path:
        path = to_bam(write(name, sam([(f"r{i}", 0, 10 + 40 * i, 60, "4M", "ACGT") for i in range(n_reads)])))
        if kind == "crai":
            bam, path = path, path.with_suffix(".cram")
            few = ["--output-fmt-option", "no_ref=1", "--output-fmt-option", "seqs_per_slice=9"]
            pysam.view("-C", *few, "-o", str(path), str(bam), catch_stdout=False)
        pysam.index(*(["-c"] if kind == "csi" else []), str(path))
        return path

    path, other = indexed("a.sam", 60), indexed("b.sam", 5)
    index = Path(f"{path}.{kind}")
    assert is_index_of(index, path)
    with monkeypatch.context() as patch:
        patch.setattr(bam_index, "MOST_INDEX", index.stat().st_size - (kind == "bai"))
        assert not is_index_of(index, path)  # decompressed, it is larger
    assert len(records(path, region="chr1")) == 60
    for foreign in (Path(f"{other}.{kind}").read_bytes(), index.read_bytes()[:-9], b"", b"BAI\1"):
        index.write_bytes(foreign)
        os.utime(index, (4e9, 4e9))
        assert not is_index_of(index, path)
        assert len(records(path, region="chr1")) == 60
