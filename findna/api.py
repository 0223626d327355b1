"""The Python API: sequences, regions and files to vectors, predictions and hidden states."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna.cells import Cell, Item
from findna.classification import Classifier
from findna.config import (
    ClassifyConfig,
    ComputeConfig,
    EmbedConfig,
    RunConfig,
    Strand,
)
from findna.embedding import RecordEmbedder, feature_columns, feature_names, obs_columns
from findna.errors import InputError
from findna.io.genome import Genome
from findna.io.memory import Bases, Place, iter_regions, read_sequences
from findna.io.options import InputOptions
from findna.io.reader import Embeddings
from findna.io.records import read_records, read_regions
from findna.io.rows import SKIPPED_COLUMNS, VAR_COLUMNS, Columns, Kind, columns_of
from findna.masked import MaskedBases
from findna.models.folders import DEFAULT
from findna.models.store import Model, model_of
from findna.models.task import TaskModel, task_of
from findna.nn.device import Compute
from findna.region import Region
from findna.settings import make, with_settings

_OF_FILES = ("windows", "dtype", "threads", "deterministic")
"""Settings that only a run over files takes."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a task model for n sequences.

    Args:
        labels: The label of each, shape (n,), text. The labels of a multilabel task are joined by ";". Empty for a
            regression.
        probabilities: Calibrated probability of each class, shape (n, k), float32; k = 0 for a regression.
        classes: Names of the k classes, in order.
        values: Predicted values of a regression, shape (n,), float32; else empty.
    """

    labels: NDArray[np.object_]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return max(len(self.labels), len(self.values))


@with_settings(EmbedConfig, ComputeConfig, without=_OF_FILES)
def embed(sequences: Iterable[Bases], *, model: str | Path | Model = DEFAULT, **settings: Any) -> NDArray[np.float32]:
    """The vectors of sequences, shape (n, D), float32, in their order: those that `findna embed` writes.

    A vector does not depend on the other sequences. A sequence longer than the model's window is split into windows,
    weighted by the bases they own.

    Args:
        sequences: Text, bytes, Biopython sequences, or uint8 codes (0-4 = A C G T N), n of them. IUPAC codes become
            N, U becomes T, case is ignored.
        model: A name or folder (see `load_model`), or a loaded model: load it once for repeated calls.
        settings: Fields of `findna.config.EmbedConfig` and `ComputeConfig`.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.

    Examples:
        >>> import findna
        >>> findna.embed(["ACGTACGTTT", "TTGACC"]).dtype
        dtype('float32')
    """
    engine = _embedder(model, settings)[0]
    width = len(feature_names(engine.config, engine.network.config))
    cells = engine.embed(read_sequences(sequences, strand=engine.config.strand))
    return np.concatenate([np.empty((0, width), np.float32), *(cell.x for cell in cells)])


@with_settings(EmbedConfig, ComputeConfig, without=_OF_FILES)
def embed_regions(
    regions: str | Path | Iterable[Region | Place | str],
    genome: str | Path | Genome,
    *,
    model: str | Path | Model = DEFAULT,
    size: int | None = None,
    center: Literal["middle", "summit"] = "middle",
    split: bool = False,
    max_n: float = 1.0,
    on_error: Literal["fail", "skip"] = "fail",
    **settings: Any,
) -> Embeddings:
    """The vectors of regions, with their coordinates. All are in memory; for larger inputs use `embed_file`.

    Args:
        regions: Path of a BED or narrowPeak file; one region string ("chr1:1,001-2,000", 1-based); or a series of
            region strings, `Region`s or tuples (chrom, start, end[, name, strand]), 0-based and half-open.
        genome: FASTA (plain or bgzip) or .2bit, as a path or open.
        model: As for `embed`.
        size: Recentre every region to this many bases.
        center: The base at the centre of a resized region: "middle" or "summit" (narrowPeak).
        split: Join the blocks of BED12 rows.
        max_n: Regions whose N fraction exceeds this are listed in `skipped`.
        on_error: "skip" lists a region that cannot be read in `skipped`; "fail" raises its error.
        settings: As for `embed`.

    Returns:
        x (n, D) float32, obs with n values in each column, features, var with D values in each column, skipped, meta.

    Raises:
        InputError: A region does not fit the genome, or a file is missing or damaged.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    RunConfig(on_error=on_error)  # is checked
    options = InputOptions(size=size, center=center, split=split, max_n=max_n, strand=settings.get("strand", "bed"))
    engine, loaded = _embedder(model, settings)
    with nullcontext(genome) if isinstance(genome, Genome) else Genome(genome) as opened:
        if isinstance(regions, str | Path):
            items = read_records([str(regions)], options, genome=opened)
        else:
            items = read_regions(iter_regions(regions, opened), options, genome=opened)
        cells = list(engine.embed(items if on_error == "skip" else _raise_faults(items)))
    return _gathered(cells, engine, loaded)


