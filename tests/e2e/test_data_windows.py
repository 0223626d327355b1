"""`findna data windows`: the files, the manifest, what `findna pretrain` makes of them, and what is refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from command import call, fasta, left_behind, spawn

Write = Callable[..., Path]
FLAGS = ["--n", 40, "--min-length", 30, "--max-length", 60]


@pytest.fixture
def sources(write: Write) -> list[Path]:
    """Two genomes, and a labelled table with a piece of the first."""
    draws = random.Random(2)
    texts = {name: "".join(draws.choices("ACGT", k=n)) for name, n in (("chr1", 9000), ("chr8", 2000))}
    write("test.csv", f"sequence,label\n{texts['chr1'][1000:3000]},1\n{'ACGT' * 20},0\n")
    other = "".join(draws.choices("ACGT", k=4000))
    return [write("human.fa", fasta(texts)), write("yeast.fa.gz", fasta({"I": other}), "gz")]


def test_a_training_set_for_pretrain(sources: list[Path]) -> None:
    flags = ["--holdout", "chr8", "--exclude", "test.csv", "--weight", "yeast=0.5", "--n-held-out", 5]
    result = call("data", "windows", *sources, "-o", "w.fa.gz", *FLAGS, *flags, "--json", "r.json")
    assert result.code == 0, result.err
    assert result.out == ""
    assert "w.fa.gz: 40 windows, " in result.err
    assert "w.held-out.fa.gz: 5 windows, " in result.err
    manifest = json.loads(Path("w.json").read_text())
    report = json.loads(Path("r.json").read_text())
    assert report.pop("report").startswith("findna ")
    assert report == manifest
    assert manifest["windows"]["n_left_out"]["excluded"] > 0
    assert [source["weight"] for source in manifest["sources"]] == [1.0, 0.5]
    once = [Path(name).read_bytes() for name in ("w.fa.gz", "w.held-out.fa.gz", "w.json")]
    again = ["data", "windows", *sources, "-o", "w.fa.gz", *FLAGS, *flags]
    done = call(*again)
    assert (done.code, done.err.splitlines()[-1]) == (0, "w.fa.gz, w.held-out.fa.gz: complete; nothing to do")
    assert spawn(*again, "--force").code == 0  # another process, another hash seed
    assert [Path(name).read_bytes() for name in ("w.fa.gz", "w.held-out.fa.gz", "w.json")] == once
    tiny = ["--preset", "tiny", "--batch-size", 2, "-t", 1, "--precision", "fp32", "--n-reports", 1, "--steps", 1]
    run = call("pretrain", "w.fa.gz", "w.held-out.fa.gz", "--holdout", "w.held-out.fa.gz", *tiny, "-o", "run")
    assert run.code == 0, run.err
    assert "40 windows to train on" in run.err
    assert ", 5 held out" in run.err


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["human.fa"], 2, "Missing option"),
        (["human.fa", "-o", "w.h5"], 2, "must end in .fa or .fa.gz"),
        (["human.fa", "-o", "w.fa", "--weight", "human"], 2, "must be NAME=W"),
        (["human.fa", "-o", "w.fa", "--weight", "mouse=1"], 2, "no such source; there are human"),
        (["human.fa", "-o", "w.fa", "--holdout", "chr9"], 1, "no source has such a contig or such a name"),
        (["human.fa", "human.fa", "-o", "w.fa"], 2, "two sources are called human"),
        (["nothing.fa", "-o", "w.fa"], 1, "no such file"),
        (["test.csv", "-o", "w.fa"], 1, "test.csv"),
        (["human.fa", "-o", "w.fa", "--exclude", "human.bed"], 1, "no such file"),
        (["human.fa", "-o", "no/w.fa"], 1, "no such file or directory"),
        (["human.fa", "-o", "w.fa", "--n", "100000", "--max-length", "100"], 1, "windows can be drawn"),
        (["human.fa", "-o", "w.fa", "--max-n", "2"], 2, "--max-n must lie in 0 to 1"),
        (["-", "-o", "w.fa"], 1, "must be a regular file"),
        (["empty.fa", "-o", "w.fa"], 1, "the file is empty"),
    ],
)
def test_bad_input(sources: list[Path], write: Write, flags: list[str], code: int, text: str) -> None:
    write("empty.fa", "")
    result = call("data", "windows", *flags)
    assert result.code == code
    assert text in result.err
    assert left_behind("w.") == []
