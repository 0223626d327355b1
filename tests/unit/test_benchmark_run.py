"""One set through all modes: figures, files, and which results are reused."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.benchmark.modes import BenchmarkConfig, Progress, Stopped, parse_modes
from findna.benchmark.readout import ReadOut
from findna.benchmark.report import as_markdown, make_report, published
from findna.benchmark.report_html import as_html
from findna.benchmark.results import read_result, result_name
from findna.benchmark.run import run_task
from findna.benchmark.suites import find_tasks
from findna.errors import ConfigError, InputError, OutputError, TableError
from findna.models.store import Model, load_model, save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.recipes import FinetuneConfig
from findna.sequence import decode
from findna.sizes import ModelConfig

pytestmark = pytest.mark.usefixtures("undrawn")

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
SIZE = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=1, max_len=53, n_class_tokens=3)


@pytest.fixture
def teacher(tmp_path: Path) -> Model:
    save_model(tmp_path / "little", initialise(ChordMixer(SIZE), 5), name="little", training={}, card="# little\n")
    return load_model(str(tmp_path / "little"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """GUE's tf/0 in small: class 1 is rich in G and C; two test rows are also training rows."""
    rng = np.random.default_rng(0)
    place = tmp_path / "gue/tf/0"
    place.mkdir(parents=True)
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, n in (("train", 60), ("dev", 24), ("test", 24)):
        weights = ([0.3, 0.2, 0.2, 0.3], [0.2, 0.3, 0.3, 0.2])
        drawn = [rng.choice(4, rng.integers(30, 60), p=weights[i % 2]).astype(np.uint8) for i in range(n)]
        rows[split] = [(decode(codes), i % 2) for i, codes in enumerate(drawn)]
    rows["test"][:2] = rows["train"][:2]
    for split, content in rows.items():
        with (place / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("sequence", "label"), *content])
    return tmp_path / "gue"


def measure(folder: Path, teacher: Model, config: BenchmarkConfig, **options: object) -> list[Progress]:
    (task,), _ = find_tasks("gue", folder)
    device = torch.device("cpu")
    out = folder.parent / "results"
    return list(run_task(task, out, config=config, teacher=teacher, compute=Compute(device, FP32), **options))  # type: ignore[arg-type]


ALL = BenchmarkConfig(
    modes=parse_modes("finetune,probe,baseline,random-finetune"),
    seeds=2,
    finetune=FinetuneConfig(epochs=1, batch_size=16, strand="bed"),
    command="findna x",
)


def test_every_mode_is_measured_once_a_seed_and_gives_the_same_figures_again(folder: Path, teacher: Model) -> None:
    steps = measure(folder, teacher, ALL)
    seeds = [(step.mode, step.seed) for step in steps]
    assert seeds == [
        ("probe", 0),
        ("finetune", 0),
        ("finetune", 1),
        ("kmer", 0),
        ("random", 0),
        ("random", 1),
        ("cnn", 0),
        ("cnn", 1),
        ("random-finetune", 0),
        ("random-finetune", 1),
    ]
    assert all(step.is_new for step in steps)
    results = folder.parent / "results"
    names = sorted(path.name for path in results.glob("*.json"))
    assert names == [
        "gue.tf-0.cnn.json",
        "gue.tf-0.finetune.little.json",
        "gue.tf-0.kmer.json",
        "gue.tf-0.probe.little.json",
        "gue.tf-0.random-finetune.little.json",
        "gue.tf-0.random.little.json",
    ]
    for path in results.glob("*.json"):
        result = read_result(path)
        values = [run["test"]["auroc"] for run in result["runs"]]
        assert result["mean"]["test"]["auroc"] == pytest.approx(np.mean(values))
        assert result["sd"]["test"]["auroc"] == pytest.approx(np.std(values, ddof=1) if len(values) > 1 else 0)
        assert result["n_near_duplicates"] == 2
        assert [run["test_without_duplicates"]["n"] for run in result["runs"]] == [22] * len(values)
        assert all({"accuracy", "macro_f1", "mcc", "auroc", "confusion"} <= set(run["test"]) for run in result["runs"])
        assert len(result["sources"]) == 3
        assert result["is_comparable"]
    results.rename(folder.parent / "earlier")
    again = dataclasses.replace(ALL, modes=parse_modes("finetune,probe,kmer,random"), seeds=1)
    first = {(step.mode, step.seed): step.run["test"] for step in steps}
    assert all(step.run["test"] == first[step.mode, step.seed] for step in measure(folder, teacher, again))


