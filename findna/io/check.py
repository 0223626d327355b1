"""Counts the contents and errors of inputs, before a model is loaded."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna import phases
from findna.counts import counted
from findna.errors import MOST_SHOWN, BedError, InputError, as_one
from findna.io.compressed import STDIN, Mark
from findna.io.genome import Genome
from findna.io.ids import IdSet
from findna.io.options import InputOptions
from findna.io.records import Reader, count_bases
from findna.io.source import REGIONS, MissingContig, limit_n
from findna.limits import SHORT_REGION
from findna.record import Record
from findna.region import Region

OnItem = Callable[[int, Mark | None, Record | Region | InputError], object]

_MANY = 10
"""If more than one record in this number has a fault, the input is wrong: skipping the records would lose data."""
_PHASE_EVERY = 10_000
_MOST_CONTIGS = 1000


@dataclass
class InputSummary:
    """The findings of a first pass over the inputs.

    Args:
        n_records: Records, including those with a problem.
        n_bases: Bases of the records without a problem.
        n_windows: Windows of the records without a problem.
        n_problems: Records with a problem.
        problems: Number of each kind.
        examples: The first ten.
        n_short: Regions with too few bases to have a context; the id of the first one is `first_short`.
        missing_contigs: The first 1,000 contigs that are not in the genome, each with its number of records.
        unchecked: Inputs that were not read, for instance because they can be read only once.
    """

    n_records: int = 0
    n_bases: int = 0
    n_windows: int = 0
    n_problems: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    examples: list[InputError] = field(default_factory=list)
    n_short: int = 0
    first_short: str = ""
    missing_contigs: dict[str, int] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    def error(self) -> InputError | None:
        """All problems as one error; None if there are none."""
        if not self.examples:
            return None
        first = self.examples[0]
        n_alike = self.problems[_problem_kind(first)]
        affected = f"{n_alike:,} of {self.n_records:,} records affected"
        if n_alike == 1 < self.n_records or _MANY * n_alike <= self.n_records:
            affected += "; on_error=skip omits them"
        return as_one(self.examples, self.n_problems, affected)

    def facts(self) -> dict[str, Any]:
        """The entries in the report of a dry run."""
        return {
            "n_records": self.n_records,
            "n_windows": self.n_windows,
            "n_bases": self.n_bases,
            "n_short": self.n_short,
            "first_short": self.first_short,
            "n_problems": self.n_problems,
            "problems": self.problems,
            "missing_contigs": self.missing_contigs,
            "first_problems": str(self.error() or ""),
            "not_counted": self.unchecked,
        }


def check_inputs(
    inputs: Sequence[str],
    options: InputOptions,
    *,
    genome: Genome | None = None,
    n_windows: Callable[[int], int] | None = None,
    is_full: bool = False,
    on_record: Callable[[int], object] | None = None,
    on_item: OnItem | None = None,
    ids: IdSet | None = None,
) -> InputSummary:
    """Count the records and errors of the inputs, in constant memory.

    Regions are compared with the genome's index; no base is read. Stdin and pipes are not read.

    Args:
        inputs: As for `read_records`.
        options: As for `read_records`.
        genome: As for `read_records`.
        n_windows: Number of windows of a record with this many bases.
        is_full: Also read FASTA, FASTQ, BAM and CRAM.
        on_record: Called with the number of bases of every record in order (0 if it has no row); reads all inputs.
        on_item: Called before `on_record` with the index of the input, the place of the record in it (None if not
            known: CRAM, reads of a region, regions whose bases are counted), and the record or error.
        ids: Of sequences, reads and regions whose bases are counted: finds the duplicates.

    Raises:
        InputError: An input is missing, empty, truncated or damaged.
        ConfigError: An input cannot be read with these options.
    """
    summary = InputSummary()
    with ExitStack() as stack:
        reader = Reader(options, stack, genome, ids=ids)
        for index, text in enumerate(inputs):
            if is_read_once(text):
                summary.unchecked.append(text)
                continue
            with closing(reader.open(text)) as source:
                needs_bases = on_record is not None and options.max_n < 1
                if source.kind in REGIONS and not needs_bases:
                    found: Iterable[Record | Region | InputError] = (row.region for row in reader.rows(source))
                elif is_full or on_record is not None:
                    found = (limit_n(record, source, options.max_n) for record in reader.records(source))
                else:
                    summary.unchecked.append(text)
                    continue
                n_before = summary.n_records
                is_in_step = not (source.kind in REGIONS and needs_bases)
                for record in found:
                    n_checked = summary.n_records - n_before
                    if n_checked % _PHASE_EVERY == 0:
                        phases.enter(f"checking {text}: {counted(n_checked, 'record')}")
                    if on_item is not None:
                        mark = source.stream.mark if source.stream is not None else Mark()
                        on_item(index, mark if is_in_step else None, record)
                    n_bases = _count(summary, record, n_windows)
                    if on_record is not None:
                        on_record(n_bases)
                if summary.n_records == n_before:
                    raise source.nothing()
    if not any(map(is_read_once, inputs)):
        reader.refuse_unused_genome()
    return summary


def open_inputs(inputs: Sequence[str], options: InputOptions, stack: ExitStack) -> Genome | None:
    """Open the genome, which the stack closes, and each input once; stdin and pipes are not opened.

    A run does this first, so that a wrong name of an input is the first error.

    Raises:
        InputError: One cannot be opened, or is of no known kind.
        ConfigError: One cannot be read with these options.
    """
    genome = stack.enter_context(Genome(options.genome)) if options.genome else None
    reader = Reader(options, stack, genome)
    for text in inputs:
        if not is_read_once(text):
            reader.open(text).close()
    return genome


def is_read_once(text: str) -> bool:
    """Whether an input is stdin or a pipe."""
    path = Path(text)
    return text == STDIN or (path.exists() and not path.is_file() and not path.is_dir())


def refuse_pipe(path: str | Path) -> None:
    """Raise if an input that is read more than once is stdin or a pipe.

    Raises:
        InputError: It is.
    """
    if is_read_once(str(path)):
        raise InputError("must be a regular file, because it is read more than once", path=path)


def _count(summary: InputSummary, found: Record | Region | InputError, n_windows: Callable[[int], int] | None) -> int:
    """Count a record; returns how many of its bases will be embedded."""
    summary.n_records += 1
    if not isinstance(found, InputError):
        n_bases = len(found.codes) if isinstance(found, Record) else count_bases(found)
        summary.n_bases += n_bases
        summary.n_windows += n_windows(n_bases) if n_windows is not None else 0
        if found.is_short_region if isinstance(found, Record) else n_bases < SHORT_REGION:
            summary.n_short += 1
            summary.first_short = summary.first_short or found.id
        return n_bases
    if not found.is_fatal:  # the user asked to skip it
        return 0
    summary.n_problems += 1
    kind = _problem_kind(found)
    summary.problems[kind] = summary.problems.get(kind, 0) + 1
    if len(summary.examples) < MOST_SHOWN:
        summary.examples.append(found)
    if isinstance(found, MissingContig):
        missing = summary.missing_contigs
        if found.contig in missing or len(missing) < _MOST_CONTIGS:
            missing[found.contig] = missing.get(found.contig, 0) + 1
    return 0


def _problem_kind(problem: InputError) -> str:
    if isinstance(problem, MissingContig):
        return "contig is not in the genome"
    return "does not fit" if isinstance(problem, BedError) and problem.record else "cannot be used"
