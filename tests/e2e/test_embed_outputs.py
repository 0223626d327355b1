"""`findna embed`: existing outputs, runs that end early, and --resume."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Table, call, embedded, fork, left_behind, n_lines, read

from findna.io.hdf5 import EmbeddingWriter

Write = Callable[..., Path]


def rows(n: int) -> str:
    """BED rows of 1 to 90 bases, some of which end outside chr2."""
    return "".join(f"chr{1 + (i % 9 == 4)}\t{i % 295}\t{i % 295 + 1 + i % 90}\tr{i}\n" for i in range(n))


def same(a: Table, b: Table) -> None:
    assert a.x.tobytes() == b.x.tobytes()
    assert (a.obs, a.skipped) == (b.obs, b.skipped)
    assert {k: a.meta[k] for k in ("model", "genome", "inputs", "params")} == {
        k: b.meta[k] for k in ("model", "genome", "inputs", "params")
    }


def test_a_run_that_is_killed_and_resumed_is_bit_for_bit_one_that_was_not(
    write: Write, genome: Path, model: Path
) -> None:
    bed = write("many.bed", rows(3000))
    flags = [bed, "-g", genome, "-m", model, "--on-error", "skip"]
    embedded(*flags, "-o", "whole.h5")
    whole = read(Path("whole.h5"))
    assert len(whole.skipped["id"]) > 25
    journal, n_before = Path("out.h5.partial/journal"), 1
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        run = ["embed", *flags, "-o", "out.h5", "--resume", "--precision", "fp32", "-t", 1]
        process = fork(*run, job="often")
        while n_lines(journal) < n_before + 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        error = process.communicate()[1].decode()
        assert process.returncode == code, error
        assert not Path("out.h5").exists()
        assert n_lines(journal) >= n_before + 2  # what was certain still is
        n_before = n_lines(journal)
        if number != signal.SIGKILL:
            kept, last = error.splitlines()
            assert kept.startswith(
                "the run is not complete, and out.h5.partial keeps its finished part; `findna embed "
            )
            assert (kept.count("--resume"), kept.endswith("` continues")) == (1, True)
            assert last == "findna: stopped by SIGTERM"
            assert "Traceback" not in error
    in_the_way = call("embed", *flags, "-o", "out.h5", "--precision", "fp32", "-t", 1)
    assert in_the_way.code == 1
    assert (
        "a partial run exists; --resume continues it. To begin again, choose another name, or discard it with --force"
        in in_the_way.err
    )
    other = call("embed", *flags, "-o", "out.h5", "--precision", "bf16", "-t", 1, "--resume", "--pool", "max")
    assert other.code == 1
    assert "other settings" in other.err
    assert "(--pool: " in other.err
    assert "give the same ones, choose another output, or discard it with --force" in other.err
    write("many.bed", rows(3001))
    changed = call("embed", *flags, "-o", "out.h5", "--precision", "fp32", "-t", 1, "--resume")
    assert changed.code == 1
    assert " has changed" in changed.err
    assert n_lines(journal) == n_before
    write("many.bed", rows(3000))
    rest = embedded(*flags, "-o", "out.h5", "--resume", "--json", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert report["n_resumed"] >= 4 * 128
    assert f" bases after record {report['n_resumed']:,} in " in rest.err
    assert (report["n_records"], report["n_rows"]) == (3000, len(whole.x))
    same(read(Path("out.h5")), whole)
    assert left_behind() == ["out.h5"]


def test_an_existing_output_is_replaced_only_by_force_and_only_by_a_whole_one(
    write: Write, genome: Path, model: Path
) -> None:
    bed = write("a.bed", "chr1\t0\t40\n")
    embedded(bed, "-g", genome, "-m", model)
    first = Path("a.h5").read_bytes()
    for how in ((), ("--resume",)):
        again = call("embed", bed, "-g", genome, "-m", model, "--precision", "fp32", *how)
        assert (again.code, again.err) == (0, "a.h5: complete; nothing to do\n")
        batches = call("embed", bed, "-g", genome, "-m", model, "--precision", "fp32", "--batch-bases", 99, *how)
        assert (batches.code, batches.err) == (0, "a.h5: complete; nothing to do\n")
        other = call("embed", bed, "-g", genome, "-m", model, "--precision", "fp32", "--pool", "max", *how)
        differs = 'made with other inputs or settings (--pool: "max" now, "mean" before'
        assert (other.code, other.err) == (
            1,
            f"findna: a.h5: exists already, {differs}); choose another name, or --force replaces it\n",
        )
    assert Path("a.h5").read_bytes() == first
    write("a.bed", "chr1\t0\t40\nchr1\t0\n")
    assert call("embed", bed, "-g", genome, "-m", model, "--force").code == 1
    assert Path("a.h5").read_bytes() == first
    write("a.bed", "chr1\t0\t40\nchr1\t9\t60\n")
    embedded(bed, "-g", genome, "-m", model, "--force")
    assert len(read(Path("a.h5")).x) == 2
    assert left_behind("a") == ["a.bed", "a.h5"]


def test_a_run_that_fails_at_invalid_records_is_not_done_by_one_that_skipped_them(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">s\nACGTTGCA\n>empty\n>n\nNNNN\n")
    embedded(seqs, "-m", model, "--max-n", "0.5", "--on-error", "skip")
    strict = call("embed", seqs, "-m", model, "--precision", "fp32", "--max-n", "0.5")
    assert (strict.code, "record empty" in strict.err) == (1, True), strict.err
    again = call("embed", seqs, "-m", model, "--precision", "fp32", "--max-n", "0.5", "--on-error", "skip")
    assert (again.code, again.err) == (0, "a.h5: complete; nothing to do\n")


def test_tokens_of_a_replaced_output_go(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">s\nACGTTGCA\n")
    embedded(seqs, "-m", model, "-o", "k.h5", "--pool", "tokens")
    assert left_behind("k") == ["k.h5", "k.tokens.h5"]
    assert call("embed", seqs, "-m", model, "-o", "k.h5").code == 1
    embedded(seqs, "-m", model, "-o", "k.h5", "--force")
    assert left_behind("k") == ["k.h5"]


def test_stdin_and_a_pipe_cannot_be_resumed(genome: Path, model: Path) -> None:
    result = call("embed", "-", "-g", genome, "-m", model, "-o", "out.h5", "--resume", stdin=b"chr1\t0\t9\n")
    assert (result.code, result.err) == (2, "findna: stdin cannot be read again: --resume needs a file\n")
    os.mkfifo("pipe")
    result = call("embed", "pipe", "-m", model, "-o", "out.h5", "--resume")
    assert (result.code, result.err) == (2, "findna: pipe cannot be read again: --resume needs a file\n")


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(write: Write, genome: Path, model: Path) -> None:
    bed = write("many.bed", rows(1500).replace("chr2", "chr1"))
    read, written = os.pipe()
    with open(written, "wb") as pipe:  # noqa: PTH123  # a number
        process = fork("embed", bed, "-g", genome, "-m", model, "-o", "-", "-t", 1, stdout=pipe)
    with open(read, "rb") as pipe:  # noqa: PTH123
        assert pipe.readline().startswith(b"id\tchrom\tstart")
    assert process.communicate()[1] == b""
    assert process.returncode == 141


def test_a_pipe_gives_the_whole_table(genome: Path, model: Path) -> None:
    Path("-").write_text("a file of that name is neither input nor output")
    lines = embedded("-", "-g", genome, "-m", model, "-o", "-", stdin=b"chr1 0 40\nchr1 5 60\n").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "id",
        "chr1:0-40(.)",
        "chr1:5-60(.)",
        "# complete n_rows=2 n_skipped=0",
    ]
    assert np.isfinite([float(value) for value in lines[1].split("\t")[-12:]]).all()


@pytest.mark.parametrize("name", ["x.h5", "x.h5ad", "x.tsv", "x.parquet", "x.npy", "x"])
def test_the_format_follows_the_name(name: str, write: Write, model: Path) -> None:
    embedded(write("a.fa", ">a\nACGT\n"), "-m", model, "-o", name)
    magic = Path(name).read_bytes()[:8]
    expected = {"x.tsv": b"id\tchrom", "x.parquet": b"PAR1", "x.npy": b"\x93NUMPY"}.get(name, b"\x89HDF\r\n\x1a\n")
    assert magic.startswith(expected)


def test_a_run_that_a_fault_ended_is_discarded_only_by_force(
    write: Write, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EmbeddingWriter.__init__.__kwdefaults__, "every", 0.0)  # each cell is kept
    good = "".join(f">r{i}\n{'ACGGT' * (1 + i % 9)}\n" for i in range(300))
    fasta = write("many.fa", good + ">protein\nMKLVEEFFQQ\n")
    failed = call("embed", fasta, "-m", model, "-o", "out.h5")
    assert failed.code == 1
    assert "many.fa" in failed.err
    assert "protein" in failed.err
    assert "Traceback" not in failed.err
    assert n_lines(Path("out.h5.partial/journal")) > 1
    write("many.fa", good)
    assert call("embed", fasta, "-m", model, "-o", "out.h5").code == 1
    embedded(fasta, "-m", model, "-o", "out.h5", "--force")
    assert read(Path("out.h5")).obs["id"] == [f"r{i}" for i in range(300)]
    assert left_behind() == ["out.h5"]
