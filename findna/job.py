"""One run over inputs: they are checked, the model is loaded, rows are written, the account is settled."""

import dataclasses
import itertools
import json
import platform
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from findna import __version__
from findna.cells import Cell, Item, write_rows
from findna.classification import PREDICTIONS, Classifier, column_order, prediction_columns, split_windows, value_names
from findna.config import ClassifyConfig, EmbedConfig
from findna.data.windows import count_windows
from findna.embedding import Embedder, feature_columns, feature_names, obs_columns, width_of
from findna.errors import BedError, ConfigError, FastaError, InputError, OutputError, RegionError
from findna.frame import genome_facts, input_facts, peak_memory_bytes
from findna.io.check import InputSummary, check_inputs
from findna.io.compressed import STDIN
from findna.io.files import storable
from findna.io.genome import Genome
from findna.io.hdf5 import EmbeddingWriter, Format, TokenSink, finished_meta, refuse_existing
from findna.io.options import InputOptions
from findna.io.records import Begin, TooManyN, read_records
from findna.io.rows import Kind
from findna.io.spool import differences
from findna.io.tables import TsvStream
from findna.io.watch import Watch
from findna.limits import MAX_PROCESSES
from findna.manifest import read_manifest
from findna.models.manifest import digest_of
from findna.models.store import DEFAULT, load_model
from findna.models.task import load_task
from findna.nn.device import Precision, pick_batch_bases, pick_device, pick_precision
from findna.nn.kernels import choose
from findna.record import Record
from findna.sequence import is_mostly_n
from findna.shard import Cuts, Part, Shard
from findna.workers import MakeCells, Workers

STDOUT = Path("-")
CALIBRATION_SECONDS = 2.0
_OBS_BYTES = 150
_FILE_BYTES = 230_000
_TSV_BYTES = 12
_LONGEST_NAME = 255
_LIBRARIES = ("torch", "numpy", "h5py", "pysam", "biopython", "safetensors")


@dataclass(frozen=True)
class Job(ABC):
    """All that decides the rows of an output, and where it goes; what makes the rows is a subclass's.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output; "-" is stdout, TSV only.
        options: How inputs become records.
        device: auto, cpu, cuda, ...
        precision: auto, or of `findna.nn.device.PRECISIONS`.
        output_format: h5, tsv, parquet or npy.
        on_error: "fail" ends the run at a record's fault, "skip" lists the record as skipped.
        resume: Continue a partial run.
        force: Replace an existing output.
        command: The command line, for the provenance.
        shard: The part of the records that is to be done; None is all.
        plan: What `findna.manifest.split` wrote of the inputs: the shard then reads and checks only its own records.
        workers: Processes that embed; on the CPU each has its share of the threads.
        gpus: GPUs with a process each; 0 is as `device` says.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    device: str = "auto"
    precision: str = "auto"
    output_format: Format = "h5"
    on_error: str = "fail"
    resume: bool = False
    force: bool = False
    command: str = ""
    shard: Shard | None = None
    plan: Path | None = None
    workers: int = 1
    gpus: int = 0

    def __post_init__(self) -> None:
        if pasted := [text for text in self.inputs if len(Path(text).name) > _LONGEST_NAME]:
            raise ConfigError(
                f"{pasted[0][:20]}... is too long for a file or a region: "
                "a sequence goes into a FASTA file, or to stdin (-)"
            )
        problems = []
        if self.on_error not in ("fail", "skip"):
            problems.append(f"--on-error must be fail or skip, not {self.on_error!r}")
        sources = [*self.inputs, *([self.options.genome] if self.options.genome else [])]
        if self.out.is_file() and any(Path(text).is_file() and self.out.samefile(text) for text in sources):
            problems.append(f"{self.out} is an input and would be replaced: choose another -o")
        if self.resume and self.read_once:
            problems.append(
                f"{'stdin' if STDIN in self.inputs else self.read_once[0]} cannot be read again: --resume needs a file"
            )
        if self.out == STDOUT and self.output_format != "tsv":
            problems.append(f"{self.output_format} cannot be streamed to stdout: --format tsv, or -o FILE")
        if self.out == STDOUT and self.resume:
            problems.append("stdout cannot be resumed: -o FILE")
        if self.shard and self.output_format != "h5":
            problems.append(f"--shard writes HDF5, of which findna merge makes {self.output_format}")
        if self.plan and not self.shard:
            problems.append(f"the plan {self.plan} needs a shard, i/n")
        if self.read_once and (self.shard or len(self.devices) > 1):
            flag = "--shard" if self.shard else "more than one process"
            problems.append(f"{'stdin' if STDIN in self.inputs else self.read_once[0]} does not go with {flag}: a file")
        if max(self.workers, self.gpus) > MAX_PROCESSES:
            problems.append(f"{max(self.workers, self.gpus):,} processes are more than {MAX_PROCESSES:,}")
        if self.workers > 1 and self.gpus:
            problems.append("--workers is for the CPU, --gpus has a process for each GPU: give one of them")
        elif self.workers > 1 and self.device not in ("auto", "cpu"):
            problems.append(f"--workers is for the CPU: --device {self.device} has --gpus")
        elif self.gpus and self.device not in ("auto", "cuda"):
            problems.append(f"--gpus contradicts --device {self.device}")
        if problems := problems + self._problems():
            raise ConfigError("; ".join(problems))

    @property
    def read_once(self) -> list[str]:
        """The inputs that cannot be read again: stdin and pipes."""
        return [text for text in self.inputs if text == STDIN or (Path(text).exists() and not Path(text).is_file())]

    @property
    def is_fatal(self) -> bool:
        """Whether one record's fault ends the run."""
        return self.on_error == "fail"

    @property
    def devices(self) -> list[str]:
        """A device for each process that makes rows."""
        if self.gpus:
            return [f"cuda:{index}" for index in range(self.gpus)]
        return ["cpu"] * self.workers if self.workers > 1 else [self.device]

    @property
    @abstractmethod
    def batch_bases(self) -> int:
        """Bases in a batch."""

    @abstractmethod
    def load(self) -> "Engine":
        """What makes the rows, on the first of the devices."""

    def _problems(self) -> list[str]:
        return []