@with_settings(EmbedConfig, ComputeConfig, without=(*_OF_FILES, "pool", "raw", "strand"))
def hidden_states(sequence: Bases, *, model: str | Path | Model = DEFAULT, **settings: Any) -> NDArray[np.float32]:
    """The hidden state of each base of a sequence, shape (L, C), float32; (L, n * C) if n blocks are read.

    If the sequence is longer than the window, the state of each base is from the window that owns it.

    Args:
        sequence: One sequence, as for `embed`.
        model: As for `embed`.
        settings: Fields of `findna.config.EmbedConfig` and `ComputeConfig`.

    Raises:
        InputError: The sequence is empty or not DNA.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    config = make(EmbedConfig, {**settings, "pool": "mean", "with_tokens": True})
    engine = RecordEmbedder(model_of(model).network, config, compute=Compute.of(settings))
    return engine.hidden_states(next(read_sequences([sequence])))


@with_settings(ComputeConfig, without=_OF_FILES)
def predict_bases(
    sequences: Iterable[Bases],
    *,
    model: str | Path | Model = DEFAULT,
    passes: int = 8,
    **settings: Any,
) -> list[NDArray[np.float32]]:
    """The probabilities of A, C, G and T that the model predicts at each base: one array (L, 4), float32, per sequence.

    The base itself is masked when it is predicted. Rows add up to 1: N has no probability. In a sequence
    that is longer than the model's window, each base is predicted in the window that owns it.

    Args:
        sequences: As for `embed`.
        model: As for `embed`.
        passes: Number of passes over each sequence. Pass p masks every `passes`-th base, starting at base p. With more
            passes, fewer bases are masked at a time; 0 masks one base at a time, which takes L passes for L bases.
        settings: Fields of `findna.config.ComputeConfig`.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    masked = MaskedBases(model_of(model).network, passes=passes, compute=Compute.of(settings))
    return list(masked.predict([record.codes for record in read_sequences(sequences)]))


@with_settings(ComputeConfig, without=_OF_FILES)
def classify(
    sequences: Iterable[Bases],
    task: str | Path | TaskModel,
    *,
    strand: Strand = "bed",
    abstain: float = 0.0,
    **settings: Any,
) -> Predictions:
    """The predictions of a task model for sequences, in their order: those that `findna classify` writes.

    Args:
        sequences: As for `embed`.
        task: A built-in task's name, a run directory of a fine-tuning, or a loaded task (`load_task`).
        strand: "bed" or "+": as given; "-": the reverse complement; "both": the mean of the two strands'
            log-probabilities.
        abstain: If the margin between the two best classes is smaller, the label is "unknown"; 0: never.
        settings: Fields of `findna.config.ComputeConfig`.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The task model is damaged.
        ConfigError: The task is not known, or a setting is out of range.
    """
    loaded = task_of(task)
    engine = Classifier(loaded, ClassifyConfig(strand=strand, abstain=abstain), compute=Compute.of(settings))
    cells = list(engine.classify(read_sequences(sequences, strand=strand)))
    answers = loaded.settings
    is_regression = answers.objective == "regression"
    width = 1 if is_regression else 2 + len(answers.classes)  # probability and margin come first
    x = np.concatenate([np.empty((0, width), np.float32), *(cell.x for cell in cells)])
    labels = [] if is_regression else [label for cell in cells for label in cell.obs.get("label", ())]
    return Predictions(
        labels=np.array(labels, dtype=object),
        probabilities=x[:, :0] if is_regression else x[:, 2:],
        classes=answers.classes,
        values=x[:, 0] if is_regression else np.empty(0, np.float32),
    )


def _embedder(model: str | Path | Model, settings: Mapping[str, Any]) -> tuple[RecordEmbedder, Model]:
    config, loaded = make(EmbedConfig, settings), model_of(model)
    return RecordEmbedder(loaded.network, config, readout=loaded.readout, compute=Compute.of(settings)), loaded


def _raise_faults(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, InputError) and item.is_fatal:
            raise item
        yield item


def _gathered(cells: Sequence[Cell], engine: RecordEmbedder, model: Model) -> Embeddings:
    config, size, compute = engine.config, model.config, engine.compute
    obs = {name: [value for cell in cells for value in cell.obs.get(name, ())] for name in obs_columns(config)}
    skipped = [
        {"id": fault.record, "source": str(fault.path or ""), "row": fault.row, "line": -1, "reason": fault.reason}
        | ({} if fault.line is None else {"line": fault.line})
        for cell in cells
        for fault in cell.skipped
    ]
    params = {**asdict(config), "batch_bases": compute.batch_bases, **compute.facts()}
    features, columns = feature_names(config, size), feature_columns(config, size, model.readout)
    return Embeddings(
        x=np.concatenate([np.empty((0, len(features)), np.float32), *(cell.x for cell in cells)]),
        obs=_arrays(obs, obs_columns(config)),
        features=features,
        var={name: _array(values, VAR_COLUMNS[name]) for name, values in columns.items()},
        skipped=_arrays(columns_of(skipped, SKIPPED_COLUMNS), SKIPPED_COLUMNS),
        meta={"model": {"name": model.name, "sha256": model.sha256}, "params": params},
    )


def _arrays(values: Columns, columns: Mapping[str, Kind]) -> dict[str, NDArray[Any]]:
    return {name: _array(values[name], kind) for name, kind in columns.items()}


def _array(values: Sequence[Any], kind: Kind) -> NDArray[Any]:
    return np.array(values, dtype=object if kind in ("string", "categorical") else kind)
