"""`findna embed` on bad input: exit 1, one clear line with the place, and nothing under the final name."""

import gzip
import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
import torch
from command import call, embedded, fasta, fork, left_behind, read, spawn

from findna.errors import BedError
from findna.models.manifest import config_text

Write = Callable[..., Path]

ROWS = {
    "absent contig": ("chr1\t5\t9\n1\t5\t9\n1\t7\t9\n", r"BED file bad\.bed, line 2: contig '1' is not in g\.fa "
                      r"\(did you mean 'chr1'\?\); `sed .* bad.bed > renamed.bed` adds chr \(2 of 3 records"),
    "past the end": ("chr1\t5\t9\nchr2\t290\t301\n", r"line 2: end 301 is past the end of chr2 \(300 bases; 1 of 2"),
    "start is end": ("chr1\t5\t5\n", r"line 1: start 5 and end 5 must satisfy 0 <= start < end"),
    "start after end": ("chr1\t5\t9\nchr1\t9\t5\n", r"line 2: start 9 and end 5 must satisfy 0 <= start < end"),
    "negative": ("chr1\t-5\t9\n", r"line 1: start -5 and end 9 must satisfy"),
    "no number": ("chr1\t5\t9\nchr1\tx9\t20\n", r"line 2: start 'x9' is not a whole number"),
    "a fraction": ("chr1\t5\t9.5\n", r"line 1: end '9\.5' is not a whole number"),
    "too few columns": ("chr1\t5\t9\n#x\n\nchr1\t5\n", r"line 4: 2 columns, but chrom, start and end needs 3"),
    "strand": ("chr1\t5\t9\tx\t0\t*\n", r"line 1: strand \(column 6\) is '\*', not '\+', '-' or '\.'"),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_a_bad_row_ends_the_run_or_is_skipped_and_listed(what: str, write: Write, genome: Path, model: Path) -> None:
    text, pattern = ROWS[what]
    bed = write("bad.bed", text)
    result = call("embed", bed, "-g", genome, "-m", model, "-o", "out.h5")
    assert result.code == 1
    assert result.err.startswith("findna: BED file bad.bed, line ")
    assert re.search(pattern, result.err), result.err
    assert left_behind() == []
    text += "chr1\t20\t40\n"  # a run that skips every row is an error
    bed = write("bad.bed", text)
    embedded(bed, "-g", genome, "-m", model, "-o", "out.h5", "--on-error", "skip")
    table = read(Path("out.h5"))  # n_in = n_out + n_skipped, and no row of zeros
    n_rows = len([line for line in text.splitlines() if line and line[0] != "#"])
    assert len(table.x) + len(table.skipped["id"]) == n_rows
    assert len(table.skipped["id"]) == (2 if what == "absent contig" else 1)
    assert f"line {table.skipped['line'][0]}: {table.skipped['reason'][0]}"[:30] in result.err
    assert set(table.skipped["source"]) == {"bad.bed"}


VCF = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=2000>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
chr1\t5\t.\tA\tC\t.\t.\t.
"""
SEQUENCES = {
    "protein": (">p1\nACGTAC\n>p2 kinase\nMKVLAAGIVGLLLAQPSFWE\n", r"line 3, record p2: 'L' .*\(is it protein\?\)"),
    "protein of nucleotide codes": (">p1\nACGTAC\n>p2\nMKVWSRHDMKVY\n", r"line 3, record p2: .*\(is it protein\?\)"),
    "repeated id": (
        ">a\nAC\n>b\nAC\n>a\nGG\n",
        r"line 5, record a: duplicate id: the text before the first blank must be unique",
    ),
    "no bases": (">a\nAC\n>b\n>c\nGG\n", r"line 3, record b: no bases"),
    "no id": (">a\nAC\n> \nGG\n", r"line 3: the header has no id"),
}


@pytest.mark.parametrize("what", SEQUENCES)
def test_a_bad_sequence_ends_the_run_or_is_skipped_and_listed(what: str, write: Write, model: Path) -> None:
    text, pattern = SEQUENCES[what]
    path = write("bad.fa", text)
    result = call("embed", path, "-m", model, "-o", "out.h5")
    assert result.code == 1
    assert re.match(rf"findna: FASTA file bad\.fa, {pattern}", result.err), result.err
    assert result.err.endswith("; --dry-run counts all such records, --on-error skip omits them\n")
    assert result.err.count("\n") == 1
    assert left_behind() == []
    embedded(path, "-m", model, "-o", "out.h5", "--on-error", "skip")
    table = read(Path("out.h5"))
    assert len(table.skipped["reason"]) == 1
    assert table.skipped["reason"][0] in result.err
    assert len(table.x) == text.count(">") - 1


def bgzf_without_end(text: str) -> bytes:
    with pysam.BGZFile("whole.gz", "wb") as file:
        file.write(text.encode())
    return Path("whole.gz").read_bytes()[:-28]


def bam_without_end(_: str) -> bytes:
    Path("r.sam").write_text(
        "@SQ\tSN:chr1\tLN:2000\n" + "".join(f"r{i}\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\t*\n" for i in range(9))
    )
    pysam.view("-b", "-o", "r.bam", "r.sam", catch_stdout=False)
    return Path("r.bam").read_bytes()[:-28]


FILES = {
    "empty": ("in.bed", lambda text: b"", "in.bed: the file is empty"),
    "only comments": ("in.bed", lambda text: b"# nothing\n\n", "in.bed: it holds no records"),
    "cut gzip": ("in.fa.gz", lambda text: gzip.compress(text.encode())[:-30], "truncated: the gzip stream"),
    "cut bgzf": ("in.fa.gz", bgzf_without_end, "in.fa.gz: truncated: BGZF EOF marker missing"),
    "cut bam": ("in.bam", bam_without_end, "in.bam: truncated: BGZF EOF marker missing"),
    "damaged bam": ("in.bam", lambda text: bam_without_end(text)[:-60] + b"\0" * 60, "in.bam: "),
    "NUL": ("in.fa", lambda text: text.encode()[:600] + b"\0" + text.encode()[600:], "in.fa, line "),
    "cut fastq": ("in.fq", lambda text: b"@a\nACGT\n+\nIIII\n@b\nACGT\n+\nII", "line 5, record b: 2 quality values"),
    "bcf": ("in.bcf", lambda text: b"BCF\2\2", "in.bcf: this is BCF: convert it with bcftools view"),
    "sam": ("in.sam", lambda text: b"@HD\tVN:1.6\n", "in.sam: this is SAM text: convert it"),
    "noise": ("in.dat", lambda text: bytes(range(1, 200)), "in.dat: cannot infer the format from the content"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_damaged_file_is_an_error_whatever_is_skipped(
    what: str, on_error: str, write: Write, genome: Path, bases: dict[str, str], model: Path
) -> None:
    name, make, message = FILES[what]
    path = write(name, make(fasta(bases, 50)))
    needed = ("-g", genome) if name.endswith(".bed") else ()
    result = call("embed", path, *needed, "-m", model, "-o", "out.h5", "--on-error", on_error)
    assert result.code == 1
    assert message in result.err
    assert result.err.startswith("findna: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert left_behind() == []


GENOMES = {
    "absent": (None, "genome g2.fa: no such file or directory"),
    "empty": (b"", "genome g2.fa: the file is empty"),
    "gzip": (gzip.compress(b">chr1\nACGT\n"), "genome g2.fa: compressed with gzip, which cannot be indexed: gunzip"),
    "no FASTA": (b"hello\n", "genome g2.fa"),
    "ragged": (b">chr1\nACGT\nAC\nACGT\n", "genome g2.fa"),
    "repeated": (b">chr1\nACGT\n>chr1\nACGT\n", "genome g2.fa"),
}


@pytest.mark.parametrize("what", GENOMES)
def test_a_genome_that_cannot_be_used(what: str, write: Write, model: Path) -> None:
    content, message = GENOMES[what]
    if content is not None:
        write("g2.fa", content)
    result = call("embed", write("a.bed", "chr1\t0\t3\n"), "-g", "g2.fa", "-m", model, "-o", "out.h5")
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert left_behind() == []


def test_regions_without_a_genome_and_genomes_without_the_region(write: Write, genome: Path, model: Path) -> None:
    result = call("embed", write("a.bed", "chr1\t0\t3\n"), "-m", model)
    assert (result.code, result.err) == (2, "findna: regions need a genome: --genome FILE\n")
    for text, message in {
        "chr9:1-5": "region chr9:1-5: contig 'chr9' is not in g.fa (it has chr1, chr2, chrN",
        "CHR1:1-5": "did you mean 'chr1'?",
        "chr2:1-301": "region chr2:1-301: end 301 is past the end of chr2 (300 bases",
        "chr2:9-5": "region chr2:9-5: start 9 is past its end 5",
        "chr2:0-5": "region chr2:0-5: positions of a region string count from 1",
    }.items():
        result = call("embed", text, "-g", genome, "-m", model, "-o", "out.h5")
        assert result.code == 1
        assert message in result.err
        assert left_behind() == []


def test_a_model_that_is_damaged_or_none(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">a\nACGT\n")
    shutil.copytree(model, "other")
    weights = bytearray(Path("other/model.safetensors").read_bytes())
    weights[-5] ^= 1
    Path("other/model.safetensors").write_bytes(weights)
    torch.save({"a": torch.zeros(2)}, "weights.pt")
    Path("empty").mkdir()
    for name, message in {
        "other": "model other: model.safetensors has sha256 ",
        "weights.pt": "model weights.pt: a model is a folder, and this is a file; for a pickled checkpoint run "
        "`findna model convert` first",
        "empty": "model empty: holds no config.json",
        "nowhere": "model nowhere: is neither a folder nor the name of a shipped model",
        "findna-smal": "model findna-smal: is neither a folder nor the name of a shipped model "
        "(shipped: findna-small); did you mean findna-small?",
        "lab/findna-small": "model lab/findna-small: is neither a folder nor the name of a shipped model "
        "(shipped: findna-small); if it is a repository of a hub, run `findna model pull lab/findna-small` first",
    }.items():
        result = call("embed", seqs, "-m", name, "-o", "out.h5")
        assert result.code == (2 if "neither" in message else 1)  # 2: the command line names no model
        assert result.err.startswith(f"findna: {message}")
        assert result.err.count("\n") == 1
        assert left_behind() == []
    assert "copy the folder again" in call("embed", seqs, "-m", "other", "-o", "out.h5").err


def test_a_pickle_inside_a_model_folder_is_not_read(write: Write, model: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("sprung",)

    shutil.copytree(model, "other")
    content = pickle.dumps(Trap())
    Path("other/model.safetensors").write_bytes(content)
    config = json.loads(Path("other/config.json").read_text())
    config["sha256"] = hashlib.sha256(content).hexdigest()
    Path("other/config.json").write_text(config_text(config))
    result = call("embed", write("a.fa", ">a\nACGT\n"), "-m", "other", "-o", "out.h5")
    assert result.code == 1
    assert "weights and config.json do not match" in result.err
    assert not Path("sprung").exists()


def test_an_output_that_cannot_be_written(write: Write, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seqs = write("a.fa", ">a\nACGT\n")
    Path("out.h5").mkdir()
    for out, message in {
        "none/out.h5": "none/out.h5: the folder none does not exist",
        "out.h5": "out.h5: is a folder",
        "a.fa/out.h5": "a.fa/out.h5: a.fa is not a folder",
    }.items():
        result = call("embed", seqs, "-m", model, "-o", out)
        assert result.code == 1, out
        assert message in result.err
        assert result.err.count("\n") == 1
    result = call("embed", seqs, "-m", model, "-o", "out.h5", "--force")
    assert (result.code, result.err) == (1, "findna: out.h5: is a folder, not a file\n")
    monkeypatch.setattr("findna.io.files.free_bytes", lambda folder: 1000)
    result = call("embed", seqs, "-m", model, "-o", "full.h5")
    assert result.code == 1
    assert (
        "are needed and 0.0 MB are free; every row is kept: --resume finishes the run once there is room" in result.err
    )
    assert left_behind("full") == ["full.h5.partial"]
    os.mkfifo("node")
    for flags in ([], ["--force"]):
        result = call("embed", seqs, "-m", model, "-o", "node", "--format", "tsv", *flags)
        assert (result.code, "not a file" in result.err) == (1, True)
    assert not Path("node").is_file()


@pytest.mark.parametrize("command", ["embed", "predict-bases", "mutagenesis", "score"])
def test_a_missing_output_folder_is_found_before_the_model_is_loaded(
    command: str, write: Write, genome: Path, model: Path
) -> None:
    shutil.copytree(model, "damaged")
    Path("damaged/model.safetensors").write_bytes(b"")
    source = write("a.vcf", VCF) if command == "score" else write("a.bed", "chr1\t5\t90\n")
    out = "none/out.tsv" if command == "score" else "none/out.h5"
    result = call(command, source, "-g", genome, "-m", "damaged", "-o", out)
    assert (result.code, result.err) == (1, f"findna: {out}: the folder none does not exist\n")


def test_a_genome_or_a_table_that_is_a_pipe_is_refused(write: Write, model: Path) -> None:
    os.mkfifo("pipe")
    bed = write("a.bed", "chr1\t5\t9\n")
    for args, what in (
        (("embed", bed, "-g", "pipe", "-m", model, "-o", "o.h5"), "genome pipe: not a regular file"),
        (("finetune", "pipe", "-o", "r"), "input pipe: must be a regular file, because it is read more than once"),
        (("data", "audit", "-", "x.csv"), "input -: must be a regular file, because it is read more than once"),
    ):
        result = call(*args)
        assert (result.code, result.err) == (1, f"findna: {what}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_device_behind_stdout(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">a\nACGT\n")
    with Path("/dev/full").open("wb") as full:
        process = fork("embed", seqs, "-m", model, "-o", "-", "-t", "1", stdout=full)
        error = process.communicate()[1]
    assert process.returncode == 1
    assert error == b"findna: stdout: no space left (disk full, quota or file size limit)\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_a_write_bit(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">a\nACGT\n")
    Path("closed").mkdir(mode=0o500)
    result = call("embed", seqs, "-m", model, "-o", "closed/out.h5")
    assert result.code == 1
    assert "closed/out.h5.partial: cannot be written: permission denied" in result.err


def test_an_output_is_never_an_input(write: Write, genome: Path, model: Path) -> None:
    text = "chr1\t0\t3\n"
    write("a.tsv", text)
    for flags in (("--format", "tsv"), ("--format", "tsv", "--force")):
        result = call("embed", "a.tsv", "-g", genome, "-m", model, *flags)
        assert result.code == 2
        assert result.err == "findna: the output a.tsv is also an input: choose another name; nothing was changed\n"
    result = call("embed", "a.tsv", "-g", genome, "-m", model, "-o", "g.fa", "--force")
    assert result.code == 2
    assert Path("a.tsv").read_text() == text


MISTAKES = {
    "no such option": (("--nope",), "No such option"),
    "a word for a number": (("--layer", "x"), "--layer must be a whole number"),
    "pool": (("--pool", "median"), "pool must be one or more of mean, cls, max, min, sd, tokens, separated"),
    "no model": (("-m", ""), "'-m': is empty; leave it out"),
    "no pool": (("--pool", ""), "'--pool': is empty; leave it out"),
    "pool twice": (("--pool", "mean,mean"), "pool must be one or more of mean, cls, max, min, sd"),
    "no blocks": (("--blocks", ""), "'--blocks': is empty; leave it out"),
    "no output": (("-o", ""), "'-o': is empty; leave it out"),
    "no value": (("--shard=",), "'--shard': is empty; leave it out"),
    "no input": (("",), "an argument is empty; leave it out"),
    "report to stdout": (("--json", "-"), "'--json': give the name of a file: stdout is for the results"),
    "blocks": (("--blocks", "5,3"), "blocks must be increasing numbers separated by commas"),
    "no such block": (("--blocks", "5,99"), "blocks 5,99: the network has"),
    "blocks and layer": (("--blocks", "1", "--layer", "1"), "give blocks or layer, not both: blocks 1, layer 1"),
    "layer": (("--layer", "3"), "layer 3 must lie in 0 to 2"),
    "window": (("--window", "51"), "--window must be 0 to 50 bases, the longest of the model, not 51"),
    "stride": (("--stride", "51"), "--stride must be 0 to the window of 50 bases, not 51"),
    "negative stride": (("--stride", "-1"), "stride"),
    "negative window": (("--window", "-5"), "window"),
    "strand": (("--strand", "up"), "strand"),
    "dtype": (("--dtype", "int8"), "dtype must be float32 or float16, not 'int8'"),
    "format": (("--format", "csv"), "csv"),
    "stdout": (("-o", "-", "--format", "h5"), "h5 cannot be streamed to stdout"),
    "stdout resume": (("-o", "-", "--resume"), "stdout cannot be resumed"),
    "stdout tokens": (("-o", "-", "--pool", "sd,tokens"), "tokens, and cls with another pool, need a file"),
    "in-format": (("--in-format", "sam"), "--in-format must be one of fasta"),
    "device": (("--device", "tpu"), "auto, cpu, cuda"),
    "format against name": (("-o", "x.parquet", "--format", "npy"), "contradicts"),
    "no format of a csv": (("-o", "x.csv"), "does not write .csv files: name it x.h5, x.tsv, x.parquet or x.npy"),
    "no format of an h5.gz": (("-o", "x.h5.gz"), "does not write .h5.gz files: name it x.h5"),
    "no format of a gz": (("-o", "x.gz"), "does not write .gz files: name it x.h5"),
    "two inputs": (("b.fa",), "-o FILE"),
    "precision": (("--precision", "fp8"), "fp8"),
    "on-error": (("--on-error", "ask"), "--on-error must be fail or skip"),
    "flags": (("--exclude-flags", "dup"), "'--exclude-flags': 'dup' is not a number"),
    "max-n": (("--max-n", "2"), "--max-n must lie in 0 to 1, not 2.0"),
    "max-n nan": (("--max-n", "nan"), "--max-n must lie in 0 to 1, not nan"),
    "size of a sequence": (("--size", "20"), "--size 20 is for regions, but a.fa is FASTA"),
    "sequence column": (("--sequence-column", "s"), "--sequence-column s is for tables, but a.fa is FASTA"),
    "id column": (("--id-column", "s"), "--id-column s is for tables, but a.fa is FASTA"),
    "summit": (("--center", "summit"), "--center summit needs a size"),
    "reads": (("--min-mapq", "3"), "--min-mapq 3 is for BAM and CRAM, but a.fa is FASTA"),
    "tokens of both": (("--pool", "tokens", "--strand", "both"), "tokens cannot be combined with --strand both"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_on_the_command_line_is_exit_2(what: str, write: Write, model: Path) -> None:
    flags, message = MISTAKES[what]
    result = call("embed", write("a.fa", ">a\nACGT\n"), "-m", model, *flags)
    assert result.code == 2, result
    assert result.err.startswith("findna: ")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert left_behind("a") == ["a.fa"]
    assert left_behind("x") == []


ABSENT = [
    ("embed", "none.bed", "-o", "out.h5"),
    ("embed", "none.bed", "-o", "out.h5", "--dry-run"),
    ("embed", "a.fa", "-g", "none.fa", "-o", "out.h5"),
    ("classify", "none.bed", "--task", "tf-0", "-o", "out.tsv"),
    ("predict-bases", "none.bed", "-o", "out.h5"),
    ("mutagenesis", "none.bed", "-o", "out.h5"),
    ("score", "none.vcf", "-o", "out.vcf"),
    ("split", "none.bed", "-n", 2, "-o", "out.json"),
    ("split", "none.vcf", "--variants", "-n", 2, "-o", "out.json"),
    ("merge", "none.h5", "-o", "out.h5"),
    ("merge", "none.parquet", "-o", "out.parquet"),
    ("merge", "none.vcf.gz", "-o", "out.vcf.gz"),
]


@pytest.mark.parametrize("words", ABSENT, ids=lambda words: " ".join(map(str, words)))
def test_a_missing_input_is_named_before_an_output_that_exists(
    words: tuple[object, ...], write: Write, genome: Path, model: Path
) -> None:
    write("a.fa", ">a\nACGT\n")
    out = write(str(words[words.index("-o") + 1]), "an earlier file")
    if words[0] not in ("merge", "split") and "-g" not in words:
        words += ("-g", genome)
    if words[0] not in ("merge", "split", "classify"):
        words += ("-m", model)
    result = call(*words)
    name = next(str(word) for word in words if str(word).startswith("none"))
    assert result.code == 1
    assert re.fullmatch(rf"findna: [a-z ]+ {name}: (no such file or directory|not found)\n", result.err), result.err
    assert out.read_text() == "an earlier file"


def test_a_folder_is_refused_with_what_to_give(write: Write, genome: Path, model: Path) -> None:
    Path("data").mkdir()
    bed = write("a.bed", "chr1\t1\t5\n")
    assert "input data: is a folder; give the files in it\n" in call("embed", "data", "-m", model).err
    assert "genome data: is a folder; give a FASTA or .2bit file\n" in call("embed", bed, "-g", "data").err
    assert "variant file data: is a folder; give a VCF, BCF or TSV file\n" in call("score", "data", "-g", genome).err


def test_a_pasted_sequence_is_no_file(model: Path) -> None:
    result = call("embed", "ACGT" * 100, "-m", model)
    assert result.code == 2
    assert result.err == (
        "findna: ACGTACGTACGTACGTACGT... is too long for a file or a region: "
        "write a sequence to a FASTA file, or pass it on stdin (-)\n"
    )


def test_the_exit_code_and_the_message_of_the_real_process(
    write: Write, genome: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = write("bad.bed", "chr1\t5\t9\nchr1\t9\t5\n")
    result = spawn("embed", bed, "-g", genome, "-m", model)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "findna: BED file bad.bed, line 2: start 9 and end 5 must satisfy 0 <= start < end; if they are swapped, "
        "`awk -F'\\t' -v OFS='\\t' '!/^(#|track|browser)/ && $2 > $3 {t = $2; $2 = $3; $3 = t} {print}' bad.bed "
        "> fixed.bed` corrects it "
        "(1 of 2 records affected; --on-error skip omits them)\n"
    )
    monkeypatch.setenv("FINDNA_DEBUG", "")  # so that it is as before after the test
    with pytest.raises(BedError):
        call("--debug", "embed", bed, "-g", genome, "-m", model)


def test_bad_rows_on_stdin_leave_nothing_behind(genome: Path, model: Path) -> None:
    rows = "chr1\t0\t20\n" * 300 + "chr1\t0\tx\n"
    result = call("embed", "-", "-g", genome, "-m", model, "-o", "out.h5", stdin=rows.encode())
    assert result.code == 1
    assert "BED file stdin, line 301: end 'x' is not a whole number" in result.err
    assert left_behind() == []


def test_a_fault_late_in_a_file_leaves_nothing_that_is_in_the_way(write: Write, model: Path) -> None:
    good = "".join(f">s{i}\nACGTAGG\n" for i in range(100))
    path = write("a.fa", good + ">bad\n")
    assert call("embed", path, "-m", model, "-o", "out.h5").code == 1
    assert left_behind() == []
    write("a.fa", good)
    embedded(path, "-m", model, "-o", "out.h5")
    assert len(read(Path("out.h5")).x) == 100


def test_an_input_whose_records_are_all_skipped_is_an_error(write: Write, genome: Path, model: Path) -> None:
    bed = write("a.bed", "chr7\t0\t9\nchr8\t0\t9\n")
    result = call("embed", bed, "-g", genome, "-m", model, "--on-error", "skip")
    assert result.code == 1
    assert (
        "no record is left: 2 records skipped; the first: BED file a.bed, line 1: contig 'chr7' is not in" in result.err
    )
    assert not Path("a.h5").exists()


BASES = "ACGTTGCAAC" * 30
HEADER = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ROW = "chr20\t101\t.\tA\tC"
REMEDIES = {
    "swapped": ("embed a.bed -g chr20.fa", {"a.bed": "chr20\t90\t50\nchr20\t5\t70\n"}, "a.bed"),
    "swapped, with blanks": ("embed a.bed -g chr20.fa", {"a.bed": "track name=x a=b\nchr20 90 50 a\n"}, "a.bed"),
    "names with blanks": ("embed a.bed -g chr20.fa", {"a.bed": "track name=x\na peak\tchr20\t5\t90\n"}, "a.bed"),
    "contig last": ("embed a.bed -g chr20.fa", {"a.bed": "5\t90\tchr20\n"}, "a.bed"),
    "name first": ("embed a.bed -g chr20.fa", {"a.bed": "peak1 chr20 5 90\n"}, "a.bed"),
    "without chr": ("embed a.bed -g chr20.fa", {"a.bed": "track name=x\n20\t5\t90\nchr20\t7\t80\n"}, "a.bed"),
    "with chr": ("embed a.bed -g 20.fa", {"a.bed": "chr20\t5\t90\n"}, "a.bed"),
    "variants without chr": ("score v.vcf -g chr20.fa", {"v.vcf": f"{HEADER}{ROW[3:]}\t.\t.\t.\n"}, "v.vcf"),
    "blanks in a VCF": ("score v.vcf -g chr20.fa", {"v.vcf": f"{HEADER}{ROW}\t.\t.\t.\n".replace("\t", " ")}, "v.vcf"),
    "five columns": ("score v.vcf -g chr20.fa", {"v.vcf": f"#CHROM\tPOS\tID\tREF\tALT\n{ROW}\n"}, "v.vcf"),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_the_command_in_a_message_corrects_the_input(name: str) -> None:
    args, files, wrong = REMEDIES[name]
    for contig in ("chr20", "20"):
        Path(f"{contig}.fa").write_text(f">{contig}\n{BASES}\n")
    for file, text in files.items():
        Path(file).write_text(text if not file.endswith(".vcf") else f"##fileformat=VCFv4.2\n{text}")
    result = call(*args.split(), "-o", "out.tsv")
    assert result.code == 1
    (command,) = re.findall("`([^`]+)`", result.err)
    subprocess.run(["bash", "-c", command], check=True)
    corrected = command.rpartition("> ")[2]
    assert call(*args.replace(wrong, corrected).split(), "-o", "out.tsv").code == 0
    assert Path("out.tsv").read_text().count("\n") >= 2


@pytest.mark.parametrize(
    "line",
    ["embed 20:1-50 20:60-90 chr20:7-40 -g chr20.fa", "mutagenesis 20:1-9 -g chr20.fa", "embed r.bam --region=20:1-50"],
)
def test_the_command_in_a_message_on_a_region_names_the_contig_of_the_genome(line: str, model: Path) -> None:
    Path("chr20.fa").write_text(f">chr20\n{BASES}\n")
    with pysam.AlignmentFile(
        "r.bam", "wb", header={"HD": {"SO": "coordinate"}, "SQ": [{"SN": "chr20", "LN": 300}]}
    ) as bam:
        read = pysam.AlignedSegment(bam.header)
        read.query_name, read.query_sequence, read.reference_id, read.cigarstring = "r", "ACGTA", 0, "5M"
        bam.write(read)
    result = call(*line.split(), "-m", model, "-o", "my out.h5")
    assert (result.code, "did you mean 'chr20'?" in result.err) == (1, True), result.err
    (command,) = re.findall("`([^`]+)`", result.err)
    assert call(*shlex.split(command)[1:]).code == 0
    assert Path("my out.h5").exists()
    other = call(*line.replace("20:", "7:").split(), "-m", model, "-o", "other.h5")
    assert (other.code, "`" in other.err) == (1, False), other.err


@pytest.mark.parametrize("kind", ["bed", "vcf", "bam"])
def test_a_genome_of_another_kind_is_named_with_what_it_must_be(kind: str) -> None:
    files = {name: Path(f"a.{name}") for name in ("bed", "vcf", "bam")}
    with pysam.AlignmentFile(files["bam"], "wb", header={"SQ": [{"SN": "chr1", "LN": 90}]}):
        pass
    files["bed"].write_text("chr1\t5\t90\n")
    files["vcf"].write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    result = call("embed", "chr1:1-50", "-g", files[kind])
    what = {"bed": "regions (BED)", "vcf": "variants (VCF)", "bam": "reads (BAM or CRAM)"}[kind]
    assert (result.code, f"holds {what}; the genome is a FASTA or .2bit file, which `findna data" in result.err) == (
        1,
        True,
    ), result.err
