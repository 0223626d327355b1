"""One run of `findna embed`: inputs checked, the teacher loaded, rows written, the account settled."""

import dataclasses
import itertools
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from findna import __version__
from findna.config import EmbedConfig
from findna.data.windows import count_windows
from findna.embed import Embedder, feature_names, obs_columns, write_rows
from findna.errors import BedError, ConfigError, FastaError, InputError, RegionError
from findna.io.check import InputSummary, check_inputs
from findna.io.compressed import STDIN
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.io.hdf5 import EmbeddingWriter, Format, refuse_existing
from findna.io.options import InputOptions
from findna.io.records import TooManyN, read_records
from findna.io.tables import TsvStream
from findna.models.store import DEFAULT, Model, load_model
from findna.nn.device import pick_device, pick_products
from findna.record import Record

STDOUT = Path("-")
CALIBRATION_SECONDS = 2.0
_OBS_BYTES = 150
_FILE_BYTES = 230_000
_TSV_BYTES = 12
_LONGEST_NAME = 255
_LIBRARIES = ("torch", "numpy", "h5py", "pysam", "biopython", "safetensors")


@dataclass(frozen=True)
class EmbedJob:
    """All that decides the rows of an output, and where it goes.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output; "-" is stdout, TSV only.
        options: How inputs become records.
        config: What is in a vector.
        model: A shipped model's name or a model folder.
        device: auto, cpu, cuda, ...
        precision: auto, fp32 or bf16.
        output_format: h5, tsv, parquet or npy.
        on_error: "fail" ends the run at a record's fault, "skip" lists the record as skipped.
        resume: Continue a partial run.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    config: EmbedConfig = field(default_factory=EmbedConfig)
    model: str = DEFAULT
    device: str = "auto"
    precision: str = "auto"
    output_format: Format = "h5"
    on_error: str = "fail"
    resume: bool = False
    force: bool = False
    command: str = ""

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
        if self.config.strand != self.options.strand:
            problems.append(
                f"strand {self.config.strand} of the vectors and {self.options.strand} of the inputs differ"
            )
        if self.out == STDOUT:
            if self.output_format != "tsv":
                problems.append(f"{self.output_format} cannot be streamed to stdout: --format tsv, or -o FILE")
            if self.resume:
                problems.append("stdout cannot be resumed: -o FILE")
            if self.config.with_tokens or self.config.with_cls:
                problems.append("TSV on stdout holds one vector a row: choose one of mean, cls and max")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def read_once(self) -> list[str]:
        """The inputs that cannot be read again: stdin and pipes."""
        return [text for text in self.inputs if text == STDIN or (Path(text).exists() and not Path(text).is_file())]

    @property
    def is_fatal(self) -> bool:
        """Whether one record's fault ends the run."""
        return self.on_error == "fail"


def check(
    job: EmbedJob, genome: Genome | None, *, n_windows: Callable[[int], int] | None = None, is_full: bool = False
) -> InputSummary:
    """A first pass over the inputs that can be read twice.

    Args:
        job: The job.
        genome: Its genome, open.
        n_windows: How many windows a record of so many bases has.
        is_full: Count sequences and reads too, not only regions.

    Raises:
        InputError: A region does not fit the genome and `on_error` is "fail": all such, the first ten shown.
    """
    summary = check_inputs(job.inputs, job.options, genome=genome, n_windows=n_windows, is_full=is_full)
    problem = summary.error()
    if job.is_fatal and problem is not None:
        raise problem
    return summary


