"""Fine-tuning: learned, repeated and resumed bit for bit, stopped early, calibrated, measured as it was stored."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet
from findna.data.windows import cut, is_joined, join
from findna.encode import embed_windows
from findna.errors import ConfigError, InputError, ModelError, OutputError, TrainingError
from findna.models.store import Model
from findna.models.task import load_task, probabilities
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.nn.heads import Head
from findna.recipes import FinetuneConfig
from findna.sequence import reverse_complement
from findna.sizes import ModelConfig
from findna.train.card import kept_line
from findna.train.checkpoint import load_checkpoint
from findna.train.finetune import evaluate_task, finetune
from findna.train.log import read_log
from findna.train.objectives import (
    figures_of,
    fit_temperature,
    fit_temperatures,
    loss_of,
    mean_loss,
    quality,
    ranking,
)
from findna.train.probe import PENALTIES, fit_probe
from findna.train.start import settings_of
from findna.train.tuner import Tuner

pytestmark = pytest.mark.usefixtures("undrawn")

MODEL = ModelConfig(channels=12, hidden=16, track_width=2, n_layers=1, max_len=64, n_class_tokens=2)
CONFIG = FinetuneConfig(
    pool="mean",
    epochs=3,
    batch_size=8,
    learning_rate=1e-2,
    dropout=0.2,
    mixer_dropout=0.1,
    warmup=0.2,
    strand="bed",
)
CPU = torch.device("cpu")
TIMES = ("seconds", "bases_per_second")


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    network = initialise(ChordMixer(MODEL), 4)
    with torch.no_grad():  # as a stored teacher has them
        for parameter in network.parameters():
            parameter.copy_(parameter.bfloat16())
    return Model("t", tmp_path_factory.mktemp("teacher"), network.requires_grad_(False).eval(), "0" * 64, {})


def labelled(n, *, seed, objective="classification", lengths=(20, 90), n_classes=2):
    """Sequences whose composition tells their label."""
    rng = np.random.default_rng(seed)
    ys = rng.integers(0, n_classes, n)
    at = np.linspace(0.1, 0.9, n_classes)[ys]
    codes = [
        rng.choice(4, size=int(rng.integers(*lengths)), p=[a / 2, (1 - a) / 2, (1 - a) / 2, a / 2]).astype(np.uint8)
        for a in at
    ]
    classes = tuple(f"c{k}" for k in range(n_classes))
    labels = ys
    if objective == "multilabel":
        labels = np.stack([at > 0.4, at > 0.6], axis=1).astype(np.float32)
        classes = ("rich", "very")
    elif objective == "regression":
        labels, classes = (100 + 50 * at).astype(np.float32), ()
    ids = tuple(str(i) for i in range(n))
    return LabelledSet(corpus_of(codes), labels, classes, objective, ids, np.arange(n), {"made": "0"})


TRAIN, VALID, TEST = labelled(60, seed=1), labelled(30, seed=2), labelled(30, seed=3)


def run(out, teacher, config=CONFIG, *, train=TRAIN, valid=VALID, **kwargs):
    kwargs = {"name": "t", "compute": Compute(CPU, FP32)} | kwargs
    return finetune(config, train, valid, out, teacher=teacher, **kwargs)


def stop_at(*counts):
    asked = iter(range(1, 10**9))
    return lambda: next(asked) in counts


def state_of(out):
    log = [{k: v for k, v in row.items() if k not in TIMES} for row in read_log(out / "log.csv")]
    files = {name: (out / name).read_bytes() for name in ("model.safetensors", "head.safetensors", "metrics.json")}
    return json.dumps(log), files


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        dataclasses.replace(CONFIG, frozen=True),
        dataclasses.replace(CONFIG, frozen=True, head="mlp", hidden=8),
        dataclasses.replace(CONFIG, pool="mean,cls,max", head="mlp", hidden=8, reverse_complement=0.5),
        dataclasses.replace(CONFIG, pool="mean,sd", blocks="0,2,5"),
        dataclasses.replace(CONFIG, class_tokens=False, window=16, class_weights="balanced"),
    ],
    ids=["whole", "probe", "frozen-mlp", "mlp", "blocks", "windows"],
)
def test_what_can_be_learned_is_learned_and_figures_are_those_of_what_is_stored(tmp_path, teacher, config):
    outcome = run(tmp_path / "run", teacher, dataclasses.replace(config, epochs=5, patience=0), test=TEST)
    assert outcome.finished
    assert outcome.metrics["valid"]["accuracy"] > 0.85
    assert outcome.metrics["test"]["accuracy"] > 0.85
    task = load_task(tmp_path / "run")
    assert task.metrics == json.loads(json.dumps(outcome.metrics))
    for split, name in ((VALID, "valid"), (TEST, "test")):
        scores = evaluate_task(task, split, compute=Compute(CPU, FP32))
        windows = cut(split.corpus.lengths, window=task.settings.window, stride=task.settings.stride)
        joined = is_joined(windows, len(split))
        assert figures_of(scores, split.labels, joined, task.settings) == outcome.metrics[name]


def test_the_card_names_the_settings_that_were_used_and_no_others(tmp_path, teacher):
    for name, settings in {"whole": {}, "probe": {"frozen": True}}.items():
        run(tmp_path / name, teacher, dataclasses.replace(CONFIG, window=16, **settings))
    whole, probe = ((tmp_path / name / "CARD.md").read_text() for name in ("whole", "probe"))
    assert "| learning rate |" in whole
    assert "| best epoch |" in whole
    assert "| learning rate |" not in probe
    assert "| penalty |" in probe
    assert "| window | 16 |" in probe


@pytest.mark.parametrize("objective", ["multilabel", "regression"])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_other_objectives_learn_too(tmp_path, teacher, objective, is_frozen):
    train, valid = (labelled(80, seed=s, objective=objective, n_classes=3) for s in (1, 2))
    config = dataclasses.replace(CONFIG, frozen=is_frozen, epochs=6, patience=0)
    outcome = run(tmp_path / "run", teacher, config, train=train, valid=valid)
    task = load_task(tmp_path / "run")
    answers = probabilities(evaluate_task(task, valid, compute=Compute(CPU, FP32)), task.settings, False)
    if objective == "regression":
        assert np.corrcoef(answers[:, 0], valid.labels)[0, 1] > 0.8
        assert 90 < answers.mean() < 160  # in the unit of the labels
        assert outcome.metrics["valid"]["loss"] < 0.4 * valid.labels.var()
    else:
        assert ((answers > 0.5) == (valid.labels > 0.5)).mean() > 0.85
        assert outcome.metrics["valid"]["accuracy"] == pytest.approx(((answers > 0.5) == (valid.labels > 0.5)).mean())


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_runs_are_alike_to_the_last_bit_stopped_or_not_and_another_seed_is_not(tmp_path, teacher, head, is_frozen):
    """A stop while it embeds, within an epoch, at its end, in the next one, and after the last update."""
    config = dataclasses.replace(CONFIG, head=head, hidden=8, frozen=is_frozen, reverse_complement=0.3)
    run(tmp_path / "whole", teacher, config)
    is_trained = not (is_frozen and head == "linear")  # which has no update, and no draw in it
    per_epoch = Tuner(config, teacher.network, train=TRAIN, valid=VALID, compute=Compute(CPU, FP32)).steps_per_epoch
    steps = (0, 1, per_epoch, per_epoch + 1, 3 * per_epoch) if is_trained else (0,)
    for number, (before, step) in enumerate(zip((0, *steps), steps, strict=False)):
        asked = 3 if step and (number == 1 or is_frozen) else 1 - bool(step)  # batches of vectors, asked for as well
        outcome = run(
            tmp_path / "parts", teacher, config, resume=number > 0, should_stop=stop_at(step - before + asked)
        )
        assert outcome.step == step
        assert not outcome.finished
        with pytest.raises(ModelError, match="its training is not finished"):
            load_task(tmp_path / "parts")
    assert run(tmp_path / "parts", teacher, config, resume=True).finished
    assert state_of(tmp_path / "parts") == state_of(tmp_path / "whole")
    if is_trained:
        run(tmp_path / "other", teacher, dataclasses.replace(config, seed=1))
        assert state_of(tmp_path / "other") != state_of(tmp_path / "whole")


def test_another_run_is_not_resumed(tmp_path, teacher):
    run(tmp_path / "run", teacher, should_stop=stop_at(3))
    renamed = {
        name: dataclasses.replace(split, classes=("yes", "no")) for name, split in (("train", TRAIN), ("valid", VALID))
    }
    for change in ({"config": dataclasses.replace(CONFIG, seed=3)}, {"train": labelled(60, seed=9)}, renamed):
        with pytest.raises(TrainingError, match=r"holds another run \("):
            run(tmp_path / "run", teacher, resume=True, **change)
    (tmp_path / "run/finetune.json").write_text("5")
    with pytest.raises(TrainingError, match=r"nothing to resume: finetune\.json cannot be read"):
        run(tmp_path / "run", teacher, resume=True)
    with pytest.raises(TrainingError, match=r"nothing to resume: no finetune\.json"):
        run(tmp_path / "other", teacher, resume=True)
    with pytest.raises(OutputError, match="holds a run already; resume=True continues it"):
        run(tmp_path / "run", teacher)


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(tmp_path, teacher):
    run(tmp_path / "run", teacher, dataclasses.replace(CONFIG, select="loss", head_rate=1.0), should_stop=stop_at(3))
    path = tmp_path / "run" / "finetune.json"
    stored = json.loads(path.read_text())
    for name in ("blocks", "select", "strand", "head_rate", "layer_decay"):
        del stored["config"][name]
    path.write_text(json.dumps(stored))
    assert run(
        tmp_path / "run", teacher, dataclasses.replace(CONFIG, select="loss", head_rate=1.0), resume=True
    ).finished


@pytest.mark.parametrize("select", ["loss", "auroc"])
def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path, teacher, select):
    config = dataclasses.replace(CONFIG, learning_rate=0.3, epochs=30, patience=2, warmup=0.0, dropout=0.0)
    config = dataclasses.replace(config, select=select)
    run(tmp_path / "run", teacher, config)
    rows = [row for row in read_log(tmp_path / "run" / "log.csv") if not math.isnan(row["valid_loss"])]
    best = max(rows, key=lambda row: quality(row, select))
    training = load_task(tmp_path / "run").training["summary"]
    assert [row["epoch"] for row in rows] == list(range(len(rows)))  # 0 is the probe, before the first update
    assert training["best_epoch"] == best["epoch"]
    assert training["best_valid_loss"] == pytest.approx(best["valid_loss"], rel=1e-5)
    assert training["best_valid_auroc"] == pytest.approx(best["valid_auroc"], rel=1e-5)
    assert training["stopped_early"] == (len(rows) < 31)
    line = kept_line(tmp_path / "run")
    figure = "highest validation AUROC" if select == "auroc" else "lowest validation loss"
    assert line.startswith(f"kept epoch {best['epoch']} of 30: it has the {figure}; ")
    assert line.endswith(" after the calibration of probabilities")
    assert ("; stopped early, after 2 epochs without a better one; " in line) == (len(rows) < 31)
    if len(rows) < 31:
        assert len(rows) == training["best_epoch"] + 3
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    stored = load_task(tmp_path / "run")
    assert torch.equal(stored.head.out.weight, tensors["best.head.out.weight"])
    assert torch.equal(stored.network.stem.weight, tensors["best.network.stem.weight"].bfloat16().float())


def test_a_run_that_only_gets_worse_ends_as_the_probe_that_it_began_as(tmp_path, teacher):
    config = dataclasses.replace(CONFIG, warmup=0.0, warmup_steps=0, dropout=0.0, patience=3, select="loss")
    wrong = dataclasses.replace(VALID, labels=1 - VALID.labels)
    outcome = run(tmp_path / "run", teacher, config, valid=wrong)
    first, *rest = (row for row in read_log(tmp_path / "run" / "log.csv") if not math.isnan(row["valid_loss"]))
    assert (first["step"], first["epoch"], len(rest)) == (0, 0, 3)
    assert first["valid_loss"] < min(row["valid_loss"] for row in rest)
    task = load_task(tmp_path / "run")
    assert task.training["summary"]["best_epoch"] == 0
    assert not task.training["summary"]["stopped_early"]  # the patience ends with the last epoch
    assert kept_line(tmp_path / "run").startswith("kept epoch 0 (the frozen probe): it has the lowest validation loss")
    assert "stopped early" not in kept_line(tmp_path / "run")
    assert outcome.metrics["valid"]["uncalibrated_loss"] == pytest.approx(first["valid_loss"], rel=1e-4)
    assert all(
        torch.equal(value, task.network.state_dict()[name]) for name, value in teacher.network.state_dict().items()
    )
    assert "| best epoch | 0 (the frozen probe) |" in (tmp_path / "run" / "CARD.md").read_text()


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, strand="both", reverse_complement=0.5)])
def test_a_fine_tuning_begins_as_the_frozen_probe_and_does_not_end_below_it(tmp_path, teacher, config):
    run(tmp_path / "probe", teacher, dataclasses.replace(config, frozen=True))
    run(tmp_path / "whole", teacher, config)
    first = next(iter(read_log(tmp_path / "whole" / "log.csv")))
    probe, whole = (load_task(tmp_path / name).training["summary"] for name in ("probe", "whole"))
    assert (first["step"], first["valid_auroc"]) == (0, pytest.approx(probe["best_valid_auroc"], rel=1e-4))
    assert first["valid_loss"] == pytest.approx(probe["best_valid_loss"], rel=1e-4)
    assert whole["best_valid_auroc"] >= first["valid_auroc"] - 1e-6


@pytest.mark.parametrize("is_oriented", [True, False])
def test_the_strand_is_that_whose_probe_is_better_on_the_validation_split(tmp_path, teacher, is_oriented):
    def of(n, seed):
        """Poly-A against its reverse complement, or sequences of another composition on both strands."""
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        rows = [rng.choice(4, 40, p=[0.4, 0.25, 0.25, 0.1]).astype(np.uint8) for _ in labels]
        if is_oriented:
            rows = [reverse_complement(row) if label else row for row, label in zip(rows, labels, strict=True)]
        return dataclasses.replace(labelled(n, seed=seed, lengths=(40, 41)), corpus=corpus_of(rows), labels=labels)

    sets = {"train": of(40, 1), "valid": of(30, 2)} if is_oriented else {}
    run(tmp_path / "run", teacher, dataclasses.replace(CONFIG, strand="auto", epochs=1), **sets)
    task, summary = load_task(tmp_path / "run"), load_task(tmp_path / "run").training["summary"]
    assert task.settings.strand == summary["strand"]
    found = {}
    for strand in ("bed", "both"):
        probe = dataclasses.replace(CONFIG, strand=strand, frozen=True)
        run(tmp_path / strand, teacher, probe, **sets)
        best = load_task(tmp_path / strand).training["summary"]
        found[strand] = best["best_valid_auroc"], -best["best_valid_loss"]
    assert summary["strand"] == max(found, key=found.__getitem__)
    if is_oriented:
        assert summary["strand"] == "bed"  # the mean of both strands knows nothing of it


def test_a_task_of_both_strands_answers_with_their_mean(tmp_path, teacher):
    run(tmp_path / "run", teacher, dataclasses.replace(CONFIG, strand="both", window=40, epochs=1))
    task = load_task(tmp_path / "run")
    turned = dataclasses.replace(TEST, corpus=corpus_of(reverse_complement(TEST.corpus[i]) for i in range(len(TEST))))

    def scores(settings, labelled):
        return evaluate_task(dataclasses.replace(task, settings=settings), labelled, compute=Compute(CPU, FP32))

    one = dataclasses.replace(task.settings, strand="bed")
    plus, both = scores(one, TEST), scores(task.settings, TEST)
    assert task.settings.strand == "both"
    assert not np.allclose(plus, both, atol=1e-4)
    single = np.diff(TEST.corpus.offsets) <= 40  # of one window, whose bases own the same on both strands
    assert single.any()
    np.testing.assert_allclose(both[single], (plus + scores(one, turned))[single] / 2, atol=1e-5)


def test_rates_of_head_and_blocks_are_shares_of_that_of_the_last_block(teacher):
    config = dataclasses.replace(CONFIG, head_rate=3.0, layer_decay=0.5, learning_rate=0.0)
    tuner = Tuner(config, teacher.network, train=TRAIN, valid=VALID, compute=Compute(CPU, FP32))
    tuner.update(next(iter(tuner.batches(0, 1))), step=0, rate=1e-3)
    rates = dict(zip(tuner.parameters, (group["lr"] for group in tuner.optimizer.param_groups), strict=True))
    depth = len(teacher.network.blocks)
    assert rates["head.out.weight"] == pytest.approx(3e-3)
    assert rates[f"network.blocks.{depth - 1}.fc1.weight"] == pytest.approx(1e-3)
    assert rates["network.blocks.0.fc2.bias"] == pytest.approx(1e-3 * 0.5 ** (depth - 1))
    assert rates["network.stem.weight"] == pytest.approx(1e-3 * 0.5**depth)
    assert tuner.peak_rate == config.rate_for(teacher.network.config.channels)
    assert config.rate_for(44) > config.rate_for(308) > 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_auroc_of_the_selection_is_scikit_learn_s(n_classes):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, n_classes, 90), rng.integers(0, 9, (90, n_classes)).astype(float)  # with ties
    columns = scores if n_classes > 2 else np.stack([scores[:, 0] - scores[:, 1], scores[:, 1] - scores[:, 0]], 1)
    expected = np.mean([metrics.roc_auc_score(labels == k, columns[:, k]) for k in range(n_classes)])
    assert ranking(scores, labels, "classification") == pytest.approx(expected, abs=1e-12)
    presence = np.eye(n_classes)[labels]
    presence[:, 0] = 1  # a label that all have says nothing
    expected = np.mean([metrics.roc_auc_score(presence[:, k], scores[:, k]) for k in range(1, n_classes)])
    assert ranking(scores, presence, "multilabel") == pytest.approx(expected, abs=1e-12)
    assert math.isnan(ranking(scores, labels * 0.5, "regression"))
    assert math.isnan(ranking(scores, np.zeros(90, dtype=np.int64), "classification"))


def test_the_probe_is_logged_once_and_kept_over_a_resume(tmp_path, teacher):
    config = dataclasses.replace(CONFIG, learning_rate=0.3, warmup=0.0, warmup_steps=0)
    run(tmp_path / "whole", teacher, config)
    for stop in (2, 9):  # the embedding of the one batch is asked about first
        assert not run(tmp_path / "parts", teacher, config, resume=stop == 9, should_stop=stop_at(stop)).finished
    assert run(tmp_path / "parts", teacher, config, resume=True).finished
    assert state_of(tmp_path / "parts") == state_of(tmp_path / "whole")
    (tmp_path / "again").mkdir()
    for name in ("finetune.json", "log.csv"):  # as a kill before the first checkpoint leaves them
        (tmp_path / "again" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    assert run(tmp_path / "again", teacher, config, resume=True).finished
    assert state_of(tmp_path / "again") == state_of(tmp_path / "whole")


def test_the_rate_rises_over_some_steps_however_short_the_run(tmp_path, teacher):
    run(tmp_path / "run", teacher, dataclasses.replace(CONFIG, warmup=0.1, warmup_steps=16, learning_rate=1.6e-3))
    rates = [row["learning_rate"] for row in read_log(tmp_path / "run" / "log.csv") if row["step"]]
    assert len(rates) > 30
    assert rates[:16] == pytest.approx([1e-4 * (step + 0.5) for step in range(16)], rel=1e-4)
    assert rates[16:] == sorted(rates[16:], reverse=True)


def test_weights_of_a_frozen_encoder_stay_and_others_move(tmp_path, teacher):
    run(tmp_path / "frozen", teacher, dataclasses.replace(CONFIG, frozen=True))
    run(tmp_path / "whole", teacher)
    mine = teacher.network.state_dict()
    frozen, whole = (load_task(tmp_path / name).network.state_dict() for name in ("frozen", "whole"))
    assert all(torch.equal(frozen[name], value) for name, value in mine.items())
    assert not torch.equal(whole["blocks.0.fc1.weight"], mine["blocks.0.fc1.weight"])
    assert torch.equal(whole["head.weight"], mine["head.weight"])  # nothing of the task passes through it


def test_longer_rings_see_a_sequence_in_one_piece(tmp_path, teacher):
    long = [labelled(24, seed=s, lengths=(100, 150)) for s in (1, 2)]
    config = dataclasses.replace(CONFIG, extend=150, epochs=1)
    run(tmp_path / "run", teacher, config, train=long[0], valid=long[1])
    task = load_task(tmp_path / "run")
    assert (task.settings.window, task.network.config.extended_len, task.network.config.n_added) == (
        149,
        152,
        2,
    )  # the longest training sequence
    assert not is_joined(cut(long[0].corpus.lengths, window=150, stride=150), 24).any()
    with pytest.raises(ConfigError, match="window=100: the teacher's rings hold 62 bases; extend=100"):
        settings_of(dataclasses.replace(CONFIG, window=100), MODEL, TRAIN)


def test_splits_must_go_together(tmp_path, teacher):
    with pytest.raises(InputError, match="the valid split has other classes"):
        run(tmp_path / "run", teacher, valid=labelled(9, seed=1, n_classes=3))
    with pytest.raises(InputError, match="the test split has no sequence"):
        run(tmp_path / "run", teacher, test=TEST.take([]))
    values = labelled(9, seed=1, objective="regression")
    with pytest.raises(ConfigError, match="a regression has no classes"):
        run(
            tmp_path / "run", teacher, dataclasses.replace(CONFIG, class_weights="balanced"), train=values, valid=values
        )
    assert not (tmp_path / "run").exists()


def test_what_is_not_finite_is_no_traceback(tmp_path, teacher):
    broken = dataclasses.replace(teacher, network=initialise(ChordMixer(MODEL), 4).requires_grad_(False))
    with torch.no_grad():
        broken.network.stem.weight.fill_(math.inf)
    with pytest.raises(TrainingError, match="the teacher's vectors are not finite"):
        run(tmp_path / "run", broken)
    tuner = Tuner(CONFIG, teacher.network, train=TRAIN, valid=VALID, compute=Compute(CPU, FP32))
    before = {name: parameter.clone() for name, parameter in tuner.parameters.items()}
    tuner.head.center.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"diverged: the loss is nan .*lower learning_rate"):
        tuner.update(next(iter(tuner.batches(0, 1))), step=0, rate=1.0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in tuner.parameters.items())
    with pytest.raises(TrainingError, match="diverged: the validation loss is nan"):
        tuner.validate()


def test_too_little_memory_says_what_to_lower(tmp_path, teacher, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("findna.train.tuner.Tuner.update", fail)
    with pytest.raises(TrainingError, match=r"^out of memory on cpu; lower batch_size \(8\)$"):
        run(tmp_path / "run", teacher)


def test_a_large_batch_in_parts_has_the_gradient_of_the_whole(teacher, monkeypatch):
    config = dataclasses.replace(CONFIG, dropout=0.0, mixer_dropout=0.0, batch_size=60, window=40)
    gradients = []
    for limit in (10**9, 100):
        monkeypatch.setattr("findna.train.tuner.MICRO_BASES", {"cpu": limit})
        tuner = Tuner(config, teacher.network, train=TRAIN, valid=VALID, compute=Compute(CPU, FP32))
        batch = next(iter(tuner.batches(0, 1)))
        assert (len(batch.parts) == 1) == (limit > 100)
        torch.manual_seed(0)
        torch.nn.init.normal_(tuner.head.out.weight)
        figures = tuner.update(batch, step=0, rate=0.0)
        gradients.append((figures["loss"], {name: p.grad.clone() for name, p in tuner.parameters.items()}))
    (loss, whole), (loss_of_parts, parts) = gradients
    assert loss == pytest.approx(loss_of_parts, rel=1e-5)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], rtol=1e-3, atol=1e-6), name


def test_a_window_counts_by_the_bases_that_it_owns(teacher):
    config = dataclasses.replace(CONFIG, dropout=0.0, mixer_dropout=0.0, batch_size=60, window=40)
    tuner = Tuner(config, teacher.network, train=TRAIN, valid=VALID, compute=Compute(CPU, FP32))
    torch.nn.init.normal_(tuner.head.out.weight)
    batch = next(iter(tuner.batches(0, 1)))
    loss = tuner.update(batch, step=0, rate=0.0)["loss"]
    windows, settings = cut(TRAIN.corpus.lengths, window=40, stride=40), settings_of(config, MODEL, TRAIN)
    encoder = teacher.network.for_inference(Compute(CPU, FP32))
    features = embed_windows(encoder, TRAIN.corpus, windows, settings=settings, compute=Compute(CPU, FP32))
    targets = torch.from_numpy(TRAIN.labels[windows.sequence])
    with torch.no_grad():
        losses = loss_of(tuner.head.eval()(features), targets, "classification").numpy()[batch.indices]
    assert loss == pytest.approx(np.average(losses, weights=windows.share[batch.indices]), rel=1e-4)
    assert abs(losses.mean() - loss) > 1e-3


def test_the_other_strand_s_windows_own_the_same_bases(teacher):
    config = dataclasses.replace(CONFIG, window=40, pool="mean")
    turned = dataclasses.replace(TRAIN, corpus=corpus_of(reverse_complement(TRAIN.corpus[i]) for i in range(60)))
    settings = settings_of(config, MODEL, TRAIN)
    encoder = teacher.network.for_inference(Compute(CPU, FP32))
    windows = cut(TRAIN.corpus.lengths, window=40, stride=40)
    found = embed_windows(encoder, TRAIN.corpus, windows, settings=settings, compute=Compute(CPU, FP32), is_turned=True)
    assert join(np.ones((windows.n, 1)), windows, 60)[:, 0] == pytest.approx(np.ones(60))
    whole = np.flatnonzero(~is_joined(windows, 60))  # in one window, turning is reverse complementing
    assert len(whole) > 10
    rows = np.flatnonzero(np.isin(windows.sequence, whole))
    there = embed_windows(encoder, turned.corpus, windows, settings=settings, compute=Compute(CPU, FP32))
    assert torch.allclose(found[rows], there[rows], atol=1e-5)


def test_a_probe_comes_to_where_scikit_learn_s_logistic_regression_does():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 3
    y = (x @ rng.normal(size=6) + rng.normal(size=400) * 2 > 3).astype(np.int64)
    features = torch.from_numpy(x.astype(np.float32))
    for penalty in (1e-1, 1e-3, 1e-5):
        head = Head(6, 2)
        head.standardise(features)
        fit_probe(
            head,
            features,
            torch.from_numpy(y),
            weights=torch.ones(400),
            objective="classification",
            measure=lambda head: {"valid_loss": 0.0, "valid_auroc": math.nan},
            penalties=(penalty,),
        )
        z = (x - head.center.numpy()) / head.scale.numpy()
        # Two outputs with weights w / 2 and -w / 2 have half the squares of one with w.
        model = linear_model.LogisticRegression(C=2 / (penalty * 400), tol=1e-8, max_iter=10_000).fit(z, y)
        with torch.no_grad():
            found = torch.softmax(head(features), 1)[:, 1].numpy()
        assert found == pytest.approx(model.predict_proba(z)[:, 1], abs=2e-3)


def test_the_penalty_is_the_one_that_validation_likes_best():
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(size=(40, 30)).astype(np.float32)), torch.from_numpy(rng.integers(0, 2, 40))
    head = Head(30, 2)
    valid_x, valid_y = (
        torch.from_numpy(rng.normal(size=(40, 30)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 2, 40)),
    )

    @torch.no_grad()
    def measure(head):
        return {"valid_loss": float(loss_of(head(valid_x), valid_y, "classification").mean()), "valid_auroc": math.nan}

    fits = fit_probe(head, x, y, weights=torch.ones(40), objective="classification", measure=measure)
    assert measure(head)["valid_loss"] == min(fit.valid_loss for fit in fits)
    assert fits[0].valid_loss < fits[-1].valid_loss  # labels are noise: the strongest penalty is best
    assert [fit.loss for fit in fits] == sorted((fit.loss for fit in fits), reverse=True)


def test_of_penalties_that_validation_likes_alike_the_strongest_is_kept():
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(size=(40, 30)).astype(np.float32)), torch.from_numpy(rng.integers(0, 2, 40))
    weights = []
    for penalties in (PENALTIES, PENALTIES[:1]):
        head = Head(30, 2)
        fit_probe(
            head,
            x,
            y,
            weights=torch.ones(40),
            objective="classification",
            measure=lambda head: {"valid_loss": 0.5, "valid_auroc": 0.5},
            penalties=penalties,
        )
        weights.append(head.out.weight)
    assert torch.equal(*weights)


def test_a_temperature_undoes_the_one_that_was_put_in():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in p], dtype=np.int64)
    assert fit_temperature(logits * 3, labels, "classification") == pytest.approx(3, rel=0.1)
    several = (rng.random((4000, 2)) < 1 / (1 + np.exp(-logits[:, :2]))).astype(np.float32)
    assert fit_temperature(logits[:, :2] / 4, several, "multilabel") == pytest.approx(0.25, rel=0.1)
    sure = np.where(np.arange(20)[:, None] % 2 == np.arange(2), 5.0, -5.0)
    assert 0.5 < fit_temperature(sure, np.arange(20) % 2, "classification") < 10  # no wrong answer, yet some doubt


@pytest.mark.parametrize("objective", ["classification", "multilabel"])
def test_a_temperature_never_worsens_the_rows_it_was_fitted_on(objective):
    is_joined = np.arange(40) >= 15  # too few of one window for a temperature of their own
    n_kept = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        signs = rng.choice([-1.0, 1.0], size=(40, 2)) * [1.0, 1.0]
        scores = signs * rng.uniform(3, 12, size=(40, 2)) * (0.5 + is_joined[:, None])
        labels = (signs > 0).astype(np.float32) if objective == "multilabel" else scores.argmax(1)
        if seed % 2:
            labels[:2] = 1 - labels[:2]
        one, joined = fit_temperatures(scores, labels, is_joined, objective)
        assert joined is None
        assert mean_loss(scores / one, labels, objective) <= mean_loss(scores, labels, objective)
        alone = fit_temperature(scores, labels, objective)
        assert mean_loss(scores / alone, labels, objective) <= mean_loss(scores, labels, objective)
        n_kept += alone == 1.0
    assert 0 < n_kept < 40


def test_a_temperature_at_its_bound_is_said_in_the_card(tmp_path, teacher):
    noise = labelled(60, seed=5, objective="multilabel", n_classes=3)
    wrong = dataclasses.replace(noise, labels=1 - noise.labels)
    config = dataclasses.replace(CONFIG, frozen=True)
    run(tmp_path / "run", teacher, config, train=noise, valid=wrong)
    assert load_task(tmp_path / "run").settings.temperature == 100
    assert "| temperature | 100 (the bound of its search:" in (tmp_path / "run" / "CARD.md").read_text()


def test_without_scikit_learn_the_figures_say_what_gives_the_rest(tmp_path, teacher, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    outcome = run(tmp_path / "run", teacher, dataclasses.replace(CONFIG, frozen=True))
    figures = outcome.metrics["valid"]
    assert set(figures) == {"n", "loss", "uncalibrated_loss", "accuracy", "note"}
    assert "pip install 'findna[bench]'" in figures["note"]


def test_all_problems_of_a_recipe_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        FinetuneConfig(head="deep", dropout=2.0, epochs=0, patience=-1, class_weights="some")
    for part in (
        "epochs must be positive",
        "dropout must lie in 0 to 1",
        "patience must be 0 or more",
        "head",
        "class_weights",
    ):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="pool must be one or more of"):
        FinetuneConfig(pool="mean,mean")
    with pytest.raises(ConfigError, match="pool cls needs class tokens"):
        FinetuneConfig(pool="cls", class_tokens=False)
    for blocks in ("5,2", "2,2", "-1", "1;2", "a", ","):
        with pytest.raises(ConfigError, match="blocks must be increasing numbers"):
            FinetuneConfig(blocks=blocks)
    with pytest.raises(ConfigError, match="blocks 2,7: the network has 6"):
        settings_of(FinetuneConfig(blocks="2,7"), MODEL, labelled(4, seed=0))


def test_a_task_has_windows_of_a_length_that_it_was_trained_on():
    longest = int(np.diff(TRAIN.corpus.offsets).max())
    assert settings_of(CONFIG, MODEL, TRAIN).window == min(longest, MODEL.window)
    assert settings_of(CONFIG, dataclasses.replace(MODEL, max_len=10 * longest), TRAIN).window == longest
    assert settings_of(dataclasses.replace(CONFIG, window=5), MODEL, TRAIN).stride == 5
