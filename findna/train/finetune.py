"""Fine-tuning: a teacher and labelled sequences to a task model, all weights or the head alone, on one device."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.labelled import LabelledSet
from findna.io.files import write_atomic
from findna.models.save_task import encode_parts, save_task
from findna.models.store import Model
from findna.models.task import TaskModel, probabilities
from findna.models.task_settings import PLAN
from findna.nn.device import Compute
from findna.nn.kernels import choose
from findna.recipes import FinetuneConfig
from findna.train.card import draw_curve, draw_splits, task_card
from findna.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from findna.train.log import Log
from findna.train.loop import Report, Training, enough_memory, open_folder
from findna.train.objectives import balanced_weights, figures_by_kind, fit_temperatures, quality
from findna.train.resume import check_same, check_splits, facts_of
from findna.train.schedule import learning_rate
from findna.train.scoring import score
from findna.train.start import TaskSplit, check_teacher
from findna.train.tuner import LabelledBatch, Tuner

COLUMNS = (
    "step",
    "epoch",
    "n_bases",
    "seconds",
    "bases_per_second",
    "learning_rate",
    "loss",
    "grad_norm",
    "penalty",
    "valid_loss",
    "valid_accuracy",
    "valid_auroc",
)


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """The result of a run.

    Args:
        finished: Whether there is a task model; False after a stop that can be resumed.
        step: Updates made.
        seconds: Time spent, over all resumes.
        metrics: Content of `metrics.json`; empty if not finished.
        kernels: What ran the blocks: triton, compile or plain.
    """

    finished: bool
    step: int
    seconds: float
    metrics: Mapping[str, Any]
    kernels: str


class _Stopped(Exception):
    """The run was asked to stop."""


def evaluate_task(task: TaskModel, labelled: LabelledSet, *, compute: Compute) -> NDArray[np.float64]:
    """Scores of all sequences, windows joined, before calibration; shape (n, n_outputs). See `task.probabilities`."""
    head = copy.deepcopy(task.head).to(compute.device)
    return score(task.network, head, labelled.corpus, settings=task.settings, compute=compute)


def finetune(
    config: FinetuneConfig,
    train: LabelledSet,
    valid: LabelledSet,
    out: Path,
    *,
    teacher: Model,
    name: str,
    compute: Compute,
    test: LabelledSet | None = None,
    asked: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    checkpoint_seconds: float = 300.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_report: Callable[[Report], None] = lambda report: None,
) -> Finetuned:
    """Train a task model and leave it in `out`, with `log.csv` and `curve.png` beside it.

    With a frozen encoder the vectors are computed once. A linear head on them is then fitted until it converges, for
    each of several penalties (`findna.train.probe`), without checkpoints. Any other head, and all weights, are trained
    by AdamW, with `checkpoints/` in `out`. The epoch with the best figure on the validation split is kept; epoch 0 is
    the probe from which a linear head starts. The temperature of the probabilities is fitted on the validation split.

    Args:
        config: The recipe.
        train: Training split.
        valid: Validation split, with the classes of the training split.
        out: The run directory; it is a task model once the run has ended.
        teacher: The pretrained model.
        name: Name of the task.
        compute: Where and how it runs: on one CPU or GPU.
        test: Test split, with the same classes; it is read once, at the end.
        asked: Further content of `finetune.json` for a resume.
        resume: Resume from the newest checkpoint in `out`; on the CPU, the result equals that of an uninterrupted run.
        checkpoint_seconds: Time between checkpoints.
        should_stop: Called after updates and batches of vectors; True ends the run, after an update with a checkpoint.
        on_report: Called after every update and every batch of vectors.

    Raises:
        TrainingError: It diverged, ran out of memory, or has nothing to resume.
        ConfigError: Recipe, teacher and labels cannot be combined.
        InputError: A split is empty or has other classes.
        OutputError: `out` holds a run already, or cannot be made.
    """
    splits = {"train": train, "valid": valid} | ({"test": test} if test is not None else {})
    check_splits(splits)
    if config.class_weights == "balanced":
        balanced_weights(train)  # before the run directory is made
    config = completed(config, teacher)
    check_teacher(config, teacher.network)
    if not resume:
        open_folder(out)
    facts = facts_of(config, splits, teacher=teacher, compute=compute)
    if resume:
        check_same(out, facts)
    write_atomic(out / PLAN, json.dumps({**facts, "plan": dict(asked)}, indent=2) + "\n")
    with enough_memory(compute.device, batch_size=config.batch_size):
        tuner = Tuner(config, teacher.network, train=train, valid=valid, compute=compute)
        run = _FinetuneRun(tuner, out, facts=facts, resume=resume, should_stop=should_stop, on_report=on_report)
        finished = run.probe() if config.frozen and config.head == "linear" else run.descend(checkpoint_seconds)
        metrics = run.finish(name, teacher=teacher, test=test) if finished else {}
        return Finetuned(finished, run.step, run.clock.seconds, metrics, run.kernels.name)


def completed(config: FinetuneConfig, teacher: Model) -> FinetuneConfig:
    """The recipe with the teacher's read-out and learning rate, if it has none of its own."""
    config = teacher.readout.finetune_config(config, teacher.config)
    return dataclasses.replace(config, learning_rate=config.rate_for(teacher.config.channels))