def run(job: EmbedJob, *, on_progress: Callable[[int, int | None], None] = lambda done, total: None) -> dict[str, Any]:
    """Embed all records of a job, and give the account of it.

    Args:
        job: What to do.
        on_progress: Told how many records are written or skipped, and how many there are if that is known.

    Returns:
        The report that `--json` writes: counts, throughput, memory, versions, outputs.

    Raises:
        InputError: An input is wrong. Of files, the rows so far are kept (NAME.partial) if there are any.
        OutputError: The output exists, is in use, or cannot be written.
        ModelError: The model is damaged, or gives NaN.
        ConfigError: A batch is too large for the device.
    """
    started, began = datetime.now(UTC), time.monotonic()
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        if job.out != STDOUT:  # before the work, not after it
            refuse_existing(job.out, job.output_format, is_allowed=job.force or job.resume)
        summary = check(job, genome)
        inputs = _input_facts(job.inputs)
        total = None if summary.unchecked else summary.n_records
        model, embedder = _load(job)
        device = embedder.device
        items = read_records(job.inputs, job.options, genome=genome)
        first, extra = _peek(items)
        facts = {"inputs": inputs, "genome": _genome_facts(genome), "params": _params(job, embedder)}
        writer = _open_writer(job, embedder, model, facts, extra)
        stack.enter_context(writer)
        n_resumed = writer.n_records_done
        counted = _Counted(itertools.chain(first, items), n_resumed=n_resumed)
        try:
            for n_done in write_rows(embedder, counted, writer, fatal=job.is_fatal):
                on_progress(n_resumed + n_done, total)
        except BaseException as error:
            if job.read_once:
                writer.discard()
            if isinstance(error, torch.OutOfMemoryError):
                raise ConfigError(f"{device} has too little memory for a batch: lower --batch-bases") from error
            raise
        seconds = time.monotonic() - began
        uns = {"provenance": _provenance(job, device, started), "model": _model_facts(model), **facts}
        outputs = writer.finish(uns, n_expected=counted.n)
    return {
        "findna": __version__,
        "outputs": [str(path) for path in outputs],
        "n_records": counted.n,
        "n_rows": writer.n_rows,
        "n_skipped": writer.n_skipped,
        "n_resumed": n_resumed,
        "n_bases": counted.n_bases,
        "seconds": round(seconds, 3),
        "records_per_second": round((counted.n - n_resumed) / max(seconds, 1e-9), 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **uns,
    }


def plan(job: EmbedJob) -> dict[str, Any]:
    """What `run` would do, for `--dry-run`: counts, output size, problems, and a time from a short calibration.

    Raises:
        InputError: An input is missing, empty or damaged as a whole.
    """
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        model, embedder = _load(job)
        config = embedder.config
        tolerant = dataclasses.replace(job, on_error="skip")
        n_seen = 0

        def n_windows(length: int) -> int:
            nonlocal n_seen
            n = count_windows(length, size=config.window, stride=config.stride)
            n_seen += n * min(length, config.window)
            return n

        summary = check(tolerant, genome, n_windows=n_windows, is_full=True)
        n_good = summary.n_records - summary.n_problems
        n_features = len(feature_names(config, model.config))
        value_bytes = _TSV_BYTES if job.output_format == "tsv" else np.dtype(config.dtype).itemsize
        n_bytes = n_good * (n_features * value_bytes + _OBS_BYTES) + _FILE_BYTES * (job.output_format == "h5")
        if config.with_cls:
            n_bytes += n_good * model.config.n_class_tokens * model.config.channels * value_bytes
        if config.with_tokens:
            n_bytes += summary.n_bases * model.config.channels * 2
        embedder.config = dataclasses.replace(config, with_tokens=False)
        bases_per_second = _calibrate(embedder)
    problem = summary.error()
    return {
        "n_records": summary.n_records,
        "n_windows": summary.n_windows,
        "n_bases": summary.n_bases,
        "output_bytes": n_bytes,
        "bases_per_second": round(bases_per_second),
        "estimated_seconds": round(n_seen / bases_per_second, 1),
        "n_problems": summary.n_problems,
        "problems": summary.problems,
        "missing_contigs": summary.missing_contigs,
        "first_problems": str(problem) if problem else "",
        "not_counted": summary.unchecked,
        "model": model.name,
        "device": str(embedder.device),
        "precision": _name_of(embedder.products),
    }


def _load(job: EmbedJob) -> tuple[Model, Embedder]:
    model, device = load_model(job.model), pick_device(job.device)
    products = pick_products(job.precision, device)
    return model, Embedder(model.network, job.config, device=device, products=products)


class _Counted(Iterator[Record | InputError]):
    """Counts the records that pass, and the bases of those that a resumed run has not yet embedded."""

    def __init__(self, items: Iterator[Record | InputError], *, n_resumed: int) -> None:
        self._items, self._n_resumed, self.n, self.n_bases = items, n_resumed, 0, 0

    def __next__(self) -> Record | InputError:
        item = next(self._items)
        self.n += 1
        if isinstance(item, Record) and self.n > self._n_resumed:
            self.n_bases += len(item.codes)
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


def _open_writer(
    job: EmbedJob, embedder: Embedder, model: Model, facts: Mapping[str, Any], extra: tuple[str, ...]
) -> EmbeddingWriter | TsvStream:
    size, config = model.config, embedder.config
    features, columns = feature_names(config, size), obs_columns(config, extra)
    if job.out == STDOUT:
        return TsvStream(sys.stdout.buffer, features=features, obs_columns=columns, dtype=config.dtype)
    fingerprint = {"findna": __version__, "model": model.sha256, **facts}
    return EmbeddingWriter(
        job.out,
        features=features,
        fingerprint=fingerprint,
        obs_columns=columns,
        n_cls_shape=(size.n_class_tokens, size.channels) if config.with_cls else None,
        tokens_dim=size.channels if config.with_tokens else None,
        dtype=config.dtype,
        output_format=job.output_format,
        is_resumable=not job.read_once,
        resume=job.resume,
        force=job.force,
    )


def _params(job: EmbedJob, embedder: Embedder) -> dict[str, Any]:
    return {
        **dataclasses.asdict(embedder.config),
        **{k: v for k, v in dataclasses.asdict(job.options).items() if k not in ("genome", "strand")},
        "device": embedder.device.type,
        "precision": _name_of(embedder.products),
    }


def _input_facts(inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Path, size and sha256 of each input that is a file."""
    facts: list[dict[str, Any]] = []
    for text in inputs:
        path = Path(text)
        is_file = text != STDIN and path.is_file()
        facts.append({"path": text} | ({"bytes": path.stat().st_size, "sha256": sha256(path)} if is_file else {}))
    return facts


def _genome_facts(genome: Genome | None) -> dict[str, Any]:
    if genome is None:
        return {}
    return {
        "path": str(genome.path),
        "bytes": genome.path.stat().st_size,
        "modified_ns": genome.path.stat().st_mtime_ns,
        "n_contigs": len(genome.contigs),
        "digest": genome.digest,
    }


def _model_facts(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "config": dataclasses.asdict(model.config),
        "training": model.training.get("summary", {}),
    }


def _provenance(job: EmbedJob, device: torch.device, started: datetime) -> Mapping[str, Any]:
    return {
        "command": job.command,
        "versions": {"findna": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "working_directory": str(Path.cwd()),
    }


def _calibrate(embedder: Embedder) -> float:
    """Bases of the input a second, on random windows, measured for two seconds; both strands count once."""
    rng = np.random.default_rng(0)
    window = embedder.config.window
    n = max(1, embedder.config.batch_bases // window)
    records = [Record(str(i), rng.integers(0, 4, window, dtype=np.uint8), 0, i, "calibration") for i in range(n)]
    for _ in embedder.embed(records):
        pass
    began, n_bases = time.monotonic(), 0
    while time.monotonic() - began < CALIBRATION_SECONDS:
        for rows in embedder.embed(records):
            n_bases += len(rows.obs) * window
    return n_bases / (time.monotonic() - began)


def _name_of(products: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[products]
