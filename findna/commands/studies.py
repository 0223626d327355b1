"""The work of `findna benchmark study` and `teacher`: recipes compared, and a report on a model."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.benchmark.modes import Progress as Progress
from findna.benchmark.modes import Stopped as Stopped
from findna.benchmark.options import ReadOutOptions, StudyOptions, TeacherOptions
from findna.benchmark.readout import ReadOut
from findna.benchmark.speed import speed_table as speed_table
from findna.benchmark.splits import BenchmarkTask
from findna.benchmark.stored import MARK, refuse_foreign
from findna.benchmark.study import LOG, StudyConfig, run_study
from findna.benchmark.study_table import study_table
from findna.benchmark.study_variants import read_variants
from findna.benchmark.suites import find_tasks
from findna.benchmark.teacher import TeacherConfig, facts_of, measure_teacher
from findna.benchmark.teacher_page import FILES as FILES
from findna.benchmark.teacher_page import TITLES as TITLES
from findna.benchmark.teacher_page import read_teacher, write_teacher
from findna.benchmark.variants import table_of as table_of
from findna.commands.benchmarks import OnNote, OnProgress, Report
from findna.config import ComputeConfig, parse_blocks
from findna.data.labelled import read_labelled
from findna.errors import ConfigError, TableError
from findna.io.files import sha256, write_atomic
from findna.models.folders import DEFAULT
from findna.models.store import load_model
from findna.nn.device import Compute
from findna.recipes import PRESETS
from findna.runs.finished import read_output, require_same_run
from findna.settings import make, with_settings
from findna.train.log import read_log
from findna.train.sources import load_sources


@with_settings(TeacherOptions, ComputeConfig, without=("batch_bases", "deterministic"))
def report_teacher(
    inputs: Sequence[str | Path] = (),
    out: str | Path = "teacher",
    *,
    genome: str | Path | None = None,
    model: str = DEFAULT,
    neighbours: Sequence[str | Path] = (),
    log: str | Path | None = None,
    command: str = "",
    force: bool = False,
    on_note: OnNote = lambda text: None,
    **settings: Any,
) -> Report:
    """Report what a pretrained model has learned: teacher.json, teacher.md and figures in a folder.

    Args:
        inputs: FASTA files with the training and the held-out sequences.
        out: The folder.
        genome: The genome, instead of `inputs`.
        model: As for `findna.load_model`.
        neighbours: Tables of sequences and labels, for nearest neighbours.
        log: log.csv of the training run; None: the one in the model's folder.
        command: The command line, for the report.
        force: Replace the report of another model or other settings.
        on_note: Called with each result, as text.
        settings: Held-out contigs, numbers of windows, and computation.

    Returns:
        The content of teacher.json; with nothing_to_do if the folder has this report already.

    Raises:
        ConfigError: Neither files nor a genome are given, or both, or nothing is held out; or a second read-out is
            given without neighbours, or for a block that the model does not have.
        InputError: An input is damaged, or no window is held out.
        TableError: A table or the log is damaged.
        OutputError: The folder has another report, or cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    asked = make(TeacherOptions, settings)
    if bool(inputs) == bool(genome):
        raise ConfigError("give the FASTA files that the model was trained on, or genome=FILE")
    if not asked.holdout:
        raise ConfigError("holdout must name the contigs, or the file, that the model was not trained on")
    if (asked.pool or asked.blocks) and not neighbours:
        raise ConfigError("pool and blocks are the second read-out of neighbours: give neighbours=TABLE")
    refuse_foreign(*(Path(out) / name for name in FILES))
    measured = load_model(model)
    config = TeacherConfig(pool=asked.pool, blocks=asked.blocks)
    parse_blocks(asked.blocks, measured.config.depth)
    compute = Compute.begin(make(ComputeConfig, settings))
    sources = load_sources(
        inputs or [str(genome)],
        is_genome=genome is not None,
        holdout=asked.holdout,
        n_windows=asked.n_windows,
        n_held_out=asked.n_held_out,
        size=measured.config.window,
        seed=asked.seed,
    )
    path = Path(log) if log else measured.path / "log.csv"
    rows = read_log(path) if log or path.is_file() else []
    if rows and "effective_rank" not in rows[0]:
        raise TableError("has no effective_rank: give the log.csv of a findna pretrain", path=path)
    labelled = read_labelled(neighbours, objective="classification") if neighbours else None
    log_sha256 = sha256(path) if rows else ""
    if not force and (found := read_output(Path(out) / FILES[0], read_teacher)):
        same = facts_of(measured, sources, config=config, compute=compute)
        same |= {"log": log_sha256, "neighbours": dict(labelled.sources) if labelled else None}
        require_same_run(Path(out), found | {"neighbours": found.get("neighbours", {}).get("sources")}, same)
        if all((Path(out) / name).is_file() for name in FILES[: 4 if rows else 3]):
            return found | {"nothing_to_do": True}
    result = measure_teacher(
        measured, sources, config=config, labelled=labelled, log=rows, compute=compute, on_done=on_note
    )
    result |= {"log": log_sha256, "command": command}
    n_held_out = int(measured.training.get("sources", {}).get("n_held_out", 0))
    write_teacher(Path(out), result, log=rows, n_held_out=n_held_out)
    return result


