"""The settings of a run, and the maker of its rows."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from findna.cells import Cell, Item
from findna.config import ComputeConfig, RunConfig
from findna.errors import ConfigError
from findna.io.check import is_read_once, open_inputs
from findna.io.compressed import STDIN
from findna.io.formats import Format
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.rows import Layout
from findna.io.watch import refuse_inputs
from findna.limits import batch_bases_on
from findna.runs.manifest import Manifest, read_manifest
from findna.runs.row_facts import RowFacts
from findna.runs.shard import Shard
from findna.settings import make, require
from findna.sizes import ModelConfig

if TYPE_CHECKING:
    from findna.nn.device import Compute

STDOUT = Path("-")
OnProgress = Callable[[int, int | None], object]
"""Called with the number of records done and the total: a `findna.phases.Estimate` if not exact, None if not known."""

_LONGEST_NAME = 255


class RowMaker(Protocol):
    """Makes the rows of records, and provides their facts for the output.

    Attributes:
        size: Of the network.
        compute: Where and how it runs.
        facts: Facts of the model for the output, including its name.
        identity: The sha256 of everything that determines the values.
        params: Settings for the output; a resumed run must have the same.
        window: Maximum length of a window, in bases.
        stride: Bases between window starts.
        schema: Schema of the output's metadata if it has no vectors; else "".
        has_windows: Whether there is one row per window, not per record.
    """

    size: ModelConfig
    compute: "Compute"
    facts: Mapping[str, Any]
    identity: str
    params: Mapping[str, Any]
    window: int
    stride: int
    schema: str
    has_windows: bool

    def layout(self, extra: Sequence[str] = ()) -> Layout:
        """The contents of a row; `extra` are the columns of the kind of input."""

    def cells(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the rows of records, or of their windows, cell by cell."""


def parts_of(settings: Mapping[str, object]) -> dict[str, Any]:
    """The `options`, `compute` and `run` of a job with these settings."""
    return {
        "options": make(InputOptions, settings),
        "compute": make(ComputeConfig, settings),
        "run": make(RunConfig, settings),
    }


