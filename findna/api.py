"""What `import findna` offers: sequences, regions and files to vectors, predictions and hidden states."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna.cells import Cell, Item
from findna.classification import Classifier
from findna.config import ClassifyConfig, EmbedConfig, parse_pools
from findna.embedding import Embedder, feature_names, obs_columns
from findna.errors import ConfigError, InputError
from findna.io.bam import SECONDARY_OR_SUPPLEMENTARY
from findna.io.formats import Format, infer_format
from findna.io.genome import Genome
from findna.io.memory import Bases, Place, iter_regions, read_sequences
from findna.io.options import InputOptions
from findna.io.reader import Embeddings
from findna.io.records import read_records, read_regions
from findna.io.rows import SKIPPED_COLUMNS, Kind
from findna.job import EmbedJob, plan, run
from findna.masked import MaskedBases
from findna.models.store import DEFAULT, Model, load_model
from findna.models.task import TaskModel, load_task
from findna.nn.device import pick_device, pick_precision
from findna.region import Region
from findna.shard import Shard

Report = dict[str, Any]
"""The account of a run: outputs, n_records, n_rows, n_skipped, n_bases, seconds, and what `--json` writes."""


@dataclass(frozen=True)
class Predictions:
    """Answers of a task model for n sequences.

    Args:
        labels: The label of each, shape (n,), text; several of a multilabel task are joined by ";". Empty for a
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


