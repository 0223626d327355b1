"""One benchmark: each set, mode and seed measured once, and a result file for each set and mode."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import __version__, phases, split_plots
from findna.benchmark.audit import is_leaked
from findna.benchmark.baselines import RECIPES, Data, Prediction, Probabilities, fit_cnn, fit_kmers, fit_strands
from findna.benchmark.modes import BenchmarkConfig, Progress, Stopped
from findna.benchmark.results import OF_TEACHER, SCHEMA, over_seeds, result_name, runs_of
from findna.benchmark.splits import BenchmarkTask, Splits
from findna.benchmark.stored import refuse_foreign
from findna.data.datasets import Corpus, corpus_of
from findna.data.labelled import LabelledSet
from findna.io.files import make_folder, write_atomic
from findna.metrics import metrics_of
from findna.models.store import Model
from findna.models.task import TaskModel, load_task, probabilities
from findna.models.task_settings import PLAN
from findna.nn.device import Compute
from findna.nn.encoder import Encoder, initialise
from findna.nn.mixers import make_encoder
from findna.train.finetune import evaluate_task, finetune

_RANDOM_SEED = 1000
_LIBRARIES = ("torch", "numpy", "scikit-learn")


def run_task(
    task: BenchmarkTask,
    out: Path,
    *,
    config: BenchmarkConfig,
    teacher: Model,
    compute: Compute,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Measure one set in all modes and seeds, and yield after each; existing results are reused.

    `out/SUITE.SET.MODE[.MODEL].json` is written in full after every seed. It is reused only if data, settings,
    model and version are the same. The test split is scored once per run, with the settings chosen on validation.

    Args:
        task: The set.
        out: Folder of the results; created if missing.
        config: What is measured.
        teacher: The model.
        compute: Where and how it runs.
        should_stop: Called during embedding and fine-tuning, and between runs.

    Raises:
        InputError: The set cannot be read.
        OutputError: A result cannot be written.
        Stopped: It was asked to stop.
    """
    own = teacher.readout
    recipe = own.finetune_config(config.finetune, teacher.config)
    config = replace(config, read_out=config.read_out.of_model(own), finetune=recipe)
    splits = task.load().limited(config.limit, config.limit_test)
    bench = _Bench(task, splits, config=config, teacher=teacher, compute=compute, out=out, should_stop=should_stop)
    make_folder(out)
    seeds = {mode: range(config.seeds if bench.is_seeded(mode) else 1) for mode in config.modes}
    n_runs = sum(map(len, seeds.values()))
    if config.with_plots:
        refuse_foreign(*(path for mode in config.modes for path in split_plots.figure_paths(bench.stem(mode))))
    for mode in config.modes:
        path = out / result_name(task, mode, teacher.name)
        fingerprint = bench.fingerprint(mode)
        runs = runs_of(path, fingerprint)
        for seed in seeds[mode]:
            is_new = seed not in runs
            if is_new:
                if should_stop():
                    raise Stopped
                phases.enter(f"{task.name}, {mode}")
                runs[seed] = bench.measure(mode, seed)
                write_atomic(path, json.dumps(bench.result(mode, fingerprint, runs), indent=1) + "\n")
            yield Progress(task.name, mode, seed, is_new, runs[seed], n_runs)


