"""`findna benchmark`: a model measured on labelled sets beside baselines and published figures."""

import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna.benchmark.options import ReadOutOptions, SpeedConfig, StudyOptions, SuiteOptions, TeacherOptions
from findna.config import ComputeConfig
from findna.counts import counted
from findna.errors import ConfigError
from findna_cli.console import say, show_page, write_report
from findna_cli.job import command_line, had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Force, Genome, Json, ModelName, Quiet, flags_of
from findna_cli.progress import progress
from findna_cli.signals import catch_signals

if TYPE_CHECKING:
    from findna.commands.benchmarks import Progress

app = typer.Typer(no_args_is_help=True, help="Measure, compare and time models on labelled sets.")

Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Data set, e.g. tf/0; repeat the flag for more. Default: all."),
]


@app.command()
@flags_of(SuiteOptions, ReadOutOptions, ComputeConfig, without=("batch_bases",))
def run(
    suite: Annotated[
        str, typer.Argument(help="gue, genomic-benchmarks, mtcdna, variants, or csv (any folder of tables).")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the suite's sets.")],
    tasks: Tasks = None,
    model: ModelName = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the results.")] = Path(
        "results"
    ),
    genomes: Annotated[
        list[str] | None,
        typer.Option(
            "--genome",
            "-g",
            help="genomic-benchmarks: [SPECIES=]FASTA or .2bit, with SPECIES as in mus_musculus. variants: default is "
            "the FASTA or .2bit in --data.",
        ),
    ] = None,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Measure a model and baselines on a benchmark suite.

    Modes are frozen probe, fine-tuning and baselines. There is one result file per set and mode, written after every
    seed. The same command resumes an interrupted benchmark. It repeats results whose data, settings or model have
    changed.

    The suite variants measures `findna score`: AUROC of each score on variants with known effects. Each .tsv in --data
    has chrom, pos, ref, alt (single bases) and label (LOF and FUNC, or 1 and 0). --seeds is the number of networks
    with random weights, --limit the maximum number of variants per label.
    """
    from findna.commands import benchmarks

    common: dict[str, Any] = {"command": command_line(), **({"model": model} if model else {})}
    common["on_note"] = partial(say, quiet=quiet)
    if suite == "variants":
        if len(genomes or ()) > 1:
            raise ConfigError("--genome: the variants have one genome")
        genome = genomes[0] if genomes else None
        own = {name: value for name, value in settings.items() if name not in _OF_SETS}
        kept = f"{out} keeps the results of complete tables"
        with (
            saying_what_is_kept(kept=kept, then="measures all tables again"),
            progress("scoring", total=None, quiet=quiet, unit="steps"),
        ):
            found = benchmarks.benchmark_variants(
                data, out, genome=genome, on_table=lambda one: show_page(benchmarks.table_of(one)), **common, **own
            )
        write_report(json_file, found)
        return
    caught = catch_signals(once=True)
    try:
        with progress("measuring", total=None, quiet=quiet, unit="runs") as advance:
            found = benchmarks.benchmark(
                suite,
                data,
                out,
                tasks=tasks or (),
                genomes=genomes or (),
                should_stop=lambda: bool(caught),
                on_skip=say,
                on_run=partial(_show_run, width=max(map(len, settings["mode"].split(","))), quiet=quiet),
                on_progress=lambda done, total: advance(done, total=total),
                **common,
                **settings,
            )
    except benchmarks.Stopped as stop:
        raise _stopped(out, caught) from stop
    n_sets = found.pop("n_sets")
    write_report(json_file, found)
    say(f"{out}: {counted(len(found['runs']), 'run')} of {counted(n_sets, 'set')}", quiet=quiet)
    if found["faulty"]:
        raise typer.Exit(1)


_OF_SETS = ("mode", "limit_test", "preset", "epochs", "with_plots", "pool", "blocks", "strand")
"""Settings of a suite of labelled sets that variants do not have."""


def _show_run(step: "Progress", *, width: int, quiet: bool) -> None:
    figures = step.run["test"]
    shown = "  ".join(f"{name} {_figure(figures[name])}" for name in ("auroc", "accuracy", "macro_f1", "mcc"))
    state = f"{step.run['seconds']:.1f} s" if step.is_new else "measured before"
    say(f"{step.task}  {step.mode:{width}}  seed {step.seed}  {shown}  ({state})", quiet=quiet)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _stopped(out: Path, caught: list[int]) -> typer.Exit:
    """Say what is kept; returns the exit to raise."""
    say(f"stopped; the results so far are in {out}, and the same command resumes")
    return typer.Exit(128 + (caught[0] if caught else signal.SIGINT))


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Result files of findna benchmark run.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="report.md or report.html. Default: Markdown on stdout.")
    ] = None,
    force: Force = False,
) -> None:
    """Write result tables next to published figures.

    The report has the commands that made the results. Published figures appear only next to complete sets with the
    published splits. The split of mtcdna is not published, and the report says so.
    """
    from findna.commands import benchmarks

    text = benchmarks.report(results, out, force=force)
    if out is None:
        show_page(text)


@app.command()
@flags_of(TeacherOptions, ComputeConfig, without=("batch_bases", "deterministic"))
def teacher(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="FASTA files with the training and the held-out sequence.")
    ] = None,
    genome: Genome = None,
    model: ModelName = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the report.")] = Path("teacher"),
    neighbours: Annotated[
        list[Path] | None,
        typer.Option(help="Table of sequences and labels, for nearest neighbours; repeat the flag for each."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="log.csv of the training run. Default: the one in the model folder.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Report what a pretrained model has learned.

    It compares the masked-base accuracy on held-out windows with that of counting models, and measures the vectors. The
    folder gets teacher.json, teacher.md and figures: masked-base accuracy by position in the window, and the learning
    curves if log.csv exists.
    """
    from findna.commands import studies

    with saying_what_is_kept(), progress("measuring", total=None, quiet=quiet, unit="steps"):
        result = studies.report_teacher(
            inputs or (),
            out,
            genome=genome,
            neighbours=neighbours or (),
            log=log,
            command=command_line(),
            force=force,
            on_note=lambda what: say(f"measured: {what}", quiet=quiet),
            **({"model": model} if model else {}),
            **settings,
        )
    if had_nothing_to_do({"outputs": [str(out)], **result}, quiet=quiet):
        return
    say("masked-base accuracy:", quiet=quiet)
    for name, one in result["masked_bases"]["models"].items():
        say(f"  {one['accuracy']:.4f}  {studies.TITLES[name]}", quiet=quiet)
    say(f"{out}: {', '.join(name for name in studies.FILES if (out / name).is_file())}", quiet=quiet)


_UNTIMED = ("batch_bases", "precision", "deterministic")
"""Settings of the computation that are not those of `findna benchmark speed`."""


@app.command()
@flags_of(SpeedConfig, ComputeConfig, without=_UNTIMED)
def speed(json_file: Json = None, quiet: Quiet = False, **settings: Any) -> None:
    """Time the network on this machine.

    The table has bases per second, and the rate of each pass as a fraction of the fastest matrix products. It times
    forward passes by length, mixed lengths, embedding, training steps and a naive forward pass. If transformers is
    installed, it also times a BERT of DNABERT-2's size.
    """
    from findna.commands import benchmarks

    with saying_what_is_kept(), progress("timing", total=None, quiet=quiet, unit="runs"):
        found = benchmarks.time_networks(**settings)
    show_page(benchmarks.speed_table(found))
    write_report(json_file, found)


@app.command()
@flags_of(StudyOptions, ReadOutOptions, ComputeConfig, without=("batch_bases", "deterministic"))
def study(
    variants: Annotated[
        Path, typer.Argument(help="TOML file with one table per variant: the settings that it changes.")
    ],
    inputs: Annotated[
        list[str], typer.Argument(help="FASTA of training sequences; windows are sampled from long records.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the labelled sets, as in findna benchmark run.")],
    tasks: Tasks = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the study: log, table and runs.")
    ] = Path("study"),
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Compare pretraining recipes.

    Each recipe is trained with several seeds and scored by frozen probes on validation splits. It writes study.json and
    study.md after every run, and the same command resumes. The other variants are compared with the first. A variant
    named untrained is measured without training. Test splits are not used.
    """
    from findna.commands import benchmarks, studies

    def show_run(run: Mapping[str, Any]) -> None:
        cost = f"  ({run['seconds']:,} s)" if "seconds" in run else ""
        say(f"{run['variant']}  seed {run['seed']}  auroc {run['score']:.4f}{cost}", quiet=quiet)

    caught = catch_signals(once=True)
    try:
        with progress("training and scoring", total=None, quiet=quiet, unit="runs") as advance:
            runs = studies.study(
                variants,
                inputs,
                data,
                out,
                tasks=tasks or (),
                command=command_line(),
                should_stop=lambda: bool(caught),
                on_skip=say,
                on_run=show_run,
                on_progress=lambda done, total: advance(done, total=total),
                **settings,
            )
    except benchmarks.Stopped as stop:
        raise _stopped(out, caught) from stop
    say(f"{out}: {counted(len(runs), 'run')}, compared in study.md", quiet=quiet)
