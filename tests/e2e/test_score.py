"""`findna score`: VCF in, VCF out, what bcftools and pysam make of it, and bad input."""

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pysam
import pytest
from command import Result, call, left_behind, spawn

Write = Callable[..., Path]
META = '##fileformat=VCFv4.2\n##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
META += '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n"
CONTIGS = "##contig=<ID=chr1,length=2000>\n##contig=<ID=chr2,length=300>\n##contig=<ID=chrN,length=200>\n"
REASONS = ("spanning_deletion", "symbolic", "breakend", "not_acgt", "too_long")
HEAD = META + CONTIGS + COLUMNS


def record(bases: dict[str, str], chrom: str, pos: int, alt: str, n_ref: int = 1) -> str:
    ref = bases[chrom][pos - 1 : pos - 1 + n_ref]
    return f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t30.50\tPASS\tAF=0.250\tGT\t0/1\n"


@pytest.fixture
def vcf(write: Write, bases: dict[str, str]) -> Path:
    """SNVs, an insertion, a deletion, an MNV, several ALTs, and alleles that have no score."""
    others = {base: "ACGT".replace(base.upper(), "")[0] for base in "ACGTacgt"}
    lines = [
        record(bases, "chr1", 1, others[bases["chr1"][0]]),
        record(bases, "chr1", 120, others[bases["chr1"][119]]),  # lower case in the genome and in REF
        record(bases, "chr1", 500, bases["chr1"][499] + "GAT"),
        record(bases, "chr1", 700, bases["chr1"][699], n_ref=4),
        record(bases, "chr1", 900, "TTT" if bases["chr1"][899:902] != "TTT" else "AAA", n_ref=3),
        record(bases, "chr1", 1000, ",".join("ACGT".replace(bases["chr1"][999], ""))),
        record(bases, "chr1", 1200, "*,<DEL>,G]chr2:9],N," + "A" * 30),
        record(bases, "chr1", 1300, "."),
        record(bases, "chr2", 300, others[bases["chr2"][299]]),
    ]
    return write("in.vcf", HEAD + "".join(lines))


def score(vcf: Path | str, genome: Path, model: Path, *args: object) -> Result:
    result = call(
        "score", vcf, "-g", genome, "-m", model, "--max-length", 8, "--threads", 1, "--precision", "fp32", *args
    )
    assert result.code == 0, result.err
    return result


def rows(path: Path | str) -> list[str]:
    """The records of a VCF."""
    return [line for line in Path(path).read_text().splitlines() if line[0] != "#"]


def test_records_come_out_in_order_with_scores_and_nothing_else_changed(vcf: Path, genome: Path, model: Path) -> None:
    score(vcf, genome, model, "-o", "out.vcf.gz", "--json", "r.json")
    before = [line.split("\t") for line in vcf.read_text().splitlines() if line[0] != "#"]
    with pysam.BGZFile("out.vcf.gz") as file:
        lines = [line.decode().split("\t") for line in file]
    after = [line for line in lines if line[0][0] != "#"]
    for old, new in zip(before, after, strict=True):
        assert new[:7] + new[8:] == old[:7] + old[8:]
        assert new[7].startswith("AF=0.250;FINDNA_")
    assert after[6][7] == "AF=0.250;FINDNA_SKIPPED=" + ",".join(REASONS)
    assert after[7][7] == "AF=0.250;FINDNA_SKIPPED=no_alt"
    with pysam.VariantFile("out.vcf.gz") as file:
        for old in before:
            assert [r.pos for r in file.fetch(old[0], int(old[1]) - 1, int(old[1]))] == [int(old[1])]
        assert [len(r.info["FINDNA_LLR"]) for r in file.fetch("chr1", 999, 1000)] == [3]
    report = json.loads(Path("r.json").read_text())
    assert [report[name] for name in ("n_records", "n_variants", "n_scored", "n_skipped")] == [9, 15, 9, 6]
    assert report["outputs"] == ["out.vcf.gz", "out.vcf.gz.tbi"]
    assert left_behind() == ["out.vcf.gz", "out.vcf.gz.tbi"]


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
def test_bcftools_reads_the_output_without_a_warning(vcf: Path, genome: Path, model: Path, write: Write) -> None:
    score(vcf, genome, model, "-o", "out.vcf.gz")
    bare = write("bare.vcf", vcf.read_text().replace(CONTIGS, ""))
    score(bare, genome, model, "-o", "bare.vcf.gz")
    for path in ("out.vcf.gz", "bare.vcf.gz"):
        view = subprocess.run(["bcftools", "view", path, "chr1,chr2"], capture_output=True, check=True, text=True)
        assert view.stderr == ""
        assert sum(line[0] != "#" for line in view.stdout.splitlines()) == 9


