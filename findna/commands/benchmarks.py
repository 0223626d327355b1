"""The work of `findna benchmark`: labelled sets, variants, the report of a teacher, speed, studies of recipes."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from findna.benchmark.intervals import parse_genomes
from findna.benchmark.modes import BenchmarkConfig, parse_modes
from findna.benchmark.modes import Progress as Progress
from findna.benchmark.modes import Stopped as Stopped
from findna.benchmark.options import ReadOutOptions, SpeedConfig, SuiteOptions
from findna.benchmark.readout import ReadOut
from findna.benchmark.report import as_markdown, make_report
from findna.benchmark.report_html import as_html
from findna.benchmark.results import read_result
from findna.benchmark.run import run_task
from findna.benchmark.speed import measure_speed
from findna.benchmark.speed import speed_table as speed_table
from findna.benchmark.stored import refuse_foreign
from findna.benchmark.suites import find_tasks
from findna.benchmark.variants import VariantSetConfig, find_tables, measure_variants
from findna.benchmark.variants import table_of as table_of
from findna.config import ComputeConfig, ScoreConfig
from findna.errors import ConfigError, InputError
from findna.io.files import already_exists, write_atomic
from findna.io.genome import Genome
from findna.models.folders import DEFAULT
from findna.models.store import load_model
from findna.nn.device import Compute, pick_device, set_threads
from findna.settings import make, with_settings
from findna.tasks.catalog import read_recipe

Report = dict[str, Any]
OnProgress = Callable[[int, int], None]
OnNote = Callable[[str], None]
"""Called with each result or skipped item, as text."""


@with_settings(SuiteOptions, ReadOutOptions, ComputeConfig, without=("batch_bases",))
def benchmark(
    suite: str,
    data: str | Path,
    out: str | Path = "results",
    *,
    tasks: Sequence[str] = (),
    genomes: Sequence[str] = (),
    model: str = DEFAULT,
    command: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    on_skip: OnNote = lambda text: None,
    on_note: OnNote = lambda text: None,
    on_run: Callable[[Progress], None] = lambda step: None,
    on_progress: OnProgress = lambda done, total: None,
    **settings: Any,
) -> Report:
    """Measure a model and baselines on the labelled sets of a suite: one result file per set and mode.

    Args:
        suite: gue, genomic-benchmarks, mtcdna or csv.
        data: Folder of its sets.
        out: Folder of the results; existing results for the same data, settings and model are reused.
        tasks: Names of the sets to use; (): all.
        genomes: genomic-benchmarks: one SPECIES=FILE per species.
        model: As for `findna.load_model`.
        command: The command line, for the results.
        should_stop: Called between and during runs.
        on_skip: Called with each skipped set and the reason.
        on_note: Called with notes on a set's figures.
        on_run: Called for each run; see `findna.benchmark.modes.Progress`.
        on_progress: Called with the number of runs done and the total.
        settings: Modes, limits, recipe, read-out and computation.

    Returns:
        out, runs (each with its figures), left_out and faulty (sets with the reason).

    Raises:
        ConfigError: A setting is out of range, or the set does not exist.
        InputError: The folder holds no set.
        OutputError: A result cannot be written.
        Stopped: It was asked to stop; the same call resumes.
    """
    out, asked, read_out = Path(out), make(SuiteOptions, settings), make(ReadOutOptions, settings)
    recipe = read_recipe(asked.preset)
    config = BenchmarkConfig(
        modes=parse_modes(asked.mode),
        seeds=asked.seeds,
        limit=asked.limit,
        limit_test=asked.limit_test or asked.limit,
        read_out=ReadOut(read_out.pool, read_out.blocks, read_out.strand),
        finetune=dataclasses.replace(recipe, epochs=asked.epochs) if asked.epochs else recipe,
        with_plots=asked.with_plots,
        command=command,
    )
    compute = Compute.begin(make(ComputeConfig, settings))
    found, skipped = find_tasks(suite, Path(data), only=tasks, genomes=parse_genomes(genomes))
    for one in skipped:
        on_skip(f"{one.name}: skipped: {one.reason}")
    teacher = load_model(model)
    runs: list[dict[str, Any]] = []
    faulty: list[dict[str, str]] = []
    on_progress(0, len(found) * sum(1 if one in ("probe", "kmer") else asked.seeds for one in config.modes))
    for n_left, task in zip(range(len(found), 0, -1), found, strict=True):
        if task.note:
            on_note(f"{task.name}: {task.note}")
        n_before = len(runs)
        try:
            for step in run_task(task, out, config=config, teacher=teacher, compute=compute, should_stop=should_stop):
                on_run(step)
                runs.append(dataclasses.asdict(step))
                on_progress(len(runs), n_before + n_left * step.n_runs)
        except InputError as error:
            faulty.append({"task": task.name, "error": str(error)})
            on_skip(f"{task.name}: skipped: {error}")
    left_out = [dataclasses.asdict(one) for one in skipped]
    return {"out": str(out), "n_sets": len(found) - len(faulty), "runs": runs, "left_out": left_out, "faulty": faulty}


@with_settings(SuiteOptions, ComputeConfig, without=("batch_bases", "mode", "limit_test", "preset", "epochs"))
def benchmark_variants(
    data: str | Path,
    out: str | Path = "results",
    *,
    genome: str | Path | None = None,
    model: str = DEFAULT,
    command: str = "",
    on_note: OnNote = lambda text: None,
    on_table: Callable[[Report], None] = lambda result: None,
    **settings: Any,
) -> Report:
    """Measure scores of variants with known effects for each table in a folder; one JSON file per table.

    Args:
        data: Folder with tables (.tsv), each with chrom, pos, ref, alt (single bases) and label.
        out: Folder of the results.
        genome: Genome of the variants; None: the one in `data`.
        model: As for `findna.load_model`.
        command: The command line, for the results.
        on_note: Called with each result, as text.
        on_table: Called with each result.
        settings: `seeds` networks with random weights, `limit` variants per label, bases per `window`.

    Returns:
        out, results.

    Raises:
        TableError: There is no table or no genome, or a table is damaged.
        VariantError: A variant does not fit the genome.
    """
    out, asked = Path(out), make(SuiteOptions, settings)
    compute = Compute.begin(make(ComputeConfig, settings))
    score = ScoreConfig(window=asked.window, max_length=1)
    config = VariantSetConfig(score=score, limit=asked.limit, seeds=asked.seeds)
    tables, found = find_tables(Path(data), Path(genome) if genome else None)
    results = []
    paths = [out / f"variants.{table.name.removesuffix('.gz').removesuffix('.tsv')}.json" for table in tables]
    refuse_foreign(*paths)
    with Genome(found) as opened:
        for table, path in zip(tables, paths, strict=True):
            result = measure_variants(
                table,
                opened,
                load_model(model),
                config,
                compute=compute,
                on_done=lambda name: on_note(f"measured {name}"),
            )
            on_table(result)
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(result | {"command": command}, indent=2) + "\n"
            write_atomic(path, text)
            results.append(result)
    return {"out": str(out), "results": results}


def report(results: Sequence[str | Path], out: str | Path | None = None, *, force: bool = False) -> str:
    """The tables of result files beside published figures, as Markdown; also written to a .md or .html file.

    An existing file with other content is replaced only with `force`.

    Raises:
        ConfigError: The file has another ending.
        OutputError: The file exists with other content and `force` is not set, or cannot be written.
        TableError: A file is damaged or not a result.
        InputError: There is none, or two results measure the same.
    """
    path = Path(out or "report.md")
    if path.suffix not in (".md", ".html"):
        raise ConfigError(f"{path}: must end in .md or .html")
    sections = make_report([read_result(Path(result)) for result in results])
    text = as_html(sections) if path.suffix == ".html" else as_markdown(sections)
    if out is not None and not (path.is_file() and path.read_bytes() == text.encode()):
        if path.exists() and not force:
            raise already_exists(path, "exists already, with other content")
        write_atomic(path, text)
    return text


@with_settings(SpeedConfig)
def time_networks(*, device: str = "auto", threads: int = 0, **settings: Any) -> Report:
    """Time our networks on this machine; see `findna.benchmark.speed.measure_speed` for the report.

    Args:
        device: auto, cpu, cuda, ...
        threads: CPU threads; 0: all available CPUs.
        settings: What is timed.

    Raises:
        ConfigError: A setting is out of range, or the device does not exist.
    """
    config = make(SpeedConfig, settings)
    set_threads(threads)
    return measure_speed(config, device=pick_device(device))
