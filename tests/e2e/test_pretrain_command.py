"""`findna pretrain`: a run, its early end, and its model."""

import csv
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import call, embedded, fasta, fork, n_lines, read

Write = Callable[..., Path]
FLAGS = ["--preset", "tiny", "--batch-size", 2, "--min-length", 30, "-t", 1, "--precision", "fp32", "--n-reports", 2]


@pytest.fixture
def windows(write: Write) -> Path:
    """60 records of 60 bases on two contigs."""
    draws = random.Random(11)
    names = [f"chr{1 + i % 2}:{i * 60}-{i * 60 + 60}" for i in range(60)]
    return write("windows.fa", fasta({name: "".join(draws.choices("ACGT", k=60)) for name in names}))


def log_of(run: str) -> list[dict[str, str]]:
    with Path(run, "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_on_fasta_becomes_a_model(windows: Path, write: Write) -> None:
    result = call("pretrain", windows, *FLAGS, "--steps", 6, "--holdout", "chr2", "-o", "runs/t1", "--json", "r.json")
    assert result.code == 0, result.err
    assert "30 windows to train on (1,800 bases), 30 held out" in result.err
    assert "runs/t1: 6 steps, " in result.err
    assert result.out == ""
    report = json.loads(Path("r.json").read_text())
    assert (report["finished"], report["step"]) == (True, 6)
    log = log_of("runs/t1")
    assert [row["step"] for row in log] == [str(i) for i in range(1, 7)]
    assert int(log[-1]["n_bases"]) == report["n_bases"]
    assert 6 * 2 * 30 <= report["n_bases"] <= 6 * 2 * 60
    assert [bool(row["valid_loss"]) for row in log].count(True) >= 2
    config = json.loads(Path("runs/t1/config.json").read_text())
    assert config["training"]["sources"]["holdout"] == ["chr2"]
    assert config["training"]["summary"]["finished"] is True
    assert "chr2" in Path("runs/t1/CARD.md").read_text()
    embedded(write("a.fa", ">a\nACGTACGTTAG\n"), "-m", "runs/t1")
    table = read(Path("a.h5"))
    assert table.x.shape == (1, 44)
    assert table.meta["model"]["name"] == "t1"
    assert call("model", "verify", "runs/t1", "--precision", "fp32").code == 0


def test_an_interrupted_run_resumes_bit_for_bit(windows: Path) -> None:
    flags = ["pretrain", windows, *FLAGS, "--steps", 20]
    assert call(*flags, "-o", "whole").code == 0
    n_before = 1
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        resume = ["--resume"] if n_before > 1 else []
        process = fork(*flags, "--checkpoint-every", "0.001", "-o", "parts", *resume)
        while n_lines(Path("parts/log.csv")) < n_before + 4 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        error = process.communicate()[1].decode()
        assert process.returncode == code, error
        assert "stopped at step" in error
        assert "findna pretrain --resume --out parts" in error
        assert list(Path("parts/checkpoints").iterdir())
        n_before = n_lines(Path("parts/log.csv"))
        assert n_before < 21
    Path("begun").mkdir()
    shutil.copy("whole/pretrain.json", "begun")
    begun = call("pretrain", "--resume", "-o", "begun")
    text = "begun: the earlier run ended before its first checkpoint; this run starts from the beginning"
    assert (begun.code, text in begun.err.splitlines()) == (0, True), begun.err
    windows.rename("moved.fa")
    assert "windows.fa: no such file" in call("pretrain", "--resume", "-o", "parts").err
    same = call(*flags, "--resume", "-o", "parts", "--holdout", "chr2")
    assert (same.code, same.err.count("\n")) == (2, 1)
    assert "--holdout chr2 differs from" in same.err
    again = call("pretrain", "moved.fa", "--resume", "-o", "parts", "-t", 1, "--precision", "bf16-stream")
    assert again.code == 1
    text = 'holds another run (--precision: "bf16-stream" now, "fp32" before); choose another folder for a new run\n'
    assert again.err.endswith(text)
    result = call("pretrain", "moved.fa", "--resume", "-o", "parts", "-t", 1)  # its precision is that of the run
    assert result.code == 0, result.err
    for name in ("model.safetensors", "golden.json"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    timed = {"seconds", "bases_per_second"}
    whole, parts = (
        [{k: v for k, v in row.items() if k not in timed} for row in log_of(run)] for run in ("whole", "parts")
    )
    assert parts == whole
    done = call("pretrain", "--resume", "-o", "parts")
    assert (done.code, done.err) == (0, "parts: complete; nothing to do\n")
    flags[1] = "moved.fa"
    assert call(*flags, "-o", "parts").err == "parts: complete; nothing to do\n"
    other = call(*flags, "-o", "parts", "--holdout", "chr2")
    assert (other.code, "parts: holds another run (--holdout: " in other.err) == (1, True), other.err


def test_windows_are_sampled_from_a_genome(genome: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [*FLAGS, "--steps", 2, "--n-windows", 9, "--holdout", "chr2"]
    result = call("pretrain", "--genome", genome, *flags, "-o", "a")
    assert result.code == 0, result.err
    assert "1 record skipped: N fraction above 0.1\n" in result.err
    assert "9 windows to train on (9,000 bases), 1 held out" in result.err
    monkeypatch.setenv("FINDNA_GENOME", str(genome))
    assert call("pretrain", *flags, "-o", "b").code == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    assert json.loads(Path("b/config.json").read_text())["training"]["sources"]["files"].keys() == {"g.fa"}


def test_a_time_budget_ends_annealed(windows: Path) -> None:
    result = call("pretrain", windows, *FLAGS, "--time-budget", "2s", "-o", "timed")
    assert result.code == 0, result.err
    rates = [float(row["learning_rate"]) for row in log_of("timed")]
    assert len(rates) >= 4
    assert rates[-1] < 0.2 * max(rates)
    assert json.loads(Path("timed/config.json").read_text())["training"]["summary"]["finished"] is True


def test_without_a_source_it_says_what_to_give(tmp_path: Path) -> None:
    result = call("pretrain", *FLAGS, "--steps", 2, "-o", "a")
    assert result.code == 1
    assert result.err == (
        "findna: nothing to train on: give a FASTA of windows, or --genome GENOME, or set FINDNA_GENOME, "
        f"or put a genome into {tmp_path}/cache/genomes\n"
    )
    assert not Path("a").exists()


def test_a_genome_in_the_cache_is_found(tmp_path: Path, genome: Path) -> None:
    (tmp_path / "cache/genomes").mkdir(parents=True)
    genome.rename(tmp_path / "cache/genomes/g.fa")
    assert call("pretrain", *FLAGS, "--steps", 2, "--n-windows", 9, "-o", "a").code == 0


def test_mistakes_and_bad_sources(windows: Path, genome: Path, write: Write) -> None:
    Path("full").mkdir()
    Path("full/something").touch()
    Path("empty").mkdir()
    Path("damaged").mkdir()
    Path("damaged/pretrain.json").write_text("{}")
    protein = write("p.fa", ">a\nMKVLAAGIVGLLLAQPS\n")
    for args, code, message in (
        ((windows, "-o", "full"), 1, "full: holds a run already; --resume continues it, or choose another folder"),
        ((windows, "-o", "damaged", "--resume"), 1, "damaged/pretrain.json: damaged, or of another version"),
        ((windows, "-o", "empty", "--resume"), 1, "empty: nothing to resume: no pretrain.json"),
        ((windows, "-o", "none", "--resume"), 1, "none: nothing to resume: no pretrain.json"),
        ((protein,), 1, "FASTA file p.fa, line 1, record a: 'L' at base 4 is not a nucleotide code (is it protein?)"),
        (("-",), 1, "input -: must be a regular file, because it is read more than once"),
        (("absent.fa",), 1, "absent.fa: no such file or directory"),
        (("--genome", "absent.fa"), 1, "genome absent.fa: no such file or directory"),
        ((windows, "--holdout", "chr9"), 1, "windows.fa: no record belongs to the held-out chr9"),
        (("--genome", genome, "--holdout", "chr9"), 1, "held-out contigs chr9 are not in the genome"),
        ((windows, "--genome", genome), 2, "give FASTA files or --genome FILE, not both"),
        ((windows, "--time-budget", "3s"), 2, "give --steps N or --time-budget TIME, not both"),
        ((windows, "--checkpoint-every", "soon"), 2, "'soon' is not a duration such as 90s, 24m or 3h"),
        ((windows, "--preset", "huge"), 2, "--preset must be one of paper, base, small, tiny, not 'huge'"),
        ((windows, "--learning-rate", "1e38"), 2, "--learning-rate must be at most 1, not 1e+38"),
        ((windows, "--alpha", 2), 2, "alpha must lie in 0 to 1, not 2.0"),
    ):
        result = call("pretrain", *FLAGS, "--steps", 2, "--quiet", *args)
        assert (result.code, result.err.count("\n")) == (code, 1), result
        assert message in result.err
    assert sorted(path.name for path in Path("full").iterdir()) == ["something"]
    assert not Path("none").exists()
    assert not Path("runs").exists()


def test_a_diverging_run_is_one_clear_line(windows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("findna.train.pretrain.learning_rate", lambda *args, **kwargs: 1e30)
    result = call("pretrain", windows, *FLAGS, "--steps", 40, "--clip", 0, "-o", "wild", "-q")
    assert result.code == 1
    assert result.err.startswith("findna: diverged: ")
    assert "lower --learning-rate" in result.err
    assert result.err.count("\n") == 1
    assert not Path("wild/model.safetensors").exists()


def test_a_run_goes_on_elsewhere_from_its_file(windows: Path) -> None:
    flags = ["pretrain", windows, *FLAGS, "--steps", 6]
    assert call(*flags, "-o", "here").code == 0
    result = call("pretrain", "-o", "here", "--export", "run.findna")
    assert result.code == 0, result.err
    assert "`findna pretrain --from run.findna` makes its model; all steps are done" in result.err
    size = Path("run.findna").stat().st_size
    assert result.err.startswith(f"run.findna: {size:,} bytes")
    result = call("pretrain", "--from", "run.findna", "-o", "there", "-t", 1, "--precision", "bf16", "--quiet")
    assert (result.code, result.err) == (0, "")
    here, there = (json.loads(Path(run, "config.json").read_text())["training"]["summary"] for run in ("here", "there"))
    assert (there["steps"], there["n_bases"]) == (here["steps"], here["n_bases"])
    for args, code, message in (
        (("--from", "run.findna", "-o", "here"), 1, "here: holds a run already; choose another folder"),
        (("--from", "run.findna", "-o", "here", "--resume"), 2, "give --from FILE or --resume, not both"),
        (("--from", "run.findna", "-o", "new", "--seed", 7), 2, "--seed 7 differs from 0"),
        (("--export", "x", "-o", "none"), 1, "none: nothing to export: no pretrain.json"),
        (
            ("--export", "run.findna", "-o", "here"),
            1,
            "run.findna: exists already; choose another name, or --force replaces it",
        ),
        ((windows, "-o", "new", "--force"), 2, "--force needs --export"),
        ((windows, "--gpus", 99), 2, "--gpus 99: this "),
        ((windows, "--gpus", 1, "--processes", 2), 2, "give --gpus 1 or --processes 2, not both"),
        ((windows, "--processes", 2, "--batch-size", 1), 2, "--batch-size 1: fewer sequences than the 2 processes"),
        (
            (windows, "--processes", 2, "--device", "cuda"),
            2,
            "--processes 2 is for the CPU: it contradicts --device",
        ),
    ):
        result = call("pretrain", *args)
        assert (result.code, message in result.err) == (code, True), result.err
    assert Path("run.findna").stat().st_size == size
    Path("run.findna").write_text("an older one")
    assert call("pretrain", "-o", "here", "--export", "run.findna", "--force").code == 0
    assert Path("run.findna").stat().st_size == size


def test_a_transformer_is_trained_verified_and_embedded_with(windows: Path) -> None:
    options = ["--mixer", "transformer", "--n-class-tokens", 3, "--projection", 6, "--mask-span", 2]
    result = call("pretrain", windows, *FLAGS, *options, "--steps", 3, "-o", "runs/t")
    assert result.code == 0, result.err
    assert "57,889 parameters" in result.err
    stored = json.loads(Path("runs/t/config.json").read_text())["model"]
    assert (stored["mixer"], stored["n_class_tokens"], stored["n_layers"]) == ("transformer", 3, 2)
    resumed = call("pretrain", "--resume", "--mixer", "chordmixer", "-o", "runs/t")
    assert resumed.code == 2
    assert "--mixer chordmixer differs from transformer of the resumed run" in resumed.err
    assert call("model", "verify", "runs/t").code == 0
    result = call("embed", windows, "--model", "runs/t", "--precision", "fp32", "-o", "t.h5")
    assert result.code == 0, result.err
    assert len(read(Path("t.h5")).x) == 60
    refused = call("pretrain", windows, "--mixer", "mamba", "-o", "runs/m")
    assert refused.code == 2
    assert "mixer must be chordmixer or transformer, not 'mamba'" in refused.err
