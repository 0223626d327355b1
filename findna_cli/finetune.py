"""`findna finetune`: a task model from a teacher and labelled sequences."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import OBJECTIVES, FinetuneConfig
from findna_cli.options import (
    CheckpointEvery,
    Deterministic,
    Device,
    Genome,
    Json,
    ModelName,
    Precision,
    Quiet,
    ResumeRun,
    Threads,
    flags_of,
)
from findna_cli.signals import catch_signals


@flags_of(FinetuneConfig, is_recipe=True)
def finetune(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Table (CSV, TSV) of labelled sequences, or one FASTA or BED file per class.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; it is also a task model.")] = Path(
        "runs/finetune"
    ),
    valid: Annotated[
        list[str] | None,
        typer.Option("--valid", help="Validation split; repeat the flag for each file.", show_default=False),
    ] = None,
    valid_fraction: Annotated[
        float | None,
        typer.Option(
            "--valid-fraction",
            help="Fraction of the training split to use for validation without --valid. Default: 0.1.",
            show_default=False,
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test", help="Test split, measured once at the end; repeat the flag for each file.", show_default=False
        ),
    ] = None,
    genome: Genome = None,
    model: ModelName = None,
    preset: Annotated[
        str,
        typer.Option("--preset", help="Recipe: default, or a task of the paper, e.g. emp-h3.", show_default=False),
    ] = "",
    objective: Annotated[
        str,
        typer.Option(
            "--objective", help=f"{', '.join(OBJECTIVES)}. Default: inferred from the labels.", show_default=False
        ),
    ] = "",
    sequence_column: Annotated[
        str,
        typer.Option(
            "--sequence-column", help="Column with the sequence. Default: sequence, seq or dna.", show_default=False
        ),
    ] = "",
    label_column: Annotated[
        str,
        typer.Option(
            "--label-column", help="Column with the label. Default: label, class or target.", show_default=False
        ),
    ] = "",
    class_names: Annotated[
        str,
        typer.Option(
            "--class-names",
            help="Class names: a file with lines label<TAB>name, or a comma-separated list.",
            show_default=False,
        ),
    ] = "",
    resume: ResumeRun = False,
    checkpoint_every: CheckpointEvery = "5m",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a classifier or regression on labelled sequences.

    It trains all weights, or with --frozen only a head on frozen vectors. A table has a header, a column with sequences
    and a column with labels. Labels with ";" make a multilabel task, and decimal numbers a regression. The run
    directory holds the weights, metrics.json, log.csv, curve.png and CARD.md, and `findna classify --task` reads it.
    Ctrl-C writes a checkpoint.
    """
    import dataclasses

    from findna.models.store import load_model
    from findna.nn.device import pick_device, pick_precision, set_threads
    from findna.train.finetune import finetune as run
    from findna.train.loop import Report
    from findna.train.objectives import summary_line
    from findna.train.plan import TaskPlan
    from findna.train.start import check_teacher
    from findna_cli.console import Every, say, write_report
    from findna_cli.pretrain import parse_duration
    from findna_cli.progress import progress

    flags = {
        "preset": preset or None,
        "inputs": tuple(inputs or ()) or None,
        "valid": tuple(valid or ()) or None,
        "valid_fraction": valid_fraction,
        "test": tuple(test or ()) or None,
        "genome": str(genome) if genome else None,
        "model": model,
        "objective": objective or None,
        "sequence_column": sequence_column or None,
        "label_column": label_column or None,
        "class_names": class_names or None,
        **settings,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    plan = TaskPlan.read(out).follow(given) if resume else TaskPlan.make(given)
    if resume and (out / "config.json").is_file():
        say(f"{out}: is complete, ready for `findna classify --task {out}`", quiet=quiet)
        return
    save_every = parse_duration(checkpoint_every)
    set_threads(threads, deterministic=deterministic)
    place = pick_device(device)
    kind = pick_precision(precision, place)
    with progress("reading", total=None, quiet=quiet, unit="files"):
        teacher = load_model(plan.model)
        check_teacher(plan.config, teacher.network)
        train, held_out, tested = plan.load()
    what = f"{len(train.classes)} classes" if train.classes else "one value per sequence"
    say(
        f"{len(train):,} sequences to train on, {len(held_out):,} to validate"
        f"{f', {len(tested):,} to test' if tested is not None else ''}; {train.objective}, {what}; "
        f"teacher {teacher.name}{' (frozen)' if plan.config.frozen else ''}; "
        f"{place}, {kind.name}",
        quiet=quiet,
    )
    caught = catch_signals()
    is_time_for_a_line = Every(30)
    with progress("finetune", total=None, quiet=quiet, unit="steps") as advance:

        def show(report: Report) -> None:
            row = report.row
            if report.stage == "embed":
                text = f"of {report.total:,} windows embedded"
            elif not report.done:
                say(f"epoch 0, the probe that it begins as, valid: {summary_line(_valid(row))}", quiet=quiet)
                return
            else:
                text = f"of {report.total:,} steps  loss {row['loss']:.4f}  {row['bases_per_second']:,.0f} bases/s"
            advance(report.done, f"loss {row['loss']:.3f}" if report.stage == "train" else "embedding", report.total)
            if "valid_loss" in row:
                say(f"epoch {row['epoch']:,}  loss {row['loss']:.4f}, valid: {summary_line(_valid(row))}", quiet=quiet)
            elif is_time_for_a_line():
                say(f"{report.done:,} {text}", quiet=quiet)

        outcome = run(
            plan.config,
            train,
            held_out,
            out,
            teacher=teacher,
            name=out.resolve().name,
            device=place,
            precision=kind,
            test=tested,
            asked=plan.asked(),
            resume=resume,
            checkpoint_seconds=save_every,
            should_stop=lambda: bool(caught),
            on_report=show,
        )
    write_report(json_file, {"out": str(out), **dataclasses.asdict(outcome)})
    if not outcome.finished:
        say(f"stopped at step {outcome.step:,}; `findna finetune --resume --out {out}` continues")
        raise typer.Exit(128 + caught[0])
    for split, figures in outcome.metrics.items():
        say(f"{split}: {summary_line(figures)}", quiet=quiet)
    say(f"{out}: ready for `findna classify --task {out}` after {outcome.seconds:,.0f} s", quiet=quiet)


def _valid(row: Any) -> dict[str, float]:
    return {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}
