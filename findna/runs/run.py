"""One run over inputs: checks them, loads the model, writes rows, compares counts."""

import gc
import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from findna import __version__
from findna.cells import Item, write_rows
from findna.counts import counted
from findna.data.windows import count_windows, split_windows
from findna.errors import BedError, ConfigError, FastaError, InputError, RegionError
from findna.io.check import open_inputs
from findna.io.files import require_folder
from findna.io.genome import Genome
from findna.io.hdf5 import EmbeddingWriter, Writer
from findna.io.meter import Meter
from findna.io.records import read_records
from findna.io.source import TooManyN
from findna.io.tables import TsvStream
from findna.io.watch import Watch
from findna.record import Record
from findna.runs.counted import Counted, ShortRegions
from findna.runs.finished import decisive
from findna.runs.job import STDOUT, Job, OnProgress, RowMaker
from findna.runs.provenance import digests, machine_facts, peak_memory_bytes
from findna.runs.scope import Scope, check, facts_of_run, finished_run, refuse_earlier, scope_of

if TYPE_CHECKING:
    from findna.runs.workers import MakeCells, Workers


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
        refuse_earlier(job)
        maker, scope, facts = _prepare(job, genome)
        if not gc.get_freeze_count():
            gc.freeze()  # or the garbage collector visits all of torch's objects several times per 100,000 records
            stack.callback(gc.unfreeze)
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


def _prepare(job: Job, genome: Genome | None) -> tuple[RowMaker, Scope, dict[str, Any]]:
    """The maker of the rows, the records, and the facts that determine the rows: a resumed run must have the same."""
    scope = scope_of(job, genome, batch_bases=job.begin().batch_bases if job.shard else 0)
    compute = job.begin()  # after the inputs were checked: it loads torch, which takes seconds
    maker = job.load(compute)
    return maker, scope, facts_of_run(job, maker.facts, {**maker.params, **compute.facts()}, scope, genome)


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