@dataclass(frozen=True)
class Engine:
    """What makes rows of records, and what there is to know of it.

    Args:
        cells: Makes cells of records; a writer takes the tokens.
        name: Of the model or task.
        identity: The sha256 of what decides the values.
        facts: What an output says of the model.
        params: What an output says of the settings; a resumed run must have the same.
        features: Names of a row's values.
        var: Columns of the features, see `findna.io.rows.VAR_COLUMNS`; {} for predictions.
        columns: Name and kind of a row's columns, those that the kind of input adds not among them.
        window: Longest piece of a record, in bases.
        stride: Bases between two windows.
        batch_bases: Bases in a batch.
        device: Where it runs.
        precision: Of the matrix products and the residual stream.
        kernels: What an output says of the code that runs the blocks.
        cls_shape: (K, C) of the class tokens beside the vectors, or None.
        tokens_dim: C of the tokens, or None.
        dtype: Of the values in the output.
        order: Order of a TSV's columns, given those that the kind of input adds; see `findna.io.tables.write_tsv`.
        split: Makes of records what gets a row each; None: they get one themselves.
        schema: Of the output's metadata, where it holds no vectors.
    """

    cells: Callable[[Iterable[Item], TokenSink | None], Iterator[Cell]]
    name: str
    identity: str
    facts: Mapping[str, Any]
    params: Mapping[str, Any]
    features: Sequence[str]
    columns: Mapping[str, Kind]
    window: int
    stride: int
    batch_bases: int
    device: torch.device
    precision: Precision
    kernels: Mapping[str, Any]
    var: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    cls_shape: tuple[int, int] | None = None
    tokens_dim: int | None = None
    dtype: Literal["float32", "float16"] = "float32"
    order: Callable[[Sequence[str]], Sequence[str]] = lambda extra: ()
    split: Callable[[Iterable[Item]], Iterator[Item]] | None = None
    schema: str = ""

    def n_windows(self, length: int) -> int:
        """How many windows a record of so many bases has."""
        return count_windows(length, size=self.window, stride=self.stride)