class _Bench:
    """The state of one set: its splits, vectors and leaks, each computed once."""

    def __init__(
        self,
        task: BenchmarkTask,
        splits: Splits,
        *,
        config: BenchmarkConfig,
        teacher: Model,
        compute: Compute,
        out: Path,
        should_stop: Callable[[], bool],
    ) -> None:
        # If a validation split is drawn, rows are found again by their id.
        numbered = replace(splits.train, ids=tuple(map(str, range(len(splits.train)))))
        self.task, self.config, self.teacher = task, config, teacher
        self.splits = splits._replace(train=numbered)
        self.compute, self.out, self.should_stop = compute, out, should_stop
        self.classes = splits.train.classes
        self._embed_seconds = 0.0

    def is_seeded(self, mode: str) -> bool:
        """Whether a figure depends on the seed: random weights, random order, or a random validation split."""
        return mode not in ("probe", "kmer") or self.splits.valid is None

    def fingerprint(self, mode: str) -> dict[str, Any]:
        """Everything except the seed that determines the figures of a mode."""
        config = self.config
        facts: dict[str, Any] = {
            "version": __version__,
            "data": {name: split.sha256 for name, split in self.splits._asdict().items() if split is not None},
            **self.compute.precision.facts(),
            "device": self.compute.device.type,
        }
        if mode in RECIPES:
            facts["recipe"] = RECIPES[mode]
        if mode in ("probe", "random"):
            facts |= asdict(config.read_out)
        if mode in ("probe", "random", "random-finetune"):
            facts["model"] = asdict(self.teacher.config)
        if mode in ("probe", "finetune"):
            facts["model_sha256"] = self.teacher.sha256
        if mode in ("finetune", "random-finetune"):
            facts["finetune"] = asdict(config.finetune) | {"seed": None}
        return facts

    def measure(self, mode: str, seed: int) -> dict[str, Any]:
        """The figures of one mode and seed."""
        began, self._embed_seconds = time.monotonic(), 0.0
        train, valid = self.splits.chosen(seed)
        test = self.splits.test
        n_classes = len(self.classes)
        if mode == "kmer":
            found = fit_kmers(train, valid, test, n_classes=n_classes)
        elif mode == "cnn":
            found = fit_cnn(train, valid, test, n_classes=n_classes, seed=seed, device=self.compute.device)
        elif mode in ("finetune", "random-finetune"):
            found = self._finetune(mode, seed, train, valid)
        else:
            vectors = self._vectors if mode == "probe" else self._embed(_random(self.teacher, seed))
            strands = {strand: self._data(read, train, valid) for strand, read in vectors.items()}
            found = fit_strands(strands, n_classes=n_classes)
        seconds = time.monotonic() - began
        if self.config.with_plots and seed == 0:
            self._draw(mode, found)
        return {
            "seed": seed,
            "test": self._figures(test, found.test),
            "test_without_duplicates": self._figures_without(test, found.test),
            "valid": self._figures(valid, found.valid),
            "chosen": found.chosen,
            "seconds": round(seconds, 2),
            "seconds_embedding": round(self._embed_seconds, 2),
        }

    def result(
        self, mode: str, fingerprint: Mapping[str, Any], runs: Mapping[int, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Content of a result file."""
        ordered = [runs[seed] for seed in sorted(runs)]
        test = self.splits.test
        return {
            "schema": SCHEMA,
            "suite": self.task.suite,
            "task": self.task.name,
            "mode": mode,
            "model": self.teacher.name if mode in OF_TEACHER else "",
            "note": self.task.note,
            "is_comparable": self.task.is_comparable and not (self.config.limit or self.config.limit_test),
            "classes": list(self.classes),
            "n": {name: len(split) for name, split in self.splits._asdict().items() if split is not None},
            "n_near_duplicates": int(self._is_leaked.sum()),
            "limits": {"train": self.config.limit, "test": self.config.limit_test},
            "mean": over_seeds(ordered, np.mean),
            "sd": over_seeds(ordered, lambda values: np.std(values, ddof=1) if len(values) > 1 else 0.0),
            "runs": ordered,
            "is_seeded": self.is_seeded(mode),
            "fingerprint": dict(fingerprint),
            "sources": dict(self.splits.train.sources) | dict(test.sources) | dict(_sources(self.splits.valid)),
            "command": self.config.command,
            "versions": {name: version(name) for name in _LIBRARIES} | {"findna": __version__},
            "machine": platform.machine(),
        }

    @cached_property
    def _is_leaked(self) -> NDArray[np.bool_]:
        known = [self.splits.train.corpus, *([self.splits.valid.corpus] if self.splits.valid else [])]
        return is_leaked(_joined(known), self.splits.test.corpus)

    @cached_property
    def _vectors(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        return self._embed(self.teacher.network)

    def _embed(self, network: Encoder) -> dict[str, dict[str, NDArray[np.float32]]]:
        """The vectors of each split, by strand."""
        began = time.monotonic()
        encoder = network.for_inference(self.compute)
        vectors: dict[str, dict[str, NDArray[np.float32]]] = {}
        splits = {name: split for name, split in self.splits._asdict().items() if split is not None}
        n_before, n_all = 0, sum(map(len, splits.values()))

        def on_done(n_done: int) -> None:
            phases.report("embedding", min(n_before + n_done, n_all), n_all)
            if self.should_stop():
                raise Stopped

        for name, split in splits.items():
            read = self.config.read_out.vectors(encoder, split.corpus, compute=self.compute, on_done=on_done)
            n_before += len(split)
            for strand, x in read.items():
                vectors.setdefault(strand, {})[name] = x
        self._embed_seconds += time.monotonic() - began
        return vectors

    def _data(
        self, vectors: Mapping[str, NDArray[np.float32]], train: LabelledSet, valid: LabelledSet
    ) -> tuple[Data, Data, Data]:
        test = Data(vectors["test"], self.splits.test.labels)
        if "valid" in vectors:
            return Data(vectors["train"], train.labels), Data(vectors["valid"], valid.labels), test
        own, held = (Data(vectors["train"][[int(id) for id in split.ids]], split.labels) for split in (train, valid))
        return own, held, test

    def _finetune(self, mode: str, seed: int, train: LabelledSet, valid: LabelledSet) -> Prediction:
        name = result_name(self.task, mode, self.teacher.name).removesuffix(".json")
        digest = hashlib.sha256(json.dumps(self.fingerprint(mode), sort_keys=True).encode()).hexdigest()[:8]
        teacher = self.teacher
        if mode == "random-finetune":
            teacher = replace(teacher, network=_random(teacher, seed), sha256=f"random weights, seed {seed}")
        folder = self.out / "runs" / f"{name}.{digest}.seed{seed}"
        if not (folder / "config.json").is_file():
            outcome = finetune(
                replace(self.config.finetune, seed=seed),
                train,
                valid,
                folder,
                teacher=teacher,
                name=self.task.name.replace("/", "-"),
                compute=self.compute,
                resume=(folder / PLAN).is_file(),
                should_stop=self.should_stop,
            )
            if not outcome.finished:
                raise Stopped
        model = load_task(folder)
        return Prediction(
            self._predict(model, valid), self._predict(model, self.splits.test), {"run": f"runs/{folder.name}"}
        )

    def _predict(self, model: TaskModel, split: LabelledSet) -> Probabilities:
        scores = evaluate_task(model, split, compute=self.compute)
        is_joined = np.diff(split.corpus.offsets) > model.settings.window
        return probabilities(scores, model.settings, is_joined)

    def _figures(self, split: LabelledSet, predicted: NDArray[np.float64]) -> dict[str, Any]:
        return metrics_of(split.labels, predicted, classes=self.classes)

    def _figures_without(self, test: LabelledSet, predicted: NDArray[np.float64]) -> dict[str, Any] | None:
        kept = ~self._is_leaked
        if kept.all() or not kept.any():
            return None
        return metrics_of(test.labels[kept], predicted[kept], classes=self.classes)

    def stem(self, mode: str) -> Path:
        """Where the figures of a mode lie, without their endings."""
        return self.out / "plots" / result_name(self.task, mode, self.teacher.name).removesuffix(".json")

    def _draw(self, mode: str, found: Prediction) -> None:
        stem = self.stem(mode)
        stem.parent.mkdir(exist_ok=True)
        title = f"{self.task.name}, {mode}, test split"
        split_plots.split_figures(self.splits.test.labels, found.test, stem, classes=self.classes, title=title)


def _sources(labelled: LabelledSet | None) -> Mapping[str, str]:
    return labelled.sources if labelled is not None else {}


def _joined(corpora: Sequence[Corpus]) -> Corpus:
    return corpus_of(corpus[index] for corpus in corpora for index in range(len(corpus)))


def _random(teacher: Model, seed: int) -> Encoder:
    return initialise(make_encoder(teacher.config), _RANDOM_SEED + seed)
