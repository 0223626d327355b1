"""CARD.md of a run, and the curve of a fine-tuning."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.errors import MissingExtraError
from findna.models.task_settings import TaskSettings
from findna.train.log import read_log
from findna.train.objectives import BOUNDS

_SPLITS = {"valid": "validation"}


def draw_curve(out: Path, name: str, settings: TaskSettings) -> None:
    """Draw the training curve if matplotlib is installed: one point per epoch, or per penalty of a probe."""
    phases.enter("drawing the figures")
    by_epoch: dict[float, list[dict[str, float]]] = {}
    for row in read_log(out / "log.csv"):
        by_epoch.setdefault(row["epoch"], []).append(row)
    points = [
        {
            "epoch": epoch,
            "loss": float(np.mean([row["loss"] for row in rows])),
            "valid_loss": rows[-1]["valid_loss"],
            "penalty": rows[-1]["penalty"] if math.isfinite(rows[-1]["penalty"]) else "",
        }
        for epoch, rows in by_epoch.items()
        if math.isfinite(rows[-1]["valid_loss"])
    ]
    with contextlib.suppress(MissingExtraError):
        from findna.plots import training_curve

        note = "" if settings.temperature == 1 else " before calibration"
        training_curve(points, out / "curve.png", title=name, note=note)


def draw_splits(
    out: Path, name: str, answers: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], settings: TaskSettings
) -> None:
    """Draw the figures of each split into `plots/`, if it has classes and matplotlib and scikit-learn are installed.

    Args:
        out: The run directory.
        name: Of the task model.
        answers: Labels and probabilities of each split.
        settings: Of the task model.
    """
    if settings.objective != "classification":
        return
    (out / "plots").mkdir(exist_ok=True)
    with contextlib.suppress(MissingExtraError):
        from findna.split_plots import split_figures

        for split, (labels, found) in answers.items():
            split_figures(
                labels,
                found,
                out / "plots" / split,
                classes=settings.classes,
                title=f"{name}, {_SPLITS.get(split, split)} split",
            )


def task_card(
    name: str, settings: TaskSettings, training: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]
) -> str:
    """The CARD.md of a task model: purpose, data, settings, metrics and limits."""
    config, data, teacher = training["config"], training["data"], training["teacher"]["name"]
    rows = {key: value for key, value in config.items() if key not in _idle(config)} | {"window": settings.window}
    chosen = "penalty" if "penalty" in training["summary"] else "best_epoch"
    rows[chosen] = training["summary"][chosen]
    if rows.get("best_epoch") == 0:
        rows["best_epoch"] = "0 (the frozen probe)"
    for split, found in data.items():
        rows[f"{split} sequences"] = f"{found['n']} ({', '.join(found['files']) or 'in memory'})"
    for split, figures in metrics.items():
        rows |= {f"{split} {key}": value for key, value in figures.items() if isinstance(value, float | int)}
    rows["temperature"] = _temperature(settings.temperature)
    if settings.joined_temperature is not None:
        rows["joined_temperature"] = _temperature(settings.joined_temperature)
    opening = (
        f"A {settings.objective} of DNA sequences, made by `findna finetune` from the teacher {teacher}. "
        "`findna classify` takes this folder as its task.\n\n"
    )
    opening += f"Classes: {', '.join(settings.classes)}." if settings.classes else "One value per sequence."
    closing = (
        "The figures hold for these splits. They can be worse on sequences of another source, length or composition. "
        "Probabilities are calibrated on the validation split only. Not tested for any clinical use."
    )
    return _card(name, opening, rows, closing)


def model_card(name: str, training: Mapping[str, Any]) -> str:
    """The CARD.md of a pretraining: data, settings, metrics and limits."""
    config = training["config"]
    rows = {**config["model"], **config, "products": training["products"]}
    del rows["model"]
    rows |= {f"source {key}": value for key, value in training["sources"].items()} | training["summary"]
    opening = "A DNA encoder pretrained by `findna pretrain` with the method of Yu et al. 2024 (arXiv:2405.08538)."
    closing = "The model has seen only the sequence above. Not tested for any clinical use."
    return _card(name, opening, rows, closing)


def _card(name: str, opening: str, rows: Mapping[str, Any], closing: str) -> str:
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in rows.items()}
    table = "\n".join(f"| {key} | {value} |" for key, value in shown.items())
    return f"# {name}\n\n{opening}\n\n| | |\n|---|---|\n{table}\n\n{closing}\n"


def _temperature(value: float) -> float | str:
    if value not in BOUNDS:
        return value
    return f"{value:g} (the bound of its search: the scores of the validation split do not fit its labels)"


def _idle(config: Mapping[str, Any]) -> set[str]:
    """Settings that had no effect on a run."""
    idle = {"hidden"} if config["head"] == "linear" else {"head_rate"}
    if config["frozen"]:
        idle |= {"mixer_dropout", "head_rate", "layer_decay"}
        if config["head"] == "linear":  # fitted to the end, not by AdamW
            idle |= {
                "dropout",
                "epochs",
                "batch_size",
                "learning_rate",
                "weight_decay",
                "warmup",
                "warmup_steps",
                "clip",
                "patience",
            }
    return idle