def test_tsv_and_parquet_have_one_row_per_alt(vcf: Path, genome: Path, model: Path) -> None:
    score(vcf, genome, model, "-o", "out.tsv")
    score(vcf, genome, model, "-o", "out.parquet", "--scores", "llr")
    lines = [line.split("\t") for line in Path("out.tsv").read_text().splitlines() if not line.startswith("##")]
    assert lines[0] == ["chrom", "pos", "id", "ref", "alt", "llr", "cosine", "euclidean", "influence", "status"]
    assert len(lines) == 1 + 15
    assert [line[-1] for line in lines[9:16]] == [
        "spanning_deletion",
        "symbolic",
        "breakend",
        "not_acgt",
        "too_long",
        "no_alt",
        "ok",
    ]
    table = pyarrow.parquet.read_table("out.parquet")
    assert table.column_names == ["chrom", "pos", "id", "ref", "alt", "llr", "status"]
    assert table["pos"].to_pylist() == [int(line[1]) for line in lines[1:]]
    assert [f"{x:.4f}" if x is not None else "" for x in table["llr"].to_pylist()] == [
        f"{float(line[5]):.4f}" if line[5] else "" for line in lines[1:]
    ]


def test_a_tsv_keeps_its_columns(write: Write, bases: dict[str, str], genome: Path, model: Path) -> None:
    path = write("in.tsv", f"label\tchrom\tpos\tref\talt\nLOF\tchr1\t700\t{bases['chr1'][699]}\tN\n")
    result = score(path, genome, model, "-o", "-", "--scores", "llr")
    lines = [line for line in result.out.splitlines() if not line.startswith("##")]
    assert lines == [
        "label\tchrom\tpos\tref\talt\tllr\tstatus",
        f"LOF\tchr1\t700\t{bases['chr1'][699]}\tN\t\tnot_acgt",
        "# complete n_rows=1",
    ]


def test_shards_joined_are_the_whole(vcf: Path, genome: Path, model: Path) -> None:
    score(vcf, genome, model, "-o", "out.vcf")
    for part in "123":
        score(vcf, genome, model, "-o", f"part{part}.vcf", "--shard", f"{part}/3")
    assert [row for part in "123" for row in rows(f"part{part}.vcf")] == rows("out.vcf")


def test_stdin_gives_the_rows_of_the_file(vcf: Path, genome: Path, model: Path) -> None:
    score(vcf, genome, model, "-o", "out.vcf")
    args = ("-g", genome, "-m", model, "--max-length", 8, "--threads", 1, "--precision", "fp32", "-o", "-", "--quiet")
    result = spawn("score", "-", *args, stdin=vcf.read_bytes())
    assert (result.code, result.err) == (0, "")
    assert [line for line in result.out.splitlines() if line[0] != "#"] == rows("out.vcf")


