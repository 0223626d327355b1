"""The work of `findna pretrain` and `findna finetune`: sequences and settings to run directories."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.config import ComputeConfig
from findna.counts import counted
from findna.cpus import n_cpus
from findna.errors import ConfigError
from findna.io.structured import read_json
from findna.models.store import load_model
from findna.models.task_settings import PLAN
from findna.nn.device import Compute, pick_device, pick_precision, set_threads
from findna.recipes import FinetuneConfig, PretrainConfig
from findna.settings import make, settings_of_all, with_settings
from findna.sizes import ModelConfig
from findna.train import finetune as tuning
from findna.train import pretrain as teaching
from findna.train.card import kept_line
from findna.train.checkpoint import has_checkpoint
from findna.train.launch import count_processes, launch
from findna.train.launch import record_failure as record_failure
from findna.train.loop import Report as Report
from findna.train.objectives import summary_line as summary_line
from findna.train.options import CheckpointOptions, FinetuneOptions, PretrainOptions, ProcessOptions
from findna.train.parallel import device_of, join
from findna.train.place import Place, is_restart
from findna.train.place import find_place as find_place
from findna.train.plan import Plan, PretrainPlan, TaskPlan
from findna.train.portable import export_run as export_run
from findna.train.portable import import_run, portable_plan
from findna.train.resume import check_same, facts_of, facts_of_pretraining, precision_of, require_same
from findna.train.sources import Sources, load_sources
from findna.train.start import check_teacher, doubts

PRETRAINING = (PretrainConfig, PretrainOptions, ModelConfig)
"""The settings of a pretraining."""

FINETUNING = (FinetuneConfig, FinetuneOptions)
"""The settings of a fine-tuning."""

Files = str | Path | Sequence[str | Path]
OnStart = Callable[[str], None]
OnReport = Callable[[Report], None]


@with_settings(*PRETRAINING, ProcessOptions, CheckpointOptions, ComputeConfig, without=("batch_bases",))
def pretrain(
    inputs: Files = (),
    out: str | Path = "runs/pretrain",
    *,
    genome: str | Path | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    arguments: Sequence[str] = (),
    should_stop: Callable[[], bool] = lambda: False,
    on_start: OnStart = lambda text: None,
    on_report: OnReport = lambda report: None,
    **settings: Any,
) -> dict[str, Any]:
    """Pretrain a teacher without labels, as `findna pretrain` does; `out` becomes a model folder.

    Only settings that are given count: the others are those of the preset, or of the run that is resumed.

    Args:
        inputs: FASTA files of training sequences; windows are sampled from long records.
        out: The run directory.
        genome: Genome to sample from instead; without inputs and genome, $FINDNA_GENOME or one in the cache directory.
        resume: Resume from the newest checkpoint in `out`.
        start_from: An exported run to continue in `out`.
        arguments: The arguments of `findna` on the command line; each of several processes is started with them.
        should_stop: Called after every step; True writes a checkpoint and ends the unfinished run.
        on_start: Called before the first step, in each process, with a description of the run.
        on_report: Called at each step; see `findna.train.loop.Report`.
        settings: Of the recipe, the processes and the computation.

    Returns:
        finished, step, n_bases, seconds, bases_per_second, last (held-out figures), n_processes; only `exit_code` if
        it started several processes; finished, step, outputs, nothing_to_do if the run was finished before.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
        InputError: An input is missing or damaged.
        TrainingError: It diverged, collapsed, ran out of memory, lost a process, or has nothing to resume.
        OutputError: `out` holds a run already, or cannot be made.
    """
    out, place = Path(out), find_place()
    processes, asked = make(ProcessOptions, settings), make(ComputeConfig, settings)
    n_processes = max(count_processes(processes, device=asked.device), place.size)
    given = _given(PRETRAINING, settings, inputs=_texts(inputs), genome=str(genome) if genome else "")
    device = pick_device("cuda" if processes.gpus else "cpu" if processes.processes else asked.device)
    plan = _plan(given, out, resume, start_from, n_gpus=n_processes if device.type == "cuda" else 0)
    if not start_from and (out / plan.FILE).is_file() and (summary := teaching.finished_summary(out)):
        facts = {}
        if inputs or genome or not resume:
            wanted = _resumed(asked, out / plan.FILE) if resume else asked
            compute = Compute(device, pick_precision(wanted.precision, device))
            initial = load_model(plan.initial) if plan.initial else None
            facts = facts_of_pretraining(plan.config, _sources(plan).summary, initial=initial, compute=compute)
        return _done(out, plan, facts, step=summary["steps"])
    if plan.config.batch_size < n_processes:
        raise ConfigError(f"batch_size={plan.config.batch_size}: fewer sequences than the {n_processes} processes")
    if place.job == "" and place.size == 1 and (n_processes > 1 or processes.max_restarts):
        if not arguments:
            raise ConfigError(f"{n_processes} processes: start each of them by torchrun, or use findna pretrain")
        return {"exit_code": launch(arguments, n_processes=n_processes, max_restarts=processes.max_restarts)}
    compute = _compute(place, processes, _resumed(asked, out / "pretrain.json") if resume else asked)
    if start_from and place.rank == 0 and not is_restart(place, teaching.job_of(out)):
        import_run(Path(start_from), out, compute=compute, job=place.job)
    sources = _sources(plan)
    on_start(_summary(plan, sources, compute, place) + _restart(out, resume))
    team = join(place, compute.device)
    with team.together():
        outcome = teaching.pretrain(
            plan.config,
            sources.corpus,
            sources.held_out,
            out,
            name=out.resolve().name,
            compute=compute,
            sources=sources.summary,
            asked=plan.asked(),
            time_budget=plan.time_budget,
            initial=load_model(plan.initial) if plan.initial else None,
            resume=resume or bool(start_from),
            team=team,
            n_reports=processes.n_reports,
            checkpoint_seconds=make(CheckpointOptions, settings).checkpoint_every,
            should_stop=should_stop,
            on_report=on_report,
        )
    rate = outcome.n_bases / max(outcome.seconds, 1e-9)
    return {"out": str(out), "n_processes": team.size, **dataclasses.asdict(outcome), "bases_per_second": rate}


@with_settings(*FINETUNING, CheckpointOptions, ComputeConfig, without=("batch_bases",))
def finetune(
    inputs: Files = (),
    out: str | Path = "runs/finetune",
    *,
    valid: Files = (),
    test: Files = (),
    genome: str | Path | None = None,
    model: str | Path = "",
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_start: OnStart = lambda text: None,
    on_report: OnReport = lambda report: None,
    **settings: Any,
) -> dict[str, Any]:
    """Train a classifier or regression on labelled sequences, as `findna finetune` does; `out` becomes a task model.

    Only settings that are given count: the others are those of the preset, or of the run that is resumed.

    Args:
        inputs: A table of labelled sequences, or one FASTA or BED file per class.
        out: The run directory.
        valid: Files of the validation split.
        test: Files of the test split, measured once at the end.
        genome: Genome of BED files.
        model: The teacher: a name or folder, see `findna.load_model`; "" is the default model.
        resume: As for `pretrain`; a run without a checkpoint starts from the beginning.
        should_stop: Called after every step and batch of vectors; True ends the unfinished run, after a step with a
            checkpoint.
        on_start: As for `pretrain`.
        on_report: As for `pretrain`.
        settings: Of the recipe and the computation.

    Returns:
        finished, step, seconds, kept (what, in words), metrics (of each split), kernels; finished, metrics, outputs,
        nothing_to_do if the run was finished before.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
        InputError: A split is invalid.
        TrainingError: It diverged, ran out of memory, or has nothing to resume.
        OutputError: `out` holds a run already, or cannot be made.
    """
    out, asked = Path(out), make(ComputeConfig, settings)
    files = {"inputs": _texts(inputs), "valid": _texts(valid), "test": _texts(test)}
    given = _given(FINETUNING, settings, **files, genome=str(genome) if genome else "", model=str(model))
    plan = TaskPlan.read(out).follow(given) if resume else TaskPlan.make(given)
    is_finished = (out / "config.json").is_file() and (out / PLAN).is_file()
    if is_finished and resume and not given.keys() & set(plan.PLACES):
        return _done(out, plan, {}, metrics=read_json(out / "metrics.json"))
    compute = Compute.begin(_resumed(asked, out / PLAN) if resume else asked)
    teacher = load_model(plan.model)
    check_teacher(plan.config, teacher.network)
    train, held_out, tested = plan.load()
    if is_finished:
        splits = {"train": train, "valid": held_out} | ({"test": tested} if tested is not None else {})
        facts = facts_of(tuning.completed(plan.config, teacher), splits, teacher=teacher, compute=compute)
        return _done(out, plan, facts, metrics=read_json(out / "metrics.json"))
    what = f"{len(train.classes)} classes" if train.classes else "one value per sequence"
    on_start(
        f"{counted(len(train), 'sequence')} to train on, {len(held_out):,} to validate"
        f"{f', {len(tested):,} to test' if tested is not None else ''}; {train.objective}, {what}; "
        f"model {teacher.name}{' (frozen)' if plan.config.frozen else ''}; {compute}"
        f"{doubts(held_out, plan.config.select)}{_restart(out, resume)}"
    )
    outcome = tuning.finetune(
        plan.config,
        train,
        held_out,
        out,
        teacher=teacher,
        name=out.resolve().name,
        compute=compute,
        test=tested,
        asked=plan.asked(),
        resume=resume,
        checkpoint_seconds=make(CheckpointOptions, settings).checkpoint_every,
        should_stop=should_stop,
        on_report=on_report,
    )
    return {"out": str(out), "kept": kept_line(out) if outcome.finished else "", **dataclasses.asdict(outcome)}


def _given(configs: Sequence[type], settings: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """The settings of a plan: those of its recipe, and all others that are not empty."""
    known = settings_of_all(*configs)
    own = {name: value for name, value in settings.items() if name in known and value is not None}
    return own | {name: value for name, value in others.items() if value}


def _texts(files: Files) -> tuple[str, ...]:
    return (str(files),) if isinstance(files, str | Path) else tuple(map(str, files))


def _plan(
    given: Mapping[str, Any], out: Path, resume: bool, start_from: str | Path | None, *, n_gpus: int
) -> PretrainPlan:
    if start_from and resume:
        raise ConfigError("give start_from=FILE or resume=True, not both: start_from begins a new run directory")
    if start_from:
        return portable_plan(Path(start_from)).follow(given)
    return PretrainPlan.read(out).follow(given) if resume else PretrainPlan.make(given, n_gpus=n_gpus)


def _compute(place: Place, processes: ProcessOptions, asked: ComputeConfig) -> Compute:
    """Where and how this process computes; sets its number of threads."""
    own = processes.gpus or processes.processes
    if own > 1 and own != place.size:
        name = "gpus" if processes.gpus else "processes"
        raise ConfigError(f"{name}={own}: leave it out, torchrun or srun has started {place.size} processes")
    set_threads(asked.threads or max(1, n_cpus() // place.local_size), deterministic=asked.deterministic)
    device = device_of(place, "cuda" if processes.gpus else "cpu" if processes.processes else asked.device, pick_device)
    return Compute(device, pick_precision(asked.precision, device))


def _resumed(asked: ComputeConfig, path: Path) -> ComputeConfig:
    """The same with the precision of the resumed run, if none is given."""
    return asked if asked.precision != "auto" else dataclasses.replace(asked, precision=precision_of(path))


def _restart(out: Path, resume: bool) -> str:
    """A line for a run that resumes one without a checkpoint; else ""."""
    if not resume or has_checkpoint(out / "checkpoints"):
        return ""
    return f"\n{out}: the earlier run ended before its first checkpoint; this run starts from the beginning"


def _sources(plan: PretrainPlan) -> Sources:
    return load_sources(
        plan.inputs or [plan.genome],
        is_genome=not plan.inputs,
        holdout=plan.holdout,
        n_windows=plan.config.n_windows,
        n_held_out=plan.n_held_out,
        size=plan.config.model.window,
        seed=plan.config.seed,
    )


def _done(out: Path, plan: Plan, facts: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """The report of a finished run; a TrainingError if the facts, where there are any, are those of another run."""
    if facts:
        check_same(out, facts, file=plan.FILE)
        require_same(out, plan.read(out).decisive(), plan.decisive())
    return {"outputs": [str(out)], "finished": True, "nothing_to_do": True, **found}


def _summary(plan: PretrainPlan, sources: Sources, compute: Compute, place: Place) -> str:
    where = f"{place.size} processes on {compute.device.type}, {compute.precision.name}" if place.size > 1 else compute
    lines = [
        f"{plan.config.model.n_parameters:,} parameters; {len(sources.corpus):,} windows to train on "
        f"({len(sources.corpus.codes):,} bases), {len(sources.held_out):,} held out; {where}"
    ]
    if n_left_out := sources.summary["n_left_out"]:
        lines.append(f"{counted(n_left_out, 'record')} skipped: N fraction above 0.1")
    if place.n_restarts:
        lines.append("restarted after a process died")
    return "\n".join(lines)
