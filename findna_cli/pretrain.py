"""`findna pretrain`: a new teacher from sequences or a genome."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import PRESETS, SHIFT_LAYOUTS, PretrainConfig
from findna.errors import ConfigError
from findna.limits import MAX_PROCESSES
from findna_cli.options import (
    CheckpointEvery,
    Deterministic,
    Device,
    Genome,
    Holdout,
    Json,
    Precision,
    Quiet,
    ResumeRun,
    Threads,
    flags_of,
    split_names,
)
from findna_cli.signals import catch_signals


@flags_of(PretrainConfig, without=("model",), is_recipe=True)
def pretrain(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="FASTA of training sequences; windows are sampled from long records.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; it is also a model folder.")] = Path(
        "runs/pretrain"
    ),
    genome: Genome = None,
    preset: Annotated[
        str,
        typer.Option("--preset", help=f"Recipe: {', '.join(PRESETS)}. Default: small.", show_default=False),
    ] = "",
    mixer: Annotated[
        str | None,
        typer.Option("--mixer", help="chordmixer, or transformer (FinDNA-T). Default: chordmixer.", show_default=False),
    ] = None,
    n_class_tokens: Annotated[
        int | None,
        typer.Option("--n-class-tokens", min=1, help="Class tokens per sequence (K). Default: 10.", show_default=False),
    ] = None,
    shift_layout: Annotated[
        str | None,
        typer.Option(
            "--shift-layout",
            help=f"How tracks rotate: {', '.join(SHIFT_LAYOUTS)}. Default: the preset's.",
            show_default=False,
        ),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            "--initial", help="Start from the weights of this model. Default: random weights.", show_default=False
        ),
    ] = None,
    holdout: Holdout = "",
    n_held_out: Annotated[
        int | None,
        typer.Option(
            "--n-held-out", min=1, help="Maximum number of held-out windows. Default: 128.", show_default=False
        ),
    ] = None,
    time_budget: Annotated[
        str, typer.Option("--time-budget", help="Finish the run in this time, e.g. 90s, 24m, 3h.", show_default=False)
    ] = "",
    resume: ResumeRun = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Continue from an --export file, with its flags, in a new --out.", show_default=False
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Write the newest checkpoint of --out to one small file, and exit.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --export file.")] = False,
    checkpoint_every: CheckpointEvery = "5m",
    n_reports: Annotated[
        int, typer.Option("--n-reports", min=1, help="Number of times to measure the held-out windows.")
    ] = 20,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="Number of GPUs of this host.", show_default=False)
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Number of processes on the CPU.", show_default=False),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts", min=0, help="Maximum number of restarts from the last checkpoint after a process died."
        ),
    ] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Pretrain a model without labels.

    The method is masked nucleotide modelling and contrastive self-distillation. Without a FASTA or --genome, it uses
    $FINDNA_GENOME, or else a genome in the cache directory. The run directory holds log.csv, checkpoints/ and the
    current teacher as a model folder. Ctrl-C writes a checkpoint.

    Several processes can train together: --gpus and --processes start them on this host, torchrun and srun on several
    hosts. Batches and losses do not depend on the number of processes, and you can resume with another number.
    --threads is the number per process.
    """
    import dataclasses
    import signal

    from findna.cpus import n_cpus
    from findna.models.store import load_model
    from findna.nn.device import pick_device, pick_precision, set_threads
    from findna.train.loop import Report
    from findna.train.parallel import device_of, find_place, is_restart, join, launch
    from findna.train.plan import PretrainPlan
    from findna.train.portable import export_run, import_run, portable_plan
    from findna.train.pretrain import finished_summary, job_of
    from findna.train.pretrain import pretrain as run
    from findna.train.sources import load_sources
    from findna_cli.console import Every, say, write_report
    from findna_cli.progress import progress

    flags = {
        "preset": preset or None,
        "mixer": mixer,
        "n_class_tokens": n_class_tokens,
        "shift_layout": shift_layout,
        "initial": initial,
        "inputs": tuple(inputs or ()) or None,
        "genome": str(genome) if genome else None,
        "holdout": split_names(holdout) or None,
        "n_held_out": n_held_out,
        "time_budget": parse_duration(time_budget) if time_budget else None,
        **settings,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    place = find_place()
    if export:
        made = export_run(out, export, force=force)
        rest = "makes its model, all steps are made" if made.finished else f"resumes after step {made.step:,}"
        say(f"{export}: {made.n_bytes:,} bytes; `findna pretrain --from {export}` {rest}", quiet=quiet)
        return
    if force:
        raise ConfigError("--force goes with --export: a run directory is never replaced, choose another --out")
    if start_from and resume:
        raise ConfigError("give --from or --resume, not both: --from begins a new run directory")
    n_processes = count_processes(gpus, processes, device=device)
    if start_from:
        plan = portable_plan(start_from).follow(given)
    elif resume:
        plan = PretrainPlan.read(out).follow(given)
        if summary := finished_summary(out):
            say(f"{out}: is complete: {summary['steps']:,} steps", quiet=quiet or place.rank > 0)
            return
    else:
        is_on_gpu = gpus or (not processes and pick_device(device).type == "cuda")
        plan = PretrainPlan.make(given, n_gpus=max(n_processes, place.size) if is_on_gpu else 0)
    config = plan.config
    if config.batch_size < max(n_processes, place.size):
        raise ConfigError(
            f"--batch-size {config.batch_size}: fewer sequences than the {max(n_processes, place.size)} processes"
        )
    save_every = parse_duration(checkpoint_every)
    if place.job == "" and place.size == 1 and (n_processes > 1 or max_restarts):
        raise typer.Exit(launch(sys.argv[1:], n_processes=n_processes, max_restarts=max_restarts))
    if n_processes not in (1, place.size):
        flag = "--gpus" if gpus else "--processes"
        raise ConfigError(
            f"{flag} {n_processes}: this is one of {place.size} processes that torchrun or srun started; "
            "leave it out, they say how many there are"
        )
    quiet = quiet or place.rank > 0
    set_threads(threads or max(1, n_cpus() // place.local_size), deterministic=deterministic)
    where = device_of(place, "cuda" if gpus else "cpu" if processes else device, pick_device)
    kind = pick_precision(precision, where)
    if start_from:
        if place.rank == 0 and not is_restart(place, job_of(out)):
            import_run(start_from, out, precision=kind, job=place.job)
        resume = True
    with progress("reading", total=None, quiet=quiet, unit="files"):
        sources = load_sources(
            plan.inputs or [plan.genome],
            is_genome=not plan.inputs,
            holdout=plan.holdout,
            n_windows=config.n_windows,
            n_held_out=plan.n_held_out,
            size=config.model.window,
            seed=config.seed,
        )
    say(
        f"{config.model.n_parameters:,} parameters; {len(sources.corpus):,} windows to train on "
        f"({len(sources.corpus.codes):,} bases), {len(sources.held_out):,} held out; "
        f"{on_what(where, place.size)}, {kind.name}",
        quiet=quiet,
    )
    if n_left_out := sources.summary["n_left_out"]:
        say(f"{n_left_out:,} records skipped: N fraction above 0.1", quiet=quiet)
    caught = catch_signals()
    if place.n_restarts:
        say("started anew, after a process was lost", quiet=quiet)
    team = join(place, where)
    is_time_for_a_line = Every(30)
    with team.together(), progress("training", total=None, quiet=quiet, unit="steps") as advance:

        def show(report: Report) -> None:
            row = report.row
            advance(report.done, f"loss {row['loss']:.3f}", report.total)
            text = f"of {report.total:,} steps  loss {row['loss']:.4f}  {row['bases_per_second']:,.0f} bases/s"
            if "valid_loss" in row:
                say(
                    f"step {report.done:,} {text}  held out: loss {row['valid_loss']:.4f}, "
                    f"masked-base accuracy {row['valid_accuracy']:.4f} (k-mers {row['kmer_accuracy']:.4f}), "
                    f"rank {row['effective_rank']:.1f}",
                    quiet=quiet,
                )
            elif is_time_for_a_line():
                say(f"step {report.done:,} {text}", quiet=quiet)

        outcome = run(
            config,
            sources.corpus,
            sources.held_out,
            out,
            name=out.resolve().name,
            device=where,
            precision=kind,
            sources=sources.summary,
            asked=plan.asked(),
            time_budget=plan.time_budget,
            initial=load_model(plan.initial) if plan.initial else None,
            resume=resume,
            team=team,
            n_reports=n_reports,
            checkpoint_seconds=save_every,
            should_stop=lambda: bool(caught),
            on_report=show,
        )
    report = {**dataclasses.asdict(outcome), "bases_per_second": outcome.n_bases / max(outcome.seconds, 1e-9)}
    if team.is_main:
        write_report(json_file, {"out": str(out), "n_processes": team.size, **report})
    if not outcome.finished:
        if team.is_main:
            say(f"stopped at step {outcome.step:,}; `findna pretrain --resume --out {out}` continues")
        raise typer.Exit(128 + (caught or [signal.SIGTERM])[0])
    say(f"{out}: {outcome.step:,} steps, {outcome.n_bases:,} bases in {outcome.seconds:,.0f} s", quiet=quiet)


def count_processes(gpus: int | None, processes: int | None, *, device: str) -> int:
    """How many processes --gpus or --processes asks for; 1 without either.

    Raises:
        ConfigError: They contradict one another or --device, or there are fewer GPUs.
    """
    import torch

    if max(gpus or 1, processes or 1) > MAX_PROCESSES:
        raise ConfigError(f"{max(gpus or 1, processes or 1):,} processes are more than {MAX_PROCESSES:,}")
    if gpus and processes:
        raise ConfigError("give --gpus or --processes, not both")
    if (gpus and device not in ("auto", "cuda")) or (processes and device not in ("auto", "cpu")):
        flag = "--gpus takes GPUs" if gpus else "--processes takes the CPU"
        raise ConfigError(f"{flag}: it does not go with --device {device}")
    if gpus and gpus > torch.cuda.device_count():
        raise ConfigError(f"--gpus {gpus}: this host has {torch.cuda.device_count()}")
    return gpus or processes or 1


def on_what(device: Any, n_processes: int) -> str:
    """Where a run is, for a person.

    >>> on_what("cpu", 1), on_what("cpu", 2)
    ('cpu', '2 processes on cpu')
    """
    return str(device) if n_processes == 1 else f"{n_processes} processes on {str(device).partition(':')[0]}"


def parse_duration(text: str) -> float:
    """Seconds of a text such as 90s, 24m, 1.5h; a bare number is seconds.

    Raises:
        ConfigError: It is none.

    >>> parse_duration("24m")
    1440.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or not float(match[1]):
        raise ConfigError(f"{text!r} is not a duration such as 90s, 24m or 3h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
