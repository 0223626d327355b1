"""`findna score`: VCF in, VCF out, what bcftools and pysam make of it, and bad input."""

import gzip
import json
import random
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pysam
import pysam.bcftools
import pytest
from command import Result, assert_close, call, embedded, fasta, left_behind, read

from findna.errors import OutputError
from findna.io.genome import Genome
from findna.io.score_files import FILES
from findna.io.vcf import Site
from findna.region import Region
from findna.sequence import decode, encode
from findna.variants import Scored, VariantScorer

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
    score(bare, genome, model, "-o", "out.bcf")
    for path in ("out.vcf.gz", "bare.vcf.gz", "out.bcf"):
        assert len(bcftools("view", "-H", path, "chr1,chr2")) == 9


def test_a_bcf_may_have_a_name_that_begins_with_a_dash(vcf: Path, genome: Path, model: Path) -> None:
    result = call("score", vcf, "-g", genome, "-m", model, "--max-length", 8, "-o", "-x.bcf")
    assert (result.code, Path("-x.bcf.csi").is_file()) == (0, True), result.err


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
def test_bcftools_finds_every_record_of_calls_of_na12878(model: Path, write: Write) -> None:
    demo = Path(__file__).parents[2] / "docs" / "demo"
    genome = demo / "genome.fa.gz"
    pileup = ["bcftools", "mpileup", "-f", genome, demo / "reads.bam"]  # a record for each covered base, with its ALTs
    write("all.vcf", subprocess.run([*map(str, pileup)], capture_output=True, check=True).stdout)
    for path, name, n in ((demo / "na12878.vcf", "out.vcf.gz", 15), (Path("all.vcf"), "all.bcf", 2088)):
        score(path, genome, model, "-o", name, "--scores", "llr")
        query = ("query", "-f", "%CHROM %POS %ID %REF %ALT %QUAL %FILTER\n")
        assert bcftools(*query, name) == bcftools(*query, str(path))
        assert len(bcftools("query", "-f", "%FINDNA_LLR %FINDNA_SKIPPED\n", "-r", "chr20", name)) == n