class _FinetuneRun(Training[LabelledBatch]):
    """The state of a run: log, checkpoints, progress."""

    def __init__(self, tuner: Tuner, out: Path, *, facts: Mapping[str, Any], resume: bool, **hooks: Any) -> None:
        self.tuner, self.facts = tuner, facts
        self.kernels = choose(
            tuner.network.config,
            device=tuner.compute.device,
            precision=tuner.compute.precision,
            dropout=tuner.config.mixer_dropout,
            is_training=not tuner.config.frozen,
        )
        state: dict[str, Any] = {}
        if resume and has_checkpoint(out / "checkpoints"):  # else nothing was saved: start again
            tensors, state = load_checkpoint(out / "checkpoints")
            tuner.load(tensors)
            tuner.settings = dataclasses.replace(tuner.settings, strand=state.get("strand", "bed"))
        total = tuner.config.epochs * tuner.steps_per_epoch
        super().__init__(out, state, total_steps=total, columns=COLUMNS, **hooks)
        self.warmup = max(tuner.config.warmup, tuner.config.warmup_steps / total)
        best = state.get("best", {})  # its figures on the validation split
        self.best = {name: math.nan if value is None else value for name, value in best.items()}
        self.best_epoch, self.n_worse = state.get("best_epoch", -1), state.get("n_worse", 0)
        self.is_done = state.get("is_done", False)

    def save(self, *, finished: bool) -> None:
        """Write a checkpoint; the model of a finished run is made by `finish`."""
        state = {
            "n_bases": self.n_bases,
            "n_worse": self.n_worse,
            "best": {name: value if math.isfinite(value) else None for name, value in self.best.items()},
            "best_epoch": self.best_epoch,
            "is_done": self.is_done,
            "strand": self.tuner.settings.strand,
            "seconds": self.clock.seconds,
        }
        save_checkpoint(self.out / "checkpoints", self.step, self.tuner.tensors(), state)

    def _prepare(self) -> bool:
        """Compute the vectors; False if the run was stopped."""

        def show(done: int, total: int) -> None:
            self.on_report(Report(done, total, {}, "embed both strands" if self.tuner.has_both_strands else "embed"))
            if self.should_stop():
                raise _Stopped

        try:
            self.tuner.prepare(show)
        except _Stopped:
            return False
        return True

    def probe(self) -> bool:
        """Fit a linear head on the vectors of a frozen encoder; False if the run was stopped."""
        tuner = self.tuner
        if not self._prepare():
            return False
        best = max(tuner.fits, key=lambda fit: quality(fit._asdict(), tuner.config.select))
        log = Log(self.out, step=0, columns=COLUMNS)
        for self.step, fit in enumerate(tuner.fits, start=1):
            row = {"step": self.step, "epoch": self.step, "n_bases": len(tuner.train.corpus.codes), **fit._asdict()}
            log.write({**row, "seconds": self.clock.seconds})
        log.close()
        self.best, self.best_epoch = best._asdict(), tuner.fits.index(best) + 1
        tuner.best = tuner.weights()
        return True

    def descend(self, checkpoint_seconds: float) -> bool:
        """Train by AdamW to the last epoch, or until validation stops improving; False if the run was stopped."""
        tuner = self.tuner
        if (tuner.config.frozen or not self.step) and not self._prepare():
            return False
        log = Log(self.out, step=self.step or -1, columns=COLUMNS)  # a restarted run logs its probe again
        if not self.step and tuner.begins_as_probe:
            row: dict[str, float] = {"step": 0, "epoch": 0, "n_bases": 0, **self._end_epoch(0)}
            log.write({**row, "seconds": self.clock.seconds})
            self.on_report(Report(0, self.clock.total_steps, row))
            tuner.begin()
        items = tuner.batches(self.step, self.clock.total_steps)
        return self.run(items, log, checkpoint_seconds=checkpoint_seconds)

    def learn(self, item: LabelledBatch, progress: float) -> tuple[int, int, dict[str, float]]:
        """See `Training.learn`."""
        rate = learning_rate(progress, peak=self.tuner.peak_rate, warmup=self.warmup)
        figures = self.tuner.update(item, step=self.step, rate=rate)
        n_bases = int(self.tuner.train.windows.lengths[item.indices].sum())
        return item.epoch + 1, n_bases, {"learning_rate": rate, **figures}

    def measure(self, epoch: int) -> dict[str, float]:
        """The figures of the validation split at the end of an epoch; {} within it."""
        return {} if self.step % self.tuner.steps_per_epoch else self._end_epoch(epoch)

    def _end_epoch(self, epoch: int) -> dict[str, float]:
        figures = self.tuner.validate()
        select = self.tuner.config.select
        if not self.best or quality(figures, select) > quality(self.best, select):
            self.best, self.best_epoch, self.n_worse = figures, epoch, 0
            self.tuner.best = self.tuner.weights()
        else:
            self.n_worse += 1
            self.is_done = 0 < self.tuner.config.patience <= self.n_worse
        return figures

    def finish(self, name: str, *, teacher: Model, test: LabelledSet | None) -> dict[str, Any]:
        """Calibrate and measure the model as it is stored, and write it; returns the content of `metrics.json`."""
        tuner = self.tuner
        tuner.restore_best()
        tuner.head.rescale(mean=tuner.labels.mean, sd=tuner.labels.sd)
        _, (network, head) = encode_parts(tuner.network, tuner.head)
        head.to(tuner.device)
        objective = tuner.settings.objective
        scores = tuner.scores(tuner.valid, network, head)
        one, several = fit_temperatures(scores, tuner.valid.labels, tuner.valid.is_joined, objective)
        settings = dataclasses.replace(tuner.settings, temperature=one, joined_temperature=several)
        metrics = figures_by_kind("valid", scores, tuner.valid.labels, tuner.valid.is_joined, settings)
        answers = {"valid": (tuner.valid.labels, probabilities(scores, settings, tuner.valid.is_joined))}
        if test is not None:
            split = TaskSplit(test, settings, tuner.labels)
            scores = tuner.scores(split, network, head)
            metrics |= figures_by_kind("test", scores, test.labels, split.is_joined, settings)
            answers["test"] = test.labels, probabilities(scores, settings, split.is_joined)
        summary = {
            "steps": self.step,
            "best_epoch": self.best_epoch,
            "strand": tuner.settings.strand,
            **{f"best_{name}": self.best[name] for name in ("valid_loss", "valid_auroc")},
            "stopped_early": self.is_done and self.step < self.clock.total_steps,
            "seconds": round(self.clock.seconds, 1),
        } | self._facts_of_probe()
        training = {**self.facts, "device": tuner.device.type, **self.kernels.facts(), "summary": summary}
        card = task_card(name, settings, training, metrics)
        draw_curve(self.out, name, settings)
        draw_splits(self.out, name, answers, settings)
        save_task(  # last: with its config.json, the run is finished
            self.out,
            tuner.network,
            tuner.head,
            name=name,
            settings=settings,
            teacher={"name": teacher.name, "sha256": teacher.sha256},
            metrics=metrics,
            training=training,
            card=card,
        )
        return metrics

    def _facts_of_probe(self) -> dict[str, Any]:
        """The summary of a run that trains only a probe."""
        if "penalty" not in self.best:
            return {}
        return {"penalty": self.best["penalty"], "fits": [fit._asdict() for fit in self.tuner.fits]}
