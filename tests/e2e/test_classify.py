"""`findna classify`: answers from the weights on disk, every kind of input, whole runs, runs that end early."""

import gzip
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest
import torch
from command import Oracle, Result, call, fasta, fork, left_behind, n_lines, reverse_complement
from safetensors.numpy import load_file

from findna.models.manifest import config_text
from findna.models.save_task import save_task
from findna.models.store import load_model
from findna.models.task_settings import TaskSettings
from findna.nn.heads import Head

Write = Callable[..., Path]
CLASSES = ("alpha", "beta", "gamma")


def make_task(folder: Path, model: Path, objective: str = "classification", **changes: object) -> Path:
    """A task folder with a random head on the little model."""
    teacher = load_model(str(model))
    classes = () if objective == "regression" else CLASSES
    settings = TaskSettings(objective, classes, ("mean",), 3, 50, 50, temperature=0.8, joined_temperature=0.5)
    torch.manual_seed(3)
    head = Head(12, settings.n_outputs)
    with torch.no_grad():
        head.out.weight.mul_(2)
    options = {
        "name": folder.name,
        "settings": settings,
        "teacher": {"name": str(model), "sha256": teacher.sha256},
        "metrics": {"valid": {"loss": 0.5}},
        "training": {},
        "card": f"# {folder.name}\n\nFor tests.\n",
    }
    save_task(folder, teacher.network, head, **(options | changes))  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def task(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task model of three classes."""
    return make_task(tmp_path_factory.mktemp("task") / "greek", model)


def classified(*args: object, stdin: bytes = b"") -> Result:
    """`findna classify` in this process on one thread in float32; it must succeed."""
    result = call("classify", *args, "--precision", "fp32", "--threads", 1, stdin=stdin)
    assert result.code == 0, result.err
    return result


def table(path: str | Path) -> list[dict[str, str]]:
    """The rows of a TSV; the account beside it must add up."""
    path = Path(path)
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    meta = json.loads(path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.tsv')}.meta.json").read_text())
    rows = parsed(text)
    assert (meta["schema"], meta["complete"]) == ("findna-predictions/1", True)
    assert meta["n_expected"] == len(rows) + len(meta["skipped"])
    return rows


def parsed(text: str) -> list[dict[str, str]]:
    header, *lines = text.splitlines()
    names = header.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def window_log_p(task: Path, oracle: Oracle, bases: str, own: int = 0) -> np.ndarray:
    """Log-probabilities of one window, from the files alone."""
    head = load_file(task / "head.safetensors")
    vector = oracle.hidden(bases)[0][own:].mean(0)
    logits = head["out.weight"] @ ((vector - head["center"]) / head["scale"]) + head["out.bias"]
    return np.log(softmax(logits))


def expected(task: Path, oracle: Oracle, bases: str) -> np.ndarray:
    """Calibrated probabilities of a sequence, from the files alone."""
    total = np.zeros(len(CLASSES))
    windows = oracle.windows(len(bases), 50)
    for begin, end, own in windows:
        total += (end - own) * window_log_p(task, oracle, bases[begin:end], own - begin)
    return softmax(total / len(bases) / (0.5 if len(windows) > 1 else 0.8))


def probabilities(row: dict[str, str]) -> list[float]:
    return [float(row[f"p_{name}"]) for name in CLASSES]


def test_regions_get_the_labels_that_the_weights_on_disk_give(
    write: Write, genome: Path, task: Path, oracle: Oracle, bases: dict[str, str]
) -> None:
    bed = write("peaks.bed", "chr1\t10\t50\tone\t0\t+\nchr1\t300\t470\ttwo\t0\t-\nchrN\t90\t130\n")
    result = classified(bed, "-g", genome, "--task", task, "--json", "r.json")
    assert result.out == ""
    rows = table("peaks.predictions.tsv")
    texts = [bases["chr1"][10:50], reverse_complement(bases["chr1"][300:470]), bases["chrN"][90:130]]
    for row, text in zip(rows, texts, strict=True):
        p = expected(task, oracle, text)
        assert probabilities(row) == pytest.approx(p.tolist(), rel=1e-3)
        assert row["label"] == CLASSES[int(p.argmax())]
        assert float(row["probability"]) == max(probabilities(row))
        assert float(row["margin"]) == pytest.approx(p.max() - np.sort(p)[-2], rel=1e-2, abs=1e-4)
        assert row["status"] == "ok"
    assert [row["id"] for row in rows] == ["chr1:10-50(+)", "chr1:300-470(-)", "chrN:90-130(.)"]
    first = "id chrom start end strand length label probability margin p_alpha p_beta p_gamma status"
    assert list(rows[0])[:13] == first.split()
    assert (rows[1]["name"], rows[1]["n_windows"], rows[2]["frac_n"]) == ("two", "4", "0.25")
    report = json.loads(Path("r.json").read_text())
    assert (report["n_records"], report["n_rows"], report["model"]["task"]["classes"]) == (3, 3, list(CLASSES))
    assert left_behind("peaks") == ["peaks.bed", "peaks.predictions.meta.json", "peaks.predictions.tsv"]


def test_every_kind_of_input_gives_the_same_answer(
    write: Write, genome: Path, task: Path, bases: dict[str, str]
) -> None:
    text = bases["chr1"][200:240]
    write("a.fa", fasta({"s": text}), "gz")
    write("a.fq", f"@s\n{text}\n+\n{'I' * 40}\n")
    write("a.sam", f"@SQ\tSN:chr1\tLN:2000\ns\t0\tchr1\t201\t60\t40M\t*\t0\t0\t{text}\t*\n")
    pysam.view("-b", "-o", "a.bam", "a.sam", catch_stdout=False)
    answers = []
    for source, flags in (
        ("a.fa", ()),
        ("a.fq", ()),
        ("a.bam", ()),
        ("chr1:201-240", ("-g", genome)),
        ("-", ("-g", genome)),
    ):
        stdin = b"chr1\t200\t240\n" if source == "-" else b""
        classified(source, *flags, "--task", task, "-o", "out.tsv", "--force", stdin=stdin)
        (row,) = table("out.tsv")
        answers.append((row["label"], probabilities(row)))
        assert ("mapq" in row) == (source == "a.bam")
    assert all(label == answers[0][0] and p == pytest.approx(answers[0][1], rel=1e-4) for label, p in answers)


def test_a_pipe_gives_the_whole_table_and_says_that_it_is_whole(write: Write, task: Path) -> None:
    write("a.fa", fasta({"a": "ACGTACGTAA", "b": "TTGCA" * 30}))
    classified("a.fa", "--task", task)
    result = classified("a.fa", "--task", task, "-o", "-")
    *lines, last = result.out.splitlines()
    assert last == "# complete n_rows=2 n_skipped=0"
    assert "\n".join(lines) + "\n" == Path("a.predictions.tsv").read_text()


def test_a_compressed_output_holds_the_same(write: Write, task: Path) -> None:
    write("a.fa", fasta({"a": "ACGTACGTAA"}))
    classified("a.fa", "--task", task, "-o", "x.tsv")
    classified("a.fa", "--task", task, "-o", "y.tsv.gz")
    assert table("y.tsv.gz") == table("x.tsv")


def test_windows_become_a_track(write: Write, task: Path, genome: Path) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    bed = write("in.bed", "chr1\t100\t220\tx\t0\t+\nchr1\t500\t620\ty\t0\t-\nchr2\t10\t40\n")
    flags = (bed, "--task", task, "-g", genome, "--windows", "--label", CLASSES[1])
    classified(*flags, "-o", "out.tsv", "--track", "out.bedgraph")
    again = ("-o", "out.tsv", "--track", "out.bedgraph", "--precision", "fp32", "--threads", 1)
    for how in ((), ("--resume",)):
        result = call("classify", *flags, *again, *how)
        done = "out.tsv: complete; nothing to do\nout.bedgraph: complete; nothing to do\n"
        assert (result.code, result.err) == (0, done)
        other = call("classify", *flags[:-1], CLASSES[0], *again, *how)
        assert (other.code, "made with other inputs or settings (column: " in other.err) == (1, True), other.err
    places = [line.split("\t") for line in Path("out.bedgraph").read_text().splitlines()[2:]]
    expected = [("chr1", 100, 150), ("chr1", 150, 200), ("chr1", 200, 220)]
    expected += [("chr1", 500, 550), ("chr1", 550, 570), ("chr1", 570, 620), ("chr2", 10, 40)]
    found = [(place[0], int(place[1]), int(place[2])) for place in places]
    assert found == expected
    column = f"p_{CLASSES[1]}"
    by_start = {(row["chrom"], int(row["start"])): float(row[column]) for row in table("out.tsv")}
    assert [float(p[3]) for p in places[:2]] == pytest.approx([by_start["chr1", 100], by_start["chr1", 150]], rel=1e-4)
    assert float(places[2][3]) == pytest.approx(by_start["chr1", 170], rel=1e-4)  # the last window slides inwards
    classified(*flags, "-o", "b.tsv", "--track", "b.bw")
    track = pybigtools.open("b.bw")
    assert track.values("chr2", 10, 40, fillna=None).tolist() == pytest.approx([by_start["chr2", 10]] * 30, rel=1e-4)
    track.close()


def test_a_track_that_cannot_be_written_is_told_before_the_work(write: Write, task: Path, genome: Path) -> None:
    write("in.bed", "chr1\t100\t220\n")
    wrong = {
        ("--windows", "--track", "x.txt"): "a track is a .bedgraph",
        ("--track", "x.bw", "--label", CLASSES[0]): "--track needs --windows",
        ("--windows", "--label", CLASSES[0]): "--label is the class of --track: give both",
        ("--windows", "--track", "x.bedgraph"): "task greek: has more than two classes",
        ("--windows", "--track", "x.bedgraph", "--label", "nothing"): "task greek: has no class 'nothing'",
    }
    for flags, text in wrong.items():
        result = call("classify", "in.bed", "--task", task, "-g", genome, "-o", "x.tsv", *flags)
        assert (result.code, text in result.err) == (2, True), result.err
    nowhere = ("--windows", "--track", "no/x.bedgraph", "--label", CLASSES[0])
    absent = call("classify", "in.bed", "--task", task, "-g", genome, "-o", "x.tsv", *nowhere)
    assert (absent.code, absent.err) == (1, "findna: no/x.bedgraph: the folder no does not exist\n")
    assert left_behind("x") == []


def test_abstain_top_and_windows(write: Write, task: Path, oracle: Oracle, bases: dict[str, str]) -> None:
    text = bases["chr1"][:120].upper()
    write("a.fa", fasta({"a": text, "b": text[:30]}))
    classified("a.fa", "--task", task, "-o", "plain.tsv")
    plain = table("plain.tsv")
    limit = (float(plain[0]["margin"]) + float(plain[1]["margin"])) / 2
    classified("a.fa", "--task", task, "--abstain", limit, "-o", "abstain.tsv")
    for row, before in zip(table("abstain.tsv"), plain, strict=True):
        is_small = float(row["margin"]) < limit
        assert row == before | ({"label": "unknown", "status": "abstained"} if is_small else {})
    assert {row["status"] for row in table("abstain.tsv")} == {"ok", "abstained"}
    classified("a.fa", "--task", task, "--top", 2, "-o", "top.tsv")
    for row, before in zip(table("top.tsv"), plain, strict=True):
        ranked = sorted(CLASSES, key=lambda name: -float(before[f"p_{name}"]))
        assert [row["label_1"], row["label_2"]] == ranked[:2]
        assert (row["p_1"], row["label"]) == (before["probability"], before["label"])
        assert "p_alpha" not in row
    classified("a.fa", "--task", task, "--windows", "-o", "windows.tsv")
    windows = table("windows.tsv")
    assert [row["id"] for row in windows] == ["a:0-50", "a:50-100", "a:70-120", "b:0-30"]
    p = softmax(window_log_p(task, oracle, text[70:120]) / 0.8)
    assert probabilities(windows[2]) == pytest.approx(p.tolist(), rel=1e-3)
    assert probabilities(windows[3]) == probabilities(plain[1])


def test_windows_of_a_region_stand_where_they_lie(write: Write, genome: Path, task: Path) -> None:
    write("a.bed", "chr1\t100\t220\tx\t0\t-\n")
    classified("a.bed", "-g", genome, "--task", task, "--windows")
    rows = table("a.predictions.tsv")
    assert [(row["start"], row["end"], row["strand"]) for row in rows] == [
        ("170", "220", "-"),
        ("120", "170", "-"),
        ("100", "150", "-"),
    ]
    write("b.bed", "".join(f"chr1\t{row['start']}\t{row['end']}\t.\t0\t-\n" for row in rows))
    classified("b.bed", "-g", genome, "--task", task)
    for row, window in zip(table("b.predictions.tsv"), rows, strict=True):
        assert probabilities(row) == pytest.approx(probabilities(window), rel=1e-4)


def test_both_strands_are_one_answer(write: Write, task: Path, oracle: Oracle, bases: dict[str, str]) -> None:
    text = bases["chr1"][200:240]
    write("a.fa", fasta({"a": text, "b": reverse_complement(text)}))
    classified("a.fa", "--task", task, "--strand", "both")
    first, second = table("a.predictions.tsv")
    log_p = [window_log_p(task, oracle, side) for side in (text, reverse_complement(text))]
    assert probabilities(first) == pytest.approx(softmax(np.mean(log_p, axis=0) / 0.8).tolist(), rel=1e-3)
    assert probabilities(second) == pytest.approx(probabilities(first), rel=1e-4)


def test_other_objectives(write: Write, model: Path) -> None:
    write("a.fa", fasta({"a": "ACGTACGTAA", "b": "TTGCA" * 30}))
    many = TaskSettings("multilabel", CLASSES, ("mean",), 3, 50, 50)
    classified("a.fa", "--task", make_task(Path("many"), model, "multilabel", settings=many), "-o", "many.tsv")
    for row in table("many.tsv"):
        chosen = [name for name, p in zip(CLASSES, probabilities(row), strict=True) if p > 0.5]
        assert row["label"] == ";".join(chosen)
    value = TaskSettings("regression", (), ("mean",), 3, 50, 50)
    real = make_task(Path("real"), model, "regression", settings=value)
    classified("a.fa", "--task", real, "-o", "real.tsv")
    rows = table("real.tsv")
    assert all(np.isfinite(float(row["prediction"])) for row in rows)
    assert "label" not in rows[0]
    result = call("classify", "a.fa", "--task", real, "--top", 2, "-o", "x.tsv")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "abstain and top need classes" in result.err


def test_bad_records_end_the_run_or_are_listed(write: Write, genome: Path, task: Path) -> None:
    bed = write("a.bed", "chr1\t0\t40\nchr1\t1990\t2040\nchr9\t0\t10\nchr2\t0\t40\n")
    result = call("classify", bed, "-g", genome, "--task", task)
    assert result.code == 1
    assert "a.bed, line 2" in result.err
    assert not Path("a.predictions.tsv").exists()
    classified(bed, "-g", genome, "--task", task, "--on-error", "skip")
    assert [row["id"] for row in table("a.predictions.tsv")] == ["chr1:0-40(.)", "chr2:0-40(.)"]
    again = classified(bed, "-g", genome, "--task", task, "--on-error", "skip")
    assert (again.code, again.err) == (0, "a.predictions.tsv: complete; nothing to do\n")
    dry = call("classify", bed, "-g", genome, "--task", task, "--dry-run", "-o", "x.tsv")
    assert (dry.code, Path("x.tsv").exists()) == (1, False)
    assert "problems  1 of 4 records: does not fit; 1 of 4 records: contig is not in the genome" in dry.out
    assert "--on-error skip omits them" in dry.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("-o", "x.h5"), "does not write .h5 files: name it x.tsv or x.tsv.gz"),
        (("--abstain", "2"), "--abstain must lie in 0 to 1, not 2.0"),
        (("--strand", "up"), "--strand must be bed, +, - or both, not 'up'"),
        (("-o", "-", "--resume"), "stdout cannot be resumed"),
    ],
)
def test_what_contradicts_itself_is_refused(flags: tuple[str, ...], reason: str, write: Write, task: Path) -> None:
    write("a.fa", ">a\nACGT\n")
    result = call("classify", "a.fa", "--task", task, *flags)
    assert result.code == 2
    assert reason in result.err


def test_what_is_no_task_says_so(write: Write, model: Path, task: Path) -> None:
    write("a.fa", ">a\nACGT\n")
    teacher = call("classify", "a.fa", "--task", model)
    assert (teacher.code, "it is a pretrained model" in teacher.err) == (1, True)
    misspelt = call("classify", "a.fa", "--task", "covdi")
    assert (misspelt.code, "did you mean covid?" in misspelt.err) == (2, True)
    near = call("classify", "a.fa", "--task", "emp-h3k4me")  # emp-h3k4me1 and emp-h3k4me2 have no weights
    assert (near.code, "did you mean emp-h3k4me3?" in near.err) == (2, True)
    untrained = call("classify", "a.fa", "--task", "mtcdna-8192")
    assert (untrained.code, "`findna task info mtcdna-8192` shows how to train it" in untrained.err) == (2, True)
    Path("begun").mkdir()
    Path("begun/finetune.json").write_text("{}")
    begun = call("classify", "a.fa", "--task", "begun")
    assert (begun.code, "its training is not finished" in begun.err) == (1, True)
    assert call("classify", "a.fa").code == 2


def test_a_head_without_its_teacher_is_refused(write: Write, model: Path, oracle: Oracle) -> None:
    write("a.fa", ">a\nACGTTACG\n")
    small = make_task(Path("small"), model, with_encoder=False)
    assert not (small / "model.safetensors").exists()
    classified("a.fa", "--task", small)
    p = expected(small, oracle, "ACGTTACG")
    assert probabilities(table("a.predictions.tsv")[0]) == pytest.approx(p.tolist(), rel=1e-3)
    config = json.loads((small / "config.json").read_text())
    config["encoder"]["sha256"] = "0" * 64
    (small / "config.json").write_text(config_text(config))
    result = call("classify", "a.fa", "--task", small, "--force")
    assert result.code == 1
    assert "its head was trained on teacher" in result.err


@pytest.mark.slow  # tests/faults kills it at calls of its own
def test_a_run_that_is_killed_and_resumed_is_one_that_was_not(write: Write, genome: Path, task: Path) -> None:
    rows = "".join(f"chr{1 + (i % 9 == 4)}\t{i % 295}\t{i % 295 + 1 + i % 90}\tr{i}\n" for i in range(1500))
    flags = [write("many.bed", rows), "-g", genome, "--task", task, "--on-error", "skip", "--windows"]
    classified(*flags, "-o", "whole.tsv")
    journal = Path("out.tsv.partial/journal")
    run = ["classify", *flags, "-o", "out.tsv", "--resume", "--precision", "fp32", "-t", 1]
    process = fork(*run, job="often")
    while n_lines(journal) < 3 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    error = process.communicate()[1].decode()
    assert process.returncode == -9, error
    assert not Path("out.tsv").exists()
    other = call("classify", *flags, "-o", "out.tsv", "--precision", "fp32", "-t", 1, "--resume", "--abstain", 0.5)
    assert other.code == 1
    assert ": abstain was" in other.err
    classified(*flags, "-o", "out.tsv", "--resume", "--json", "r.json")
    assert Path("out.tsv").read_bytes() == Path("whole.tsv").read_bytes()
    assert json.loads(Path("r.json").read_text())["n_resumed"] >= 2 * 128
    assert left_behind("out") == ["out.meta.json", "out.tsv"]


@pytest.mark.slow  # those of `findna embed` are in every run
def test_two_processes_write_what_one_writes(write: Write, genome: Path, task: Path) -> None:
    bed = write("a.bed", "".join(f"chr1\t{i}\t{i + 1 + i % 90}\n" for i in range(300)))
    flags = (bed, "-g", genome, "--task", task, "--windows")
    classified(*flags, "-o", "one.tsv")
    classified(*flags, "-o", "two.tsv", "--workers", 2)
    one, two = table("one.tsv"), table("two.tsv")
    assert [row["id"] for row in two] == [row["id"] for row in one]
    for row, expected_row in zip(two, one, strict=True):
        assert probabilities(row) == pytest.approx(probabilities(expected_row), abs=1e-5)


def test_parts_of_a_plan_become_the_table_of_one_run(write: Write, genome: Path, task: Path) -> None:
    bed = write("a.bed", "".join(f"chr1\t{i}\t{i + 1 + i % 90}\n" for i in range(300)) + "chrN\t0\t99\n")
    flags = (bed, "-g", genome, "--task", task, "--max-n", 0.5, "--batch-bases", 128)
    classified(*flags, "-o", "whole.tsv")
    assert call("split", *flags[:3], "--max-n", 0.5, "--batch-bases", 128, "-n", 2, "-o", "plan.json").code == 0
    for number in (1, 2):
        classified(*flags, "--shard", f"{number}/2", "--plan", "plan.json")
    result = call("merge", *Path().glob("a.part*of2.predictions.h5"), "-o", "all.tsv")
    assert result.code == 0, result.err
    assert Path("all.tsv").read_bytes() == Path("whole.tsv").read_bytes()
    assert len(table("all.tsv")) == 300
    refused = call("merge", *Path().glob("*.h5"), "-o", "all.parquet")
    assert (refused.code, "predictions are a TSV, not parquet" in refused.err) == (2, True)


@pytest.mark.parametrize("mode", [("--frozen",), ("--epochs", "1")])
def test_classify_repeats_the_figures_that_finetune_wrote(mode: tuple[str, ...], write: Write, model: Path) -> None:
    draws = np.random.default_rng(0)
    lines = []
    for row in range(90):
        kind = ("rich", "even")[row % 2]
        share = [0.1, 0.4, 0.4, 0.1] if kind == "rich" else [0.25] * 4
        lines.append(f"{''.join(draws.choice(list('ACGT'), size=20 + row, p=share))},{kind}")
    write("train.csv", "sequence,label\n" + "\n".join(lines[:60]) + "\n")
    write("test.csv", "sequence,label\n" + "\n".join(lines[60:]) + "\n")
    write("test.fa", "".join(f">{row}\n{line.partition(',')[0]}\n" for row, line in enumerate(lines[60:])))
    flags = (
        "--valid-fraction",
        "0.3",
        "--test",
        "test.csv",
        "-m",
        model,
        "--out",
        "run",
        "-t",
        1,
        "--precision",
        "fp32",
    )
    trained = call("finetune", "train.csv", *flags, *mode)
    assert trained.code == 0, trained.err
    classified("test.fa", "--task", "run")
    rows = table("test.predictions.tsv")
    truth = [line.partition(",")[2] for line in lines[60:]]
    n_right = sum(row["label"] == label for row, label in zip(rows, truth, strict=True))
    loss = -np.mean([np.log(float(row[f"p_{label}"])) for row, label in zip(rows, truth, strict=True)])
    figures = json.loads(Path("run/metrics.json").read_text())["test"]
    assert n_right / 30 == pytest.approx(figures["accuracy"])
    assert loss == pytest.approx(figures["loss"], rel=1e-3)


def test_a_record_that_is_mostly_n_is_unknown_and_counted(write: Write, task: Path, model: Path) -> None:
    write(
        "a.fa",
        fasta({"n": "N" * 60, "most": "N" * 31 + "ACGTA" * 6, "half": "N" * 30 + "ACGTA" * 6, "none": "ACGTA" * 12}),
    )
    result = call("classify", "a.fa", "--task", task, "-o", "n.tsv", "--json", "n.json")
    assert result.code == 0
    embedded = call("embed", "a.fa", "-m", model, "-o", "n.h5")
    for err in (result.err, embedded.err):
        assert "2 of 4 records: mostly N, 1 of them only N (frac_n is 1); the first: n; --max-n 0.5 skips them\n" in err
    rows = {row["id"]: row for row in table("n.tsv")}
    assert [(row["label"], row["status"]) for row in (rows["n"], rows["most"])] == [("unknown", "mostly N")] * 2
    assert {row["status"] for row in (rows["half"], rows["none"])} == {"ok"}
    assert json.loads(Path("n.json").read_text())["n_mostly_n"] == 2
    assert [row["frac_n"] for row in rows.values()].count("1.0") == 1
    assert ": mostly N" not in call("classify", "a.fa", "--task", task, "-o", "q.tsv", "--quiet").err
