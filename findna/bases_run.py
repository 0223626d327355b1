"""One run of `findna predict-bases`: records in, the predicted probabilities of their bases out."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from findna import __version__
from findna.errors import ConfigError, InputError
from findna.io.base_tracks import (
    VALUES,
    BaseRow,
    require_absent,
    require_pybigtools,
    write_bedgraph,
    write_bigwig,
    write_hdf5,
)
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.masked import MaskedBases
from findna.models.store import DEFAULT, load_model
from findna.nn.device import pick_device, pick_precision
from findna.record import Record
from findna.sequence import Codes

FORMATS = ("h5", "bedgraph", "bigwig")


@dataclass(frozen=True)
class BasesJob:
    """All that decides the predictions, and where they go.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output.
        options: How inputs become records.
        model: A shipped model's name or a model folder.
        passes: As for `findna.predict_bases`.
        output_format: Of `FORMATS`.
        value: What a track shows: entropy, or log_p of the base that is there.
        batch_bases: Bases in a batch; 0 is what suits the device.
        device: auto, cpu, cuda, ...
        precision: auto, or of `findna.nn.device.PRECISIONS`.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    model: str = DEFAULT
    passes: int = 8
    output_format: str = "h5"
    value: str = "log_p"
    batch_bases: int = 0
    device: str = "auto"
    precision: str = "auto"
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.output_format not in FORMATS:
            raise ConfigError(f"the output is one of {', '.join(FORMATS)}, not {self.output_format!r}")
        if self.value not in VALUES:
            raise ConfigError(f"a track shows one of {', '.join(VALUES)}, not {self.value!r}")
        if self.output_format == "bigwig":
            require_pybigtools()
            if self.options.genome is None:
                raise ConfigError("a bigWig needs the genome, for the lengths of its contigs")


def predict_bases_of(job: BasesJob, *, on_progress: Callable[[int], None] = lambda n: None) -> dict[str, Any]:
    """Write the predictions of all records of a job and give the account of it.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    started, began = datetime.now(UTC), time.monotonic()
    require_absent(job.out, force=job.force)
    model, device = load_model(job.model), pick_device(job.device)
    precision = pick_precision(job.precision, device)
    masked = MaskedBases(
        model.network, passes=job.passes, batch_bases=job.batch_bases, device=device, precision=precision
    )
    facts = {
        "findna": __version__,
        "command": job.command,
        "model": {"name": model.name, "sha256": model.sha256},
        "passes": job.passes,
        "device": device.type,
        "precision": precision.name,
        "started": started.isoformat(timespec="seconds"),
    }
    counts = {"n_records": 0, "n_bases": 0}
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        waiting: deque[Record] = deque()

        def sequences() -> Iterator[Codes]:
            for record in read_records(job.inputs, job.options, genome=genome):
                if isinstance(record, InputError):
                    raise record
                waiting.append(record)
                yield record.codes

        def rows() -> Iterator[BaseRow]:
            for probabilities in masked.predict(sequences()):
                yield BaseRow(waiting.popleft(), probabilities)
                counts["n_records"] += 1
                counts["n_bases"] += len(probabilities)
                on_progress(counts["n_records"])

        if job.output_format == "h5":
            write_hdf5(job.out, rows(), facts)
        elif job.output_format == "bedgraph":
            write_bedgraph(job.out, rows(), job.value)
        else:
            write_bigwig(job.out, rows(), job.value, genome.contigs if genome else {})
    return {**facts, **counts, "outputs": [str(job.out)], "seconds": round(time.monotonic() - began, 3)}
