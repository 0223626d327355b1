"""A study: recipes of pretraining compared by frozen probes on validation splits; its log, and its table."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from findna import __version__, phases
from findna.benchmark.baselines import RECIPES, Data, fit_strands
from findna.benchmark.modes import Stopped
from findna.benchmark.readout import ReadOut
from findna.benchmark.splits import BenchmarkTask
from findna.benchmark.stored import read_stored
from findna.benchmark.study_variants import Variant
from findna.config import parse_blocks
from findna.data.labelled import LabelledSet
from findna.errors import ConfigError
from findna.extras import need_sklearn
from findna.io.files import make_folder, write_atomic
from findna.metrics import metrics_of
from findna.models.store import Model, load_model
from findna.nn.device import Compute
from findna.nn.encoder import Encoder, initialise
from findna.nn.kernels import choose
from findna.nn.mixers import make_encoder
from findna.recipes import PretrainConfig
from findna.train.pretrain import STUDENT, finished_summary, job_of, pretrain
from findna.train.sources import Sources

SCHEMA = "findna-study/1"
LOG = "study.json"

_FIGURES = (
    "steps",
    "n_bases",
    "seconds",
    "valid_accuracy",
    "kmer_accuracy",
    "valid_mnm_loss",
    "effective_rank",
    "dissimilarity",
)


@dataclass(frozen=True)
class StudyConfig:
    """How each variant is measured.

    Args:
        seeds: Runs per variant, starting at seed 0. All variants run with one seed before the next seed.
        limit: Maximum number of training sequences per labelled set; 0: all.
        limit_valid: Maximum number of validation sequences; 0: all.
        read_out: The read-out of the frozen vectors.
        command: The command line, for the table.
    """

    seeds: int = 2
    limit: int = 2000
    limit_valid: int = 1000
    read_out: ReadOut = field(default_factory=ReadOut)
    command: str = ""


def run_study(
    variants: Sequence[Variant],
    tasks: Sequence[BenchmarkTask],
    sources: Sources,
    out: Path,
    *,
    config: StudyConfig,
    compute: Compute,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[dict[str, Any]]:
    """Pretrain and measure each variant with each seed, and yield its entry in the log. Existing results are reused.

    `out/study.json` is written after every run. The teachers stay in `out/runs/`, so a study with another pool
    does not train again. Test splits are not used.

    Args:
        variants: The variants to compare.
        tasks: Labelled sets with two or more classes.
        sources: Windows, the same for all variants.
        out: Folder of the study; created if missing.
        config: How it is measured.
        compute: Where and how it runs.
        should_stop: Called after every training step, and between runs.

    Raises:
        ConfigError: There is no labelled set, or a variant's network lacks a block that is to be read.
        MissingExtraError: scikit-learn is not installed.
        TableError: The log is damaged or not ours.
        TrainingError: A run failed.
        OutputError: The log cannot be written.
        Stopped: It was asked to stop; the same call resumes.
    """
    if not tasks:
        raise ConfigError("no labelled set is left to score on")
    need_sklearn("a benchmark")
    for variant in variants:  # fail before hours of training, not after
        try:
            choose(variant.config.model, device=compute.device, precision=compute.precision)
            parse_blocks(replace(config.read_out, **variant.read_out).blocks, variant.config.model.depth)
        except ConfigError as error:
            raise ConfigError(f"variant {variant.name}: {error}") from error
    make_folder(out)
    splits = {task.name: task.load().limited(config.limit, config.limit_valid) for task in tasks}
    study = _Study(
        out,
        sets={name: found.chosen(0) for name, found in splits.items()},
        sources=sources,
        config=config,
        compute=compute,
        should_stop=should_stop,
    )
    log = read_log(out / LOG)
    for seed in range(config.seeds):
        for variant in variants:
            if variant.model and seed:
                continue
            recipe = replace(variant.config, seed=seed)
            key = study.key(variant, recipe)
            if key not in log:
                if should_stop():
                    raise Stopped
                phases.enter(f"{variant.name}, seed {seed}")
                log[key] = study.measure(variant, recipe)
                write_log(out / LOG, log)
            yield log[key]


def read_log(path: Path) -> dict[str, dict[str, Any]]:
    """The runs of a study's log by key (see `_Study.key`); {} if there is no log yet.

    Raises:
        TableError: It is damaged or not ours.
    """
    if not path.exists():
        return {}
    return dict(read_stored(path, schema=SCHEMA, what="log of a study")["runs"])


def write_log(path: Path, log: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the complete log, one line per run."""
    runs = ",\n".join(f"{json.dumps(key)}: {json.dumps(run)}" for key, run in log.items())
    write_atomic(path, f'{{"schema": {json.dumps(SCHEMA)}, "runs": {{\n{runs}\n}}}}\n')