@dataclass(frozen=True)
class EmbedJob(Job):
    """A run of `findna embed`.

    Args:
        config: What is in a vector.
        model: A shipped model's name or a model folder.
    """

    config: EmbedConfig = field(default_factory=EmbedConfig)
    model: str = DEFAULT

    def _problems(self) -> list[str]:
        problems = []
        if self.config.strand != self.options.strand:
            problems.append(
                f"strand {self.config.strand} of the vectors and {self.options.strand} of the inputs differ"
            )
        if self.out == STDOUT and (self.config.with_tokens or self.config.with_cls):
            problems.append("TSV on stdout holds one vector a row: tokens, and cls beside another pool, need a file")
        return problems

    @property
    def batch_bases(self) -> int:
        """Bases in a batch."""
        return pick_batch_bases(self.config.batch_bases, pick_device(self.devices[0]))

    def load(self) -> Engine:
        """The teacher, and what is read from it."""
        model, device = load_model(self.model), pick_device(self.devices[0])
        precision = pick_precision(self.precision, device)
        embedder = Embedder(model.network, self.config, readout=model.readout, device=device, precision=precision)
        size, config = model.config, embedder.config
        facts = {"sha256": model.sha256, "config": size.to_dict(), "readout": model.readout.facts}
        return Engine(
            cells=lambda items, writer: embedder.embed(items, sink=writer),
            name=model.name,
            identity=digest_of(facts),
            facts={"name": model.name, **facts, "training": model.training.get("summary", {})},
            params=dataclasses.asdict(config),
            features=feature_names(config, size),
            var=feature_columns(config, size, model.readout),
            columns=obs_columns(config),
            window=config.window,
            stride=config.stride,
            batch_bases=config.batch_bases,
            device=device,
            precision=precision,
            kernels=choose(size, device=device, precision=precision).facts(),
            cls_shape=(size.n_class_tokens, width_of(config, size)) if config.with_cls else None,
            tokens_dim=width_of(config, size) if config.with_tokens else None,
            dtype=config.dtype,
        )


@dataclass(frozen=True)
class ClassifyJob(Job):
    """A run of `findna classify`; its output is a TSV.

    Args:
        config: What an answer is.
        task: A built-in task's name or a run directory.
    """

    output_format: Format = "tsv"
    config: ClassifyConfig = field(default_factory=ClassifyConfig)
    task: str = ""

    def _problems(self) -> list[str]:
        problems = []
        if self.config.strand not in ("", self.options.strand):
            problems.append(f"strand {self.config.strand} of the task and {self.options.strand} of the inputs differ")
        if self.output_format != "tsv":
            problems.append(f"predictions are a TSV, not {self.output_format}")
        return problems

    @property
    def batch_bases(self) -> int:
        """Bases in a batch."""
        return pick_batch_bases(self.config.batch_bases, pick_device(self.devices[0]))

    def load(self) -> Engine:
        """The task model, and what its answers are."""
        task, device = load_task(self.task), pick_device(self.devices[0])
        precision = pick_precision(self.precision, device)
        classifier = Classifier(task, self.config, device=device, precision=precision)
        config, settings = classifier.config, task.settings
        return Engine(
            cells=lambda items, writer: classifier.classify(items),
            name=task.name,
            identity=task.sha256,
            facts={
                "name": task.name,
                "sha256": task.sha256,
                "config": task.network.config.to_dict(),
                "task": dataclasses.asdict(settings),
                "teacher": dict(task.teacher),
            },
            params=dataclasses.asdict(config),
            features=value_names(config, settings),
            columns=prediction_columns(config, settings),
            window=settings.window,
            stride=settings.stride,
            batch_bases=config.batch_bases,
            device=device,
            precision=precision,
            kernels=choose(task.network.config, device=device, precision=precision).facts(),
            order=lambda extra: column_order(config, settings, extra),
            split=partial(split_windows, size=settings.window, stride=settings.stride) if config.windows else None,
            schema=PREDICTIONS,
        )


