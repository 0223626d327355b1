"""CARD.md of a run, and the curve of a fine-tuning."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.counts import counted
from findna.errors import MissingExtraError
from findna.io.structured import read_json
from findna.models.task_settings import TaskSettings
from findna.tasks.catalog import METRICS
from findna.train.log import read_log
from findna.train.objectives import BOUNDS

_SPLITS = {"valid": "validation"}
_NAMES = {
    **_SPLITS,
    **METRICS,
    "train": "training",
    "valid_one_window": "validation, one window",
    "valid_joined": "validation, several windows",
    "n": "sequences",
    "uncalibrated_loss": "loss before calibration",
    "joined_temperature": "temperature, several windows",
    "valid_loss": "validation loss",
    "valid_mnm_loss": "loss of masked bases, nats",
    "valid_contrastive_loss": "contrastive loss, nats",
    "valid_accuracy": "masked-base accuracy",
    "kmer_accuracy": "masked-base accuracy of a 7-mer table",
    "dissimilarity": "dissimilarity of the views",
    "effective_rank": "effective rank of the class tokens",
    "agreement": "agreement of student and teacher, cosine",
    "teacher_entropy": "entropy of the teacher, nats",
    "max_len": "positions, with class tokens",
    "noise_sd": "sd of the noise",
}
"""Names in a card; of others, `_` becomes a blank."""


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
        note += "" if settings.objective == "regression" else ", nats"
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


def kept_line(out: Path) -> str:
    """What a finished fine-tuning kept, in words: the epoch or the penalty, and the validation loss."""
    training, valid = read_json(out / "config.json")["training"], read_json(out / "metrics.json")["valid"]
    config, summary = training["config"], training["summary"]
    auroc = summary["best_valid_auroc"]
    is_by_auroc = config["select"] == "auroc" and auroc is not None and math.isfinite(auroc)
    figure = "highest validation AUROC" if is_by_auroc else "lowest validation loss"
    if "penalty" in summary:
        texts = [f"kept the penalty {summary['penalty']:g}: of {len(summary['fits'])} penalties, it has the {figure}"]
    else:
        kept = f"epoch {summary['best_epoch']}"
        kept += " (the frozen probe)" if not summary["best_epoch"] else f" of {config['epochs']}"
        texts = [f"kept {kept}: it has the {figure}"]
    if summary["stopped_early"]:
        texts.append(f"stopped early, after {counted(config['patience'], 'epoch')} without a better one")
    if "uncalibrated_loss" in valid:
        before, after = valid["uncalibrated_loss"], valid["loss"]
        texts.append(f"validation loss {before:.4f} before and {after:.4f} after the calibration of probabilities")
    return "; ".join(texts)


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
    rows["temperature"] = _temperature(settings.temperature)
    if settings.joined_temperature is not None:
        rows["joined_temperature"] = _temperature(settings.joined_temperature)
    figures = {
        split: {key: value for key, value in found.items() if isinstance(value, float | int)}
        for split, found in metrics.items()
    }
    sets = {split: {"n": found["n"], "files": list(found["files"]) or "in memory"} for split, found in data.items()}
    opening = (
        f"A {settings.objective} of DNA sequences, made by `findna finetune` from the teacher {teacher}. "
        "`findna classify` takes this folder as its task.\n\n"
    )
    opening += f"Classes: {', '.join(settings.classes)}." if settings.classes else "One value per sequence."
    closing = (
        "The metrics hold for these splits. They can be worse on sequences of another source, length or composition. "
        "Probabilities are calibrated on the validation split only. Not tested for any clinical use."
    )
    tables = {"Metrics": _table(figures), "Data": _table(sets), "Settings": _pairs(rows)}
    return _card(name, opening, tables, closing)


def model_card(name: str, training: Mapping[str, Any]) -> str:
    """The CARD.md of a pretraining: data, settings, metrics and limits."""
    config = training["config"]
    rows = {**config["model"], **config, "products": training["products"]}
    del rows["model"]
    opening = "A DNA encoder pretrained by `findna pretrain` with the method of Yu et al. 2024 (arXiv:2405.08538)."
    closing = "The model has seen only the sequence above. Not tested for any clinical use."
    tables = {"Result": training["summary"], "Data": training["sources"], "Settings": rows}
    return _card(name, opening, {title: _pairs(found) for title, found in tables.items()}, closing)


def _card(name: str, opening: str, tables: Mapping[str, str], closing: str) -> str:
    sections = "\n\n".join(f"## {title}\n\n{table}" for title, table in tables.items())
    return f"# {name}\n\n{opening}\n\n{sections}\n\n{closing}\n"


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per split, one column per value."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    is_number = [all(isinstance(row.get(key, 0), int | float) for row in rows.values()) for key in columns]
    lines = [["split", *map(_name, columns)], ["---", *("---:" if right else "---" for right in is_number)]]
    lines += [[_name(split), *(_text(row.get(key, "")) for key in columns)] for split, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _pairs(rows: Mapping[str, Any]) -> str:
    """One row per name and value."""
    lines = [f"| {_name(key)} | {_text(value)} |" for key, value in rows.items()]
    return "\n".join(["| name | value |", "|---|---|", *lines])


def _name(key: str) -> str:
    return _NAMES.get(key, key.removeprefix("n_").replace("_", " "))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


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