def embed(
    sequences: Iterable[Bases],
    *,
    model: str | Path | Model = DEFAULT,
    strand: str = "bed",
    pool: str = "",
    raw: bool = False,
    layer: int = -1,
    blocks: str = "",
    window: int = 0,
    stride: int = 0,
    batch_bases: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> NDArray[np.float32]:
    """The vectors of sequences, shape (n, D), float32, in their order: those that `findna embed` writes.

    A vector does not depend on the other sequences. A sequence that is longer than the model's window becomes
    windows, weighted by the bases they own.

    Args:
        sequences: Text, bytes, Biopython sequences, or uint8 codes (0-4 = A C G T N), n of them. IUPAC codes become
            N, U becomes T, case is ignored.
        model: A name or folder (see `load_model`), or a loaded model: load it once for repeated calls.
        strand: "bed" or "+": as given; "-": the reverse complement; "both": the mean of the two vectors.
        pool: mean, sd, max, min (over bases) or several, as in mean,sd; or cls, the class tokens. Without pool, layer
            and blocks, the model's own read-out, standardised: 0.08 (value - mean) / sd of its reference windows.
        raw: Leave the values of the model's own read-out as they are; all others are raw always.
        layer: After how many layers to read; 0 is the stem, -1 the last.
        blocks: After how many blocks to read instead of `layer`, as in 5,10,15,20; several stand side by side.
        window: Longest piece of a sequence, in bases; 0 is the model's own.
        stride: Bases between two windows; 0 is the window.
        batch_bases: Bases in a batch; 0 is what suits the device.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.
        precision: auto (bf16 where the device has it), fp32, bf16, bf16-stream.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.

    >>> import findna
    >>> findna.embed(["ACGTACGTTT", "TTGACC"]).dtype
    dtype('float32')
    """
    config = EmbedConfig(
        pool=pool,
        raw=raw,
        layer=layer,
        blocks=blocks,
        window=window,
        stride=stride,
        strand=strand,
        batch_bases=batch_bases,
    )
    engine = _embedder(model, config, device=device, precision=precision)[0]
    width = len(feature_names(engine.config, engine.network.config))
    cells = engine.embed(read_sequences(sequences, strand=strand))
    return np.concatenate([np.empty((0, width), np.float32), *(cell.x for cell in cells)])


def embed_regions(
    regions: str | Path | Iterable[Region | Place | str],
    genome: str | Path | Genome,
    *,
    model: str | Path | Model = DEFAULT,
    strand: str = "bed",
    size: int | None = None,
    center: str = "middle",
    split: bool = False,
    max_n: float = 1.0,
    on_error: Literal["fail", "skip"] = "fail",
    pool: str = "",
    raw: bool = False,
    layer: int = -1,
    blocks: str = "",
    window: int = 0,
    stride: int = 0,
    batch_bases: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> Embeddings:
    """The vectors of regions, with their coordinates, in memory; `embed_file` is for more than fit there.

    Args:
        regions: Path of a BED or narrowPeak file; one region string ("chr1:1,001-2,000", 1-based); or a series of
            region strings, `Region`s or tuples (chrom, start, end[, name, strand]), 0-based and half-open.
        genome: FASTA (plain or bgzip) or .2bit, as a path or open.
        model: As for `embed`.
        strand: "bed": each region's own; "+", "-"; "both": the mean of the two strands' vectors.
        size: Recentre every region to so many bases.
        center: What stays in the middle then: "middle" or "summit" (narrowPeak).
        split: Join the blocks of BED12 rows.
        max_n: Regions with a larger fraction of N are listed in `skipped`.
        on_error: "skip" lists a region that cannot be read in `skipped`; "fail" raises its error.
        pool: As for `embed`; so are the arguments that follow.
        raw: As for `embed`.
        layer: As for `embed`.
        blocks: As for `embed`.
        window: As for `embed`.
        stride: As for `embed`.
        batch_bases: As for `embed`.
        device: As for `embed`.
        precision: As for `embed`.

    Returns:
        x (n, D) float32, obs with n values in each column, features, skipped, meta.

    Raises:
        InputError: A region does not fit the genome, or a file is missing or damaged.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    config = EmbedConfig(
        pool=pool,
        raw=raw,
        layer=layer,
        blocks=blocks,
        window=window,
        stride=stride,
        strand=strand,
        batch_bases=batch_bases,
    )
    if on_error not in ("fail", "skip"):
        raise ConfigError(f"on_error must be fail or skip, not {on_error!r}")
    options = InputOptions(size=size, center=center, split=split, max_n=max_n, strand=strand)
    engine, meta = _embedder(model, config, device=device, precision=precision)
    with nullcontext(genome) if isinstance(genome, Genome) else Genome(genome) as opened:
        if isinstance(regions, str | Path):
            items = read_records([str(regions)], options, genome=opened)
        else:
            items = read_regions(iter_regions(regions, opened), options, genome=opened)
        cells = list(engine.embed(items if on_error == "skip" else _raise_faults(items)))
    features, columns = feature_names(engine.config, engine.network.config), obs_columns(engine.config)
    return _gathered(cells, features=features, columns=columns, meta=meta)


def embed_file(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    genome: str | Path | None = None,
    model: str = DEFAULT,
    output_format: Format | None = None,
    pool: str = "",
    raw: bool = False,
    layer: int = -1,
    blocks: str = "",
    window: int = 0,
    stride: int = 0,
    strand: str = "bed",
    dtype: Literal["float32", "float16"] = "float32",
    in_format: str | None = None,
    split: bool = False,
    size: int | None = None,
    center: str = "middle",
    max_n: float = 1.0,
    region: str | None = None,
    min_mapq: int = 0,
    exclude_flags: int = SECONDARY_OR_SUPPLEMENTARY,
    reference_bases: bool = False,
    on_error: Literal["fail", "skip"] = "fail",
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
    batch_bases: int = 0,
    device: str = "auto",
    precision: str = "auto",
    workers: int = 1,
    gpus: int = 0,
    shard: Shard | str | None = None,
    command: str = "",
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Report:
    """Write the vectors of all records of files to a file, in constant memory: what `findna embed` runs.

    Args:
        inputs: FASTA, FASTQ, BED, narrowPeak, BAM or CRAM files, "-" for stdin, or region strings.
        out: The output; "-" is stdout (TSV).
        genome: FASTA (plain or bgzip) or .2bit that regions are on.
        model: A shipped model's name, a model folder or a pulled ORG/NAME.
        output_format: h5, tsv, parquet or npy; None infers it from the name of `out`.
        pool: As for `embed`; "tokens" adds every base's hidden state in a second file, and "cls" beside another pool
            the class tokens in obsm/X_cls.
        raw: As for `embed`.
        layer: As for `embed`.
        blocks: As for `embed`.
        window: As for `embed`.
        stride: As for `embed`.
        strand: As for `embed_regions`.
        dtype: Of the vectors in the output.
        in_format: Format of all inputs; None infers it from their content.
        split: As for `embed_regions`.
        size: As for `embed_regions`.
        center: As for `embed_regions`.
        max_n: As for `embed_regions`.
        region: BAM: only reads that overlap this region string.
        min_mapq: BAM: minimum MAPQ.
        exclude_flags: BAM: skip reads with any of these SAM flag bits.
        reference_bases: BAM: the genome's bases under each alignment.
        on_error: "fail" ends the run at a record's fault, "skip" lists the record as skipped.
        resume: Continue a partial run.
        force: Replace an existing output.
        dry_run: Write nothing; the report has counts, problems, sizes and a time estimate.
        batch_bases: As for `embed`.
        device: As for `embed`.
        precision: As for `embed`.
        workers: Processes on the CPU.
        gpus: GPUs with a process each; 0 is one process.
        shard: The part of the records to embed, as in "3/16"; None is all.
        command: The command line, for the provenance.
        on_progress: Told how many records are written or skipped, and how many there are (None: not known).

    Returns:
        The report: outputs, n_records, n_rows, n_skipped, n_bases, seconds, peak_memory_bytes, model, params and more.

    Raises:
        InputError: An input is missing, empty, damaged, or a record of it cannot be used.
        OutputError: The output exists, is in use, or cannot be written.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range or contradicts another.
    """
    pools = parse_pools(pool, also=("tokens",)) if pool else ()
    in_vector = [name for name in pools if name not in ("cls", "tokens")]
    config = EmbedConfig(
        pool=",".join(in_vector) or ("cls" if "cls" in pools else "mean" if pools else ""),
        raw=raw,
        with_cls="cls" in pools and bool(in_vector),
        with_tokens="tokens" in pools,
        layer=layer,
        blocks=blocks,
        window=window,
        stride=stride,
        strand=strand,
        batch_bases=batch_bases,
        dtype=dtype,
    )
    options = InputOptions(
        in_format=in_format,
        genome=genome,
        split=split,
        size=size,
        center=center,
        max_n=max_n,
        strand=strand,
        region=region,
        min_mapq=min_mapq,
        exclude_flags=exclude_flags,
        reference_bases=reference_bases,
    )
    job = EmbedJob(
        [str(inputs)] if isinstance(inputs, str | Path) else [str(text) for text in inputs],
        Path(out),
        options=options,
        config=config,
        model=model,
        device=device,
        precision=precision,
        output_format=output_format or infer_format(out),
        on_error=on_error,
        resume=resume,
        force=force,
        command=command,
        shard=Shard.parse(shard, {}) if isinstance(shard, str) else shard,
        workers=workers,
        gpus=gpus,
    )
    return plan(job) if dry_run else run(job, on_progress=on_progress)


def hidden_states(
    sequence: Bases,
    *,
    model: str | Path | Model = DEFAULT,
    layer: int = -1,
    blocks: str = "",
    window: int = 0,
    stride: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> NDArray[np.float32]:
    """The hidden state of each base of a sequence, shape (L, C), float32; of several blocks side by side (L, n * C).

    Of a sequence that is longer than the window, each base's state is from the window that owns it.

    Args:
        sequence: One sequence, as for `embed`.
        model: As for `embed`; so are the arguments that follow.
        layer: As for `embed`.
        blocks: As for `embed`.
        window: As for `embed`.
        stride: As for `embed`.
        device: As for `embed`.
        precision: As for `embed`.

    Raises:
        InputError: The sequence is empty or not DNA.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    config = EmbedConfig(pool="mean", layer=layer, blocks=blocks, window=window, stride=stride, with_tokens=True)
    engine, _ = _embedder(model, config, device=device, precision=precision)
    return engine.hidden_states(next(read_sequences([sequence])))


def predict_bases(
    sequences: Iterable[Bases],
    *,
    model: str | Path | Model = DEFAULT,
    passes: int = 8,
    batch_bases: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> list[NDArray[np.float32]]:
    """The probabilities of A, C, G and T that the model predicts at each base; per sequence (L, 4), float32.

    The base itself is masked when it is predicted. Rows add up to 1: the probability of N is left out. Of a sequence
    that is longer than the model's window, each base is predicted in the window that owns it.

    Args:
        sequences: As for `embed`.
        model: As for `embed`; so are the arguments that follow `passes`.
        passes: How many times each sequence is computed: pass p masks every `passes`-th base, from base p on. More
            passes mask fewer bases together; 0 masks each base by itself, which costs L passes for L bases.
        batch_bases: As for `embed`.
        device: As for `embed`.
        precision: As for `embed`.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    where = pick_device(device)
    masked = MaskedBases(
        _model(model).network,
        passes=passes,
        batch_bases=batch_bases,
        device=where,
        precision=pick_precision(precision, where),
    )
    return list(masked.predict(record.codes for record in read_sequences(sequences)))


def classify(
    sequences: Iterable[Bases],
    task: str | Path | TaskModel,
    *,
    strand: str = "bed",
    abstain: float = 0.0,
    batch_bases: int = 0,
    device: str = "auto",
    precision: str = "auto",
) -> Predictions:
    """The answers of a task model for sequences, in their order: those that `findna classify` writes.

    Args:
        sequences: As for `embed`.
        task: A built-in task's name, a run directory of a fine-tuning, or a loaded task (`load_task`).
        strand: "bed" or "+": as given; "-": the reverse complement; "both": the mean of the two strands'
            log-probabilities.
        abstain: Sequences with a smaller margin between the two best classes get the label "unknown"; 0 never.
        batch_bases: As for `embed`.
        device: As for `embed`.
        precision: As for `embed`.

    Raises:
        InputError: A sequence is empty or not DNA; the text names its index.
        ModelError: The task model is damaged.
        ConfigError: The task is not known, or a setting is out of range.
    """
    loaded, where = task if isinstance(task, TaskModel) else load_task(task), pick_device(device)
    config = ClassifyConfig(strand=strand, abstain=abstain, batch_bases=batch_bases)
    engine = Classifier(loaded, config, device=where, precision=pick_precision(precision, where))
    cells = list(engine.classify(read_sequences(sequences, strand=strand)))
    settings = loaded.settings
    is_regression = settings.objective == "regression"
    width = 1 if is_regression else 2 + len(settings.classes)  # probability and margin come first
    x = np.concatenate([np.empty((0, width), np.float32), *(cell.x for cell in cells)])
    labels = [] if is_regression else [row["label"] for cell in cells for row in cell.obs]
    return Predictions(
        labels=np.array(labels, dtype=object),
        probabilities=x[:, :0] if is_regression else x[:, 2:],
        classes=settings.classes,
        values=x[:, 0] if is_regression else np.empty(0, np.float32),
    )


def _model(model: str | Path | Model) -> Model:
    return model if isinstance(model, Model) else load_model(str(model))


def _embedder(
    model: str | Path | Model, config: EmbedConfig, *, device: str, precision: str
) -> tuple[Embedder, dict[str, Any]]:
    """The embedder, and what there is to know of it."""
    loaded, where = _model(model), pick_device(device)
    kind = pick_precision(precision, where)
    embedder = Embedder(loaded.network, config, readout=loaded.readout, device=where, precision=kind)
    params = {**asdict(embedder.config), "device": where.type, "precision": kind.name}
    return embedder, {"model": {"name": loaded.name, "sha256": loaded.sha256}, "params": params}


def _raise_faults(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, InputError) and item.is_fatal:
            raise item
        yield item


def _gathered(
    cells: Sequence[Cell], *, features: list[str], columns: Mapping[str, Kind], meta: dict[str, Any]
) -> Embeddings:
    rows = [row for cell in cells for row in cell.obs]
    skipped = [
        {"id": fault.record, "source": str(fault.path or ""), "row": fault.row, "line": -1, "reason": fault.reason}
        | ({} if fault.line is None else {"line": fault.line})
        for cell in cells
        for fault in cell.skipped
    ]
    x = np.concatenate([np.empty((0, len(features)), np.float32), *(cell.x for cell in cells)])
    return Embeddings(x, _arrays(rows, columns), features, _arrays(skipped, SKIPPED_COLUMNS), meta)


def _arrays(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> dict[str, NDArray[Any]]:
    return {
        name: np.array([row[name] for row in rows], dtype=object if kind in ("string", "categorical") else kind)
        for name, kind in columns.items()
    }
