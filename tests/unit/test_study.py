"""A study: each variant and seed once, on validation splits alone, resumed after a stop; noise and table."""

import csv
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.benchmark.modes import Stopped
from findna.benchmark.readout import ReadOut
from findna.benchmark.study import LOG, StudyConfig, read_log, run_study
from findna.benchmark.study_table import compare, study_table
from findna.benchmark.study_variants import read_variants
from findna.benchmark.suites import find_tasks
from findna.data.datasets import corpus_of
from findna.errors import ConfigError, TableError
from findna.models.store import load_model
from findna.nn.device import BF16_STREAM, FP32, Compute
from findna.recipes import PRESETS, PretrainConfig
from findna.sequence import decode
from findna.sizes import ModelConfig
from findna.train.sources import Sources

pytest.importorskip("sklearn")
MODEL = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=1, max_len=53, n_class_tokens=3)
BASE = PretrainConfig(model=MODEL, steps=3, batch_size=2, reduction="mean", max_indel=3)
VARIANTS = '[preset]\n\n[untrained]\n\n[half]\nalpha = 0.9\nmask_span = 3.0\n\n[t]\nmixer = "transformer"\n'


def random_corpus(n, seed):
    rng = np.random.default_rng(seed)
    return corpus_of(rng.integers(0, 4, size=50, dtype=np.uint8) for _ in range(n))


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    path = tmp_path_factory.mktemp("variants") / "variants.toml"
    path.write_text(VARIANTS)
    return read_variants(path, BASE)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Two sets whose class 1 is rich in G and C; the labels of their test splits are those of no classifier."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("gue")
    for name in ("tf/0", "mouse/1"):
        place = folder / name
        place.mkdir(parents=True)
        for split, n in (("train", 60), ("dev", 30), ("test", 30)):
            weights = ([0.28, 0.22, 0.22, 0.28], [0.22, 0.28, 0.28, 0.22])
            drawn = [rng.choice(4, 40, p=weights[i % 2]).astype(np.uint8) for i in range(n)]
            rows = [(decode(codes), i % 2 if split != "test" else 1 - i % 2) for i, codes in enumerate(drawn)]
            with (place / f"{split}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("sequence", "label"), *rows])
    return find_tasks("gue", folder)[0]


def study(variants, tasks, out, *, n_reads=None, precision=FP32, **kwargs):
    config = StudyConfig(**{"command": "findna x"} | kwargs)
    sources = Sources(random_corpus(12, 1), random_corpus(4, 2), {"files": {"a.fa": "0"}, "n_windows": 12})
    asked = iter(range(10**9))
    return list(
        run_study(
            variants,
            tasks,
            sources,
            out,
            config=config,
            compute=Compute(torch.device("cpu"), precision),
            should_stop=lambda: n_reads is not None and next(asked) >= n_reads,
        )
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory, variants, tasks):
    """A study of the preset on one set with one seed: its folder, and its run."""
    folder = tmp_path_factory.mktemp("one") / "study"
    (run,) = study(variants[:1], tasks[:1], folder, seeds=1)
    return folder, run


def test_each_variant_and_seed_is_measured_once(tmp_path, variants, tasks):
    out = tmp_path / "study"
    runs = study(variants, tasks, out)
    assert [(run["variant"], run["seed"]) for run in runs] == [
        (name, seed) for seed in (0, 1) for name in ("preset", "untrained", "half", "t")
    ]
    for run in runs:
        assert set(run["scores"]) == {"mouse/1", "tf/0"}
        assert run["score"] == pytest.approx(np.mean(list(run["scores"].values())))
        assert run["score"] > 0.6  # the test split would give less than a half
        assert run["n"] == {"mouse/1": [60, 30], "tf/0": [60, 30]}
        assert ("n_bases" in run) == (run["variant"] != "untrained")
    assert runs[0]["steps"] == 3
    assert runs[0]["n_bases"] == 3 * 2 * 50
    assert runs[2]["changes"] == {"alpha": 0.9, "mask_span": 3.0}
    assert runs[2]["config"]["alpha"] == 0.9
    assert len({run["score"] for run in runs}) > 2
    assert list(read_log(out / LOG).values()) == runs
    log = (out / LOG).read_bytes()
    assert study(variants, tasks, out) == runs
    assert (out / LOG).read_bytes() == log


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_stopped_study_goes_on_in_the_middle_of_a_run(tmp_path, variants, tasks, one, has_checkpoint):
    with pytest.raises(Stopped):
        study(variants[:1], tasks[:1], tmp_path / "parts", seeds=1, n_reads=2)
    assert not (tmp_path / "parts" / LOG).exists()
    (folder,) = (tmp_path / "parts" / "runs").iterdir()
    assert len(list(folder.glob("checkpoints/*.json"))) == 1
    if not has_checkpoint:  # as after a kill in the first minutes
        shutil.rmtree(folder / "checkpoints")
    (run,) = study(variants[:1], tasks[:1], tmp_path / "parts", seeds=1)
    assert run | {"seconds": 0} == one[1] | {"seconds": 0}
    assert not (folder / "checkpoints").exists()


def test_another_pool_is_read_from_the_same_teacher(tmp_path, variants, tasks, one):
    made, mean = one
    shutil.copytree(made, tmp_path / "study")
    (folder,) = (tmp_path / "study" / "runs").iterdir()
    before = (folder / "log.csv").stat().st_mtime_ns
    (wide,) = study(variants[:1], tasks[:1], tmp_path / "study", seeds=1, read_out=ReadOut("mean,sd"))
    assert (folder / "log.csv").stat().st_mtime_ns == before
    assert wide["score"] != mean["score"]
    assert len(read_log(tmp_path / "study" / LOG)) == 2
    assert load_model(str(folder)).config == MODEL


def test_a_variant_may_be_read_in_another_way(tmp_path, tasks):
    (tmp_path / "variants.toml").write_text('[untrained]\n[untrained-sd]\npool = "mean,sd"\n')
    own = study(read_variants(tmp_path / "variants.toml", BASE), tasks[:1], tmp_path / "own", seeds=1)
    (wide,) = study(
        read_variants(tmp_path / "variants.toml", BASE)[:1],
        tasks[:1],
        tmp_path / "all",
        seeds=1,
        read_out=ReadOut("mean,sd"),
    )
    assert [run["pool"] for run in own] == ["mean", "mean,sd"]
    assert own[1]["scores"] == wide["scores"] != own[0]["scores"]


def test_the_student_is_read_from_the_run_of_its_teacher(tmp_path, tasks):
    text = '[teacher]\nlearning_rate = 0.05\n[student]\nlearning_rate = 0.05\nread = "student"\n'
    (tmp_path / "variants.toml").write_text(text)
    teacher, student = study(read_variants(tmp_path / "variants.toml", BASE), tasks[:1], tmp_path / "study", seeds=1)
    (folder,) = (tmp_path / "study" / "runs").iterdir()  # one training for both
    assert folder.name.startswith("teacher.")
    assert student["scores"] != teacher["scores"]
    assert student["seconds"] == teacher["seconds"]
    assert teacher["dissimilarity"] > 0


def test_the_variants_of_the_paper_s_ablations_are_recipes_of_every_preset():
    path = Path(__file__).resolve().parents[2] / "docs/results/ablations/variants.toml"
    for preset in ("tiny", "small"):
        variants = {variant.name: variant for variant in read_variants(path, PRESETS[preset])}
        assert variants["student"].read == "student"
        assert variants["student"].config == variants["MDIT+NR"].config
        assert variants["M+NoAug"].config.teacher_augment == ""
        assert variants["FinDNA-T"].config.model.mixer == "transformer"


def test_other_data_or_settings_are_another_run(tmp_path, variants, tasks):
    out = tmp_path / "study"
    study(variants[1:2], tasks, out, seeds=1)
    study(variants[1:2], tasks, out, seeds=1, limit=50)
    study(variants[1:2], tasks[:1], out, seeds=1)
    study([dataclasses.replace(variants[1], config=BASE.changed(n_class_tokens=2))], tasks, out, seeds=1)
    assert len(read_log(out / LOG)) == 4


def test_a_teacher_that_is_there_is_measured_once_and_scores_as_the_run_that_made_it(tmp_path, tasks, one):
    there, made = one
    (folder,) = (there / "runs").iterdir()
    (tmp_path / "variants.toml").write_text(f'[there]\nmodel = "{folder}"\n[preset]\n')
    found = study(read_variants(tmp_path / "variants.toml", BASE), tasks[:1], tmp_path / "other")
    assert [(run["variant"], run["seed"]) for run in found] == [("there", 0), ("preset", 0), ("preset", 1)]
    assert found[0]["scores"] == made["scores"]
    assert found[0]["model"] == load_model(str(folder)).sha256
    assert {name: found[0][name] for name in ("steps", "n_bases", "config")} == {
        name: made[name] for name in ("steps", "n_bases", "config")
    }


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('[a]\nmodel = "findna-small"\nalpha = 1.0', ConfigError, r"\[a\]: model is a name or folder"),
        ("[a]\npool = 3", ConfigError, r"\[a\]: pool must be texts in quotes"),
        ('[a]\npool = "mode"', ConfigError, r"\[a\]: .*mode"),
        ("[a]\nmodel = 3", ConfigError, r"\[a\]: model is a name or folder"),
        ('[a]\nmodel = "no-such-model"', ConfigError, "no-such-model"),
        ("[a]\nread = 1", ConfigError, r"\[a\]: read must be teacher or student, not 1"),
        ('[a]\nalpha = 1.0\nread = "student"', ConfigError, r"\[a\]: has no student"),
        ("[a]\nalhpa = 1", ConfigError, r"variants.toml, \[a\]: unknown settings alhpa"),
        ("[a]\nalpha = 2.0", ConfigError, r"\[a\]: alpha must lie in 0 to 1, not 2"),
        ('[a]\nalpha = "x"', ConfigError, r"\[a\]: "),
        ("[a]\nseed = 3", ConfigError, r"\[a\]: seed is the same for all variants"),
        ("[untrained]\nalpha = 1.0", ConfigError, r"\[untrained\]: .* it has no settings"),
        ('["a/b"]\nalpha = 1.0', ConfigError, r"\[a/b\]: a name must not"),
        ('[".."]\nalpha = 1.0', ConfigError, r"\[\.\.\]: a name must not"),
        ("[a-0.5]\nalpha = 1.0", ConfigError, r"\[a-0\]: holds a table; put a name with a dot in quotes"),
        ("alpha = 1.0", TableError, "must have only tables"),
        ("", TableError, "must have only tables"),
        ("[a", TableError, "is not valid TOML"),
    ],
)
def test_faults_of_a_file_of_variants_are_named(tmp_path, text, error, message):
    (tmp_path / "variants.toml").write_text(text)
    with pytest.raises(error, match=message):
        read_variants(tmp_path / "variants.toml", BASE)


