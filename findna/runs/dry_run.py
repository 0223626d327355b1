"""The plan of a run: counts, problems, output size, and a time estimate from a short calibration."""

import hashlib
import json
import os
import platform
import time
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from findna import __version__, phases
from findna.data.windows import count_windows
from findna.errors import OutputError
from findna.io.cache import cache_dir
from findna.io.check import InputSummary, open_inputs
from findna.io.files import write_atomic
from findna.io.outputs import refuse_existing
from findna.record import Record
from findna.runs.job import STDOUT, Job, RowMaker
from findna.runs.scope import check, finished_run
from findna.runs.shard import ShardCuts, unevenness

CALIBRATION_SECONDS = 2.0
_CALIBRATION_LASTS = 86_400  # seconds: the load of a machine changes
_OBS_BYTES = 150
_FILE_BYTES = 230_000
_TSV_BYTES = 12


def dry_run(job: Job) -> dict[str, Any]:
    """The plan of `run`, or its report if it is already finished; no output is written.

    Raises:
        InputError: An input is missing, empty or damaged as a whole.
        OutputError: The output exists, or its folder does not or cannot be written to.
    """
    with ExitStack() as stack:
        genome = open_inputs(job.inputs, job.options, stack)
        if report := finished_run(job, genome):
            return report
        _check_output(job)
        compute = job.begin()
        maker = job.load(compute)
        n_seen = 0

        def n_windows(length: int) -> int:
            nonlocal n_seen
            n = count_windows(length, size=maker.window, stride=maker.stride)
            n_seen += n * min(length, maker.window)
            return n

        cuts = ShardCuts(compute.batch_bases)
        summary = check(job, genome, n_windows=n_windows, is_full=True, on_record=cuts.add if job.shard else None)
        bases_per_second = _speed(maker) * max(1, job.run.gpus)
    part = cuts.part(job.shard) if job.shard else None
    share = part.n_bases / max(1, summary.n_bases) if part else 1
    return {
        **summary.facts(),
        **({"n_short": 0, "first_short": ""} if maker.has_windows else {}),
        **({"shard": str(job.shard), "shard_records": part.n_records, "shard_bases": part.n_bases} if part else {}),
        "uneven_shards": unevenness(cuts.parts(job.shard.n), compute.batch_bases) if job.shard else "",
        "output_bytes": round(share * _output_bytes(job, maker, summary)),
        "bases_per_second": round(bases_per_second),
        "estimated_seconds": round(share * n_seen / bases_per_second, 1),
        "model": maker.facts["name"],
        "device": str(compute.device),
        "precision": compute.precision.name,
    }


def _check_output(job: Job) -> None:
    if job.out == STDOUT:
        return
    refuse_existing(job.out, job.output_format, is_allowed=job.run.force or job.run.resume)
    if not os.access(job.out.parent, os.W_OK):
        raise OutputError(f"{job.out}: the folder {job.out.parent} does not exist or cannot be written to")


def _output_bytes(job: Job, maker: RowMaker, summary: InputSummary) -> int:
    row = maker.layout()
    n_rows = summary.n_windows if maker.has_windows else summary.n_records - summary.n_problems
    value_bytes = _TSV_BYTES if job.output_format == "tsv" else np.dtype(row.dtype).itemsize
    n_values = len(row.features) + int(np.prod(row.cls_shape or 0))
    n_bytes = n_rows * (n_values * value_bytes + _OBS_BYTES) + _FILE_BYTES * (job.output_format == "h5")
    return n_bytes + summary.n_bases * (row.tokens_dim or 0) * 2


def _speed(maker: RowMaker) -> float:
    """Input bases per second, cached for a day by machine, model and settings."""
    import torch

    compute = maker.compute
    is_gpu = compute.device.type == "cuda"
    machine = [platform.node(), platform.machine(), torch.cuda.get_device_name(compute.device) if is_gpu else ""]
    what = [__version__, torch.__version__, machine, maker.identity, maker.params, maker.window, maker.stride]
    what += [str(compute.device), compute.facts(), torch.get_num_threads()]
    name = hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()[:16]
    try:
        path = cache_dir() / "calibration" / name
    except RuntimeError:  # there is no home directory
        return _calibrate(maker)
    with suppress(OSError, ValueError):
        if time.time() - path.stat().st_mtime < _CALIBRATION_LASTS:
            return float(path.read_text())
    phases.enter("measuring the speed")
    found = _calibrate(maker)
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, f"{found}\n")
    return found


def _calibrate(maker: RowMaker) -> float:
    """Input bases per second, measured on random windows for two seconds; both strands count once."""
    rng = np.random.default_rng(0)
    n = max(1, maker.compute.batch_bases // maker.window)
    codes = rng.integers(0, 4, (n, maker.window), dtype=np.uint8)
    records = [Record(str(i), window, 0, i, "calibration") for i, window in enumerate(codes)]
    for _ in maker.cells(records):
        pass
    began, n_bases = time.monotonic(), 0
    while time.monotonic() - began < CALIBRATION_SECONDS:
        for cell in maker.cells(records):
            n_bases += len(cell.x) * maker.window
    return n_bases / (time.monotonic() - began)