FAULTS = {
    "ref": ("chr1\t7\t.\t{wrong}\tA\t.\t.\t.\n", r"record chr1:7 \w>A: REF is \w, but g\.fa has \w there; are the "
            r"variants on another assembly\? The header says hg18", "ref_mismatch"),
    "contig": ("1\t7\t.\tA\tC\t.\t.\t.\n", r"contig '1' is not in g\.fa \(did you mean 'chr1'\?\)", "contig_not_found"),
    "pos 0": ("chr1\t0\t.\tA\tC\t.\t.\t.\n", r"POS 0 is before the first base", "out_of_range"),
    "past the end": ("chr2\t301\t.\tA\tC\t.\t.\t.\n", r"end 301 is past the end of chr2 \(300 bases\)", "out_of_range"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_record_that_does_not_fit_ends_the_run_or_is_listed(
    what: str, write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    text, pattern, word = FAULTS[what]
    wrong = "ACGT".replace(bases["chr1"][6], "")[0]
    head = (META + "##reference=hg18\n" + COLUMNS).replace("\tFORMAT\tS1", "")
    path = write("bad.vcf", head + text.format(wrong=wrong))
    args = ("score", path, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.vcf.gz")
    result = call(*args)
    assert result.code == 1
    assert result.err.startswith("findna: variant file bad.vcf, line 6, record ")
    assert re.search(pattern, result.err), result.err
    assert left_behind() == []
    assert call(*args, "--on-error", "skip").code == 0
    with pysam.VariantFile("out.vcf.gz") as file:
        assert [r.info["FINDNA_SKIPPED"] for r in file] == [(word,)]


def test_unsorted_records_are_written_but_not_indexed(
    write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    draws = random.Random(1)
    lines = [record(bases, chrom, draws.randrange(1, 300), "<DEL>") for chrom in ("chr1", "chr2", "chr1")]
    path = write("in.vcf", HEAD + "".join(lines))
    result = call("score", path, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.vcf.gz")
    assert result.code == 1
    assert re.search(r"line 10, record chr1:\d+ .*: not sorted: it follows chr2:\d+.*bcftools sort", result.err)
    assert left_behind() == []
    score(path, genome, model, "-o", "out.vcf")
    assert rows("out.vcf") == [row.replace("AF=0.250", "AF=0.250;FINDNA_SKIPPED=symbolic") for row in rows(path)]


def test_a_deletion_of_100_kb_is_skipped_and_an_output_is_replaced_only_when_asked(
    write: Write, genome: Path, model: Path, bases: dict[str, str]
) -> None:
    path = write("in.vcf", HEAD + record(bases, "chr1", 5, bases["chr1"][4], n_ref=1900))
    score(path, genome, model, "-o", "out.vcf")
    assert "FINDNA_SKIPPED=too_long" in Path("out.vcf").read_text()
    args = ("score", path, "-g", genome, "-m", model, "--max-length", 8, "-o")
    assert "exists already; --force replaces it" in call(*args, "out.vcf").err
    assert call(*args, "in.vcf", "--force").code == 2  # the input itself
    score(path, genome, model, "-o", "out.vcf", "--force")


COMMANDS = {
    ("--max-length", "30"): "alleles of up to 30 bases need a window of at least 76 bases, not 50",
    ("--scores", "llr,magic"): "score 'magic' is unknown; known are llr, distance, influence",
    ("-o", "out.bcf"): "BCF is not written",
    ("-o", "-", "--format", "parquet"): "parquet cannot be streamed to stdout",
    ("-o", "x.tsv", "--format", "vcf"): "format vcf contradicts the name x.tsv",
    ("--shard", "0/3"): "there is no shard 0 of 3",
    ("--window", "60"): "a window of 60 bases is longer than the model's 50",
}


@pytest.mark.parametrize("flags", COMMANDS, ids=" ".join)
def test_a_wrong_flag_is_a_mistake_of_the_command_line(
    flags: tuple[str, ...], vcf: Path, genome: Path, model: Path
) -> None:
    result = call("score", vcf, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.vcf", *flags)
    assert (result.code, COMMANDS[flags] in result.err) == (2, True), result.err
    assert not Path("out.vcf").exists()
