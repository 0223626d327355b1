"""`findna finetune`: a task model from a teacher and labelled sequences."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna.config import ComputeConfig
from findna.recipes import FinetuneConfig
from findna.train.options import CheckpointOptions, FinetuneOptions
from findna_cli.console import say, write_report
from findna_cli.job import had_nothing_to_do
from findna_cli.options import Genome, Json, ModelName, Quiet, ResumeRun, flags_of
from findna_cli.pretrain import begin, until_begun
from findna_cli.progress import Advance, progress

if TYPE_CHECKING:
    from findna.commands.training import Report


@flags_of(CheckpointOptions, ComputeConfig, without=("batch_bases",))
@flags_of(FinetuneConfig, FinetuneOptions, preset=FinetuneConfig())
def finetune(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Table (CSV, TSV) of labelled sequences, or one FASTA or BED file per class."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Run directory; it is also a task model.")
    ] = Path("runs/finetune"),
    valid: Annotated[list[str] | None, typer.Option(help="Validation split; repeat the flag for each file.")] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="Test split, measured once at the end; repeat the flag for each file.")
    ] = None,
    genome: Genome = None,
    model: ModelName = None,
    resume: ResumeRun = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a classifier or regression on labelled sequences.

    It trains all weights. With --frozen, it trains only a head on frozen vectors. A table has a header, a column with
    sequences and a column with labels. Labels with ";" make a multilabel task, and decimal numbers a regression. The
    run directory is a task model for `findna classify --task`. It holds the weights, metrics.json, log.csv, curve.png
    and CARD.md. Ctrl-C writes a checkpoint, and --resume continues from it. A run with --frozen --head linear writes
    no checkpoint, and other runs write none before their first step. Then --resume starts from the beginning.
    """
    from findna.commands import training

    caught: list[int] = []
    with until_begun(resume=resume), progress("training", total=None, quiet=quiet, unit="steps") as advance:
        report = training.finetune(
            inputs or (),
            out,
            valid=valid or (),
            test=test or (),
            genome=genome,
            model=model or "",
            resume=resume,
            on_start=partial(begin, caught, quiet=quiet),
            should_stop=lambda: bool(caught),
            on_report=partial(_show, advance, quiet=quiet),
            **settings,
        )
    write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    if not report["finished"]:
        say(_stopped(report["step"], out))
        raise typer.Exit(128 + caught[0])
    say(report["kept"], quiet=quiet)
    for split, figures in report["metrics"].items():
        say(f"{split}: {training.summary_line(figures)}", quiet=quiet)
    say(
        f"{out}: ready for `findna classify --task {shlex.quote(str(out))}` after {report['seconds']:,.0f} s",
        quiet=quiet,
    )


def _stopped(step: int, out: Path) -> str:
    """What a stopped run left, and the command for the rest: vectors are not kept."""
    resume = f"`findna finetune --resume --out {shlex.quote(str(out))}`"
    if not step:
        return f"stopped before the first step, so {out} has no checkpoint; {resume} starts from the beginning"
    return f"stopped at step {step:,}; {resume} continues"


def _show(advance: Advance, report: "Report", *, quiet: bool) -> None:
    from findna.commands.training import summary_line

    row = report.row
    valid = {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}
    if report.stage != "train":
        phase = report.stage.replace("embed", "embedding")
        advance(report.done, total=report.total, phase=phase, unit="windows")
    elif not report.done:
        say(f"epoch 0 (frozen probe), valid: {summary_line(valid)}", quiet=quiet)
    else:
        advance(report.done, f"loss {row['loss']:.3f}", report.total)
        if valid:
            say(
                f"epoch {row['epoch']:,}  loss of its last step {row['loss']:.4f}, valid: {summary_line(valid)}",
                quiet=quiet,
            )
