"""One run over inputs: checks them, loads the model, writes rows, compares counts."""

import gc
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from findna import __version__
from findna.cells import Item, stop_at_fault, write_rows
from findna.counts import counted
from findna.data.windows import count_windows, split_windows
from findna.errors import BedError, ConfigError, FastaError, InputError, RegionError
from findna.io.check import InputSummary, check_inputs, open_inputs
from findna.io.files import require_folder
from findna.io.genome import Genome
from findna.io.hdf5 import EmbeddingWriter, Writer
from findna.io.meter import Meter
from findna.io.outputs import refuse_existing
from findna.io.records import read_records
from findna.io.source import Begin, TooManyN
from findna.io.tables import TsvStream
from findna.io.watch import Watch
from findna.record import Record
from findna.runs.counted import Counted, ShortRegions
from findna.runs.finished import decisive, finished_vectors, require_same_run
from findna.runs.job import STDOUT, Job, OnProgress, RowMaker, RunJob
from findna.runs.provenance import digests, genome_facts, input_facts, machine_facts, peak_memory_bytes
from findna.runs.shard import Part, ShardCuts, unevenness

if TYPE_CHECKING:
    from findna.runs.workers import MakeCells, Workers


class Scope(NamedTuple):
    """The records of a run.

    Args:
        n_records: Records of all inputs if they are known.
        inputs: The identity of the inputs.
        part: The records of the shard; None: all.
        begin: The place at which reading can begin; None: the beginning.
        uneven: A message if the shards are uneven.
    """

    n_records: int | None
    inputs: list[dict[str, Any]]
    part: Part | None
    begin: Begin | None
    uneven: str = ""


def run(job: Job, *, on_progress: OnProgress = lambda done, total: None) -> dict[str, Any]:
    """Write the rows of all records of a job; returns the report.

    Args:
        job: What to do.
        on_progress: Called with the number of written or skipped rows, and the total, as `OnProgress`.

    Returns:
        The report: counts, throughput, memory, versions, outputs.

    Raises:
        InputError: An input is wrong. Of files, the rows so far are kept (NAME.partial) if there are any. An input or
            the genome changed while it was read: nothing is kept.
        OutputError: The output exists and is not of the same run, is in use, or cannot be written.
        ModelError: The model is damaged, or gives NaN.
        ConfigError: A batch is too large for the device.
    """
    started, began, watch = datetime.now(UTC), time.monotonic(), Watch(job.sources)
    with ExitStack() as stack:
        genome = open_inputs(job.inputs, job.options, stack)
        require_folder(job.out)
        if report := finished_run(job, genome):
            return report
        maker, scope, facts = _prepare(job, genome)
        if not gc.get_freeze_count():
            gc.freeze()  # or the garbage collector visits all of torch's objects several times per 100,000 records
            stack.callback(gc.unfreeze)
        if job.out != STDOUT:  # fail before the work, but after a missing input or model
            refuse_existing(job.out, job.output_format, is_allowed=job.run.force or job.run.resume)
        compute, meter, records = maker.compute, Meter(job.inputs), scope.part and scope.part.records
        read = partial(read_records, job.inputs, job.options, genome=genome, meter=meter)
        items, extra = _peek(meter.sampled(read(wanted=records, begin=scope.begin)))
        writer = _open_writer(job, maker, facts, extra)
        stack.enter_context(writer)
        n_resumed = writer.n_records_done
        if maker.has_windows:
            items = split_windows(items, size=maker.window, stride=maker.stride)
        noted = Counted(items, n_resumed=n_resumed)
        cells = stack.enter_context(_workers(job, maker)).cells if len(job.devices) > 1 else maker.cells
        n_known = _n_rows(job, maker, scope, genome)
        on_progress(n_resumed, meter.n_records if n_known is None else n_known or None)
        try:
            for n_done in write_rows(cells, noted, writer, fatal=job.is_fatal):
                on_progress(n_resumed + n_done, meter.n_records if n_known is None else n_known or None)
            watch.check(digests(scope.inputs))
        except BaseException as error:
            if job.read_once or watch.change(digests(scope.inputs)):  # the rows may not match the input
                writer.discard()
            if _is_out_of_memory(error):
                raise ConfigError(f"{compute.device} has too little memory for a batch: lower batch_bases") from error
            raise
        if noted.first_fault and not writer.n_rows and not scope.part:
            writer.discard()
            every = counted(writer.n_skipped, "record")
            raise InputError(f"no record is left: {every} skipped; the first: {noted.first_fault}")
        seconds = time.monotonic() - began
        provenance = machine_facts(
            compute, command=job.command, started=started, kernels=_kernels(maker), n_processes=len(job.devices)
        )
        uns = {"provenance": provenance, **facts}
        schema: dict[str, Any] = {"schema": maker.schema} if maker.schema else {}
        if schema and job.output_format == "h5":  # a part, from which a merge makes the table
            schema = {"table": {**schema, "order": list(maker.layout(extra).order)}}
        outputs = writer.finish({**uns, **schema}, n_expected=scope.part.n_records if scope.part else noted.n)
    return {
        "findna": __version__,
        "outputs": [str(path) for path in outputs],
        "n_records": noted.n,
        "n_rows": writer.n_rows,
        "n_skipped": writer.n_skipped,
        "n_resumed": n_resumed,
        "n_mostly_n": noted.n_mostly_n,
        "n_only_n": noted.n_only_n,
        "first_mostly_n": noted.first_mostly_n,
        "n_with_iupac": noted.n_with_iupac,
        **(ShortRegions() if maker.has_windows else noted.short).facts(),
        "uneven_shards": scope.uneven,
        "n_bases": noted.n_bases,
        "seconds": round(seconds, 3),
        "records_per_second": round((noted.n - n_resumed) / max(seconds, 1e-9), 3),
        "peak_memory_bytes": peak_memory_bytes(),
        **uns,
        **schema,
    }


