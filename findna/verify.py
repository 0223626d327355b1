"""Checks that an output is complete, and that its model gives the same rows for its inputs, for `findna verify`."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.counts import counted
from findna.data.windows import split_windows
from findna.errors import ConfigError, FindnaError, ModelError
from findna.io.compressed import STDIN
from findna.io.effects import SCHEMA as MUTAGENESIS
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.io.layout import naming
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.io.rows import printable
from findna.io.vcf import Site, VariantReader
from findna.io.written import open_written
from findna.io.written_rows import Written
from findna.models.store import Model, load_model
from findna.models.task import TaskModel, load_task
from findna.recomputed import SampledRow, Unchecked, config_of, params_of, recompute
from findna.record import Record
from findna.runs.provenance import genome_facts
from findna.runs.scored import ScorePart

TOLERANCES = {"fp32": 1e-3, "bf16": 0.05, "bf16-stream": 0.1}
"""Largest accepted difference of a recomputed value, by precision, relative to the row's largest value or to 1."""

_SEED = 0


class _Changed(Exception):
    """A file is not as it was, which need not change a row."""


@dataclass
class Verification:
    """The findings on an output.

    Args:
        path: The file.
        kind: Its kind of content.
        n_rows: Its number of rows.
        checks: For each check its name, `ok`, `changed`, `failed` or `not checked`, and the finding.
        n_computed: Number of recomputed rows.
        max_difference: The largest difference of their values; None without such rows.
        tolerance: The largest accepted difference.
    """

    path: str
    kind: str = ""
    n_rows: int = 0
    checks: list[tuple[str, str, str]] = field(default_factory=list)
    n_computed: int = 0
    max_difference: float | None = None
    tolerance: float | None = None

    @property
    def is_valid(self) -> bool:
        """Whether no check failed."""
        return all(status != "failed" for _, status, _ in self.checks)

    @contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """Store the result of a check, a phase of a progress display; its block appends the findings."""
        phases.enter(f"checking {self.path}: {name}")
        found: list[str] = []
        status = "ok"
        try:
            with naming(Path(self.path)):
                yield found
        except _Changed as reason:
            status, found = "changed", [str(reason)]
        except Unchecked as reason:
            status, found = "not checked", [str(reason)]
        except FindnaError as error:
            status, found = "failed", [str(error)]
        self.checks.append((name, status, "; ".join(found)))


def verify(path: Path | str, *, model: str | Path = "", genome: Path | str | None = None, n: int = 20) -> Verification:
    """Check an output: its structure and checksums, its model, genome and inputs, and a sample of its rows.

    Inputs and genome are read from the paths in the output. A check whose files are not found is skipped.

    Args:
        path: An output of `embed`, `classify`, `score`, `predict-bases`, `mutagenesis` or `merge`.
        model: Model or task that must have made it; "": the one in the output.
        genome: Genome that it must be of; None: the one in the output.
        n: Number of rows to compute again, drawn with a fixed seed.
    """
    path = Path(path)
    found = Verification(str(path))
    written: Written | None = None
    with found.check("content") as said:
        written = open_written(path)
        found.kind, found.n_rows = written.kind, written.n_rows
        said.append(f"{written.kind}, {counted(written.n_rows, 'row')}")
        said.append(written.check() or "no checksum to compare")
    if written is None:
        return found
    loaded: Model | TaskModel | None = None
    with found.check("model") as said:
        loaded = _load(written, model)
        said.append(f"{loaded.name}, sha256 {loaded.sha256[:12]}")
    with found.check("genome") as said:
        said.append(_check_genome(written, genome))
    with found.check("inputs") as said:
        said.append(_check_inputs(written))
    with found.check("rows") as said:
        if loaded is None or not found.is_valid:
            raise Unchecked("the model is not found" if found.is_valid else "a check before this one failed")
        said.append(_check_rows(written, loaded, genome, n, found))
    return found


def _load(written: Written, name: str | Path) -> Model | TaskModel:
    """The model or task that made an output.

    Raises:
        TableError: It is another one.
    """
    facts = written.meta["model"]
    value = str(params_of(written).get("value", ""))  # of mutagenesis, in words
    is_task = "task" in facts or value.startswith(("log-odds of ", "prediction "))
    try:
        loaded = (load_task if is_task else load_model)(name or str(facts["name"]))
    except (ModelError, ConfigError) as error:
        if name:
            raise
        raise Unchecked(f"{error}; give its folder: model=FOLDER") from error
    if loaded.sha256 != facts["sha256"]:
        raise written.fail(
            f"was made by {facts['name']}, sha256 {facts['sha256'][:12]}; {loaded.name} has {loaded.sha256[:12]}"
        )
    return loaded


def _located(written: Written, text: str) -> Path:
    """The present path of a file that an output names."""
    folder = written.meta.get("provenance", {}).get("working_directory", "")
    places = [Path(text), Path(folder) / text]
    for place in places:
        if place.is_file():
            return place
    raise Unchecked(f"{text} not found")


def _genome_of(written: Written, genome: Path | str | None) -> Path | None:
    facts = written.meta.get("genome") or {}
    if genome is None and facts:
        return _located(written, str(facts["path"]))
    return None if genome is None else Path(genome)


def _check_genome(written: Written, genome: Path | str | None) -> str:
    facts = written.meta.get("genome") or {}
    path = _genome_of(written, genome)
    if path is None or not facts:
        raise Unchecked("the output names no genome")
    with Genome(path) as opened:
        if opened.digest != facts["digest"]:
            raise written.fail(
                f"is of genome {facts['path']}, digest {facts['digest'][:12]}; {path} has {opened.digest[:12]}"
            )
    found = genome_facts(opened)
    if genome is None and any(
        str(found[name]) != str(facts.get(name, found[name])) for name in ("bytes", "modified_ns")
    ):
        raise _Changed(f"{path}: size or date differ from those of the run; names and lengths of contigs are the same")
    return f"{path}, digest {facts['digest'][:12]} of names and lengths of contigs"


