"""`findna benchmark`: a run, its results, the report, and its error messages."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from command import call, fork

pytestmark = pytest.mark.usefixtures("undrawn")

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.fixture
def gue() -> Path:
    """Two small sets: class 1 is rich in G and C."""
    draws = random.Random(1)
    for name in ("tf/0", "mouse/2"):
        folder = Path("gue") / name
        folder.mkdir(parents=True)
        for split, n in (("train", 60), ("dev", 20), ("test", 20)):
            rows = []
            for i in range(n):
                weights = [2, 3, 3, 2] if i % 2 else [3, 2, 2, 3]
                rows.append(f"{''.join(draws.choices('ACGT', weights, k=45))},{i % 2}\n")
            (folder / f"{split}.csv").write_text("sequence,label\n" + "".join(rows))
    return Path("gue")


def benchmark(*args: object) -> list[object]:
    return ["benchmark", "run", "gue", "--data", "gue", "--threads", 1, "--precision", "fp32", *args]


def test_a_run_and_its_report(gue: Path, model: Path) -> None:
    args = benchmark("--task", "tf/0", "--mode", "probe,finetune,baseline", "--seeds", 2, "--model", model)
    first = call(*args, "--epochs", 1, "--plots", "--json", "run.json")
    assert first.code == 0, first.err
    assert "tf/0  probe     seed 0  auroc" in first.err
    assert len(json.loads(Path("run.json").read_text())["runs"]) == 8
    results = sorted(Path("results").glob("*.json"))
    assert len(results) == 5
    assert json.loads(results[0].read_text())["command"].startswith("findna benchmark run gue --data gue")
    assert len(list(Path("results/plots").glob("*.png"))) == 20
    again = call(*args, "--epochs", 1)
    assert again.err.count("measured before") == 8
    text = call("benchmark", "report", *results)
    assert text.code == 0
    assert "| tf/0 |" in text.out
    assert "Caduceus-Ph" in text.out
    for name in ("report.md", "report.html"):
        assert call("benchmark", "report", *results, "-o", name).code == 0
    assert Path("report.md").read_text() == text.out
    assert Path("report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_fine_tuned_run_is_a_task_model(gue: Path, model: Path) -> None:
    done = call(*benchmark("--task", "tf/0", "--mode", "finetune", "--seeds", 1, "--model", model, "--epochs", 1))
    assert done.code == 0, done.err
    Path("x.fa").write_text(">a\n" + "ACGT" * 10 + "\n")
    (run,) = Path("results/runs").iterdir()
    answer = call("classify", "x.fa", "--task", run, "--threads", 1, "-o", "-")
    assert answer.code == 0, answer.err


def test_faults_are_told(gue: Path, model: Path) -> None:
    assert "did you mean tf/0" in call(*benchmark("--task", "tf/O")).err
    for args in (("--mode", "prob"), ("--task", "tf/O"), ("--preset", "papr"), ("--strand", "+"), ("--blocks", "2,1")):
        assert call(*benchmark(*args)).code == 2
    for args in (("--blocks", ""), ("--pool", "")):
        assert call(*benchmark(*args)).code == 2
    assert call("benchmark", "run", "gue", "--data", "absent").code == 1
    (gue / "tf/0/test.csv").write_text("sequence,label\nACGT,0\nACGT,7\n")
    done = call(*benchmark("--mode", "kmer", "--model", model))
    assert done.code == 1
    assert "line 3: class 7 is not in the training split" in done.err
    assert Path("results/gue.mouse-2.kmer.json").exists()  # the other set was measured all the same
    Path("other.json").write_text("{}")
    assert call("benchmark", "report", "other.json").code == 1
    Path("notes.md").write_text("mine")
    again = call("benchmark", "report", "results/gue.mouse-2.kmer.json", "-o", "notes.md")
    text = "exists already, with other content; choose another name, or --force replaces it"
    assert again.err == f"findna: notes.md: {text}\n"
    assert Path("notes.md").read_text() == "mine"
    for _ in range(2):
        assert call("benchmark", "report", "results/gue.mouse-2.kmer.json", "-o", "report.html").code == 0
    assert call("benchmark", "report", "results/gue.mouse-2.kmer.json", "-o", "report.pdf").code == 2


def test_an_interrupted_run_goes_on(gue: Path, model: Path) -> None:
    args = benchmark("--mode", "kmer,random,cnn", "--seeds", 40, "--model", model)
    process = fork(*args)
    first = Path("results/gue.mouse-2.random.little.json")
    until = time.monotonic() + 120
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert b"resumes" in err
    n_done = len(json.loads(first.read_text())["runs"])
    args[args.index(40)], args[args.index("kmer,random,cnn")] = 3, "kmer,random"
    done = call(*args)
    assert done.code == 0
    assert done.err.count("measured before") >= 1 + min(n_done, 3)


def test_a_teacher_is_reported_on(model: Path, genome: Path, bases: dict[str, str]) -> None:
    rows = [f"{bases['chr1'][k : k + 40]},{'one' if k % 80 else 'two'}\n" for k in range(200, 1000, 40)]
    Path("near.csv").write_text("sequence,label\n" + "".join(rows))
    args = ["benchmark", "teacher", "--genome", genome, "--holdout", "chr2", "--model", model, "--threads", 1]
    result = call(*args, "--n-windows", 200, "--neighbours", "near.csv", "-o", "report")
    assert result.code == 0, result.err
    assert sorted(path.name for path in Path("report").iterdir()) == ["by_position.png", "teacher.json", "teacher.md"]
    found = json.loads(Path("report/teacher.json").read_text())
    assert found["command"].startswith("findna benchmark teacher --genome")
    assert found["model"]["sha256"] == json.loads((model / "config.json").read_text())["sha256"]
    assert found["masked_bases"]["n_training_windows"] == 200
    assert found["neighbours"]["n"] == {"one": 10, "two": 10}
    assert "  counting: the four positions on each side\n" in result.err
    assert result.err.endswith("report: teacher.json, teacher.md, by_position.png\n")
    again = call(*args, "--n-windows", 200, "--neighbours", "near.csv", "-o", "report")
    assert (again.code, again.err) == (0, "report: complete; nothing to do\n")
    other = call(*args, "--n-windows", 50, "--neighbours", "near.csv", "-o", "report")
    assert (other.code, "; --n-windows: 50 now, 200 before" in other.err) == (1, True), other.err
    assert call(*args, "--n-windows", 50, "-o", "report", "--force").code == 0
    for name in ("by_position.png", "teacher.md"):
        Path("report", name).write_text("mine")
        refused = call(*args, "-o", "report")
        assert (refused.code, f"report/{name}: exists and is not a file of findna" in refused.err) == (1, True)
        assert Path("report", name).read_text() == "mine"
        Path("report", name).unlink()
    for flags, text in (
        (["--pool", "sd"], "second read-out of neighbours"),
        (["--blocks", 99, "--neighbours", "near.csv"], "99"),
    ):
        early = call(*args, *flags, "-o", "second")
        assert early.code != 0
        assert text in early.err
        assert "measured" not in early.err
    assert call("benchmark", "teacher", "--model", model).code == 2
    seen = call("benchmark", "teacher", "--genome", genome, "--model", model)
    assert seen.code == 2
    assert "--holdout must name the contigs" in seen.err
    refused = call("benchmark", "teacher", "--genome", genome, "--holdout", "chr9", "--model", model)
    assert refused.code == 1
    assert "chr9" in refused.err
    Path("other.csv").write_text("step,loss\n1,0.5\n")
    Path("words.csv").write_text("step,effective_rank\none,two\n")
    for name, said in (("no.csv", "cannot be read"), ("words.csv", "is not a log"), ("other.csv", "no effective_rank")):
        wrong = call(*args, "--log", name, "-o", "wrong")
        assert (wrong.code, said in wrong.err) == (1, True), wrong.err


def test_tables_of_variants_are_measured(bases: dict[str, str], genome: Path, model: Path) -> None:
    rows = ["chrom\tpos\tref\talt\tlabel\tdepth\n"]
    for i, pos in enumerate(range(200, 400, 5)):
        ref = bases["chr1"][pos - 1]
        rows.append(f"chr1\t{pos}\t{ref}\t{'ACGT'.replace(ref, '')[0]}\t{i % 2}\t{i % 2}\n")
    Path("set").mkdir()
    Path("set/mine.tsv").write_text("".join(rows))
    args = ("benchmark", "run", "variants", "--data", "set", "--model", model, "--threads", 1, "--seeds", 1)
    result = call(*args)
    assert (result.code, "has 0 genomes" in result.err) == (1, True)
    genome.rename("set/g.fa")
    result = call(*args, "--window", 40, "--limit", 10, "-o", "figures")
    assert result.code == 0, result.err
    stored = json.loads(Path("figures/variants.mine.json").read_text())
    assert (stored["n_positive"], stored["n_negative"], stored["window"]) == (10, 10, 40)
    assert stored["rows"][-1] | {"auroc": 1} == stored["rows"][-1]  # the column depth is the label
    assert "| little | llr | 0." in result.out
    Path("figures/variants.mine.json").write_text("[]")
    refused = call(*args, "-o", "figures")
    assert (refused.code, "variants.mine.json: exists and is not a file of findna" in refused.err) == (1, True)
