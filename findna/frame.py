"""The frame of a run over records: the fields of its job, its genome, device and clock, and the account of it."""

import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from findna import __version__
from findna.errors import ConfigError, InputError
from findna.io.compressed import STDIN
from findna.io.files import sha256, storable
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.io.watch import Watch
from findna.models.store import Model
from findna.models.task import TaskModel
from findna.nn.device import pick_device, pick_precision
from findna.record import Record

LIBRARIES = ("torch", "numpy", "h5py", "pysam")


@dataclass(frozen=True)
class RunJob:
    """What every run over records is told.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output.
        options: How inputs become records, and their genome.
        device: auto, cpu, cuda, ...
        precision: auto, or of `findna.nn.device.PRECISIONS`.
        batch_bases: Bases in a batch; 0 is what suits the device.
        on_error: "fail" ends the run at a record that cannot be used, "skip" lists the record as skipped.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    device: str = "auto"
    precision: str = "auto"
    batch_bases: int = 0
    on_error: str = "fail"
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        problems = self._problems()
        if self.on_error not in ("fail", "skip"):
            problems.append(f"--on-error must be fail or skip, not {self.on_error!r}")
        if self.out.is_file() and any(Path(text).is_file() and self.out.samefile(text) for text in self.sources):
            problems.append(f"{self.out} is an input and would be replaced: choose another -o")
        if problems:
            raise ConfigError("; ".join(problems))

    def _problems(self) -> list[str]:
        return []

    @property
    def sources(self) -> list[str]:
        """The inputs and the genome."""
        return [*self.inputs, *([str(self.options.genome)] if self.options.genome else [])]


class Frame:
    """A run that has begun; a context manager that closes its genome.

    Args:
        job: What to do.

    Attributes:
        genome: The open genome, None without one.
        device: Where the network runs.
        precision: Of the matrix products and the residual stream.
        n_records: Records read, those among them that were skipped.
        skipped: What was wrong with the records that were skipped.

    Raises:
        ConfigError: There is no such device or precision.
        GenomeError: The genome cannot be opened.
    """

    def __init__(self, job: RunJob) -> None:
        self.job = job
        self.device = pick_device(job.device)
        self.precision = pick_precision(job.precision, self.device)
        self.n_records = 0
        self.skipped: list[InputError] = []
        self._started, self._began = datetime.now(UTC), time.monotonic()
        self._watch = Watch(job.sources)
        self._stack = ExitStack()
        genome = job.options.genome
        self.genome = self._stack.enter_context(Genome(genome)) if genome else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def records(self) -> Iterator[Record]:
        """Yield the records that can be used, and check at the end that no input changed.

        Raises:
            InputError: An input is damaged or changed; a record cannot be used and is not to be skipped; all were.
        """
        for item in read_records(self.job.inputs, self.job.options, genome=self.genome):
            self.n_records += 1
            if isinstance(item, Record):
                yield item
            elif item.is_fatal and self.job.on_error == "fail":
                raise item
            else:
                self.skipped.append(item)
        if len(self.skipped) == self.n_records:
            raise InputError(f"all {self.n_records:,} records were skipped; the first: {self.skipped[0]}")
        self.check()

    @property
    def is_changed(self) -> bool:
        """Whether an input or the genome changed since the run began."""
        return self._watch.change() is not None

    def check(self) -> None:
        """Raise if an input or the genome changed since the run began.

        Raises:
            InputError: One did.
        """
        self._watch.check()

    def facts(self, model: Model | TaskModel, params: Mapping[str, Any]) -> dict[str, Any]:
        """What an output says of the run, as JSON values.

        Args:
            model: What computes.
            params: The settings that decide the values.
        """
        return {
            "model": {"name": model.name, "sha256": model.sha256},
            "inputs": input_facts(self.job.inputs),
            "genome": genome_facts(self.genome),
            "params": {**params, "device": self.device.type, "precision": self.precision.name},
            "provenance": {
                "command": self.job.command,
                "versions": {"findna": __version__, "python": platform.python_version()}
                | {name: version(name) for name in LIBRARIES},
                "started": self._started.isoformat(timespec="seconds"),
                "working_directory": storable(Path.cwd()),
            },
        }

    def report(self, facts: Mapping[str, Any], outputs: Sequence[Path], **counts: Any) -> dict[str, Any]:
        """The account of the run, which `--json` writes.

        Args:
            facts: What the output says.
            outputs: The files.
            counts: What was counted.
        """
        return {
            "findna": __version__,
            "outputs": [str(path) for path in outputs],
            "n_records": self.n_records,
            "n_skipped": len(self.skipped),
            "skipped": dict(Counter(error.reason for error in self.skipped)),
            **counts,
            "seconds": round(time.monotonic() - self._began, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            **facts,
        }


def input_facts(inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Path, size and sha256 of each input that is a file."""
    facts: list[dict[str, Any]] = []
    for text in inputs:
        path = Path(text)
        is_file = text != STDIN and path.is_file()
        facts.append({"path": text} | ({"bytes": path.stat().st_size, "sha256": sha256(path)} if is_file else {}))
    return facts


def genome_facts(genome: Genome | None) -> dict[str, Any]:
    """What identifies a genome; {} without one."""
    if genome is None:
        return {}
    return {
        "path": str(genome.path),
        "bytes": genome.path.stat().st_size,
        "modified_ns": genome.path.stat().st_mtime_ns,
        "n_contigs": len(genome.contigs),
        "digest": genome.digest,
    }


def peak_memory_bytes() -> int:
    """Most memory that this process has held; Linux counts in kB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
