"""`findna mutagenesis`: HDF5, TSV and figures."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import call, left_behind

Write = Callable[..., Path]


def test_regions_become_an_array_and_a_table_with_the_same_effects(
    write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    bed = write("in.bed", "chr1\t500\t512\tx\t0\t+\nchr2\t30\t37\ty\t0\t-\n")
    flags = ("-g", genome, "-m", model, "--precision", "fp32", "--threads", 1)
    assert call("mutagenesis", bed, *flags, "-o", "out.h5", "--pairs").code == 0
    assert call("mutagenesis", bed, *flags, "-o", "out.tsv").code == 0
    with h5py.File("out.h5") as file:
        effects, pairs = file["effects"][()], file["pairs"][()]
        assert file.attrs["findna_schema"] == "findna-mutagenesis/1"
        assert file["sequence"].asstr()[0] == bases["chr1"][500:512].upper()
    assert (effects.shape, pairs.shape) == ((2, 12, 4), (2, 12, 12))
    assert np.isnan(effects[1, 7:]).all()
    assert not np.isnan(effects[0]).any()
    lines = [line.split("\t") for line in Path("out.tsv").read_text().splitlines()[3:]]
    assert len(lines) == 3 * (12 + 7)
    for name, _, _, position, ref, alt, effect in lines:
        row = ["chr1:500-512(+)", "chr2:30-37(-)"].index(name)
        assert float(effect) == pytest.approx(effects[row, int(position) - 1, "ACGT".index(alt)], rel=1e-4, abs=1e-6)
        assert effects[row, int(position) - 1, "ACGT".index(ref)] == 0
    assert [line[2] for line in lines[-3:]] == ["31"] * 3  # on the genome, 1-based
    assert [line[2] for line in lines[:3]] == ["501"] * 3
    assert "exists already" in call("mutagenesis", bed, *flags, "-o", "out.h5").err
    for name, other, how in (("out.h5", (), ()), ("out.tsv", ("--pad",), ()), ("out.tsv", ("--pad",), ("--resume",))):
        again = call("mutagenesis", bed, *flags, "-o", name, *how, *(("--pairs",) if name == "out.h5" else ()))
        assert (again.code, "complete; nothing to do" in again.err) == (0, True), again.err
        again = call("mutagenesis", bed, *flags, "-o", name, *how, *other)
        assert (again.code, "made with other inputs or settings (" in again.err) == (1, True), again.err
    assert left_behind() == ["out.h5", "out.tsv"]


def test_dependencies_need_records_that_fit_a_window(write: Write, model: Path) -> None:
    fasta = write("in.fa", f">long\n{'ACGT' * 20}\n>short\nNNN\n")
    flags = ("mutagenesis", fasta, "-m", model, "-o", "out.h5", "--pairs")
    result = call(*flags)
    assert (result.code, "record long: 80 bases; at most 50 fit one window" in result.err) == (1, True), result.err
    pytest.importorskip("logomaker")
    result = call(*flags, "--on-error", "skip", "--plot", "out.png")  # a figure of N alone
    assert (result.code, len(result.err.splitlines())) == (0, 1), result.err
    Path("out.png").unlink()
    result = call(*flags, "--on-error", "skip", "--plot", "out.png", "--resume")
    assert (result.code, Path("out.png").is_file()) == (0, True), result.err
    result = call(*flags)
    assert (result.code, "record long: 80 bases; at most 50 fit one window" in result.err) == (1, True), result.err
    with h5py.File("out.h5") as file:
        assert file["id"].asstr()[()].tolist() == ["short"]


def test_a_figure_is_drawn(write: Write, model: Path) -> None:
    pytest.importorskip("logomaker")
    fasta = write("in.fa", ">a\nACGTACGTNACGTTAG\n")
    assert call("mutagenesis", fasta, "-m", model, "-o", "out.h5", "--plot", "out.png", "--pairs").code == 0
    assert left_behind() == ["out.h5", "out.pairs.png", "out.png"]
    assert Path("out.png").read_bytes()[:4] == b"\x89PNG"
    Path("out.png").unlink()
    result = call("mutagenesis", fasta, "-m", model, "-o", "b.h5", "--plot", "out.png", "--pairs")
    assert (result.code, "out.pairs.png: exists already; choose another name, or --force" in result.err) == (1, True), (
        result.err
    )
    assert left_behind("b") == []


def test_records_that_cannot_be_used_end_the_run_or_are_listed(write: Write, genome: Path, model: Path) -> None:
    bed = write("in.bed", "chr1\t500\t504\nchr9\t1\t5\nchr2\t298\t302\nchr2\t30\t33\n")
    result = call("mutagenesis", bed, "-g", genome, "-m", model, "-o", "out.h5")
    assert (result.code, left_behind()) == (1, [])
    assert "line 2" in result.err
    flags = ("-g", genome, "-m", model, "--on-error", "skip")
    for name in ("out.h5", "out.tsv"):
        result = call("mutagenesis", bed, *flags, "-o", name, "--json", "report.json")
        assert result.code == 0, result.err
        report = json.loads(Path("report.json").read_text())
        assert (report["n_records"], report["n_skipped"]) == (4, 2)
    with h5py.File("out.h5") as file:
        assert file["effects"].shape == (2, 4, 4)
        reasons = file["skipped/reason"].asstr()[()]
    assert ["contig 'chr9' is not in" in reasons[0], "past the end" in reasons[1]] == [True, True]
    lines = Path("out.tsv").read_text().splitlines()
    assert [line.partition(" BED")[0] for line in lines[-2:]] == ["# skipped:"] * 2
    result = call("predict-bases", bed, *flags, "-o", "out.bedgraph")
    assert result.code == 0, result.err
    lines = Path("out.bedgraph").read_text().splitlines()[2:]
    assert [line.partition(" BED")[0] for line in lines[-2:]] == ["# skipped:"] * 2
    assert len(lines) == 4 + 3 + 2
    nothing = write("none.bed", "chr9\t1\t5\n")
    result = call("predict-bases", nothing, *flags, "-o", "none.h5")
    assert (result.code, "no record is left: 1 record skipped" in result.err) == (1, True)
    assert left_behind("none") == ["none.bed"]


COMMANDS = {
    ("-o", "x"): "output x: the name has no ending: name it x.h5 or x.tsv",
    ("-o", "x.npy"): "does not write .npy files: name it x.h5 or x.tsv",
    ("--plot", "x.jpg"): "a figure is one of .png, .svg, .pdf",
    ("--label", "a"): "and none is given",
    ("-o", "-", "--format", "tsv"): "'--out': give the name of a file: this cannot go to stdout",
    ("-o", "x.h5", "--json", "./x.h5"): "'--json': x.h5 is also a file of --out",
    ("-o", "x.h5", "--json", "x.h5.partial"): "'--json': x.h5.partial is also a file of --out",
    ("-o", "x.tsv", "--pairs"): "dependencies are written as HDF5",
}


@pytest.mark.parametrize("flags", COMMANDS, ids=" ".join)
def test_a_wrong_flag_is_a_mistake_of_the_command_line(flags: tuple[str, ...], write: Write, model: Path) -> None:
    result = call("mutagenesis", write("in.fa", ">a\nACGT\n"), "-m", model, *flags)
    assert (result.code, COMMANDS[flags] in result.err) == (2, True), result.err
    assert left_behind("x") == []
