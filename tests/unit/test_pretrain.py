"""A run: resumed bit for bit, budgeted, stopped by NaN and collapse, and learning what can be learned."""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.data.augment import make_views
from findna.data.datasets import corpus_of
from findna.errors import FindnaWarning, InputError, OutputError, TableError, TrainingError
from findna.models.store import load_model, verify_model
from findna.nn.device import BF16, BF16_STREAM, FP32, Compute
from findna.recipes import PretrainConfig
from findna.sizes import ModelConfig
from findna.train.checkpoint import load_checkpoint, save_checkpoint
from findna.train.log import COLUMNS, Log, read_log
from findna.train.loop import Clock
from findna.train.optimizers import effective_rank
from findna.train.pretrain import finished_summary, pretrain
from findna.train.trainer import Trainer
from findna.train.views import portion_of

MODEL = ModelConfig(channels=12, hidden=16, track_width=2, n_layers=1, max_len=64, n_class_tokens=2)  # six blocks
CONFIG = PretrainConfig(
    model=MODEL, steps=12, batch_size=4, reduction="mean", min_length=20, max_indel=3, learning_rate=1e-2, clip=1.0
)
TIMES = ("seconds", "bases_per_second")


@pytest.fixture(autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def random_corpus(n, seed, length=60):
    rng = np.random.default_rng(seed)
    return corpus_of(rng.integers(0, 4, size=length, dtype=np.uint8) for _ in range(n))


TRAIN, HELD_OUT = random_corpus(30, 1), random_corpus(16, 2)


def run(out, config=CONFIG, *, corpus=TRAIN, held_out=HELD_OUT, **kwargs):
    kwargs = {"name": "t", "compute": Compute(torch.device("cpu"), FP32), "sources": {"made": 1}} | kwargs
    return pretrain(config, corpus, held_out, out, **kwargs)


def stop_at(*steps):
    """A should_stop that is asked once a step."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) in steps


def state_of(out):
    tensors, state = load_checkpoint(out / "checkpoints")
    log = [{k: v for k, v in row.items() if k not in TIMES} for row in read_log(out / "log.csv")]
    state.pop("seconds")
    return tensors, state, log, (out / "model.safetensors").read_bytes()


def assert_identical(found, expected):
    assert found[0].keys() == expected[0].keys()
    assert all(torch.equal(found[0][name], expected[0][name]) for name in expected[0])
    assert str(found[1]) == str(expected[1])
    assert str(found[2]) == str(expected[2])  # NaN is not itself
    assert found[3] == expected[3]


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path, alpha):
    config = dataclasses.replace(CONFIG, alpha=alpha)
    whole = run(tmp_path / "whole", config, n_reports=4)
    assert whole.finished
    assert whole.step == 12
    first = run(tmp_path / "parts", config, n_reports=4, should_stop=stop_at(5))
    assert (first.finished, first.step) == (False, 5)
    second = run(tmp_path / "parts", config, n_reports=4, resume=True, should_stop=stop_at(4))
    assert (second.finished, second.step) == (False, 9)
    third = run(tmp_path / "parts", config, n_reports=4, resume=True)
    assert (third.finished, third.step, third.n_bases) == (True, 12, whole.n_bases)
    assert dict(third.last) == dict(whole.last)
    assert_identical(state_of(tmp_path / "parts"), state_of(tmp_path / "whole"))
    names = {name.split(".")[0] for name in state_of(tmp_path / "whole")[0]}
    distilled = {"teacher", "center"} if alpha < 1 else set()
    assert names == {"student", "step", "exp_avg", "exp_avg_sq"} | distilled
    reports = [row["step"] for row in read_log(tmp_path / "whole" / "log.csv") if not math.isnan(row["valid_loss"])]
    assert reports == [1, 3, 6, 9, 12]


def test_a_killed_run_goes_on_from_its_checkpoint_and_its_log_is_cut_back(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", should_stop=stop_at(5))
    log = tmp_path / "parts" / "log.csv"
    rows = log.read_text()
    log.write_text(rows + "6,0,999,1.0\n7,0,99")  # two rows after the checkpoint, the last cut short by the kill
    run(tmp_path / "parts", resume=True)
    assert_identical(state_of(tmp_path / "parts"), state_of(tmp_path / "whole"))


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path):
    run(tmp_path / "whole", checkpoint_seconds=0.0)
    run(tmp_path / "parts", checkpoint_seconds=0.0, should_stop=stop_at(7))
    newest = tmp_path / "parts" / "checkpoints" / "step-000000007.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    steps = []
    run(tmp_path / "parts", resume=True, on_report=lambda report: steps.append(report.done))
    assert steps == [7, 8, 9, 10, 11, 12]
    assert_identical(state_of(tmp_path / "parts"), state_of(tmp_path / "whole"))


def test_only_three_checkpoints_are_kept(tmp_path):
    run(tmp_path / "run", checkpoint_seconds=0.0)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*.json"))
    assert names == ["step-000000010.json", "step-000000011.json", "step-000000012.json"]


def test_a_run_is_a_model_folder_with_the_teacher_in_it(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, momentum=0.5))
    model = load_model(str(tmp_path / "run"))
    assert all(ok for _, ok, _ in verify_model(model))
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert torch.equal(model.network.stem.weight, tensors["teacher.stem.weight"].bfloat16().float())
    assert not torch.equal(tensors["teacher.stem.weight"], tensors["student.stem.weight"])
    assert model.training["summary"]["finished"] is True
    assert PretrainConfig.from_dict(model.training["config"]).model == MODEL
    card = (tmp_path / "run" / "CARD.md").read_text()
    assert "| made | 1 |" in card
    assert "| learning rate | 0.01 |" in card


def test_without_distillation_the_student_is_the_model(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, alpha=1.0))
    rows = read_log(tmp_path / "run" / "log.csv")
    assert all(row["contrastive_loss"] == 0 for row in rows)
    assert all(math.isnan(row["teacher_entropy"]) for row in rows)
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    model = load_model(str(tmp_path / "run"))
    assert torch.equal(model.network.head.weight, tensors["student.head.weight"].bfloat16().float())


@pytest.mark.parametrize(
    "settings",
    [
        {"mixer": "transformer"},
        {"contrast": "features"},
        {"student_augment": "MNR", "teacher_augment": "DIT"},
        {"optimizer": "muon"},
        {"contrast_start": 0.5, "projection": 5},
        {"mask_span": 4.0},
        {"projection": 5},
        {"n_class_tokens": 1, "student_augment": "MNR", "alpha": 1.0, "teacher_augment": ""},
    ],
    ids=str,
)
def test_every_option_trains_resumes_bit_for_bit_and_is_a_model(tmp_path, settings):
    config = dataclasses.replace(CONFIG, steps=6).changed(**settings)
    run(tmp_path / "whole", config)
    run(tmp_path / "parts", config, should_stop=stop_at(2))
    run(tmp_path / "parts", config, resume=True)
    assert_identical(state_of(tmp_path / "parts"), state_of(tmp_path / "whole"))
    run(tmp_path / "plain", dataclasses.replace(CONFIG, steps=6))
    assert state_of(tmp_path / "plain")[2] != state_of(tmp_path / "whole")[2]  # the setting has an effect
    model = load_model(str(tmp_path / "whole"))
    assert model.config == config.model
    assert all(ok for _, ok, _ in verify_model(model))


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", should_stop=stop_at(5))
    path = next((tmp_path / "parts" / "checkpoints").glob("*.json"))
    state = json.loads(path.read_text())
    stored = state["fingerprint"]["config"]
    for name in ("mask_span", "contrast", "student_augment", "teacher_augment", "optimizer", "contrast_start"):
        del stored[name]
    stored["student_view"] = "u"  # what said the same before
    path.write_text(json.dumps(state))
    run(tmp_path / "parts", resume=True)
    assert state_of(tmp_path / "parts")[3] == state_of(tmp_path / "whole")[3]


def test_views_that_were_exchanged_under_another_name_are_exchanged():
    stored = {**dataclasses.asdict(CONFIG), "model": CONFIG.model.to_dict(), "student_view": "v"}
    del stored["student_augment"], stored["teacher_augment"]
    config = PretrainConfig.from_dict(stored)
    assert (config.student_augment, config.teacher_augment) == ("MNR", "DIT")


def test_the_contrast_enters_where_it_is_asked_to_and_the_teacher_follows_before(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, steps=6, contrast_start=0.5))
    contrasts = [row["contrastive_loss"] for row in read_log(tmp_path / "run" / "log.csv")]
    assert contrasts[:3] == [0, 0, 0]
    assert all(value > 0 for value in contrasts[3:])
    trainer = Trainer(CONFIG, compute=Compute(torch.device("cpu"), FP32))
    before = trainer.teacher.stem.weight.clone()
    portion = portion_of(TRAIN, range(3), epoch=0, config=CONFIG)
    trainer.update(portion, rate=1e-2, momentum=0.9, is_contrasted=False)
    assert not torch.equal(trainer.teacher.stem.weight, before)
    assert not trainer.center.any()


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest():
    config = dataclasses.replace(CONFIG, optimizer="muon")
    trainer = Trainer(config, compute=Compute(torch.device("cpu"), FP32))
    with_muon = {name for name, moments in trainer.moments.items() if "momentum_buffer" in moments}
    assert with_muon == {
        name for name, value in trainer.student.named_parameters() if name.startswith("blocks.") and value.ndim == 2
    }
    assert 0 < len(with_muon) < len(trainer.moments)


def test_the_student_of_a_distillation_is_a_model_of_its_own(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, steps=6))
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    student = load_model(str(tmp_path / "run" / "student"))
    assert torch.equal(student.network.stem.weight, tensors["student.stem.weight"].bfloat16().float())
    assert student.sha256 != load_model(str(tmp_path / "run")).sha256


def test_a_run_that_ends_while_its_student_is_written_is_not_finished(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("findna.train.pretrain.STUDENT", "log.csv/student")  # no folder can be made there
        with pytest.raises(OutputError):
            run(tmp_path / "run", dataclasses.replace(CONFIG, steps=6))
    assert finished_summary(tmp_path / "run") is None
    assert run(tmp_path / "run", dataclasses.replace(CONFIG, steps=6), resume=True).finished
    assert (tmp_path / "run" / "student" / "config.json").exists()


def test_a_student_that_sees_v_sees_its_noise_and_the_teacher_none():
    """Two networks alike: with the views swapped each has what the other had, but for the mask."""
    base = dataclasses.replace(CONFIG, max_indel=0, mask_fraction=0.0, alpha=0.0, reverse_probability=0.0)
    sequences = [TRAIN[index] for index in range(3)]
    found = {}
    for view, student, teacher in (("u", "MDIT", "NR"), ("v", "MNR", "DIT")):
        config = dataclasses.replace(base, student_augment=student, teacher_augment=teacher)
        views = make_views(sequences, [np.random.default_rng(i) for i in range(3)], config)
        losses = Trainer(config, compute=Compute(torch.device("cpu"), FP32)).losses(views)
        found[view] = losses.student_tokens, losses.teacher_tokens
    assert torch.allclose(found["u"][0], found["v"][1], atol=1e-6)
    assert torch.allclose(found["u"][1], found["v"][0], atol=1e-6)
    assert not torch.allclose(found["u"][0], found["u"][1], atol=1e-3)


def test_the_contrast_goes_through_the_projection_and_the_model_is_without_it(tmp_path):
    config = dataclasses.replace(CONFIG, projection=5, steps=2)
    trainer = Trainer(config, compute=Compute(torch.device("cpu"), FP32))
    plain = Trainer(CONFIG, compute=Compute(torch.device("cpu"), FP32))
    for name, value in plain.student.state_dict().items():
        assert torch.equal(value, trainer.student.state_dict()[name])  # the encoder begins as it would without
    views = make_views([TRAIN[0], TRAIN[1]], [np.random.default_rng(i) for i in range(2)], config)
    losses, expected = trainer.losses(views), plain.losses(views)
    first, _, second = trainer.student.projection
    inner = torch.nn.functional.gelu(expected.student_tokens @ first.weight.T + first.bias)
    assert losses.student_tokens.shape == (2, 2, 5)
    assert torch.allclose(losses.student_tokens, inner @ second.weight.T + second.bias, atol=1e-6)
    losses.total.backward()
    assert first.weight.grad.abs().max() > 0
    assert trainer.center.shape == (2, 5)
    run(tmp_path / "run", config)
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert not torch.equal(tensors["teacher.projection.0.weight"], tensors["student.projection.0.weight"])
    assert not any("projection" in name for name in load_model(str(tmp_path / "run")).network.state_dict())


def test_the_log_has_every_figure(tmp_path):
    run(tmp_path / "run")
    rows = read_log(tmp_path / "run" / "log.csv")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert list(rows[0]) == COLUMNS
    assert not any(math.isnan(value) for value in rows[-1].values())
    assert rows[-1]["learning_rate"] < 0.02 * CONFIG.learning_rate
    assert max(row["learning_rate"] for row in rows) <= CONFIG.learning_rate
    assert 0 < rows[-1]["teacher_entropy"] <= math.log(MODEL.n_class_tokens) + 1e-6
    assert 1 <= rows[-1]["effective_rank"] <= len(HELD_OUT)
    assert -1 <= rows[-1]["agreement"] <= 1


def test_divergence_stops_with_a_clear_message(tmp_path, monkeypatch):
    monkeypatch.setattr("findna.train.pretrain.learning_rate", lambda *args, **kwargs: 1e30)
    config = CONFIG
    with pytest.raises(TrainingError, match="diverged: the class tokens of held-out windows are not finite; lower"):
        run(tmp_path / "measured", config)
    with pytest.raises(TrainingError, match=r"diverged: the loss is (nan|inf) and the gradient's norm .*; lower"):
        run(tmp_path / "unmeasured", config, held_out=corpus_of([]))
    assert not (tmp_path / "unmeasured" / "config.json").exists()


def test_a_collapse_stops_with_a_clear_message(tmp_path):
    """A network of zeros gives the same output for every sequence, and its gradient is zero."""
    config = dataclasses.replace(CONFIG, alpha=0.0)
    run(tmp_path / "run", config, should_stop=stop_at(2))
    folder = tmp_path / "run" / "checkpoints"
    tensors, state = load_checkpoint(folder)
    zeros = {name: torch.zeros_like(value) for name, value in tensors.items()}
    del state["sha256"]
    save_checkpoint(folder, state.pop("step"), zeros, state)
    with pytest.raises(TrainingError, match=r"collapsed: the class tokens have an effective rank of 1\.00"):
        run(tmp_path / "run", config, resume=True)


def test_few_held_out_windows_are_no_collapse(tmp_path):
    outcome = run(tmp_path / "run", held_out=random_corpus(1, 3))
    assert outcome.finished
    assert outcome.last["effective_rank"] == pytest.approx(1.0)
    assert run(tmp_path / "none", held_out=corpus_of([])).last == {}


def test_effective_rank_of_known_tokens():
    equal = torch.eye(4)[:, None, :]  # four sequences; centring leaves three equal directions
    assert effective_rank(equal) == pytest.approx(3.0, rel=1e-4)
    one = torch.arange(6.0)[:, None, None] * torch.ones(1, 2, 5)
    assert effective_rank(one) == pytest.approx(1.0, rel=1e-3)
    assert effective_rank(torch.ones(6, 2, 5)) == pytest.approx(1.0, rel=1e-3)


def test_a_run_ends_near_its_time_budget_and_annealed(tmp_path):
    began = time.monotonic()
    outcome = run(tmp_path / "run", dataclasses.replace(CONFIG, steps=1), time_budget=2.0, n_reports=2)
    seconds = time.monotonic() - began
    assert outcome.finished
    assert outcome.step > 6  # not the one step that was asked for without a budget
    assert 1.5 < outcome.seconds < 4
    assert seconds < 10
    rows = read_log(tmp_path / "run" / "log.csv")
    assert rows[-1]["learning_rate"] < 0.15 * CONFIG.learning_rate
    assert max(row["learning_rate"] for row in rows) > 0.7 * CONFIG.learning_rate
    assert rows[-1]["momentum"] > 0.9995
    assert not math.isnan(rows[-1]["valid_loss"])


def test_a_clock_without_a_budget_keeps_its_steps():
    clock = Clock(5, budget=None, spent=100.0)
    for step in range(1, 6):
        clock.tick(step)
    assert clock.total_steps == 5
    assert 100 <= clock.seconds < 101


def test_a_resumed_clock_keeps_the_pace_of_the_whole_run():
    clock = Clock(4000, budget=200.0, spent=100.0)  # half of its budget for 2,000 steps
    for step in range(2001, 2010):
        clock.tick(step)
        assert clock.total_steps == pytest.approx(4000, rel=0.02)
    late = Clock(4000, budget=200.0, spent=201.0)
    late.tick(3900)
    assert late.total_steps == 3900


def test_a_repeated_motif_is_learned_beyond_the_kmer_baseline(tmp_path):
    """With half of the bases masked, three neighbours on each side say less than all of the period of 16."""
    sequence = np.tile(np.random.default_rng(5).integers(0, 4, size=16, dtype=np.uint8), 5)
    windows = [sequence[start : start + 62] for start in range(16)]
    model = dataclasses.replace(MODEL, channels=28, hidden=48, track_width=4)
    config = dataclasses.replace(
        CONFIG, model=model, steps=150, batch_size=8, min_length=0, max_indel=0, alpha=0.9, mask_fraction=0.5
    )
    outcome = run(tmp_path / "run", config, corpus=corpus_of(windows * 4), held_out=corpus_of(windows), n_reports=3)
    rows = [row for row in read_log(tmp_path / "run" / "log.csv") if not math.isnan(row["valid_loss"])]
    assert rows[-1]["valid_mnm_loss"] < 0.3 * rows[0]["valid_mnm_loss"]
    assert outcome.last["valid_accuracy"] > outcome.last["kmer_accuracy"] + 0.03
    assert outcome.last["kmer_accuracy"] > 0.6  # the baseline learns, too


def test_a_run_can_start_from_the_weights_of_a_model(tmp_path):
    run(tmp_path / "first", dataclasses.replace(CONFIG, steps=3))
    first = load_model(str(tmp_path / "first"))
    still = dataclasses.replace(CONFIG, steps=1, learning_rate=1e-30, weight_decay=0.0, projection=4)
    run(tmp_path / "second", still, initial=first)
    second = load_model(str(tmp_path / "second"))
    for name, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value), name
    assert second.training["initial"] == {"name": first.name, "sha256": first.sha256}


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, steps=1))
    with pytest.raises(OutputError, match="holds a run already; resume=True continues it"):
        run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run(tmp_path / "file")


def test_a_run_without_a_whole_checkpoint_says_what_to_do(tmp_path):
    run(tmp_path / "run", dataclasses.replace(CONFIG, steps=1))
    for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"nothing to resume: .* in checkpoints/; delete .*run and start again$"):
        run(tmp_path / "run", dataclasses.replace(CONFIG, steps=1), resume=True)


def test_a_log_that_is_a_pipe_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(TableError, match="not a regular file"):
        read_log(tmp_path / "log.csv")


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".pretrain.json.17.tmp").write_text("{")  # all that a kill left
    run(out, dataclasses.replace(CONFIG, steps=1))
    assert not list(out.glob(".*.tmp"))
    shutil.rmtree(out / "checkpoints")
    assert run(out, dataclasses.replace(CONFIG, steps=1), resume=True).step == 1


def test_a_batch_that_does_not_fit_in_memory_is_learned_in_parts_with_the_same_result():
    corpus = corpus_of(np.random.default_rng(2).integers(0, 4, size=60, dtype=np.uint8) for _ in range(7))
    portion = portion_of(corpus, range(7), epoch=0, config=CONFIG)
    whole, parted = (Trainer(CONFIG, compute=Compute(torch.device("cpu"), FP32)) for _ in range(2))

    def refuse(module, inputs):
        if len(inputs[1]) > 1 + 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    parted.student.register_forward_pre_hook(refuse)
    expected = whole.update(portion, rate=1e-3, momentum=0.9)
    with pytest.warns(FindnaWarning, match="too little memory for a batch of 7 sequences") as caught:
        found = parted.update(portion, rate=1e-3, momentum=0.9)
    assert len(caught) == 1
    assert parted.n_parts == 4
    assert found == pytest.approx(expected, rel=1e-4)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(parted.tensors()[name], tensor, rtol=1e-3, atol=1e-5)


def test_too_little_memory_says_what_to_lower(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    monkeypatch.setattr("findna.train.pretrain.Trainer.update", fail)
    with pytest.raises(TrainingError, match=r"^out of memory on cpu; lower batch_size \(4\)$"):
        run(tmp_path / "run")


def test_rate_and_momentum_are_those_of_the_middle_of_each_step(tmp_path):
    run(tmp_path / "run")
    rows = read_log(tmp_path / "run" / "log.csv")
    for index, row in enumerate(rows):
        progress = (index + 0.5) / 12
        rise = progress / 0.3
        fall = (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2
        assert row["learning_rate"] == pytest.approx(
            CONFIG.learning_rate * (rise if progress < 0.3 else fall), rel=1e-4
        )
        assert row["momentum"] == pytest.approx(1 - 0.004 * (1 + math.cos(math.pi * progress)) / 2, abs=1e-6)
    assert rows[-1]["learning_rate"] > 0


def test_another_run_is_not_resumed(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        run(tmp_path / "run", resume=True)
    run(tmp_path / "run", should_stop=stop_at(2))
    for change in (
        {"sources": {"made": 2}},
        {"compute": Compute(torch.device("cpu"), BF16)},
        {"compute": Compute(torch.device("cpu"), BF16_STREAM)},
    ):
        with pytest.raises(TrainingError, match=r"holds another run \("):
            run(tmp_path / "run", resume=True, **change)
    with pytest.raises(TrainingError, match=r"holds another run \("):
        run(tmp_path / "run", dataclasses.replace(CONFIG, seed=9), resume=True)


def test_nothing_to_train_on_is_an_error(tmp_path):
    with pytest.raises(InputError, match="there is no window to train on"):
        run(tmp_path / "run", corpus=corpus_of([]))
    assert not (tmp_path / "run").exists()


def test_products_in_bf16_train_and_resume_alike(tmp_path):
    config = dataclasses.replace(CONFIG, steps=4)
    run(tmp_path / "whole", config, compute=Compute(torch.device("cpu"), BF16))
    run(tmp_path / "parts", config, compute=Compute(torch.device("cpu"), BF16), should_stop=stop_at(2))
    run(tmp_path / "parts", config, compute=Compute(torch.device("cpu"), BF16), resume=True)
    assert_identical(state_of(tmp_path / "parts"), state_of(tmp_path / "whole"))


def test_a_log_reads_back_and_empty_cells_are_nan(tmp_path):
    log = Log(tmp_path, step=0)
    log.write({"step": 1, "epoch": 0, "n_bases": 7, "loss": 0.1234567, "accuracy": math.nan})
    log.close()
    (row,) = read_log(tmp_path / "log.csv")
    assert (row["step"], row["loss"]) == (1, 0.123457)
    assert math.isnan(row["accuracy"])
    assert math.isnan(row["valid_loss"])


def test_kept_rows_are_on_disk_before_a_resume_goes_on(tmp_path, monkeypatch):
    log = Log(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "epoch": 0, "n_bases": 7})
    log.close()
    log = Log(tmp_path, step=2)
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2]  # were it killed here
    log.close()


def test_tensorboard_reads_the_events_of_a_log(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    log = Log(tmp_path, step=2)
    log.write({"step": 3, "epoch": 0, "n_bases": 7, "loss": 0.5})
    log.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    version, start, event = EventFileLoader(str(path)).Load()
    assert (version.file_version, start.step) == ("brain.Event:2", 3)
    values = {value.tag: value.tensor.float_val[0] for value in event.summary.value}
    assert (event.step, values) == (3, {"epoch": 0, "n_bases": 7, "loss": 0.5})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("name", ["log.csv", "tensorboard"])
def test_a_full_disk_under_a_log_is_one_error_and_no_traceback(tmp_path, name, capfd):
    log = Log(tmp_path, step=0)
    (path,) = (tmp_path / name).iterdir() if name == "tensorboard" else (tmp_path / name,)
    full = os.open("/dev/full", os.O_WRONLY)
    (descriptor,) = (int(fd.name) for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve() == path)
    os.dup2(full, descriptor)
    os.close(full)
    with pytest.raises(OutputError, match="no space left"):
        report_at_once(log)
    with contextlib.suppress(OutputError):
        log.close()
    assert capfd.readouterr().err == ""


def report_at_once(log):
    log.write({"step": 1, "epoch": 0, "n_bases": 7})
    log.flush()


def test_a_log_is_flushed_once_a_second(tmp_path, monkeypatch):
    now = [10.0]
    monkeypatch.setattr("findna.train.log.time.monotonic", lambda: now[0])
    log = Log(tmp_path, step=0)
    n_rows = []
    for step, seconds in enumerate((10.0, 10.5, 10.9, 11.0, 11.5), start=1):
        now[0] = seconds
        log.write({"step": step, "epoch": 0, "n_bases": 7})
        n_rows.append(len(read_log(tmp_path / "log.csv")))
    assert n_rows == [1, 1, 1, 4, 4]
    log.close()
    assert len(read_log(tmp_path / "log.csv")) == 5


def test_a_checkpoint_s_rows_are_in_the_log(tmp_path):
    seen = []
    run(
        tmp_path / "run",
        checkpoint_seconds=0.0,
        on_report=lambda report: seen.append((report.done, len(read_log(tmp_path / "run" / "log.csv")))),
    )
    assert all(n_rows >= step - 1 for step, n_rows in seen)