def bcftools(*args: str) -> list[str]:
    """What bcftools prints, line by line; it must print no warning."""
    done = subprocess.run(["bcftools", *args], capture_output=True, check=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


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
    score(path, genome, model, "-o", "scored.tsv", "--scores", "llr")
    again = score("scored.tsv", genome, model, "-o", "-", "--scores", "llr")
    assert [line for line in again.out.splitlines() if not line.startswith("##")] == lines
    path.write_text(path.read_text().replace("label", "llr"))
    result = call("score", path, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.tsv")
    assert (result.code, "column 'llr' has the name of a column that findna writes" in result.err) == (1, True)
    assert left_behind() == []


@pytest.fixture
def many(write: Write, bases: dict[str, str]) -> Path:
    """700 records on chr1: one in ten is an SNV or a small deletion, the others have no score."""
    lines = []
    for pos in range(1, 1401, 2):
        is_indel, is_scored = pos % 60 == 1, pos % 20 == 1
        alt = "ACGT".replace(bases["chr1"][pos - 1].upper(), "")[0] if is_scored else "<DEL>,*"
        lines.append(record(bases, "chr1", pos, bases["chr1"][pos - 1] if is_indel else alt, 1 + 2 * is_indel))
    return write("many.vcf", HEAD + "".join(lines))


def same_run(path: str, other: str) -> bool:
    """Whether two files are equal but for the command and the shard that they name."""

    def content(name: str) -> object:
        if name.endswith(".parquet"):
            table = pyarrow.parquet.ParquetFile(name)
            facts = {key: text for key, text in table.schema_arrow.metadata.items() if b"Command" not in key}
            return table.read().to_pylist(), table.num_row_groups, facts
        if name.endswith(".bcf"):
            text = pysam.bcftools.view("--no-version", name)
        else:
            text = (
                gzip.decompress(Path(name).read_bytes()) if name.endswith(".gz") else Path(name).read_bytes()
            ).decode()
        of_the_run = ("##findna_scoreCommand", "##findna_sha256")
        return [line for line in text.splitlines() if not line.startswith(of_the_run)]

    return content(path) == content(other)


NAMES = ("out.vcf", "out.vcf.gz", "out.bcf", "out.tsv", "out.parquet")


@pytest.mark.parametrize(("name", "kind"), [*zip(NAMES, ("vcf", "vcf.gz", "bcf", "", ""), strict=True)])
def test_merged_parts_are_the_output_of_one_run(name: str, kind: str, many: Path, genome: Path, model: Path) -> None:
    flags, plan = ["--scores", "llr", "--on-error", "skip"], []
    if kind == "bcf":
        Path("many.bcf").write_bytes(pysam.bcftools.view("-Ob", str(many), raw=True))
    elif kind == "vcf.gz":
        pysam.tabix_compress(str(many), "many.vcf.gz")
    if kind:
        many, plan = Path(f"many.{kind}"), ["--plan", "plan.json"]
        for code, flags_of_split in ((0, ("-n", 3)), (0, ("-n", 3)), (1, ("-n", 2))):
            assert call("split", many, "--variants", *flags_of_split, "-o", "plan.json").code == code
        marks = [shard["mark"]["row"] for shard in json.loads(Path("plan.json").read_text())["shards"]]
        assert marks[1:] == [256, 512]
    score(many, genome, model, "-o", name, *flags)
    parts = [name.replace("out", f"part{number}") for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        score(many, genome, model, "-o", part, "--shard", f"{number}/3", *plan, *flags)
    result = call("merge", *reversed(parts), "-o", name.replace("out", "merged"), "--json", "r.json")
    assert result.code == 0, result.err
    assert same_run(name, name.replace("out", "merged"))
    report = json.loads(Path("r.json").read_text())
    assert (report["n_records"], report["n_parts"]) == (700, 3)
    for index in (*Path().glob("merged*.tbi"), *Path().glob("merged*.csi")):
        index.unlink()  # a killed run may lack it
    again = call("merge", *reversed(parts), "-o", name.replace("out", "merged"))
    assert (again.code, "complete; nothing to do" in again.err) == (0, True), again.err
    assert left_behind("merged") == [path.replace("out", "merged") for path in left_behind()]


def test_parts_that_are_not_those_of_one_run_are_refused(many: Path, genome: Path, model: Path) -> None:
    flags = ("--scores", "llr", "--on-error", "skip")
    score(many, genome, model, "-o", "whole.vcf", *flags)
    for number in (1, 2):
        score(many, genome, model, "-o", f"part{number}.vcf", "--shard", f"{number}/2", *flags)
    run = (many, "-g", genome, "-m", model, "--max-length", 8, "--precision", "fp32", "-o", "part1.vcf", *flags)
    for shard, asked in (((), "not given"), (("--shard", "2/2"), "2/2")):
        again = call("score", *run, *shard)
        assert (again.code, f"other inputs or settings (--shard: {asked} now, 1/2 before" in again.err) == (1, True), (
            again.err
        )
    score(many, genome, model, "-o", "other.vcf", "--shard", "2/2", "--scores", "distance", "--on-error", "skip")
    short = Path("part2.vcf").read_text().splitlines(keepends=True)
    Path("short.vcf").write_text("".join([short[0], *short[2:-1]]))  # without its sum
    Path("damaged.vcf").write_text("".join(short).replace("\t30.50\t", "\t31.50\t", 1))
    wrong = {
        ("part1.vcf",): (1, "shard 2 of 2 is missing"),
        ("part1.vcf", "part1.vcf"): (1, "is shard 1/2, and so is part1.vcf"),
        ("part1.vcf", "whole.vcf"): (1, "is the output of a complete run, not a part"),
        ("part1.vcf", "other.vcf"): (1, 'does not belong to part1.vcf: --scores is "distance", there "llr"\n'),
        ("part1.vcf", "short.vcf"): (1, "holds 443 records, but its shard has 444"),
        ("part1.vcf", "damaged.vcf"): (1, "damaged.vcf: its sha256 differs"),
        ("part1.vcf", "many.vcf"): (1, "is not an output of findna score"),
        ("part1.vcf", "x.tsv"): (2, "parts and output have the same format"),
    }
    for parts, (code, text) in wrong.items():
        result = call("merge", *parts, "-o", "out.vcf")
        assert (result.code, text in result.err) == (code, True), result.err
    assert left_behind() == []


def interrupt_third_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the next run at its third chunk, once."""
    real, n_calls = VariantScorer.score, 0

    def stop_at_third(self: VariantScorer, sites: list[Site]) -> list[Scored]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise KeyboardInterrupt
        return real(self, sites)

    monkeypatch.setattr(VariantScorer, "score", stop_at_third)


def test_an_interrupted_run_says_what_is_true_of_its_output(
    many: Path, genome: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("findna.io.record_spool._EVERY", 0)
    flags = ("-g", genome, "-m", model, "--max-length", 8, "-t", 1, "--on-error", "skip", "-o", "my out.vcf")
    Path("my out.vcf").write_text("an earlier result\n")
    interrupt_third_chunk(monkeypatch)
    kept = call("score", many, *flags, "--force").err.splitlines()[-2]
    assert kept.startswith("the run is not complete, and my out.vcf.partial keeps its finished part; `findna score ")
    assert call(*shlex.split(kept.split("`")[1])[1:]).code == 0
    interrupt_third_chunk(monkeypatch)
    stdin = call("score", "-", *flags, "--force", stdin=many.read_bytes())
    assert stdin.err.splitlines()[-2:] == ["the run is not complete, and nothing of it is kept", "findna: interrupted"]


@pytest.mark.parametrize("name", ["out.vcf.gz", "out.parquet"])
def test_an_interrupted_run_resumes_where_it_was(
    name: str, many: Path, genome: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--scores", "llr", "--on-error", "skip", "--json", "r.json", "--embeddings", "out.h5")
    score(many, genome, model, "-o", name.replace("out", "whole"), *flags[:-1], "whole.h5")
    n_windows = json.loads(Path("r.json").read_text())["n_windows"]
    monkeypatch.setattr("findna.io.record_spool._EVERY", 0)
    interrupt_third_chunk(monkeypatch)
    args = ("score", many, "-g", genome, "-m", model, "--max-length", 8, "--precision", "fp32", "-o", name, *flags)
    result = call(*args)
    assert (result.code, f"{name}.partial keeps its finished part" in result.err) == (130, True), result.err
    assert left_behind() == [f"{name}.partial"]
    assert "a partial run exists" in call(*args).err
    assert "the partial run has other settings" in call(*args, "--max-length", 7, "--resume").err
    result = call(*args, "--resume")
    assert result.code == 0, result.err
    report = json.loads(Path("r.json").read_text())
    assert report["n_resumed"] == 512
    assert 0 < report["n_windows"] < n_windows / 2
    assert same_run(name, name.replace("out", "whole"))
    whole, resumed = read(Path("whole.h5")), read(Path("out.h5"))
    assert np.array_equal(whole.x, resumed.x)
    assert (whole.obs, whole.skipped) == (resumed.obs, resumed.skipped)
    assert f"{name}.partial" not in left_behind()
    result = call(*args)  # nothing is left to do
    assert (result.code, "complete; nothing to do" in result.err) == (0, True), result.err
    n_rows = report["n_variants" if name.endswith(".parquet") else "n_records"]
    assert json.loads(Path("r.json").read_text())["n_resumed"] == n_rows
    differs = 'made with other inputs or settings (--on-error: "fail" now, "skip" before)'
    assert differs in call(*args, "--on-error", "fail").err
    differs = "made with other inputs or settings (--max-length: 7 now, 8 before)"
    assert differs in call(*args, "--max-length", 7).err
    Path("out.h5").unlink()
    assert "exists already" in call(*args, "--resume").err  # the vectors are missing


def test_a_run_that_fails_at_misfits_continues_none_that_skipped_one(
    many: Path, genome: Path, model: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = many.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if line[0] != "#")
    fields = lines[place].split("\t")
    fields[3] = next(base for base in "ACGT" if base not in (fields[3].upper(), fields[4]))
    misfit = write("misfit.vcf", "".join([*lines[:place], "\t".join(fields), *lines[place + 1 :]]))
    monkeypatch.setattr("findna.io.record_spool._EVERY", 0)
    flags = ("--scores", "llr", "--max-length", 8, "-o", "out.vcf", "--threads", 1)
    args = ("score", misfit, "-g", genome, "-m", model, *flags)
    interrupt_third_chunk(monkeypatch)
    assert call(*args, "--on-error", "skip").code == 130
    refused = call(*args, "--resume")
    assert (refused.code, "line 8, record " in refused.err) == (1, True), refused.err
    assert call(*args, "--on-error", "skip", "--resume").code == 0
    refused = call(*args)
    differs = 'made with other inputs or settings (--on-error: "fail" now, "skip" before'
    assert (refused.code, differs in refused.err) == (1, True), refused.err
    assert call(*args, "--on-error", "skip").code == 0


def test_vectors_of_both_alleles_are_those_of_embed(vcf: Path, genome: Path, model: Path, write: Write) -> None:
    flags = ("--scores", "llr", "--embeddings", "out.h5")
    score(vcf, genome, model, "-o", "out.vcf", *flags)
    table = read(Path("out.h5"))
    assert table.obs["allele"] == ["ref", "alt"] * 9
    assert len(table.skipped["id"]) == 2 * 6
    assert table.obs["variant"][0] == table.obs["variant"][1]
    snv = table.obs["id"].index(next(name for name in table.obs["id"] if name.startswith("1:chr1:120:")))
    strands = []
    for strand, start in (("+", 95), ("-", 94)):  # 24 bases before position 120, in the direction of the strand
        with Genome(genome) as opened:
            codes = opened.fetch(Region("chr1", start, start + 50))[0]
        alt = codes.copy()
        alt[119 - start] = encode(table.obs["variant"][snv][-1])[0][0]
        write("both.fa", f">ref\n{decode(codes)}\n>alt\n{decode(alt)}\n")
        embedded("both.fa", "-m", model, "--strand", strand, "-o", "embedded.h5", "--force")
        strands.append(read(Path("embedded.h5")).x)
    assert_close(table.x[snv : snv + 2], np.mean(strands, axis=0))
    for number in (1, 2):
        part = ("-o", f"part{number}.vcf", "--shard", f"{number}/2", *flags[:3], f"part{number}.h5")
        score(vcf, genome, model, *part)
    result = call("merge", "part1.h5", "part2.h5", "-o", "merged.h5")
    assert result.code == 0, result.err
    merged = read(Path("merged.h5"))
    assert np.array_equal(merged.x, table.x)
    assert (merged.obs, merged.skipped) == (table.obs, table.skipped)


def test_stdin_gives_the_rows_of_the_file(vcf: Path, genome: Path, model: Path) -> None:
    score(vcf, genome, model, "-o", "out.vcf")
    args = ("-g", genome, "-m", model, "--max-length", 8, "--threads", 1, "--precision", "fp32", "-o", "-", "--quiet")
    Path("-").write_text("a file of that name is neither input nor output")
    result = call("score", "-", *args, stdin=vcf.read_bytes())
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
    result = call(*args, "--on-error", "skip")
    assert (result.code, f"no record is left: 1 record skipped: {word} 1" in result.err) == (1, True), result.err
    assert left_behind() == []
    fits = f"chr1\t1\t.\t{bases['chr1'][0]}\t<DEL>\t.\t.\t.\n"
    path.write_text(head + text.format(wrong=wrong) + fits)
    assert call(*args[:-1], "out.vcf", "--on-error", "skip").code == 0
    with pysam.VariantFile("out.vcf") as file:
        assert [r.info["FINDNA_SKIPPED"] for r in file] == [(word,), ("symbolic",)]


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


@pytest.mark.parametrize("name", ["o.vcf.gz", "o.bcf"])
def test_an_index_that_cannot_be_made_names_its_output(name: str) -> None:
    with gzip.open("written", "wb") as file:  # no BGZF
        file.write(b"##fileformat=VCFv4.2\n")
    files = FILES["bcf" if name.endswith("bcf") else "vcf"]
    with pytest.raises(OutputError, match=rf"^{re.escape(name)}: "):
        files.make_index(Path(name), Path("written"), Path("temp.csi"))


@pytest.mark.parametrize(
    ("name", "pos", "info", "reason"),
    [
        ("out.vcf.gz", 2**31 + 5, ".", r"ends at base 2,147,483,653, and a \.tbi cannot hold more than 536,870,912"),
        ("out.vcf.gz", 7, "END=3000000000", r"ends at base 3,000,000,000, and a \.tbi cannot hold"),
        ("out.bcf", 2**31, ".", r"ends at base 2,147,483,648, and a \.bcf cannot hold more than 2,147,483,647"),
        ("out.vcf", 2**31 + 5, ".", ""),
    ],
)
def test_a_record_beyond_what_an_index_holds_is_an_error_at_once(
    name: str, pos: int, info: str, reason: str, write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    path = write(
        "far.vcf", HEAD + record(bases, "chr1", 1, "<DEL>") + f"chr1\t{pos}\t.\tA\t<DEL>\t.\t.\t{info}\tGT\t0\n"
    )
    result = call("score", path, "-g", genome, "-m", model, "--max-length", 8, "-o", name, "--on-error", "skip")
    assert result.code == (1 if reason else 0)
    assert re.search(reason, result.err), result.err
    if not reason:
        assert rows(name)[1].endswith("FINDNA_SKIPPED=out_of_range\tGT\t0")
    assert left_behind("out") == ([] if reason else [name])


@pytest.mark.parametrize("name", ["out.vcf", "out.vcf.gz", "out.bcf"])
def test_a_contig_that_nothing_names_gets_its_header_line(
    name: str, write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    head = META + "##contig=<ID=chr1,length=2000>\n" + COLUMNS
    lines = [
        record(bases, "chr1", 7, "<DEL>"),
        *(f"{chrom}\t5\t.\tA\tC\t.\t.\t.\tGT\t0\n" for chrom in ("x", "y", "y")),
    ]
    flags = ("-o", name, "--on-error", "skip")
    path = write("in.vcf", head + "".join(lines))
    score(path, genome, model, *flags)
    with pysam.VariantFile(name) as file:
        assert list(file.header.contigs) == ["chr1", "x", "y"]
        assert [r.chrom for r in file] == ["chr1", "x", "y", "y"]
    if name == "out.vcf":
        assert "sha256 agrees" in call("verify", name).out
        for number in (1, 2):
            score(path, genome, model, "-o", f"part{number}.vcf", *flags[2:], "--shard", f"{number}/2")
        assert call("merge", "part2.vcf", "part1.vcf", "-o", "merged.vcf").code == 0
        assert same_run("merged.vcf", name)


def test_a_deletion_of_100_kb_is_skipped_and_an_output_is_replaced_only_when_asked(write: Write, model: Path) -> None:
    bases = {"chr1": "".join(random.Random(3).choices("ACGT", k=100_300))}
    genome = write("long.fa", fasta(bases))
    path = write("in.vcf", HEAD + record(bases, "chr1", 5, bases["chr1"][4], n_ref=100_001))
    score(path, genome, model, "-o", "out.vcf")
    assert rows("out.vcf") == [rows(path)[0].replace("AF=0.250", "AF=0.250;FINDNA_SKIPPED=too_long")]
    args = ("score", path, "-g", genome, "-m", model, "--max-length", 9, "-o")
    assert "); choose another name, or --force replaces it" in call(*args, "out.vcf").err
    assert call(*args, "in.vcf", "--force").code == 2  # the input itself
    score(path, genome, model, "-o", "out.vcf", "--force")


def test_a_ref_of_n_and_an_empty_alt_are_listed_and_a_genome_is_needed(
    write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    lines = ["chrN\t5\t.\tN\tA\t.\t.\t.\tGT\t0/1\n", record(bases, "chrN", 150, "")]
    path = write("in.vcf", HEAD + "".join(lines))
    score(path, genome, model, "-o", "out.vcf")
    assert [row.split("\t")[7].split("SKIPPED=")[1] for row in rows("out.vcf")] == ["not_acgt", "no_alt"]
    result = call("score", path, "-m", model, "-o", "other.vcf")
    assert (result.code, "--genome" in result.err) == (2, True), result.err
    result = call("score", path, "-g", "absent.fa", "-m", model, "--max-length", 8, "-o", "other.vcf")
    assert (result.code, "absent.fa" in result.err) == (1, True), result.err
    assert left_behind("other") == []


WITHOUT_HEADER = (
    "chr1\t3\tG\tA\n",
    "chr1\t3\trs1\tG\tA\n",
    "chr1\t3\t3\tG\tA\n",
    "chr1\t3\t3\tG\tA\thet\t30\t9\n",
    "chr1 3 G A\n",
    "chr1,3,G,A\n",
)


def test_a_file_that_is_no_vcf_or_truncated_ends_the_run(
    write: Write, bases: dict[str, str], genome: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("findna.io.record_spool._EVERY", 1e9)  # on a busy machine, rows would be kept
    lines = "".join(record(bases, "chr1", pos, "<DEL>") for pos in range(1, 2000))
    whole = write("in.vcf.gz", HEAD + lines, "bgzf").read_bytes()
    files = {
        "headerless.vcf": (lines.encode(), "line 1: column 'chrom' not found: a VCF begins with ##fileformat=VCF"),
        "header.vcf": (META.encode(), "the #CHROM line is missing"),
        "end.vcf.gz": (whole[:-28], "truncated: BGZF EOF marker missing (after line 2006)"),
        "half.vcf.gz": (whole[: len(whole) // 2], "truncated: the gzip stream ends after line"),
        "empty.vcf": (b"", "the file is empty"),
        "regions.bed": (b"chr1\t5\t20\n", "regions.bed: holds regions without alleles: give a VCF, BCF, or TSV with"),
        **{
            f"{n}.tsv": (
                row.encode(),
                "line 1: column 'chrom' not found: there is no header line; add one that names "
                "each column, such as `chrom pos ref alt`, with tabs\n",
            )
            for n, row in enumerate(WITHOUT_HEADER)
        },
        "reff.tsv": (
            b"chrom\tpos\treff\talt\tsequence\nchr1\t3\tG\tA\tACGT\n",
            "line 1: column 'ref' not found: a TSV",
        ),
        "peaks.bed": (b"chr1\t5\t20\tp\t0\t+\t5\t20\t0\n", "peaks.bed: holds regions without alleles"),
        "reads.bam": (gzip.compress(b"BAM\1\0\0\0\0"), "`findna mutagenesis` scores every change of reads"),
    }
    for name, (content, text) in files.items():
        write(name, content)
        result = call("score", name, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.vcf")
        assert (result.code, text in result.err, result.err.count("\n")) == (1, True, 1), result.err
        assert left_behind() == []


COMMANDS = {
    ("--max-length", "30"): "--max-length 30 needs a window of at least 76 bases, not 50",
    ("--scores", "llr,magic"): "score 'magic' is not known: choose from llr, distance, influence",
    ("-o", "-", "--resume"): "stdout cannot be resumed",
    ("--embeddings", "out.vcf"): "out.vcf is also a file of --out",
    ("-o", "-", "--format", "parquet"): "parquet cannot be streamed to stdout",
    ("-o", "x.tsv", "--format", "vcf"): "format vcf contradicts the name x.tsv",
    ("--shard", "0/3"): "there is no shard 0 of 3",
    ("--window", "60"): "--window must be 0 to 50 bases, the longest of the model, not 60",
}


@pytest.mark.parametrize("flags", COMMANDS, ids=" ".join)
def test_a_wrong_flag_is_a_mistake_of_the_command_line(
    flags: tuple[str, ...], vcf: Path, genome: Path, model: Path
) -> None:
    result = call("score", vcf, "-g", genome, "-m", model, "--max-length", 8, "-o", "out.vcf", *flags)
    assert (result.code, COMMANDS[flags] in result.err) == (2, True), result.err
    assert not Path("out.vcf").exists()


def test_an_ending_of_no_format_is_refused_with_the_names_that_are_possible(write: Write, model: Path) -> None:
    result = call("score", "in.vcf", "-g", "g.fa", "-m", model, "-o", "r.csv")
    assert (result.code, result.err) == (
        2,
        "findna: output r.csv: this command does not write .csv files: name it r.vcf, r.vcf.gz, r.bcf, r.tsv, r.tsv.gz "
        "or r.parquet\n",
    )