@dataclass(frozen=True)
class RunJob:
    """The settings of every run over records.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output; "-" is stdout.
        options: How inputs become records, and their genome.
        compute: Where and how to compute.
        run: How to go through the inputs.
        command: The command line, for the provenance.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    run: RunConfig = field(default_factory=RunConfig)
    command: str = ""

    def __post_init__(self) -> None:
        if pasted := [text for text in self.inputs if len(Path(text).name) > _LONGEST_NAME]:
            raise ConfigError(
                f"{pasted[0][:20]}... is too long for a file or a region: "
                "write a sequence to a FASTA file, or pass it on stdin (-)"
            )
        problems = (
            [] if self.shard or not self.run.plan else [f"plan={self.run.plan} needs shard=i/n, the part to compute"]
        )
        if self.run.resume and self.read_once:
            problems.append(f"{self._once} cannot be read again: resume=True needs a file")
        if self.run.resume and self.out == STDOUT:
            problems.append("stdout cannot be resumed: write to a file")
        problems += self._problems()
        require(problems)
        beside = (getattr(self, name, None) for name in ("embeddings", "plot"))  # of jobs that have them
        refuse_inputs([self.out, *beside], self.sources)

    @property
    def sources(self) -> list[str]:
        """The files that are read: inputs and genome."""
        return [
            *(text for text in self.inputs if text != STDIN),
            *([str(self.options.genome)] if self.options.genome else []),
        ]

    def open(self, stack: ExitStack) -> Genome | None:
        """Open the genome, which the stack closes, and each input once; see `findna.io.check.open_inputs`."""
        return open_inputs(self.inputs, self.options, stack)

    @cached_property
    def read_once(self) -> list[str]:
        """The inputs that cannot be read again: stdin and pipes."""
        return [text for text in self.inputs if is_read_once(text)]

    @property
    def _once(self) -> str:
        return "stdin" if STDIN in self.inputs else self.read_once[0]

    @property
    def may_be_finished(self) -> bool:
        """Whether the output exists, and is to be compared with the run rather than replaced.

        Runs of stdin or a pipe are never compared: their input is known only once it has been read.
        """
        if self.out == STDOUT or self.read_once or (self.run.force and not self.run.resume):
            return False
        return self.out.is_file()

    @property
    def is_fatal(self) -> bool:
        """Whether an error in one record ends the run."""
        return self.run.on_error == "fail"

    @cached_property
    def shard(self) -> Shard | None:
        """The shard of records to process; None: all."""
        return Shard.parse(self.run.shard, os.environ) if self.run.shard else None

    @cached_property
    def manifest(self) -> Manifest | None:
        """The plan of the shard."""
        return read_manifest(self.run.plan) if self.run.plan else None

    @property
    def devices(self) -> list[str]:
        """One device per process that makes rows."""
        if self.run.gpus:
            return [f"cuda:{index}" for index in range(self.run.gpus)]
        return ["cpu"] * self.run.workers if self.run.workers > 1 else [self.compute.device]

    def asked(self) -> dict[str, str]:
        """The kind of device and the precision that an output of the run would name; "auto": any."""
        return {"device": self.devices[0].partition(":")[0], "precision": self.compute.precision}

    def batch_bases_on(self, device: str) -> int:
        """Bases per batch on a kind of device."""
        planned = self.manifest.batch_bases if self.manifest else 0
        return self.compute.batch_bases or planned or batch_bases_on(device)

    def begin(self) -> "Compute":
        """Set torch's threads and kernels, and pick device and precision; see `pick`."""
        from findna.nn.device import set_threads  # loads torch: first the inputs are opened

        set_threads(self.compute.threads, deterministic=self.compute.deterministic)
        return self.pick()

    def pick(self, precision: str = "") -> "Compute":
        """Where and how the rows are made: on the first device, with this precision instead of the job's.

        Raises:
            ConfigError: There is no such device or precision.
        """
        from findna.nn.device import Compute, check_gpus

        check_gpus(self.run.gpus)
        compute = Compute.pick(self.devices[0], precision or self.compute.precision, threads=self.compute.threads)
        return replace(compute, batch_bases=self.batch_bases_on(compute.device.type))

    def _problems(self) -> list[str]:
        return []


@dataclass(frozen=True)
class Job(RunJob, ABC):
    """A run that writes rows to a spool first, so it can be resumed. A subclass makes the rows.

    Args:
        output_format: h5, tsv, parquet or npy.

    Raises:
        ConfigError: Two settings contradict each other.
    """

    output_format: Format = "h5"

    @abstractmethod
    def described(self, batch_bases: int) -> RowFacts:
        """The facts of the rows that `load` would make, read without torch."""

    @abstractmethod
    def load(self, compute: "Compute") -> RowMaker:
        """The maker of the rows, on a device."""

    def on(self, device: str) -> Self:
        """The job of a process that makes rows on a device."""
        return replace(self, compute=replace(self.compute, device=device), run=replace(self.run, workers=1, gpus=0))

    def _problems(self) -> list[str]:
        return [*self._problems_of_streams(), *self._problems_of_processes()]

    def _problems_of_streams(self) -> list[str]:
        problems = []
        if self.out == STDOUT and self.output_format != "tsv":
            problems.append(f"{self.output_format} cannot be streamed to stdout: output_format=tsv, or a file")
        if self.run.shard and self.output_format not in ("h5", "parquet"):
            problems.append(f"a shard is HDF5 or Parquet, which findna merge turns into {self.output_format}")
        if self.read_once and (self.run.shard or len(self.devices) > 1):
            several = f"shard={self.run.shard}" if self.run.shard else "more than one process"
            problems.append(f"{self._once} can be read only once, and {several} reads its input again: give a file")
        return problems

    def _problems_of_processes(self) -> list[str]:
        workers, gpus, device = self.run.workers, self.run.gpus, self.compute.device
        if workers > 1 and gpus:
            return ["workers are for the CPU, and each GPU has one process: give workers or gpus"]
        if workers > 1 and device not in ("auto", "cpu"):
            return [f"workers={workers} is for the CPU, and device={device} is not: it has gpus"]
        if gpus and device not in ("auto", "cuda"):
            return [f"gpus={gpus} contradicts device={device}"]
        return []