def test_a_result_is_named_for_its_set_and_model_whatever_they_are_called(folder: Path) -> None:
    (task,), _ = find_tasks("gue", folder)
    assert result_name(task, "probe", "lab/../teacher") == "gue.tf-0.probe.lab-..-teacher.json"
    assert result_name(task, "kmer", "lab/teacher") == "gue.tf-0.kmer.json"


def test_a_second_run_measures_nothing_and_an_interrupted_one_goes_on(folder: Path, teacher: Model) -> None:
    asked: list[bool] = []

    def stop_at_third() -> bool:
        asked.append(True)
        return len(asked) > 2

    config = BenchmarkConfig(modes=parse_modes("kmer,random"), seeds=3)
    with pytest.raises(Stopped):
        measure(folder, teacher, config, should_stop=stop_at_third)
    again = measure(folder, teacher, config)
    assert [step.is_new for step in again] == [False, *[True] * 3]  # it was stopped while it embedded
    straight = [step.run["test"] for step in again]
    assert [step.is_new for step in measure(folder, teacher, config)] == [False] * 4
    for path in (folder.parent / "results").glob("*.json"):
        path.unlink()
    assert [step.run["test"] for step in measure(folder, teacher, config)] == straight


def test_a_fine_tuning_that_was_stopped_before_its_first_checkpoint_begins_again(folder: Path, teacher: Model) -> None:
    asked: list[bool] = []

    def stop_at_second() -> bool:  # the first is asked between runs, the second while it embeds
        asked.append(True)
        return len(asked) > 1

    config = BenchmarkConfig(
        modes=("finetune",), seeds=1, finetune=FinetuneConfig(epochs=1, batch_size=16, strand="bed")
    )
    with pytest.raises(Stopped):
        measure(folder, teacher, config, should_stop=stop_at_second)
    assert not list((folder.parent / "results/runs").glob("*/checkpoints/*"))
    assert [step.is_new for step in measure(folder, teacher, config)] == [True]


def test_changed_data_settings_or_weights_are_measured_anew(folder: Path, teacher: Model, tmp_path: Path) -> None:
    config = BenchmarkConfig(modes=("probe", "kmer"))
    bed = dataclasses.replace(config, read_out=ReadOut(strand="bed"))
    measure(folder, teacher, config)

    def is_new(config: BenchmarkConfig, teacher: Model) -> list[bool]:
        return [step.is_new for step in measure(folder, teacher, config)]

    assert is_new(bed, teacher) == [True, False]
    save_model(tmp_path / "little", initialise(ChordMixer(SIZE), 6), name="little", training={}, card="#\n")
    other = load_model(str(tmp_path / "little"))
    assert is_new(bed, other) == [True, False]
    assert is_new(dataclasses.replace(bed, limit=50), other) == [True, True]
    path = folder / "tf/0/train.csv"
    path.write_text(path.read_text().replace("A", "C", 1))
    assert is_new(dataclasses.replace(bed, limit=0), other) == [True, True]


def test_plots_are_drawn_where_they_are_asked_for(folder: Path, teacher: Model) -> None:
    measure(folder, teacher, BenchmarkConfig(modes=("probe",), with_plots=True))
    names = {path.name for path in (folder.parent / "results/plots").iterdir()}
    assert names == {f"gue.tf-0.probe.little.{what}.png" for what in ("roc", "pr", "confusion", "calibration")}
    next((folder.parent / "results/plots").iterdir()).write_bytes(b"\x89PNG of mine")
    with pytest.raises(OutputError, match="is not a file of findna"):
        measure(folder, teacher, BenchmarkConfig(modes=("probe",), with_plots=True, seeds=2))


def test_without_a_validation_split_each_seed_draws_its_own(folder: Path, teacher: Model) -> None:
    (folder / "tf/0/train.csv").unlink()
    steps = measure(folder, teacher, BenchmarkConfig(modes=("probe",), seeds=2))
    assert [step.run["valid"]["n"] for step in steps] == [2, 2]
    assert not read_result(next((folder.parent / "results").glob("*.json")))["is_comparable"]