def check(
    job: Job,
    genome: Genome | None,
    *,
    n_windows: Callable[[int], int] | None = None,
    is_full: bool = False,
    on_record: Callable[[int], object] | None = None,
) -> InputSummary:
    """A first pass over the inputs that can be read twice.

    Args:
        job: The job.
        genome: Its genome, open.
        n_windows: How many windows a record of so many bases has.
        is_full: Count sequences and reads too, not only regions.
        on_record: As in `check_inputs`.

    Raises:
        InputError: A region does not fit the genome and `on_error` is "fail": all such, the first ten shown.
    """
    summary = check_inputs(
        job.inputs, job.options, genome=genome, n_windows=n_windows, is_full=is_full, on_record=on_record
    )
    problem = summary.error()
    if job.is_fatal and problem is not None:
        raise problem
    return summary


def run(job: Job, *, on_progress: Callable[[int, int | None], None] = lambda done, total: None) -> dict[str, Any]:
    """Write the rows of all records of a job, and give the account of it.

    Args:
        job: What to do.
        on_progress: Told how many records are written or skipped, and how many there are if that is known.

    Returns:
        The report that `--json` writes: counts, throughput, memory, versions, outputs.

    Raises:
        InputError: An input is wrong. Of files, the rows so far are kept (NAME.partial) if there are any. An input or
            the genome changed while it was read: nothing is kept.
        OutputError: The output exists, is in use, or cannot be written.
        ModelError: The model is damaged, or gives NaN.
        ConfigError: A batch is too large for the device.
    """
    started, began = datetime.now(UTC), time.monotonic()
    watch = Watch([*job.inputs, *([job.options.genome] if job.options.genome else [])])
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        if job.out != STDOUT:  # before the work, not after it
            refuse_existing(job.out, job.output_format, is_allowed=job.force or job.resume)
        n_records, inputs, part, begin = _scope(job, genome)
        engine = job.load()
        total = None if engine.split else part.n_records if part else n_records
        items = read_records(job.inputs, job.options, genome=genome, wanted=part and part.records, begin=begin)
        first, extra = _peek(items)
        facts = {"inputs": inputs, "genome": genome_facts(genome), "params": _params(job, engine)}
        if part:
            facts["shard"] = part.to_dict()
        if job.resume and (found := finished_meta(job.out, job.output_format)):
            return _finished(job, found, {"model": engine.facts, **facts})
        writer = _open_writer(job, engine, facts, extra)
        stack.enter_context(writer)
        n_resumed = writer.n_records_done
        every: Iterator[Item] = itertools.chain(first, items)
        counted = _Counted(engine.split(every) if engine.split else every, n_resumed=n_resumed)
        cells: MakeCells = engine.cells
        if len(job.devices) > 1:
            cells = stack.enter_context(_workers(job, engine)).cells
        try:
            for n_done in write_rows(lambda todo: cells(todo, writer), counted, writer, fatal=job.is_fatal):
                on_progress(n_resumed + n_done, total)
            watch.check(_digests(inputs))
        except BaseException as error:
            if job.read_once or watch.change(_digests(inputs)):  # rows of which nobody knows what they are of
                writer.discard()
            if isinstance(error, torch.OutOfMemoryError):
                raise ConfigError(f"{engine.device} has too little memory for a batch: lower --batch-bases") from error
            raise
        if counted.first_fault and not writer.n_rows and not part:
            writer.discard()
            raise InputError(f"all {writer.n_skipped:,} records were skipped; the first: {counted.first_fault}")
        seconds = time.monotonic() - began
        uns = {"provenance": _provenance(job, engine, started), "model": engine.facts, **facts}
        if engine.schema:
            uns["schema"] = engine.schema
        outputs = writer.finish(uns, n_expected=part.n_records if part else counted.n)
    return {
        "findna": __version__,
        "outputs": [str(path) for path in outputs],
        "n_records": counted.n,
        "n_rows": writer.n_rows,
        "n_skipped": writer.n_skipped,
        "n_resumed": n_resumed,
        "n_mostly_n": counted.n_mostly_n,
        "n_bases": counted.n_bases,
        "seconds": round(seconds, 3),
        "records_per_second": round((counted.n - n_resumed) / max(seconds, 1e-9), 3),
        "peak_memory_bytes": peak_memory_bytes(),
        **uns,
    }