class _Study:
    """The common part of the runs of a study; makes each run."""

    def __init__(
        self,
        out: Path,
        *,
        sets: Mapping[str, tuple[LabelledSet, LabelledSet]],
        sources: Sources,
        config: StudyConfig,
        compute: Compute,
        should_stop: Callable[[], bool],
    ) -> None:
        self.out, self.sets, self.sources, self.config = out, sets, sources, config
        self.compute, self.should_stop = compute, should_stop

    def key(self, variant: Variant, recipe: PretrainConfig) -> str:
        """A key of everything that determines the figures of a run."""
        sets = {name: [split.sha256 for split in pair] for name, pair in self.sets.items()}
        read_out = {name: value for name, value in asdict(self._read_out(variant)).items() if value}
        read = {"read": variant.read} if variant.read == STUDENT else {}  # so that logs of earlier versions match
        probe = {"probe": RECIPES["probe"]}
        return _digest({"network": self._network_key(variant, recipe), "sets": sets, **read_out, **read, **probe})

    def measure(self, variant: Variant, recipe: PretrainConfig) -> dict[str, Any]:
        """The entry of a run in the log."""
        network, figures = self._network(variant, recipe)
        scores = {name: self._score(network, self._read_out(variant), *pair) for name, pair in self.sets.items()}
        return {
            "variant": variant.name,
            "seed": recipe.seed,
            "changes": dict(variant.changes),
            "score": float(np.mean(list(scores.values()))),
            "scores": scores,
            **figures,
            **asdict(self._read_out(variant)),
            "n": {name: [len(split) for split in pair] for name, pair in self.sets.items()},
            "config": variant.model.training.get("config", {}) if variant.model else _stored(recipe),
            "sources": variant.model.training.get("sources", {}) if variant.model else self.sources.summary,
            **({"model": variant.model.sha256} if variant.model else {}),
            **self.compute.precision.facts(),
            "command": self.config.command,
            "findna": __version__,
        }

    def _network_key(self, variant: Variant, recipe: PretrainConfig) -> str:
        if variant.model:
            return variant.model.sha256
        windows = {**self.sources.summary, "files": list(self.sources.summary["files"].values())}
        windows.pop("sha256", None)  # earlier versions did not record it, and their studies are found again
        precision, device = self.compute.precision, self.compute.device.type
        where = precision.facts() | {"products": str(precision.products), "device": device}
        is_trained = not variant.is_untrained
        return _digest({"config": _departures(recipe), "is_trained": is_trained, "windows": windows, **where})

    def _network(self, variant: Variant, recipe: PretrainConfig) -> tuple[Encoder, dict[str, Any]]:
        """The teacher of a run, trained or existing, with its cost and state."""
        if variant.is_untrained:
            return initialise(make_encoder(recipe.model), recipe.seed), {}
        if variant.model:
            return variant.model.network, _figures(variant.model)
        ending = f".seed{recipe.seed}.{self._network_key(variant, recipe)[:8]}"
        own = self.out / "runs" / f"{variant.name}{ending}"
        alike = sorted(path for path in (self.out / "runs").glob("*") if path.name.endswith(ending))
        folder = own if own.exists() or not alike else alike[0]
        if finished_summary(folder) is None:
            outcome = pretrain(
                recipe,
                self.sources.corpus,
                self.sources.held_out,
                folder,
                name=folder.name,
                compute=self.compute,
                sources=self.sources.summary,
                resume=job_of(folder) is not None,
                n_reports=1,
                should_stop=self.should_stop,
                on_report=lambda report: phases.report(f"training {variant.name}", report.done, report.total),
            )
            if not outcome.finished:
                raise Stopped
            shutil.rmtree(folder / "checkpoints")
        model = load_model(folder / STUDENT if variant.read == STUDENT else folder)
        return model.network, _figures(model)

    def _read_out(self, variant: Variant) -> ReadOut:
        return replace(self.config.read_out, **variant.read_out)

    def _score(self, network: Encoder, read_out: ReadOut, train: LabelledSet, valid: LabelledSet) -> float:
        """AUROC of a logistic regression on frozen vectors, on the validation split, which also chooses the penalty."""
        encoder = network.for_inference(self.compute)
        first, second = (read_out.vectors(encoder, split.corpus, compute=self.compute) for split in (train, valid))
        held = {strand: Data(x, valid.labels) for strand, x in second.items()}
        strands = {strand: (Data(x, train.labels), held[strand], held[strand]) for strand, x in first.items()}
        found = fit_strands(strands, n_classes=len(train.classes))
        return float(metrics_of(valid.labels, found.valid, classes=train.classes)["auroc"])


def _figures(model: Model) -> dict[str, Any]:
    """The cost of a training, and the state of its teacher at the end."""
    summary = model.training.get("summary", {})
    return {name: summary[name] for name in _FIGURES if name in summary}


def _stored(config: PretrainConfig) -> dict[str, Any]:
    return {**asdict(config), "model": config.model.to_dict()}


def _departures(config: PretrainConfig) -> dict[str, Any]:
    """The non-default settings, so that a new setting does not change the key of old runs."""
    plain = _stored(PretrainConfig())
    return {name: value for name, value in _stored(config).items() if value != plain[name]}


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