def test_blocks_that_a_variant_lacks_are_told_before_anything_is_trained(tmp_path, variants, tasks):
    with pytest.raises(ConfigError, match=r"variant t: blocks 3,5: the network has"):
        study(variants, tasks, tmp_path / "study", seeds=1, read_out=ReadOut(blocks="3,5"))
    assert not (tmp_path / "study").exists()


def test_a_table_says_what_was_read(tmp_path, variants, tasks):
    (plain,) = study(variants[1:2], tasks[:1], tmp_path / "study", seeds=1)
    (deep,) = study(variants[1:2], tasks[:1], tmp_path / "study", seeds=1, read_out=ReadOut("mean,sd", "3,6", "bed"))
    assert "(pool mean, strand both)" in study_table([plain])
    assert "(pool mean,sd, blocks 3,6, strand bed)" in study_table([deep])


def test_a_file_that_is_no_log_is_refused(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        read_variants(tmp_path / "none.toml", BASE)
    for text in ("{", json.dumps({"schema": "x"})):
        (tmp_path / LOG).write_text(text)
        with pytest.raises(TableError, match="is not a valid log of a study"):
            read_log(tmp_path / LOG)


def entry(variant, seed, score, **figures):
    return {"variant": variant, "seed": seed, "changes": {"alpha": 1.0} if variant != "a" else {}, "score": score,
            "scores": {"tf/0": score}, "pool": "mean", "strand": "both", "command": "findna x", **figures}  # fmt: skip


RUNS = [
    entry("a", 0, 0.70, seconds=10, n_bases=1_000_000, valid_accuracy=0.3, effective_rank=20.0),
    entry("b", 0, 0.72),
    entry("c", 0, 0.80),
    entry("a", 1, 0.72, seconds=20, n_bases=1_000_000, valid_accuracy=0.4, effective_rank=30.0),
    entry("b", 1, 0.74),
]


def test_differences_are_held_against_the_deviation_between_seeds():
    comparisons, sd = compare(RUNS)
    assert sd == pytest.approx(math.sqrt(0.0004 / 2))  # two variants with two seeds: 0.01 to either side of each mean
    a, b, c = comparisons
    assert (a.score, b.difference, c.difference) == pytest.approx((0.71, 0.02, 0.09))
    assert b.error == pytest.approx(sd)
    assert c.error == pytest.approx(sd * math.sqrt(1.5))
    assert [one.is_beyond_noise for one in comparisons] == [False, False, True]


def test_one_seed_a_variant_says_nothing_of_the_noise():
    comparisons, sd = compare(RUNS[:3])
    assert math.isnan(sd)
    assert not any(one.is_beyond_noise for one in comparisons)
    assert "the noise is not known" in study_table(RUNS[:3])


def test_the_table_names_what_changed_and_stars_what_is_beyond_the_noise():
    lines = study_table(RUNS).splitlines()
    assert lines[2] == "| a |  | 2 | 0.7100 |  | 0.7100 | 0.3500 | 25.0 |  | 15 | 1.00 |"
    assert lines[3] == "| b | alpha 1.0 | 2 | 0.7300 | +0.0200 | 0.7300 |  |  |  |  |  |"
    assert lines[4] == "| c | alpha 1.0 | 1 | 0.8000 | +0.0900 * | 0.8000 |  |  |  |  |  |"
    assert lines.count("    findna x") == 1


def test_a_stream_in_bf16_is_refused_for_a_transformer_before_anything_is_trained(tmp_path, variants, tasks):
    with pytest.raises(ConfigError, match=r"variant t: .*precision=bf16"):
        study(variants, tasks, tmp_path / "study", precision=BF16_STREAM)
    assert not (tmp_path / "study" / "runs").exists()


def test_a_run_of_an_earlier_version_is_found_again(tmp_path, variants, tasks):
    study(variants[:1], tasks, tmp_path / "study", seeds=1)
    (folder,) = (tmp_path / "study" / "runs").iterdir()
    assert folder.name == "preset.seed0.dcf6f3d0"