def check(
    job: RunJob,
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
        n_windows: Number of windows of a record with this many bases.
        is_full: Also count sequences and reads, and list problems instead of raising them.
        on_record: As in `check_inputs`.

    Raises:
        InputError: A region does not fit the genome and faults are fatal: all such, the first ten shown.
    """
    summary = check_inputs(
        job.inputs, job.options, genome=genome, n_windows=n_windows, is_full=is_full, on_record=on_record
    )
    if job.is_fatal and not is_full and (problem := summary.error()) is not None:
        raise problem
    return summary


def _scope(job: Job, genome: Genome | None) -> Scope:
    batch_bases = job.begin().batch_bases if job.shard else 0  # a shard ends where a batch ends
    if (manifest := job.manifest) and job.shard:
        manifest.check(job.options, genome, batch_bases=batch_bases, is_fatal=job.is_fatal)
        return Scope(manifest.n_records, manifest.facts(job.inputs), *manifest.of(job.shard), manifest.uneven)
    cuts = ShardCuts(batch_bases)
    summary = check(job, genome, on_record=cuts.add if job.shard else None)
    n_records = None if summary.unchecked else summary.n_records
    part, uneven = (cuts.part(job.shard), unevenness(cuts.parts(job.shard.n), batch_bases)) if job.shard else (None, "")
    return Scope(n_records, input_facts(job.inputs, job.options), part, None, uneven)


def _prepare(job: Job, genome: Genome | None) -> tuple[RowMaker, Scope, dict[str, Any]]:
    """The maker of the rows, the records, and the facts that determine the rows: a resumed run must have the same."""
    scope = _scope(job, genome)
    compute = job.begin()  # after the inputs were checked: it loads torch, which takes seconds
    maker = job.load(compute)
    options = {name: value for name, value in job.options.facts().items() if name != "strand"}
    facts: dict[str, Any] = {
        "model": maker.facts,
        "inputs": scope.inputs,
        "genome": genome_facts(genome),
        "params": {**maker.params, **options, **compute.facts()},
        **({"shard": scope.part.to_dict()} if scope.part else {}),
    }
    return maker, scope, facts


def finished_run(job: Job, genome: Genome | None) -> dict[str, Any]:
    """The report of a run that is already finished; {} if the run is needed.

    Raises:
        OutputError: The output is of another run.
        InputError: The output lacks a record that this run may not skip.
    """
    if not job.may_be_finished or (found := finished_vectors(job.out, job.output_format)) is None:
        return {}
    facts = _prepare(job, genome)[2]
    require_same_run(job.out, found, facts)
    n_rows, n_skipped = found["n_rows"], found["n_skipped"]
    if n_skipped and job.is_fatal:  # it may refuse what an earlier run skipped
        deque(stop_at_fault(read_records(job.inputs, job.options, genome=genome), fatal=True), maxlen=0)
    return {
        "findna": __version__,
        "outputs": [str(job.out)],
        "n_records": n_rows + n_skipped,
        "n_rows": n_rows,
        "n_skipped": n_skipped,
        "n_resumed": n_rows + n_skipped,
        **dict.fromkeys(("n_mostly_n", "n_only_n", "n_with_iupac", "n_bases", "seconds"), 0),
        "nothing_to_do": True,
        **facts,
    }


def _n_rows(job: Job, maker: RowMaker, scope: Scope, genome: Genome | None) -> int | None:
    """Number of rows, including skipped ones; None if not known before reading, 0 if it cannot be known."""
    if not maker.has_windows:
        return scope.part.n_records if scope.part else scope.n_records
    if scope.part or job.read_once:
        return 0
    n_windows = partial(count_windows, size=maker.window, stride=maker.stride)
    return check(job, genome, n_windows=n_windows, is_full=True).n_windows


def _peek(items: Iterator[Item]) -> tuple[Iterator[Item], tuple[str, ...]]:
    """The same items, and the columns of their kind of input; reads up to the first record."""
    first: list[Item] = []
    for item in items:
        first.append(item)
        if isinstance(item, Record | TooManyN):
            return itertools.chain(first, items), tuple(item.extra if isinstance(item, Record) else item.columns)
        if isinstance(item, BedError | FastaError | RegionError):  # not reads: only they add columns
            break
    return itertools.chain(first, items), ()


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _kernels(maker: RowMaker) -> dict[str, Any]:
    from findna.nn.kernels import choose

    return choose(maker.size, device=maker.compute.device, precision=maker.compute.precision).facts()


def _workers(job: Job, maker: RowMaker) -> "Workers":
    from findna.runs.workers import Workers

    loads = [partial(load_cells, job.on(device), maker.compute.precision.name) for device in job.devices]
    return Workers(loads, job.devices, compute=maker.compute)


def load_cells(job: Job, precision: str) -> "MakeCells":
    """The maker of cells in a worker."""
    import torch

    from findna.nn.device import pick_device

    device = pick_device(job.compute.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # before anything uses a GPU: a context on the first one needs memory
    return job.load(job.pick(precision=precision)).cells


def _open_writer(job: Job, maker: RowMaker, facts: Mapping[str, Any], extra: tuple[str, ...]) -> Writer:
    row = maker.layout(extra)
    if job.out == STDOUT:
        return TsvStream(
            sys.stdout.buffer, features=row.features, obs_columns=row.columns, dtype=row.dtype, order=row.order
        )
    return EmbeddingWriter(
        job.out,
        features=row.features,
        var=row.var,
        fingerprint={"findna": __version__, **decisive(facts), "model": maker.identity},
        obs_columns=row.columns,
        n_cls_shape=row.cls_shape,
        tokens_dim=row.tokens_dim,
        dtype=row.dtype,
        output_format=job.output_format,
        is_resumable=not job.read_once,
        resume=job.run.resume,
        force=job.run.force,
        order=row.order,
    )