def test_modes_are_named_or_refused() -> None:
    assert parse_modes("cnn,probe") == ("probe", "cnn")
    with pytest.raises(ConfigError, match="prob"):
        parse_modes("prob")


def report(folder: Path) -> str:
    return as_markdown(make_report([read_result(path) for path in (folder.parent / "results").glob("*.json")]))


def test_a_report_says_what_must_be_known_of_a_set_beside_published_figures(folder: Path, teacher: Model) -> None:
    measure(folder, teacher, BenchmarkConfig(modes=("kmer",)))
    result = read_result(folder.parent / "results/gue.tf-0.kmer.json")
    assert "tf/0: drawn here." in as_markdown(make_report([result | {"note": "drawn here"}]))


def test_a_report_marks_the_best_and_what_is_quoted(folder: Path, teacher: Model) -> None:
    measure(folder, teacher, BenchmarkConfig(modes=("probe", "kmer"), command="findna benchmark run gue --seeds 5"))
    text = report(folder)
    (row,) = [line for line in text.splitlines() if line.startswith("| tf/0")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.strip("*") for cell in cells[3:8]] == ["0.838", "0.832", "0.830", "0.880", "0.862"]
    assert all(cell.startswith("*") for cell in cells[3:8])
    assert sum(cell.startswith("**") for cell in cells) == 1
    assert "`findna benchmark run gue --seeds 5`" in text
    assert "2 of 24" in text
    page = as_html(make_report([read_result(path) for path in (folder.parent / "results").glob("*.json")]))
    assert page.count("<table>") == 3
    assert page.count("<svg") == page.count("<figure>") == 1  # of the comparison only
    assert '<td class="quoted' in page
    assert "<code>findna benchmark run gue --seeds 5</code>" in page


def test_a_limited_run_stands_apart_with_nothing_quoted(folder: Path, teacher: Model) -> None:
    measure(folder, teacher, BenchmarkConfig(modes=("probe", "kmer"), limit=50, limit_test=20))
    text = report(folder)
    assert "DNABERT-2" not in text
    assert "at most 50 training and 20 test sequences" in text


def test_a_report_refuses_what_is_no_result(folder: Path, teacher: Model, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"schema": "other"}))
    with pytest.raises(TableError, match="schema"):
        read_result(tmp_path / "x.json")
    with pytest.raises(TableError, match=r"nope\.json: cannot be read: no such file or directory"):
        read_result(tmp_path / "nope.json")
    with pytest.raises(InputError, match="no result"):
        make_report([])
    measure(folder, teacher, BenchmarkConfig(modes=("kmer",)))
    result = read_result(folder.parent / "results/gue.tf-0.kmer.json")
    with pytest.raises(InputError, match="two results"):
        make_report([result, result])


def test_published_figures_add_up_to_the_averages_of_their_table() -> None:
    quoted = published()

    def mean_of(model: str, suite: str, setting: str, metrics: tuple[str, ...]) -> float:
        rows = [values for key, values in quoted.items() if key[0] == suite and key[3] == setting and key[2] in metrics]
        found = [q.value for values in rows for q in values if q.model == model]
        return round(100 * sum(found) / len(found), 2)

    table_3 = {"DNABERT (6-mer)": 50.39, "NT-500M-human": 46.27, "NT-2500M-multi": 59.42, "DNABERT-2": 57.34}
    table_3 |= {"DNABERT-2 ◆": 59.71, "FinDNA": 66.49}
    found = {model: mean_of(model, "gue", "fine-tuned", ("mcc", "macro_f1")) for model in table_3}
    assert found == pytest.approx(table_3, abs=0.011)
    assert len(quoted["gue", "tf/0", "auroc", "frozen"]) == 5
    assert quoted["mtcdna", "8192", "accuracy", "fine-tuned"][-1].value == pytest.approx(0.9882)
    frozen = quoted["genomic-benchmarks", "human_ensembl_regulatory", "accuracy", "frozen"]
    assert [(q.model, round(q.sd or 0, 6)) for q in frozen] == [
        ("HyenaDNA", 0.0001),
        ("FinDNA-T", 0.0005),
        ("FinDNA", 0.0034),
    ]
