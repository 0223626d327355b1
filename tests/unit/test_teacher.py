"""The report of a teacher: masked bases one window at a time, neighbours that are known, the health of a log."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.benchmark.counting import iter_masked
from findna.benchmark.health import health
from findna.benchmark.stored import MARK
from findna.benchmark.teacher import TEACHER, TeacherConfig, embed, masked_bases, measure_teacher, neighbours
from findna.benchmark.teacher_page import read_teacher, teacher_markdown, write_teacher
from findna.data.batch import pack
from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, InputError, TableError
from findna.models.store import Model, load_model, save_model
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import FP32, Compute
from findna.nn.encoder import initialise
from findna.nn.pooling import class_tokens
from findna.sizes import ModelConfig
from findna.train.optimizers import effective_rank
from findna.train.sources import Sources

CPU = torch.device("cpu")
CONFIG = TeacherConfig(n_rounds=2, bin_size=10, n_neighbours=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small network with random weights."""
    folder = tmp_path_factory.mktemp("model")
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=63, n_class_tokens=3)
    save_model(folder, initialise(ChordMixer(size), 5), name="little", training={}, card="")
    return load_model(str(folder))


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Training and held-out windows of 40 to 60 bases, rich in A, some with an N."""
    rng = np.random.default_rng(0)
    weights = [0.4, 0.25, 0.2, 0.1, 0.05]
    corpora = [
        corpus_of(rng.choice(5, size=rng.integers(40, 61), p=weights).astype(np.uint8) for _ in range(n))
        for n in (40, 30)
    ]
    return Sources(*corpora, {"files": {"w.fa": "0" * 64}})


def labelled(sequences: list[np.ndarray], labels: list[int]) -> LabelledSet:
    """Sequences of two classes, AT and GC."""
    n = len(sequences)
    return LabelledSet(
        corpus_of(sequences), np.array(labels), ("at", "gc"), "classification", ("",) * n, np.arange(n), {"a.csv": ""}
    )


def test_masked_bases_are_scored_as_one_window_at_a_time_would(model: Model, sources: Sources) -> None:
    found = masked_bases(model.network, sources, config=CONFIG, compute=Compute(CPU, FP32))
    right, nats, by_bin = 0, 0.0, {}
    items = list(iter_masked(sources.held_out, fraction=0.3, seed=1, n_rounds=2))
    for item in items:
        batch = pack([item.codes], n_class_tokens=3)
        with torch.inference_mode():
            logits = model.network.nucleotide_logits(model.network(torch.from_numpy(batch.codes), batch.rings))[:, :4]
        for position in item.positions.tolist():
            base = item.original[position]
            nats -= float(torch.log_softmax(logits[position].double(), 0)[base])
            is_right = int(logits[position].argmax()) == base
            right += is_right
            by_bin.setdefault(position // 10, []).append(is_right)
    n = sum(len(item.positions) for item in items)
    assert found["n_bases"] == n
    assert found["models"][TEACHER]["accuracy"] == pytest.approx(right / n)
    assert found["models"][TEACHER]["nats"] == pytest.approx(nats / n, rel=1e-4)
    assert found["by_position"]["start"] == [10 * number for number in sorted(by_bin)]
    assert found["by_position"][TEACHER] == pytest.approx([np.mean(by_bin[k]) for k in sorted(by_bin)], abs=1e-5)
    # Windows rich in A: who counts says A, and the teacher's lead over it is the difference of the shares.
    left = found["models"]["left"]
    share_of_a = np.mean(np.concatenate([item.targets for item in items]) == 0)
    assert left["accuracy"] == pytest.approx(share_of_a, abs=0.05)
    assert left["ahead"] == pytest.approx(right / n - left["accuracy"])


def test_vectors_are_the_mean_and_the_class_tokens(model: Model, sources: Sources) -> None:
    vectors, tokens = embed(model.network, sources.held_out, compute=Compute(CPU, FP32))
    one = sources.held_out[7]
    batch = pack([one], n_class_tokens=3)
    with torch.inference_mode():
        hidden = model.network(torch.from_numpy(batch.codes), batch.rings)
    assert np.allclose(vectors[7], hidden[: len(one)].mean(0), atol=1e-5)
    assert np.allclose(tokens[7], class_tokens(hidden, batch.rings, 3)[0], atol=1e-5)


def test_neighbours_are_of_their_class_where_classes_differ_and_by_chance_where_not(model: Model) -> None:
    rng = np.random.default_rng(3)
    at, gc = ([rng.choice(bases, 50).astype(np.uint8) for _ in range(20)] for bases in ([0, 3], [1, 2]))
    apart = neighbours(model, labelled(at + gc, [0] * 20 + [1] * 20), config=CONFIG, compute=Compute(CPU, FP32))
    assert apart["n"] == {"at": 20, "gc": 20}
    assert apart["chance"]["at"] == pytest.approx(19 / 39)
    for space in (TEACHER, "random", "kmer"):
        assert min(apart["same_class"][space].values()) > 0.95, space
    both = dataclasses.replace(CONFIG, pool="sd", blocks="1")
    second = neighbours(model, labelled(at + gc, [0] * 20 + [1] * 20), config=both, compute=Compute(CPU, FP32))
    assert list(second["same_class"]) == [TEACHER, "random", f"{TEACHER}_2", "random_2", "kmer"]
    own = {name: shares for name, shares in second["same_class"].items() if not name.endswith("_2")}
    assert own == apart["same_class"]
    mixed = [rng.integers(0, 4, 50, np.uint8) for _ in range(300)]
    found = neighbours(model, labelled(mixed, [k % 2 for k in range(300)]), config=both, compute=Compute(CPU, FP32))
    assert found["same_class"][f"{TEACHER}_2"] != found["same_class"][TEACHER]
    assert list(found["same_class"][TEACHER].values()) == pytest.approx([0.5, 0.5], abs=0.1)
    few = labelled(at[:2], [0, 1])
    with pytest.raises(TableError, match="more than 3 sequences"):
        neighbours(model, few, config=CONFIG, compute=Compute(CPU, FP32))


def log_of(ranks: list[float]) -> list[dict[str, float]]:
    """A log with a rank on every other step."""
    return [
        {"step": step, "n_bases": 100 * step, "effective_rank": ranks[step // 2 - 1] if step % 2 == 0 else math.nan}
        for step in range(1, 2 * len(ranks) + 1)
    ]


def test_health_is_that_of_the_last_fifth() -> None:
    found = health(log_of([5, 9, 9, 9, 9, 9, 9, 20, 22, 24]))
    assert (found["n_reports"], found["steps"]) == (10, 20)
    assert found["last_fifth_from"]["effective_rank"] == 20
    assert found["end"] == {"step": 20, "n_bases": 2000, "effective_rank": 24}
    assert found["rank_slope"] == pytest.approx(20)  # 2 in a tenth of the run
    assert health(log_of([30, 30, 30, 30, 30, 30, 30, 24, 22, 20]))["rank_slope"] < 0


def test_the_report_is_written_whole_and_its_page_is_made_of_its_json(
    model: Model, sources: Sources, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    log = log_of([3, 4, 5, 6, 7])
    result = measure_teacher(model, sources, config=CONFIG, log=log, compute=Compute(CPU, FP32))
    _, tokens = embed(model.network, sources.held_out, compute=Compute(CPU, FP32))
    assert result["effective_rank"]["value"] == pytest.approx(effective_rank(torch.from_numpy(tokens)))
    assert 0.99 < result["bf16"]["min"] <= result["bf16"]["mean"] <= 1 + 1e-6
    write_teacher(tmp_path / "r", result | {"command": "findna benchmark teacher w.fa"}, log=log)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "teacher.json",
        "teacher.md",
        "by_position.png",
        "curves.png",
    }
    stored = read_teacher(tmp_path / "r" / "teacher.json")
    text = (tmp_path / "r" / "teacher.md").read_text()
    assert text == f"{MARK}# little\n\n{teacher_markdown(stored)}"
    assert f"{stored['masked_bases']['models']['around']['accuracy']:.4f}" in text
    (tmp_path / "other.json").write_text('{"schema": "other/1"}')
    with pytest.raises(TableError, match="is not a valid report of a teacher"):
        read_teacher(tmp_path / "other.json")


def test_windows_must_be_held_out_and_fit(model: Model, sources: Sources) -> None:
    def measure(held_out: list[np.ndarray]) -> None:
        measure_teacher(
            model,
            sources._replace(held_out=corpus_of(held_out)),
            config=CONFIG,
            compute=Compute(CPU, FP32),
        )

    with pytest.raises(InputError, match="no window is held out"):
        measure([])
    with pytest.raises(InputError, match="window of 60 bases"):
        measure([np.zeros(61, np.uint8)])
    for change in ({"mask_fraction": 0.0}, {"n_rounds": 0}):
        with pytest.raises(ConfigError):
            dataclasses.replace(CONFIG, **change)