@with_settings(StudyOptions, ReadOutOptions, ComputeConfig, without=("batch_bases", "deterministic"))
def study(
    variants: str | Path,
    inputs: Sequence[str | Path],
    data: str | Path,
    out: str | Path = "study",
    *,
    tasks: Sequence[str] = (),
    command: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    on_skip: OnNote = lambda text: None,
    on_run: Callable[[Mapping[str, Any]], None] = lambda run: None,
    on_progress: OnProgress = lambda done, total: None,
    **settings: Any,
) -> list[Mapping[str, Any]]:
    """Compare recipes of pretraining by frozen probes on validation splits; study.json and study.md after each run.

    Args:
        variants: TOML file with one table per variant: the settings that it changes.
        inputs: FASTA files of training sequences.
        data: Folder of the labelled sets.
        out: Folder of the study; the same call resumes.
        tasks: Names of the sets to use; (): all.
        command: The command line, for the log.
        should_stop: Called after each step, and between runs.
        on_skip: Called with each skipped set and the reason.
        on_run: Called with the log entry of each run.
        on_progress: Called with the number of runs done and the total.
        settings: Preset, steps, seeds, limits, read-out and computation.

    Returns:
        The entries of all runs.

    Raises:
        ConfigError: A setting or a variant is wrong, or no labelled set is left.
        InputError: An input is damaged.
        TrainingError: A run failed.
        Stopped: It was asked to stop.
    """
    out, asked, read_out = Path(out), make(StudyOptions, settings), make(ReadOutOptions, settings)
    if asked.preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {asked.preset!r}")
    base = dataclasses.replace(PRESETS[asked.preset], steps=asked.steps, n_windows=asked.n_windows)
    wanted = read_variants(Path(variants), base)
    refuse_foreign(out / LOG, table := out / "study.md")
    found: list[BenchmarkTask]
    found, skipped = find_tasks(asked.suite, Path(data), only=tasks)
    for one in skipped:
        on_skip(f"{one.name}: skipped: {one.reason}")
    compute = Compute.begin(make(ComputeConfig, settings))
    sources = load_sources(
        inputs,
        is_genome=False,
        holdout=asked.holdout,
        n_windows=asked.n_windows,
        n_held_out=128,
        size=base.model.window,
        seed=0,
    )
    config = StudyConfig(
        seeds=asked.seeds,
        limit=asked.limit,
        limit_valid=asked.limit_valid,
        read_out=ReadOut(read_out.pool or "mean", read_out.blocks, read_out.strand),
        command=command,
    )
    runs: list[Mapping[str, Any]] = []
    n_runs = sum(1 if variant.model else asked.seeds for variant in wanted)
    on_progress(0, n_runs)
    for run in run_study(wanted, found, sources, out, config=config, compute=compute, should_stop=should_stop):
        runs.append(run)
        on_run(run)
        write_atomic(table, MARK + study_table(runs))
        on_progress(len(runs), n_runs)
    return runs
