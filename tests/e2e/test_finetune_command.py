"""`findna finetune`: a run directory from tables, FASTA and BED, its early end, and the settings that it refuses."""

import csv
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Result, call, fasta, fork, n_lines

pytestmark = pytest.mark.usefixtures("undrawn")

Write = Callable[..., Path]
FLAGS = ["-t", 1, "--precision", "fp32", "--epochs", 4, "--batch-size", 8, "--learning-rate", 0.01, "--strand", "bed"]


def sequences(n: int, seed: int, *, lengths: tuple[int, int] = (20, 90)) -> list[tuple[str, str]]:
    """Sequences with many A and T, or many C and G, and their labels."""
    draws = random.Random(seed)
    found = []
    for i in range(n):
        weights = [(4, 1, 1, 4), (1, 4, 4, 1)][i % 2]
        found.append(("".join(draws.choices("ACGT", weights, k=draws.randint(*lengths))), ("at", "cg")[i % 2]))
    return found


@pytest.fixture
def tables(write: Write) -> tuple[Path, Path, Path]:
    """A training, a validation and a test table."""
    parts = []
    for name, n, seed in (("train", 60, 1), ("valid", 30, 2), ("test", 30, 3)):
        rows = [f"{bases},{label}" for bases, label in sequences(n, seed)]
        parts.append(write(f"{name}.csv", "sequence,label\n" + "\n".join(rows) + "\n"))
    return parts[0], parts[1], parts[2]


def finetuned(*args: object) -> Result:
    result = call("finetune", *args, *FLAGS)
    assert result.code == 0, result.err
    assert result.out == ""
    return result


