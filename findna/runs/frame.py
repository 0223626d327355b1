"""The common part of runs over records: genome, device, clock and report."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from findna import __version__
from findna.cells import Item
from findna.counts import counted
from findna.errors import InputError
from findna.io.arrays import require_absent
from findna.io.files import refuse_irregular, require_folder
from findna.io.meter import Meter
from findna.io.record_spool import ArraySpool, RecordSpool
from findna.io.records import read_records
from findna.io.spool import refuse_partial
from findna.io.watch import Watch
from findna.models.described import ModelFacts, TaskFacts
from findna.record import Record
from findna.runs.counted import ShortRegions
from findna.runs.finished import decisive, n_finished
from findna.runs.job import RunJob
from findna.runs.provenance import genome_facts, input_facts, machine_facts, peak_memory_bytes
from findna.runs.scope import check

if TYPE_CHECKING:
    from findna.nn.device import Compute


class Frame:
    """A started run; a context manager that closes its genome.

    Args:
        job: What to do.

    Attributes:
        genome: The open genome, None without one.
        n_records: Records read, including skipped ones.
        short: Short regions among them.
        skipped: The errors of the skipped records.

    Raises:
        InputError: The genome or an input cannot be opened.
        OutputError: The folder of the output does not exist.
    """

    def __init__(self, job: RunJob) -> None:
        self.job = job
        self.n_records, self.short = 0, ShortRegions()
        self.skipped: list[InputError] = []
        self._started, self._began = datetime.now(UTC), time.monotonic()
        self._watch, self._meter = Watch(job.sources), Meter(job.inputs)
        self._n_regions: int | None = None
        with ExitStack() as stack:
            self.genome = job.open(stack)
            require_folder(job.out)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def compute(self) -> "Compute":
        """Where and how the network runs; loads torch.

        Raises:
            ConfigError: There is no such device or precision.
        """
        return self.job.begin()

    def records(self, *, longest: int = 0) -> Iterator[Record]:
        """Check all regions, and yield the records that can be used; at the end, check that no input changed.

        Args:
            longest: Maximum number of bases of a record; 0: no maximum.

        Raises:
            InputError: An input is damaged or changed; a record cannot be used and is not to be skipped; all were.
        """
        summary = check(self.job, self.genome)
        self._n_regions = None if summary.unchecked else summary.n_records
        items = read_records(self.job.inputs, self.job.options, genome=self.genome, meter=self._meter)
        return self._records(self._meter.sampled(items), longest)

    def _records(self, items: Iterable[Item], longest: int) -> Iterator[Record]:
        for item in _that_fit(items, longest):
            self.n_records += 1
            if isinstance(item, Record):
                self.short.add(item)
                yield item
            elif item.is_fatal and self.job.is_fatal:
                raise item
            else:
                self.skipped.append(item)
        if len(self.skipped) == self.n_records:
            raise InputError(
                f"no record is left: {counted(self.n_records, 'record')} skipped; the first: {self.skipped[0]}"
            )
        self.check()

    @property
    def n_expected(self) -> int | None:
        """Number of records of the inputs: an estimate while they are read; None if not known."""
        return self._meter.n_records if self._n_regions is None else self._n_regions

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

    @property
    def partial(self) -> Path:
        """The folder of an unfinished run.

        Raises:
            OutputError: The output is a folder without a name, as ".".
        """
        refuse_irregular(self.job.out)
        return self.job.out.with_name(f"{self.job.out.name}.partial")

    @contextmanager
    def keeping(self, spool: RecordSpool) -> Iterator[None]:
        """Delete the spool at the end, and after an error if it cannot be resumed (stdin, a changed input)."""
        try:
            yield
        except BaseException:
            if self.job.read_once or self.is_changed:
                spool.remove()
            raise
        spool.remove()

    @contextmanager
    def arrays(self, facts: Mapping[str, Any]) -> Iterator[ArraySpool]:
        """A spool for the results of records, while the output is written.

        Args:
            facts: Facts of the run in the output.

        Raises:
            OutputError: The output exists and must not be replaced; as for `findna.io.record_spool.RecordSpool`.
        """
        run = self.job.run
        with ArraySpool(self.partial, fingerprint(facts), resume=run.resume, force=run.force) as spool:
            is_ours = spool.is_resumed and n_finished(self.job.out, facts, is_resumed=True) is not None
            require_absent(self.job.out, force=run.force or is_ours)
            with self.keeping(spool):
                yield spool

    def n_finished(self, facts: Mapping[str, Any], *, longest: int = 0) -> int | None:
        """Number of rows of a finished output of the same run; None if the run is needed. Loads no torch.

        Args:
            facts: See `asked`.
            longest: As for `records`.

        Raises:
            OutputError: The output is of another run, or a partial run is in the way.
            InputError: It may lack a record that this run may not skip.
        """
        run = self.job.run
        n_rows = n_finished(self.job.out, facts) if self.job.may_be_finished else None
        if n_rows is None and not (run.force or run.resume):
            refuse_irregular(self.job.out)
            require_absent(self.job.out, force=False)
            refuse_partial(self.partial)
        if n_rows is not None and self.job.is_fatal:
            for item in _that_fit(read_records(self.job.inputs, self.job.options, genome=self.genome), longest):
                if isinstance(item, InputError) and item.is_fatal:
                    raise item
        return n_rows

    @cached_property
    def _sources(self) -> dict[str, Any]:
        manifest, inputs = self.job.manifest, self.job.inputs
        return {
            "inputs": manifest.facts(inputs) if manifest else input_facts(inputs, self.job.options),
            "genome": genome_facts(self.genome),
        }

    def asked(self, model: ModelFacts | TaskFacts, params: Mapping[str, Any]) -> dict[str, Any]:
        """The facts that a finished output of the run has, as JSON values.

        Args:
            model: The model.
            params: The settings that determine the values.
        """
        of_model = {"name": model.name, "sha256": model.sha256}
        return {"model": of_model, **self._sources, "params": {**params, **self.job.asked()}}

    def facts(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The same facts with those of the machine; loads torch."""
        return {
            **asked,
            "params": {**asked["params"], **self.compute.facts()},
            "provenance": machine_facts(self.compute, command=self.job.command, started=self._started),
        }

    def report(self, facts: Mapping[str, Any], outputs: Sequence[Path], **counts: Any) -> dict[str, Any]:
        """The report of the run, as JSON values.

        Args:
            facts: Facts in the output.
            outputs: The files.
            counts: Counts by name; nothing_to_do if the run was finished before and no record was counted.
        """
        of_records = {
            "n_records": self.n_records,
            "n_skipped": len(self.skipped),
            **(self.short.facts() if self.n_records else {}),  # a run of scores reads no records
            "skipped": dict(Counter(error.reason for error in self.skipped)),
        }
        return {
            "findna": __version__,
            "outputs": [str(path) for path in outputs],
            **({} if counts.get("nothing_to_do") else of_records),
            **counts,
            "seconds": round(time.monotonic() - self._began, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            **facts,
        }


def _that_fit(items: Iterable[Item], longest: int) -> Iterator[Item]:
    """The items, with an error instead of each record that has more bases than `longest` (0: no maximum)."""
    for item in items:
        if isinstance(item, Record) and 0 < longest < len(item.codes):
            reason = f"{len(item.codes):,} bases; at most {longest:,} fit one window"
            item = InputError(reason, path=item.source, record=item.id)
        yield item


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that must be the same for a resume."""
    return {"findna": __version__, **decisive(facts)}