def _check_inputs(written: Written) -> str:
    """Compare the inputs with their sha256."""
    inputs = written.meta.get("inputs") or []
    for facts in inputs:
        if facts["path"] == STDIN:
            raise Unchecked("stdin cannot be read again")
        if "sha256" in facts and sha256(_located(written, facts["path"])) != facts["sha256"]:
            raise written.fail(f"input {facts['path']} is not what it was: its sha256 differs")
    if not inputs:
        raise Unchecked("the output names no inputs")
    return ", ".join(facts["path"] for facts in inputs)


def _check_rows(
    written: Written, loaded: Model | TaskModel, genome: Path | str | None, n: int, found: Verification
) -> str:
    """Compare every row with its record, and compute some rows again."""
    if written.family == "tracks":
        raise Unchecked("the values of a track are not computed again")
    path, inputs = _genome_of(written, genome), _inputs_of(written)
    n_chosen = -(-n // 20) if written.kind.startswith(MUTAGENESIS) else n
    chosen = set(np.random.default_rng(_SEED).permutation(written.n_rows)[:n_chosen].tolist())
    with Genome(path) if path else nullcontext() as opened:
        sample = list(_sample(written, _records(written, inputs, opened), chosen))
        precision = str(params_of(written).get("precision", "fp32"))
        found.n_computed, found.tolerance = len(sample), TOLERANCES.get(precision, TOLERANCES["fp32"])
        for one, now in zip(sample, recompute(written, loaded, opened, sample), strict=True):
            stored = [*now.stored, *written.more(one.number)]
            difference = max((_difference(a, b) for a, b in zip(stored, now.values, strict=True)), default=0.0)
            found.max_difference = max(found.max_difference or 0.0, difference)
            if difference > found.tolerance:
                reason = f"computed again, its values differ by {difference:.3g}, more than {found.tolerance:g}"
                raise written.fail(f"row {one.number:,} ({one.row.id}): {reason}")
    largest = "" if found.max_difference is None else f", largest difference {found.max_difference:.2g}"
    return f"{len(sample):,} computed again{largest}"


def _sample(written: Written, records: Iterator[Any] | None, chosen: set[int]) -> Iterator[SampledRow]:
    """The chosen rows. Every row must have the id of its record.

    Raises:
        TableError: One has another id, or the numbers of rows and records differ.
    """
    pairs = itertools.zip_longest(written.rows(), records) if records else ((row, None) for row in written.rows())
    for index, (row, item) in enumerate(pairs):
        if row is None or (records and item is None):
            raise written.fail(f"has {'fewer' if row is None else 'more'} rows than its inputs have records")
        name = row.id if item is None else item.id if isinstance(item, Record) else str(item)
        if printable(name) != printable(row.id):
            raise written.fail(f"row {index:,} has the id {row.id}; the record there of the inputs is {name}")
        if index in chosen:
            yield SampledRow(index, row, item)


def _inputs_of(written: Written) -> list[str] | None:
    """The present paths of the inputs; None if one is missing or was a pipe. An input without sha256 is a region."""
    try:
        if any("sha256" not in one and Path(one["path"]).exists() for one in written.meta["inputs"]):
            return None
        return [
            str(_located(written, one["path"])) if "bytes" in one else one["path"] for one in written.meta["inputs"]
        ]
    except (Unchecked, KeyError):
        return None


def _records(written: Written, inputs: list[str] | None, genome: Genome | None) -> Iterator[Any] | None:
    """The records with a row, read from the inputs; None if these cannot be read again."""
    if inputs is None or STDIN in inputs or params_of(written).get("alleles"):
        return None
    if written.family == "scores":
        return _alts(written, inputs[0])
    shard = written.meta.get("shard")
    wanted = range(shard["first"], shard["first"] + shard["n_records"]) if shard else None
    items: Iterator[Any] = read_records(inputs, _options(written, genome), genome=genome, wanted=wanted)
    params = params_of(written)
    if params.get("windows"):
        settings = written.meta["model"].get("task", params)
        items = split_windows(items, size=settings["window"], stride=settings["stride"])
    return (item for item in items if isinstance(item, Record))


def _alts(written: Written, source: str) -> Iterator[Site]:
    """The ALTs of a file of variants, or those of a shard."""
    with VariantReader(source) as reader:
        sites: Iterable[Site] = reader
        if part := ScorePart.parse(written.meta["shard"]):
            sites = itertools.islice(reader, part.first, part.first + part.n_records)
        for site in sites:
            yield from (site._replace(alts=(alt,)) for alt in site.alts) if site.alts else [site]


def _options(written: Written, genome: Genome | None) -> InputOptions:
    made: InputOptions = config_of(InputOptions, written.meta["params"], genome=genome and genome.path)
    return made


def _difference(stored: NDArray[Any], now: NDArray[Any]) -> float:
    """The largest difference, relative to the largest value or to 1; infinite if only one value is NaN."""
    if stored.shape != now.shape or (np.isnan(stored) != np.isnan(now)).any():
        return float("inf")
    stored, now = np.nan_to_num(stored.astype(np.float64)), np.nan_to_num(now.astype(np.float64))
    return float(np.abs(stored - now).max(initial=0) / max(1.0, np.abs(now).max(initial=0)))
