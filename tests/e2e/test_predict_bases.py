"""`findna predict-bases`: HDF5, bedGraph and bigWig."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command import call, left_behind

import findna
from findna import phases
from findna.commands import files
from findna_cli.progress import _Display

Write = Callable[..., Path]


def test_hdf5_and_tracks_hold_what_the_python_function_gives(
    write: Write, bases: dict[str, str], genome: Path, model: Path
) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    bed = write("in.bed", "chr1\t500\t570\tx\t0\t+\nchr2\t30\t37\ty\t0\t-\n")
    flags = ("-g", genome, "-m", model, "--precision", "fp32", "--threads", 1, "--passes", 4)
    for name in ("out.h5", "out.bedgraph", "out.bw"):
        result = call("predict-bases", bed, *flags, "-o", name)
        assert result.code == 0, result.err
        again = call("predict-bases", bed, *flags, "-o", name, "--resume")
        assert (again.code, "complete; nothing to do" in again.err) == (0, True), again.err
    assert left_behind() == ["out.bedgraph", "out.bw", "out.h5"]
    with h5py.File("out.h5") as file:
        found = {name: file[name][()] for name in ("probabilities", "entropy", "log_p", "offsets")}
        texts = file["sequence"].asstr()[()].tolist()
    assert found["offsets"].tolist() == [0, 70, 77]
    expected = np.concatenate(findna.predict_bases(texts, model=model, passes=4, precision="fp32"))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    p = expected.astype(np.float64)
    np.testing.assert_allclose(found["entropy"], -(p * np.log2(p)).sum(1), atol=1e-4)
    own = np.log(p[np.arange(77), ["ACGT".index(base) for base in "".join(texts)]])
    np.testing.assert_allclose(found["log_p"], own, atol=1e-4)
    rows = [line.split("\t") for line in Path("out.bedgraph").read_text().splitlines()[2:]]
    places = [*(("chr1", i) for i in range(500, 570)), *(("chr2", i) for i in range(30, 37))]
    assert [(row[0], int(row[1])) for row in rows] == places
    np.testing.assert_allclose([float(row[3]) for row in rows], [*own[:70], *own[70:][::-1]], atol=1e-4)
    track = pybigtools.open("out.bw")
    np.testing.assert_allclose(track.values("chr2", 30, 37, fillna=None), own[70:][::-1], atol=1e-4)
    track.close()


@pytest.mark.parametrize("name", ["out.bedgraph", "out.bedgraph.gz", "out.bw"])
def test_a_track_says_of_which_run_it_is(name: str, write: Write, genome: Path, model: Path) -> None:
    pytest.importorskip("pybigtools")
    flags = ("predict-bases", write("in.bed", "chr1\t500\t510\n"), "-g", genome, "-m", model, "-o", name)
    assert call(*flags).code == 0
    result = call("verify", name, "--genome", genome, "-m", model)
    assert result.code == 0, result.out + result.err
    assert ("BGZF checksums agree" if name.endswith(".gz") else "sha256 agrees") in result.out
    other = call(*flags, "--resume", "--value", "entropy")
    assert (other.code, "made with other inputs or settings (--value: " in other.err) == (1, True), other.err
    data = bytearray(Path(name).read_bytes())
    data[len(data) // 2 if name.endswith(".gz") else data.rfind(b"chr1") - 2] ^= 1
    Path(name).write_bytes(data)
    assert call("verify", name).code == 1


BAD = {
    ("in.fa", "-o", "out.bedgraph"): (1, "record a: has no place on a genome"),
    ("in.bed", "-g", "g.fa", "-o", "out.bw"): (1, "a bigWig needs sorted regions without overlaps"),
    ("n.bed", "-g", "g.fa", "-o", "out.bw"): (1, "no base has a value, and a bigWig cannot be empty"),
    ("in.fa", "-g", "g.fa", "-o", "out.h5"): (2, "the genome g.fa is not used: no input has regions"),
    ("in.bed", "-g", "g.fa", "-o", "out.txt"): (2, "does not write .txt files: name it out.h5, out.bedgraph"),
    ("in.bed", "-g", "g.fa", "-o", "out.bw", "--value", "x"): (2, "--value must be log_p or entropy, not 'x'"),
}


@pytest.mark.parametrize("args", BAD, ids=" ".join)
def test_what_cannot_be_written_is_an_error_and_leaves_nothing(
    args: tuple[str, ...], write: Write, genome: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pybigtools")
    monkeypatch.setattr("findna.io.record_spool._EVERY", float("inf"))  # a slow machine commits no record, too
    write("in.fa", ">a\nACGTACGT\n")
    write("n.bed", "chrN\t5\t9\n")
    write("in.bed", "chr1\t500\t510\nchr1\t505\t515\n")
    result = call("predict-bases", *args, "-m", model)
    assert (result.code, BAD[args][1] in result.err) == (BAD[args][0], True), result.err
    assert left_behind() == []


def test_progress_counts_the_records_of_a_group_and_never_falls(write: Write, model: Path) -> None:
    reads = write("r.fa", "".join(f">s{i}\n{'ACGTTGCA' * 20}\n" for i in range(12)))
    counts: list[float] = []
    with phases.listening(lambda phase, done, total: counts.append(done) if total else None):
        files.predict_bases([str(reads)], Path("out.h5"), model=model, passes=4, batch_bases=1000)
    assert counts == sorted(counts)
    assert len({int(count) for count in counts}) > 4
    assert counts[-1] == 12
    shown: list[dict[str, Any]] = []
    display = _Display(lambda **what: shown.append(what), "predicting", 12, "records")
    display(0)
    display.enter("predicting", 6.5, 12)
    display(1)  # the first of these records is written
    assert shown[-1]["completed"] == 6.5
