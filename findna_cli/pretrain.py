"""`findna pretrain`: a new teacher from sequences or a genome."""

import os
import shlex
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna.config import ComputeConfig
from findna.counts import counted
from findna.errors import ConfigError
from findna.recipes import PRESETS, PretrainConfig
from findna.sizes import ModelConfig
from findna.train.options import CheckpointOptions, PretrainOptions, ProcessOptions
from findna_cli.console import say, write_report
from findna_cli.job import had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Genome, Json, Quiet, ResumeRun, flags_of
from findna_cli.progress import Advance, progress
from findna_cli.signals import catch_signals

if TYPE_CHECKING:
    from findna.commands.training import Report


@flags_of(ProcessOptions, CheckpointOptions, ComputeConfig, without=("batch_bases",))
@flags_of(PretrainOptions, PretrainConfig, ModelConfig, preset=PRESETS["small"])
def pretrain(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="FASTA of training sequences; windows are sampled from long records.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Run directory; it is also a model folder.")
    ] = Path("runs/pretrain"),
    genome: Genome = None,
    resume: ResumeRun = False,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Continue from an --export file, with its flags, in a new --out.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the newest checkpoint of --out to one small file, and exit.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --export file.")] = False,
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
    from findna.commands import training

    if export:
        made = training.export_run(out, export, force=force)
        rest = "makes its model; all steps are done" if made.finished else f"resumes after step {made.step:,}"
        say(
            f"{export}: {made.n_bytes:,} bytes; `findna pretrain --from {shlex.quote(str(export))}` {rest}", quiet=quiet
        )
        return
    if force:
        raise ConfigError("--force needs --export: a run directory is never replaced, choose another --out")
    is_first = training.find_place().rank == 0
    quiet, caught = quiet or not is_first, list[int]()
    with until_begun(is_first, resume=resume), progress("training", total=None, quiet=quiet, unit="steps") as advance:
        report = training.pretrain(
            inputs or (),
            out,
            genome=genome,
            resume=resume,
            start_from=start_from,
            arguments=sys.argv[1:],
            on_start=partial(begin, caught, quiet=quiet),
            should_stop=lambda: bool(caught),
            on_report=partial(_show, advance, quiet=quiet),
            **settings,
        )
    if "exit_code" in report:
        raise typer.Exit(report["exit_code"])
    if is_first:
        write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    if not report["finished"]:
        again = f"`findna pretrain --resume --out {shlex.quote(str(out))}`"
        say(f"stopped at step {report['step']:,}; {again} continues", quiet=not is_first)
        raise typer.Exit(128 + (caught or [signal.SIGTERM])[0])
    what = f"{counted(report['step'], 'step')}, {counted(report['n_bases'], 'base')} in {report['seconds']:,.0f} s"
    say(f"{out}: {what}", quiet=quiet)


def until_begun(is_first: bool = True, *, resume: bool) -> AbstractContextManager[None]:
    """Say how to continue a training that a signal ended before `begin`."""
    if not is_first or "FINDNA_LAUNCHED" in os.environ:  # the launcher ends its processes also if one of them fails
        return nullcontext()
    then = "continues" if resume else "starts from the beginning"
    return saying_what_is_kept(kept="this command has done no step", then=then)


def begin(caught: list[int], text: str, *, quiet: bool) -> None:
    """Print the description of a training, and catch signals from now on."""
    say(text, quiet=quiet)
    catch_signals(caught)


def _show(advance: Advance, report: "Report", *, quiet: bool) -> None:
    row = report.row
    advance(report.done, f"loss {row['loss']:.3f}", report.total)
    if "valid_loss" in row:
        say(
            f"step {report.done:>{len(f'{report.total:,}')},} of {report.total:,}  loss {row['loss']:.4f}  "
            f"{row['bases_per_second']:,.0f} bases/s  held out: loss {row['valid_loss']:.4f}, "
            f"masked-base accuracy {row['valid_accuracy']:.4f} (k-mers {row['kmer_accuracy']:.4f}), "
            f"effective rank {row['effective_rank']:.1f}",
            quiet=quiet,
        )