@pytest.mark.parametrize("extra", [[], ["--frozen"]])
def test_a_table_becomes_a_task_model_that_classifies(
    tables: tuple[Path, Path, Path], model: Path, extra: list[str], write: Write
) -> None:
    train, valid, test = tables
    result = finetuned(train, "--valid", valid, "--test", test, "-m", model, "-o", "runs/x", "--json", "r.json", *extra)
    assert "60 sequences to train on, 30 to validate, 30 to test; classification, 2 classes" in result.err
    assert "few to validate" not in result.err
    metrics = json.loads(Path("runs/x/metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.85
    assert f"test: loss {metrics['test']['loss']:.4f}, accuracy" in result.err
    assert json.loads(Path("r.json").read_text())["metrics"] == metrics
    present = {path.name for path in Path("runs/x").iterdir()}
    assert present >= {"model.safetensors", "head.safetensors", "config.json", "metrics.json", "log.csv", "CARD.md"}
    with Path("runs/x/log.csv").open() as file:
        assert [row["valid_loss"] != "" for row in csv.DictReader(file)].count(True) >= 2
    write("a.fa", fasta({"one": "ATTATAATTTAATATTAATATTA", "two": "CGGCGCCGCCCCGCGGGCGCGC"}))
    answer = call("classify", "a.fa", "--task", "runs/x", "-o", "-", "--precision", "fp32", "-t", 1)
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader([line for line in answer.out.splitlines() if line[0] != "#"], delimiter="\t"))
    assert [(row["id"], row["label"]) for row in rows] == [("one", "at"), ("two", "cg")]


def test_a_fasta_a_class_and_a_share_split_off(write: Write, model: Path) -> None:
    for label in ("at", "cg"):
        found = {f"s{i}": bases for i, (bases, name) in enumerate(sequences(80, 4)) if name == label}
        write(f"{label}.fa", fasta(found))
    result = finetuned("at.fa", "cg.fa", "--valid-fraction", 0.25, "-m", model, "-o", "r", "--frozen")
    assert "60 sequences to train on, 20 to validate" in result.err
    assert "few to validate: metrics and probabilities are uncertain" in result.err
    config = json.loads(Path("r/config.json").read_text())
    assert config["settings"]["classes"] == ["at", "cg"]


@pytest.mark.parametrize(("select", "selects"), [("auroc", "the validation loss selects, "), ("loss", "")])
def test_a_class_without_validation_sequence_is_named_and_has_no_curve(
    write: Write, model: Path, select: str, selects: str
) -> None:
    def table(name: str, rows: list[tuple[str, str]]) -> Path:
        return write(name, "sequence,label\n" + "".join(f"{bases},{label}\n" for bases, label in rows))

    train = [*sequences(40, 1), *((bases, "other") for bases, _ in sequences(20, 5))]
    two, three = table("two.csv", sequences(40, 1)), table("three.csv", train)
    one_class = table("one_class.csv", [row for row in sequences(60, 2) if row[1] == "at"])
    flags = ("--frozen", "--select", select, "-m", model)
    result = finetuned(two, "--valid", one_class, "-o", "two", *flags)
    cannot = f"no AUROC can be computed, {selects}and probabilities are not reliable"
    assert f"no validation sequence of class cg: {cannot}" in result.err.splitlines()
    assert json.loads(Path("two/metrics.json").read_text())["valid"]["auroc"] is None
    assert "it has the lowest validation loss" in result.err
    drawn = sorted(path.name for path in Path("two/plots").iterdir())
    assert drawn == ["valid.calibration.png", "valid.confusion.png"]
    result = finetuned(three, "--valid", one_class, "-o", "most", *flags)
    assert f"no validation sequence of classes cg, other: {cannot}" in result.err.splitlines()
    result = finetuned(three, "--valid", table("some.csv", sequences(40, 2)), "-o", "three", *flags)
    text = "no validation sequence of class other: its AUROC cannot be computed, and probabilities are not reliable"
    assert text in result.err.splitlines()
    assert {"valid.roc.png", "valid.pr.png"} < {path.name for path in Path("three/plots").iterdir()}
    whole = finetuned(two, "--valid", table("whole.csv", sequences(40, 2)), "-o", "whole", *flags)
    assert "no validation sequence" not in whole.err


def test_a_bed_a_class_needs_its_genome(write: Write, model: Path, genome: Path) -> None:
    write("left.bed", "".join(f"chr1\t{i}\t{i + 40}\n" for i in range(0, 600, 20)))
    write("right.bed", "".join(f"chr1\t{i}\t{i + 40}\n" for i in range(1000, 1600, 20)))
    finetuned("left.bed", "right.bed", "-g", genome, "-m", model, "-o", "r", "--frozen")
    assert json.loads(Path("r/config.json").read_text())["settings"]["classes"] == ["left", "right"]
    missing = call("finetune", "left.bed", "right.bed", "-m", model, "-o", "r2")
    assert missing.code == 2
    assert "--genome" in missing.err


def test_labels_get_their_names(tables: tuple[Path, Path, Path], model: Path, write: Write) -> None:
    names = write("names.tsv", "at\tAT-rich\ncg\tCG-rich\n")
    finetuned(tables[0], "--valid", tables[1], "--class-names", names, "-m", model, "-o", "r", "--frozen")
    assert json.loads(Path("r/config.json").read_text())["settings"]["classes"] == ["AT-rich", "CG-rich"]


def test_a_run_that_was_told_to_stop_resumes_bit_for_bit(
    tables: tuple[Path, Path, Path], model: Path, write: Write
) -> None:
    sequence = write("a.fa", ">a\nACGT\n")
    flags = ["finetune", tables[0], "--valid", tables[1], "-m", model, *FLAGS, "--epochs", 5, "--strand", "auto"]
    assert call(*flags, "-o", "whole").code == 0
    process = fork(*flags, "-o", "parts")
    for _ in range(1200):
        if n_lines(Path("parts/log.csv")) > 1 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode in (0, 143), err
    if process.returncode == 143:  # it may have been through before the signal
        assert b"`findna finetune --resume --out parts` continues" in err
        unfinished = call("classify", sequence, "--task", "parts")
        assert unfinished.code == 1
        assert "its training is not finished; resume its fine-tuning" in unfinished.err
        assert call("finetune", "--resume", "--out", "parts", "-t", 1, "--precision", "fp32").code == 0
    for name in ("model.safetensors", "head.safetensors", "metrics.json"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_resume_names_what_differs(tables: tuple[Path, Path, Path], model: Path) -> None:
    finetuned(tables[0], "--valid", tables[1], "-m", model, "-o", "r", "--frozen", "--seed", 3)
    differs = call("finetune", "--resume", "-o", "r", "--seed", 4)
    assert (differs.code, differs.err) == (
        2,
        "findna: --seed 4 differs from 3 of the resumed run\n",
    )
    done = call("finetune", "--resume", "-o", "r")
    assert (done.code, done.err) == (0, "r: complete; nothing to do\n")
    nothing = call("finetune", "--resume", "-o", "nowhere")
    assert (nothing.code, nothing.err) == (1, "findna: nowhere: nothing to resume: no finetune.json\n")
    Path("begun").mkdir()
    shutil.copy("r/finetune.json", "begun")
    begun = call("finetune", "--resume", "-o", "begun")
    text = "begun: the earlier run ended before its first checkpoint; this run starts from the beginning"
    assert (begun.code, text in begun.err.splitlines()) == (0, True), begun.err
    assert "\nkept the penalty " in begun.err
    flags = ("finetune", tables[0], "-m", model, "-o", "r", "--frozen", "--seed", 3, *FLAGS)
    stored = json.loads(Path("r/finetune.json").read_text())
    del stored["plan"]["valid_fraction"]  # as if this setting were newer than the run: it has its default
    Path("r/finetune.json").write_text(json.dumps(stored))
    again = call(*flags, "--valid", tables[1])
    assert (again.code, again.err) == (0, "r: complete; nothing to do\n")
    other = call(*flags, "--valid", tables[2])
    text = "holds another run (the content of the validation split has changed); choose another folder for a new run"
    assert other.err == f"findna: r: {text}\n"
    other = call("finetune", "--resume", "-o", "r", "-m", "findna-small")
    assert (other.code, "r: holds another run (the content of teacher has changed" in other.err) == (1, True)
    Path("r/finetune.json").unlink()
    again = call(*flags, "--valid", tables[1])
    assert (again.code, again.err.splitlines()[-1]) == (
        1,
        "findna: r: holds a run already; --resume continues it, or choose another folder",
    )


def test_a_run_that_stops_before_its_first_step_promises_no_checkpoint(
    tables: tuple[Path, Path, Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("findna_cli.pretrain.catch_signals", lambda caught: caught.append(signal.SIGTERM))
        stopped = call("finetune", tables[0], "-m", model, "-o", "a run", "--frozen", *FLAGS)
    assert (stopped.code, stopped.err.splitlines()[-1]) == (
        143,
        "stopped before the first step, so a run has no checkpoint; "
        "`findna finetune --resume --out 'a run'` starts from the beginning",
    )
    assert not Path("a run/checkpoints").exists()
    ended = call("finetune", "--resume", "--out", "a run", "-t", 1)
    assert (ended.code, "ready for `findna classify --task 'a run'` after" in ended.err) == (0, True), ended.err


def test_a_run_that_ends_while_it_draws_is_not_finished_and_draws_later(
    tables: tuple[Path, Path, Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("findna.train.finetune.draw_splits", lambda *_: signal.raise_signal(signal.SIGINT))
        assert call("finetune", tables[0], "-m", model, "-o", "r", "--frozen", *FLAGS).code == 130
    assert call("finetune", "--resume", "-o", "r", "-t", 1).code == 0
    assert Path("r/plots/valid.roc.png").exists()


BAD = {
    "nothing": (["finetune"], 2, "name a table of labelled sequences"),
    "preset": (
        ["finetune", "train.csv", "--preset", "huge"],
        2,
        "--preset must be one of default, coding-vs-intergenomic",
    ),
    "pool": (["finetune", "train.csv", "--pool", "sum"], 2, "pool must be one or more of mean, cls, max, min, sd"),
    "head": (["finetune", "train.csv", "--head", "deep"], 2, "head must be linear or mlp, not 'deep'"),
    "tokens": (["finetune", "train.csv", "--pool", "cls", "--no-class-tokens"], 2, "pool cls needs class tokens"),
    "both": (
        ["finetune", "train.csv", "--valid", "v.csv", "--valid-fraction", 0.1],
        2,
        "give --valid FILE or --valid-fr",
    ),
    "fraction": (
        ["finetune", "train.csv", "--valid-fraction", 1.5],
        2,
        "--valid-fraction must lie between 0 and 1, not 1.5",
    ),
    "no blocks": (["finetune", "train.csv", "--blocks", ""], 2, "'--blocks': is empty; leave it out"),
    "block of no teacher, before the data": (["finetune", "none.csv", "--blocks", "99"], 2, "the network has 12"),
    "window": (["finetune", "train.csv", "--window", 90], 2, "--window 90: the teacher's rings hold 50 bases"),
    "absent": (["finetune", "none.csv"], 1, "file none.csv: no such file or directory"),
    "unknown class": (
        ["finetune", "train.csv", "--valid", "odd.csv"],
        1,
        "odd.csv, line 3: class xx is not in the train",
    ),
    "one class": (["finetune", "one.csv"], 1, "the only class is at: there must be at least 2"),
    "no header": (["finetune", "bare.csv"], 1, "bare.csv, line 1: no header: this line holds a sequence"),
    "columns": (
        ["finetune", "train.csv", "--label-column", "y"],
        1,
        "no column 'y'; there are sequence, label; --label-c",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_a_line(name: str, tables: tuple[Path, Path, Path], model: Path, write: Write) -> None:
    write("odd.csv", "sequence,label\nACGT,at\nACGG,xx\n")
    write("one.csv", "sequence,label\nACGT,at\nACGG,at\n")
    write("bare.csv", "ACGTACGTACGT,at\nACGGACGTACGT,cg\n")
    args, code, text = BAD[name]
    result = call(*args, "-m", model)
    assert (result.code, text in result.err) == (code, True), result.err
    assert result.err.startswith("findna: ") or result.err.splitlines()[-1].startswith("findna: ")
    assert not Path("runs").exists()


def test_an_unwanted_teacher_is_named(tables: tuple[Path, Path, Path]) -> None:
    result = call("finetune", tables[0], "-m", "nowhere")
    assert result.code == 2
    assert "model nowhere: is neither a folder nor the name of a shipped model" in result.err
