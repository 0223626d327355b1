"""`findna embed`: each kind of input gives the vectors of exactly the bases that it names."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Oracle, assert_close, call, embedded, fasta, read, reverse_complement

Write = Callable[..., Path]

BED = """# peaks
track name=peaks
browser position chr1:1-100
chr1\t90\t170\tp1\t5\t+
chr1\t90\t170\tp1\t5\t-
chr2\t0\t300\t.\t0\t.
chr1\t1990\t2000

chr1\t90\t170\tp1\t5\t+
chrN\t40\t120\tn\t0\t-
"""
ROWS = [
    ("chr1:90-170(+)", "chr1", 90, 170, "+"),
    ("chr1:90-170(-)", "chr1", 90, 170, "-"),
    ("chr2:0-300(.)", "chr2", 0, 300, "."),
    ("chr1:1990-2000(.)", "chr1", 1990, 2000, "."),
    ("chr1:90-170(+)_2", "chr1", 90, 170, "+"),
    ("chrN:40-120(-)", "chrN", 40, 120, "-"),
]


def stretch(bases: dict[str, str], chrom: str, start: int, end: int, strand: str = "+") -> str:
    text = bases[chrom][start:end]
    return reverse_complement(text) if strand == "-" else text


@pytest.fixture
def expected(bases: dict[str, str], oracle: Oracle) -> np.ndarray:
    """The vectors of `BED`, row by row."""
    return np.array([oracle.vector(stretch(bases, *row[1:])) for row in ROWS])


def test_a_bed_file_gives_one_vector_a_row_on_the_strand_of_the_row(
    write: Write, genome: Path, model: Path, expected: np.ndarray
) -> None:
    result = embedded(write("peaks.bed", BED), "--genome", genome, "--model", model)
    table = read(Path("peaks.h5"))  # named after the input
    assert_close(table.x, expected)
    assert table.obs["id"] == [row[0] for row in ROWS]
    assert list(zip(*(table.obs[key] for key in ("chrom", "start", "end", "strand")), strict=True)) == [
        row[1:] for row in ROWS
    ]
    assert table.obs["name"] == ["p1", "p1", "", "", "p1", "n"]
    assert table.obs["row"] == [0, 1, 2, 3, 4, 5]
    assert table.obs["n_windows"] == [2, 2, 6, 1, 2, 2]
    assert table.obs["frac_n"] == pytest.approx([0, 0, 0, 0, 0, 0.75])
    assert set(table.obs["source"]) == {"peaks.bed"}
    assert "peaks.h5: 6 rows, 0 skipped, 630 bases" in result.err
    assert result.out == ""
    assert not Path("peaks.h5.partial").exists()


@pytest.mark.parametrize("how", ["bgzf", "gz BED", "2bit", "spaces", "crlf"])
def test_the_form_of_bed_and_genome_changes_nothing(
    how: str, write: Write, bases: dict[str, str], model: Path, expected: np.ndarray
) -> None:
    genome = write("g.fa", fasta(bases))
    bed = write("peaks.bed", BED)
    if how == "bgzf":
        genome = write("g.fa.gz", fasta(bases, 70), "bgzf")
    elif how == "2bit":
        genome = write("g.2bit", twobit(bases))
    elif how == "gz BED":
        bed = write("peaks.bed.gz", BED, "gz")
    elif how == "spaces":
        bed = write("peaks.bed", BED.replace("\t", "  "))
    else:
        bed = write("peaks.bed", BED.replace("\n", "\r\n"))
    embedded(bed, "-g", genome, "-m", model)
    table = read(Path("peaks.h5"))
    assert_close(table.x, expected)
    assert table.obs["id"] == [row[0] for row in ROWS]


def twobit(bases: dict[str, str]) -> bytes:
    """A .2bit file: runs of N, no mask."""
    index_size = sum(1 + len(name) + 4 for name in bases)
    index, records = b"", b""
    for name, text in bases.items():
        index += bytes([len(name)]) + name.encode() + (16 + index_size + len(records)).to_bytes(4, "little")
        n_first, n_size = text.find("N"), text.count("N")
        assert text.strip("ACGTacgt").count("N") == n_size  # one run
        runs = [1, n_first, n_size] if n_size else [0]
        records += np.array([len(text), *runs, 0, 0], "<u4").tobytes()
        codes = ["TCAG".find(base) if base in "TCAG" else 0 for base in text.upper()] + [0] * (-len(text) % 4)
        records += bytes(64 * a + 16 * b + 4 * c + d for a, b, c, d in zip(*[iter(codes)] * 4, strict=True))
    return np.array([0x1A412743, 0, len(bases), 0], "<u4").tobytes() + index + records


def test_blocks_of_bed12_are_joined_only_on_request(
    write: Write, genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    bed = write("tx.bed", "chr1\t500\t700\ttx\t0\t-\t500\t700\t0\t3\t20,30,10,\t0,100,190,\n")
    exons = bases["chr1"][500:520] + bases["chr1"][600:630] + bases["chr1"][690:700]
    embedded(bed, "-g", genome, "-m", model, "--split", "-o", "joined.h5")
    embedded(bed, "-g", genome, "-m", model, "-o", "whole.h5")
    joined, whole = read(Path("joined.h5")), read(Path("whole.h5"))
    assert_close(joined.x[0], oracle.vector(reverse_complement(exons)))
    assert_close(whole.x[0], oracle.vector(reverse_complement(bases["chr1"][500:700])))
    assert (joined.obs["length"], whole.obs["length"]) == ([60], [200])


def test_narrowpeaks_are_recentred_on_summit_or_middle(
    write: Write, genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    peaks = write("p.narrowPeak", "chr1\t100\t200\ta\t0\t.\t1.5\t-1\t-1\t30\nchr1\t300\t401\tb\t0\t-\t1\t-1\t-1\t99\n")
    embedded(peaks, "-g", genome, "-m", model, "--size", 40, "--center", "summit", "-o", "summit.h5")
    embedded(peaks, "-g", genome, "-m", model, "--size", 41, "-o", "middle.h5")
    summit, middle = read(Path("summit.h5")), read(Path("middle.h5"))
    assert (summit.obs["start"], summit.obs["end"]) == ([110, 379], [150, 419])
    assert_close(summit.x[0], oracle.vector(bases["chr1"][110:150]))
    assert_close(summit.x[1], oracle.vector(reverse_complement(bases["chr1"][379:419])))
    assert (middle.obs["start"], middle.obs["end"]) == ([130, 330], [171, 371])


def test_region_strings_are_one_based_with_commas(
    genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    embedded("chr1:1,001-1,120", "chr2:11-20", "-o", "two.h5", "-g", genome, "-m", model)
    table = read(Path("two.h5"))
    assert table.obs["id"] == ["chr1:1000-1120(.)", "chr2:10-20(.)"]
    assert_close(table.x, np.array([oracle.vector(bases["chr1"][1000:1120]), oracle.vector(bases["chr2"][10:20])]))


SEQUENCES = {"s1": "ACGTTGCAAGGATC", "s2": "acguRN" + "ACGGT" * 30, "s3": "T"}


def plain(text: str) -> str:
    return text.upper().replace("U", "T").replace("R", "N")


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
@pytest.mark.parametrize("kind", ["fasta", "fastq"])
def test_fasta_and_fastq_plain_or_compressed(kind: str, how: str, write: Write, model: Path, oracle: Oracle) -> None:
    if kind == "fasta":
        text = fasta(SEQUENCES, 7)
    else:
        text = "".join(f"@{name} a contig\n{s}\n+\n{'I' * len(s)}\n" for name, s in SEQUENCES.items())
    path = write("seqs" + {"plain": "", "gz": ".gz", "bgzf": ".bgz"}[how], text, how)
    embedded(path, "-m", model, "-o", "out.h5")
    table = read(Path("out.h5"))
    assert_close(table.x, np.array([oracle.vector(plain(s)) for s in SEQUENCES.values()]))
    assert table.obs["id"] == ["s1", "s2", "s3"]
    assert set(table.obs["name"]) == {"a contig"}
    assert table.obs["n_iupac"] == [0, 1, 0]
    assert (set(table.obs["chrom"]), set(table.obs["start"]), set(table.obs["strand"])) == ({""}, {-1}, {"."})


@pytest.mark.parametrize(("how", "pack"), [("plain", bytes), ("gz", gzip.compress)])
def test_stdin(how: str, pack: Callable[[bytes], bytes], genome: Path, model: Path, expected: np.ndarray) -> None:
    embedded("-", "-g", genome, "-m", model, "-o", "out.h5", stdin=pack(BED.encode()))
    table = read(Path("out.h5"))
    assert_close(table.x, expected)
    assert set(table.obs["source"]) == {"-"}


def test_stdin_without_an_output_name_is_a_usage_error(model: Path) -> None:
    result = call("embed", "-", "-m", model, stdin=b">a\nACGT\n")
    assert result.code == 2
    assert result.err == "findna: an output of stdin needs a name: -o FILE\n"


def test_the_format_of_an_input_can_be_forced(write: Write, genome: Path, model: Path) -> None:
    bed = write("odd.fa", "chr1 10 20\n")
    embedded(bed, "-g", genome, "-m", model, "--in-format", "bed", "-o", "out.h5")
    assert read(Path("out.h5")).obs["id"] == ["chr1:10-20(.)"]
    result = call("embed", bed, "-m", model, "--in-format", "fasta", "-o", "out2.h5")
    assert result.code == 1
    assert "text before the first '>' header" in result.err


def test_several_inputs_stand_one_after_the_other(
    write: Write, genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    bed, seqs = write("a.bed", "chr1\t0\t20\n"), write("b.fa", ">x\nACGGT\n")
    embedded(bed, seqs, "chr2:1-9", bed, "-g", genome, "-m", model, "-o", "out.h5")
    table = read(Path("out.h5"))
    assert table.obs["id"] == ["chr1:0-20(.)", "x", "chr2:0-9(.)", "chr1:0-20(.)_2"]
    assert table.obs["source"] == ["a.bed", "b.fa", "chr2:1-9", "a.bed"]
    assert table.obs["row"] == [0, 0, 0, 0]
    assert_close(table.x[1], oracle.vector("ACGGT"))
    assert np.array_equal(table.x[0], table.x[3])


def test_records_with_too_many_n_are_left_out_and_listed(write: Write, genome: Path, model: Path) -> None:
    bed = write("a.bed", "chr1\t0\t20\nchrN\t90\t110\nchrN\t80\t110\nchrN\t150\t180\n")
    result = embedded(bed, "-g", genome, "-m", model, "--max-n", "0.5")
    table = read(Path("a.h5"))
    assert table.obs["id"] == ["chr1:0-20(.)", "chrN:90-110(.)", "chrN:150-180(.)"]
    assert table.skipped["id"] == ["chrN:80-110(.)"]
    assert table.skipped["row"] == [2]
    assert table.skipped["reason"] == ["66.7% of the bases are N, more than 50.0%"]
    assert "3 rows, 1 skipped" in result.err


def test_skipped_records_and_rows_name_their_source_alike(model: Path) -> None:
    text = b">a\nACGT\n>b\nNNNN\n>c\n\n"
    embedded("-", "-m", model, "-o", "out.h5", "--max-n", "0.5", "--on-error", "skip", stdin=text)
    table = read(Path("out.h5"))
    assert set(table.obs["source"]) == set(table.skipped["source"]) == {"-"}


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_strand_for_all(
    strand: str, write: Write, genome: Path, model: Path, bases: dict[str, str], oracle: Oracle
) -> None:
    bed = write("a.bed", "chr1\t10\t50\ta\t0\t+\nchr1\t10\t50\ta\t0\t-\n")
    embedded(bed, "-g", genome, "-m", model, "--strand", strand)
    table = read(Path("a.h5"))
    assert table.obs["strand"] == [strand, strand]
    assert_close(table.x[0], oracle.vector(stretch(bases, "chr1", 10, 50, strand)))
    assert np.array_equal(table.x[0], table.x[1])


def test_both_strands_are_averaged_and_their_cosine_stands_beside(write: Write, model: Path, oracle: Oracle) -> None:
    text = "ACGTTGCAAGGATCGGATT" * 4
    embedded(write("a.fa", f">a\n{text}\n"), "-m", model, "--strand", "both")
    table = read(Path("a.h5"))
    forward, reverse = oracle.vector(text), oracle.vector(reverse_complement(text))
    assert_close(table.x[0], (forward + reverse) / 2)
    cosine = forward @ reverse / np.linalg.norm(forward) / np.linalg.norm(reverse)
    assert table.obs["rc_cosine"] == pytest.approx([cosine], rel=1e-4)


def test_regions_of_a_few_bases_are_counted_and_the_flag_that_widens_them_named(
    write: Write, genome: Path, model: Path
) -> None:
    snps = write("snps.bed", "chr1\t90\t91\nchr1\t100\t109\nchr1\t100\t110\n")
    text = (
        "2 of 3 regions have fewer than 10 bases (the first: chr1:90-91(.)). The model reads only the bases of a "
        "region: --size 1000 widens each to 1,000 bases\n"
    )
    for command, *flags in (["embed", "--dry-run"], ["embed"], ["predict-bases", "-o", "b.h5"]):
        result = call(command, snps, "-g", genome, "-m", model, *flags)
        assert (result.code, text in result.err) == (0, True), result.err
    assert "fewer than" not in embedded(snps, "-g", genome, "-m", model, "--size", 20, "-o", "wide.h5").err
    assert "fewer than" not in embedded(write("a.fa", ">a\nACG\n"), "-m", model).err
    windows = embedded(snps, "-g", genome, "-m", model, "--windows", "-o", "w.h5", "--json", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert ("fewer than" in windows.err, report["n_short"], report["first_short"]) == (False, 0, "")
