"""A file that must not grow (RLIMIT_FSIZE: the kernel refuses the write): no damaged output, and one line says why."""

import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from command import call

from findna.errors import OutputError
from findna.io.tracks import TrackValue, write_track
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

GENOME = ">c\n" + "ACGTTGCAGGCATTACGGAT" * 30 + "\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
VCF += "".join(f"c\t{20 * i + 1}\t.\tA\tC\t.\t.\t.\n" for i in range(5, 25))
OUTPUTS = {
    "b.h5": ("predict-bases", "in.bed"),
    "b.bedgraph": ("predict-bases", "in.bed"),
    "b.bw": ("predict-bases", "in.bed"),
    "m.h5": ("mutagenesis", "in.bed"),
    "m.tsv": ("mutagenesis", "in.bed"),
    "v.h5": ("embed", "in.bed"),
    "v.tsv": ("embed", "in.bed"),
    "v.npy": ("embed", "in.bed"),
    "v.parquet": ("embed", "in.bed"),
    "s.vcf": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.vcf.gz": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.tsv": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.parquet": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
}


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    """No file of this process can become longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_write_that_fails_leaves_no_output(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path / "cache"))
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=53, n_class_tokens=3)
    save_model(Path("m"), initialise(ChordMixer(size), 5), name="m", training={}, card="# m\n")
    Path("g.fa").write_text(GENOME)
    Path("in.bed").write_text("c\t100\t160\nc\t200\t290\n")
    Path("in.vcf").write_text(VCF)
    command, *flags = OUTPUTS[name]
    run = [command, *flags, "-m", "m", "-g", "g.fa", "--precision", "fp32", "--threads", 1, "-o", name]
    result = call(*run)
    assert result.code == 0, result.err
    expected = Path(name).read_bytes()
    Path(name).unlink()
    for n_bytes in (len(expected) - 1, len(expected) // 2, 100):
        with at_most(n_bytes):
            result = call(*run, "--force")
        assert result.code == 1, (n_bytes, result.err)
        assert result.err.count("\n") == 1
        assert name in result.err
        assert "internal error" not in result.err
        assert not Path(name).exists()
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_a_bigwig_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pybigtools")
    values = (TrackValue("c", i, i + 1, float(i % 97)) for i in range(200_000))
    with at_most(5000), pytest.raises(OutputError, match=r"x\.bw: "):  # pybigtools panics
        write_track(tmp_path / "x.bw", values, {"c": 200_000}, {})
    assert not list(tmp_path.iterdir())


def test_split_names_a_temporary_folder_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.fa").write_text(GENOME)
    Path("in.bed").write_text("".join(f"c\t{i}\t{i + 60}\n" for i in range(100)))
    run = ["split", "in.bed", "-g", "g.fa", "-n", 2, "-o", "plan.json"]
    assert call(*run).code == 0
    Path("plan.json").unlink()
    with at_most(100):
        result = call(*run)
    assert result.code == 1
    assert f"{tempfile.gettempdir()}: no space left" in result.err
    assert "TMPDIR" in result.err
    assert not Path("plan.json").exists()