def _finished(job: Job, found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """The account of a run that is already finished.

    Raises:
        OutputError: The output is of another run.
    """
    expected = json.loads(json.dumps(expected))
    if differing := differences({name: found.get(name) for name in expected}, expected):
        changes = "; ".join(f"{key} was {before}, is {now}" for key, before, now in differing)
        raise OutputError(f"{job.out}: is finished, and of another run: {changes}")
    n_rows, n_skipped = found["n_rows"], found["n_skipped"]
    return {
        "findna": __version__,
        "outputs": [str(job.out)],
        "n_records": n_rows + n_skipped,
        "n_rows": n_rows,
        "n_skipped": n_skipped,
        "n_resumed": n_rows + n_skipped,
        "n_mostly_n": 0,
        "n_bases": 0,
        "seconds": 0.0,
        **expected,
    }


def _scope(job: Job, genome: Genome | None) -> tuple[int | None, list[dict[str, Any]], Part | None, Begin | None]:
    """Records of all inputs if they are known, facts of the inputs, the part to do, and where it begins."""
    if job.plan and job.shard:
        manifest = read_manifest(job.plan)
        manifest.check(job.options, genome, batch_bases=job.batch_bases, is_fatal=job.is_fatal)
        return manifest.n_records, manifest.facts(job.inputs), *manifest.of(job.shard)
    cuts = Cuts(job.batch_bases)
    summary = check(job, genome, on_record=cuts.add if job.shard else None)
    n_records = None if summary.unchecked else summary.n_records
    return n_records, input_facts(job.inputs), cuts.part(job.shard) if job.shard else None, None


def plan(job: Job) -> dict[str, Any]:
    """What `run` would do, for `--dry-run`: counts, output size, problems, and a time from a short calibration.

    Raises:
        InputError: An input is missing, empty or damaged as a whole.
    """
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        engine = job.load()
        tolerant = dataclasses.replace(job, on_error="skip")
        n_seen = 0

        def n_windows(length: int) -> int:
            nonlocal n_seen
            n = engine.n_windows(length)
            n_seen += n * min(length, engine.window)
            return n

        cuts = Cuts(job.batch_bases)
        on_record = cuts.add if job.shard else None
        summary = check(tolerant, genome, n_windows=n_windows, is_full=True, on_record=on_record)
        bases_per_second = _calibrate(engine) * max(1, job.gpus)
    problem = summary.error()
    part = cuts.part(job.shard) if job.shard else None
    share = part.n_bases / max(1, summary.n_bases) if part else 1
    return {
        "n_records": summary.n_records,
        "n_windows": summary.n_windows,
        "n_bases": summary.n_bases,
        **({"shard": str(job.shard), "shard_records": part.n_records, "shard_bases": part.n_bases} if part else {}),
        "output_bytes": round(share * _output_bytes(job, engine, summary)),
        "bases_per_second": round(bases_per_second),
        "estimated_seconds": round(share * n_seen / bases_per_second, 1),
        "n_problems": summary.n_problems,
        "problems": summary.problems,
        "missing_contigs": summary.missing_contigs,
        "first_problems": str(problem) if problem else "",
        "not_counted": summary.unchecked,
        "model": engine.name,
        "device": str(engine.device),
        "precision": engine.precision.name,
    }


def _output_bytes(job: Job, engine: Engine, summary: InputSummary) -> int:
    n_rows = summary.n_windows if engine.split else summary.n_records - summary.n_problems
    value_bytes = _TSV_BYTES if job.output_format == "tsv" else np.dtype(engine.dtype).itemsize
    n_values = len(engine.features) + int(np.prod(engine.cls_shape or 0))
    n_bytes = n_rows * (n_values * value_bytes + _OBS_BYTES) + _FILE_BYTES * (job.output_format == "h5")
    return n_bytes + summary.n_bases * (engine.tokens_dim or 0) * 2


class _Counted(Iterator[Record | InputError]):
    """Counts the records that pass, how many are mostly N, and the bases that a resumed run has not embedded."""

    def __init__(self, items: Iterator[Record | InputError], *, n_resumed: int) -> None:
        self._items, self._n_resumed, self.n, self.n_bases = items, n_resumed, 0, 0
        self.n_mostly_n = 0
        self.first_fault: InputError | None = None

    def __next__(self) -> Record | InputError:
        item = next(self._items)
        self.n += 1
        if isinstance(item, Record):
            self.n_mostly_n += is_mostly_n(item.codes)
            self.n_bases += len(item.codes) * (self.n > self._n_resumed)
        else:
            self.first_fault = self.first_fault or item
        return item


def _peek(items: Iterator[Record | InputError]) -> tuple[list[Record | InputError], tuple[str, ...]]:
    """What comes up to the first record, and the columns that its kind of input adds."""
    first: list[Record | InputError] = []
    for item in items:
        first.append(item)
        if isinstance(item, Record):
            return first, tuple(item.extra)
        if isinstance(item, TooManyN):
            return first, item.columns
        if isinstance(item, BedError | FastaError | RegionError):  # not of reads, which alone add columns
            break
    return first, ()


def _workers(job: Job, engine: Engine) -> Workers:
    loaders = [
        partial(_load_cells, dataclasses.replace(job, workers=1, gpus=0, device=device), engine.precision.name)
        for device in job.devices
    ]
    return Workers(loaders, job.devices, batch_bases=job.batch_bases)


def _load_cells(job: Job, precision: str) -> MakeCells:
    """What a worker makes cells with."""
    device = pick_device(job.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # before anything touches a GPU: a context on the first one costs its memory
    return dataclasses.replace(job, precision=precision).load().cells


def _open_writer(
    job: Job, engine: Engine, facts: Mapping[str, Any], extra: tuple[str, ...]
) -> EmbeddingWriter | TsvStream:
    columns: dict[str, Kind] = {**engine.columns, **dict.fromkeys(extra, "int32")}
    if job.out == STDOUT:
        return TsvStream(
            sys.stdout.buffer,
            features=engine.features,
            obs_columns=columns,
            dtype=engine.dtype,
            order=engine.order(extra),
        )
    return EmbeddingWriter(
        job.out,
        features=engine.features,
        var=engine.var,
        fingerprint={"findna": __version__, "model": engine.identity, **facts},
        obs_columns=columns,
        n_cls_shape=engine.cls_shape,
        tokens_dim=engine.tokens_dim,
        dtype=engine.dtype,
        output_format=job.output_format,
        is_resumable=not job.read_once,
        resume=job.resume,
        force=job.force,
        order=engine.order(extra),
    )


def _params(job: Job, engine: Engine) -> dict[str, Any]:
    return {
        **engine.params,
        **{k: v for k, v in dataclasses.asdict(job.options).items() if k not in ("genome", "strand")},
        "device": engine.device.type,
        "precision": engine.precision.name,
    }


def _digests(facts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {one["path"]: one["sha256"] for one in facts if "sha256" in one}


def _provenance(job: Job, engine: Engine, started: datetime) -> Mapping[str, Any]:
    device = engine.device
    return {
        "command": job.command,
        "versions": {"findna": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **engine.kernels,
        "threads": torch.get_num_threads(),
        "processes": len(job.devices),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "working_directory": storable(Path.cwd()),
    }


def _calibrate(engine: Engine) -> float:
    """Bases of the input a second, on random windows, measured for two seconds; both strands count once."""
    rng = np.random.default_rng(0)
    n = max(1, engine.batch_bases // engine.window)
    codes = rng.integers(0, 4, (n, engine.window), dtype=np.uint8)
    records = [Record(str(i), window, 0, i, "calibration") for i, window in enumerate(codes)]
    for _ in engine.cells(records, None):
        pass
    began, n_bases = time.monotonic(), 0
    while time.monotonic() - began < CALIBRATION_SECONDS:
        for rows in engine.cells(records, None):
            n_bases += len(rows.obs) * engine.window
    return n_bases / (time.monotonic() - began)
