"""`findna benchmark`: a model measured on labelled sets beside baselines and published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna_cli.console import say, show, write_report
from findna_cli.job import command_line
from findna_cli.options import (
    Deterministic,
    Device,
    Genome,
    Holdout,
    Json,
    ModelName,
    Precision,
    Quiet,
    Threads,
    not_empty,
    split_names,
)
from findna_cli.progress import progress
from findna_cli.signals import catch_signals

if TYPE_CHECKING:
    from findna.benchmark.run import Progress as Step
    from findna.benchmark.variants import VariantSetConfig

app = typer.Typer(no_args_is_help=True, help="Measure, compare and time models on labelled sets.")

_POOL = "Pools of the frozen vectors: mean, sd, max, min, cls, or several, as mean,sd."
Pool = Annotated[str, typer.Option("--pool", help=_POOL)]
OwnPool = Annotated[
    str | None,
    typer.Option("--pool", help=f"{_POOL} Default: the model's own read-out.", show_default=False, callback=not_empty),
]
Blocks = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        help="Blocks that are read, as 5,10,20. Default: the last block.",
        show_default=False,
        callback=not_empty,
    ),
]

Strand = Annotated[
    str,
    typer.Option(
        "--strand",
        metavar="both|bed|auto",
        help="both (mean of the two strands), bed (as written), or auto (the better one on the validation split).",
    ),
]


@app.command()
def run(
    suite: Annotated[
        str, typer.Argument(help="gue, genomic-benchmarks, mtcdna, variants, or csv (any folder of tables).")
    ],
    data: Annotated[Path, typer.Option("--data", help="Folder of the suite's sets.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A data set, as tf/0; repeat the flag for more. Default: all.", show_default=False),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode", help="probe, finetune, random-finetune, baseline (kmer,random,cnn), separated by commas."
        ),
    ] = "probe,baseline",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds for methods that use one.")] = 5,
    model: ModelName = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path("results"),
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Maximum number of training sequences per set; 0: all.")
    ] = 0,
    limit_test: Annotated[
        int,
        typer.Option("--limit-test", min=0, help="Maximum number of validation and of test sequences; 0: as --limit."),
    ] = 0,
    genomes: Annotated[
        list[str] | None,
        typer.Option(
            "--genome",
            "-g",
            help="genomic-benchmarks: [SPECIES=]FASTA or .2bit, with SPECIES as in mus_musculus. variants: default is "
            "the FASTA or .2bit in --data.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[int, typer.Option("--window", min=0, help="variants: bases per window; 0: the model's.")] = 0,
    pool: OwnPool = None,
    blocks: Blocks = None,
    strand: Strand = "both",
    preset: Annotated[
        str, typer.Option("--preset", help="Recipe of the fine-tuning, as in findna finetune.")
    ] = "default",
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Epochs of the fine-tuning; 0: as in the recipe.")] = 0,
    with_plots: Annotated[bool, typer.Option("--plots", help="Draw ROC, confusion matrix and calibration.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Measure a model and baselines on a benchmark suite.

    Modes are frozen probe, fine-tuning and baselines. There is one result file per set and mode, written after every
    seed. The same command resumes an interrupted benchmark. It repeats results whose data, settings or model have
    changed.

    The suite variants measures `findna score`: AUROC of each score on variants with known effects. Each .tsv in --data
    has chrom, pos, ref, alt (single bases) and label (LOF and FUNC, or 1 and 0). --seeds is the number of networks
    with random weights, --limit the maximum number of variants per label.
    """
    import dataclasses
    from functools import partial

    from findna.benchmark.run import BenchmarkConfig, Stopped, parse_modes, run_task
    from findna.benchmark.suites import find_tasks, parse_genomes
    from findna.benchmark.variants import VariantSetConfig
    from findna.errors import ConfigError, InputError
    from findna.models.readout import ReadOut
    from findna.models.store import DEFAULT, load_model
    from findna.nn.device import pick_device, pick_precision, set_threads
    from findna.tasks.catalog import read_recipe
    from findna.variants import ScoreConfig

    if suite == "variants":
        if len(genomes or ()) > 1:
            raise ConfigError("--genome: the variants have one genome")
        set_threads(threads, deterministic=deterministic)
        variants = VariantSetConfig(score=ScoreConfig(window=window, max_length=1), limit=limit, seeds=seeds)
        genome = Path(genomes[0]) if genomes else None
        results = _variants(data, genome, variants, out, model=model or DEFAULT, place=(device, precision), quiet=quiet)
        write_report(json_file, {"out": str(out), "results": results})
        return
    recipe = read_recipe(preset)
    config = BenchmarkConfig(
        modes=parse_modes(mode),
        seeds=seeds,
        limit=limit,
        limit_test=limit_test or limit,
        read_out=ReadOut(pool or "", blocks or "", strand),
        finetune=dataclasses.replace(recipe, epochs=epochs) if epochs else recipe,
        with_plots=with_plots,
        command=command_line(),
    )
    set_threads(threads, deterministic=deterministic)
    place = pick_device(device)
    found, skipped = find_tasks(suite, data, only=tasks or (), genomes=parse_genomes(genomes or ()))
    for one in skipped:
        say(f"{one.name}: skipped: {one.reason}")
    caught = catch_signals(once=True)
    measured: list[dict[str, Any]] = []
    faulty = []
    with progress("measuring", total=None, quiet=quiet, unit="runs") as advance:
        teacher = load_model(model or DEFAULT)
        measure = partial(
            run_task,
            config=config,
            teacher=teacher,
            device=place,
            precision=pick_precision(precision, place),
            should_stop=lambda: bool(caught),
        )
        advance(0, total=len(found) * sum(1 if one in ("probe", "kmer") else seeds for one in config.modes))
        for n_left, task in zip(range(len(found), 0, -1), found, strict=True):
            if task.note:
                say(f"{task.name}: {task.note}", quiet=quiet)
            n_before = len(measured)
            try:
                for step in measure(task, out):
                    measured.append(dataclasses.asdict(step))
                    say(_line(step), quiet=quiet)
                    advance(len(measured), total=n_before + n_left * step.n_runs)
            except InputError as error:
                faulty.append({"task": task.name, "error": str(error)})
                say(f"{task.name}: skipped: {error}")
            except Stopped as stop:
                raise stopped(out, caught) from stop
    left_out = [dataclasses.asdict(one) for one in skipped]
    write_report(json_file, {"out": str(out), "runs": measured, "left_out": left_out, "faulty": faulty})
    say(f"{out}: {len(measured):,} runs of {len(found) - len(faulty):,} sets", quiet=quiet)
    if faulty:
        raise typer.Exit(1)


def _variants(
    data: Path,
    genome: Path | None,
    config: "VariantSetConfig",
    out: Path,
    *,
    model: str,
    place: tuple[str, str],
    quiet: bool,
) -> list[dict[str, Any]]:
    """Measure each table of variants, and write its result to the folder, as JSON."""
    from findna.benchmark.variants import find_tables, measure_variants, table_of
    from findna.io.genome import Genome as OpenGenome
    from findna.models.store import load_model
    from findna.nn.device import Compute

    tables, found = find_tables(data, genome)
    results = []
    with OpenGenome(found) as opened, progress("scoring", total=None, quiet=quiet, unit="steps"):
        for table in tables:
            result = measure_variants(
                table,
                opened,
                load_model(model),
                config,
                compute=Compute.pick(*place),
                on_done=lambda name: say(f"measured {name}", quiet=quiet),
            )
            show(table_of(result))
            out.mkdir(parents=True, exist_ok=True)
            stem = table.name.removesuffix(".gz").removesuffix(".tsv")
            write_report(out / f"variants.{stem}.json", result | {"command": command_line()})
            results.append(result)
    return results


def stopped(out: Path, caught: list[int]) -> typer.Exit:
    """Tell what is kept; how the command ends."""
    import signal

    say(f"stopped; what is measured is in {out}, and the same command resumes")
    return typer.Exit(128 + (caught[0] if caught else signal.SIGINT))


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Result files of findna benchmark run.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="report.md or report.html. Default: Markdown on stdout.", show_default=False),
    ] = None,
) -> None:
    """Write result tables next to published figures.

    The report has the commands that made the results. Published figures appear only next to complete sets with the
    published splits. The split of mtcdna is not published, and the report says so.
    """
    from findna.benchmark.report import as_html, as_markdown, make_report
    from findna.benchmark.run import read_result
    from findna.errors import ConfigError
    from findna.io.files import write_atomic

    if out is not None and out.suffix not in (".md", ".html"):
        raise ConfigError(f"-o {out}: must end in .md or .html")
    sections = make_report([read_result(path) for path in results])
    text = as_html(sections) if out is not None and out.suffix == ".html" else as_markdown(sections)
    if out is None:
        show(text, end="")
    else:
        write_atomic(out, text)


@app.command()
def teacher(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="FASTA files with the training and the held-out sequence."),
    ] = None,
    genome: Genome = None,
    holdout: Annotated[
        str,
        typer.Option(
            "--holdout", help="Contigs, or one of the files, that the model was not trained on, e.g. chr8,chr20."
        ),
    ] = "",
    model: ModelName = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path("teacher"),
    n_windows: Annotated[
        int, typer.Option("--n-windows", min=1, help="Number of training windows for the counting models.")
    ] = 20_000,
    n_held_out: Annotated[int, typer.Option("--n-held-out", min=2, help="Number of held-out windows.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the sampled windows.")] = 0,
    neighbours: Annotated[
        list[Path] | None,
        typer.Option(
            "--neighbours",
            help="Table of sequences and labels, for nearest neighbours; repeat the flag for each.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log", help="log.csv of the training run. Default: the one in the model folder.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Report what a pretrained model has learned.

    It measures masked-base accuracy on held-out windows, next to counting models, and the vectors. The folder gets
    teacher.json, teacher.md and figures: masked-base accuracy by position in the window, and the learning curves if
    log.csv exists.
    """
    from findna.benchmark.teacher import TeacherConfig, measure_teacher
    from findna.benchmark.teacher_page import write_teacher
    from findna.data.labelled import read_labelled
    from findna.errors import ConfigError, TableError
    from findna.models.store import DEFAULT, load_model
    from findna.nn.device import pick_device, pick_precision, set_threads
    from findna.train.log import read_log
    from findna.train.sources import load_sources

    if bool(inputs) == bool(genome):
        raise ConfigError("give the FASTA files that the model was trained on, or --genome")
    held_out = split_names(holdout)
    if not held_out:
        raise ConfigError("--holdout: name the contigs, or the file, that the model was not trained on")
    set_threads(threads)
    place = pick_device(device)
    with progress("measuring", total=None, quiet=quiet, unit="steps"):
        measured = load_model(model or DEFAULT)
        sources = load_sources(
            inputs or [str(genome)],
            is_genome=genome is not None,
            holdout=held_out,
            n_windows=n_windows,
            n_held_out=n_held_out,
            size=measured.config.window,
            seed=seed,
        )
        path = log or measured.path / "log.csv"
        rows = read_log(path) if log or path.is_file() else []
        if rows and "effective_rank" not in rows[0]:
            raise TableError("has no effective_rank: give the log.csv of a findna pretrain", path=path)
        result = measure_teacher(
            measured,
            sources,
            config=TeacherConfig(),
            labelled=read_labelled(neighbours, objective="classification") if neighbours else None,
            log=rows,
            device=place,
            precision=pick_precision(precision, place),
            on_done=lambda what: say(f"measured: {what}", quiet=quiet),
        )
    write_teacher(out, result | {"command": command_line()}, log=rows)
    for name, one in result["masked_bases"]["models"].items():
        say(f"{name}: masked-base accuracy {one['accuracy']:.4f}", quiet=quiet)
    say(f"{out}: teacher.json, teacher.md", quiet=quiet)


def _line(step: "Step") -> str:
    figures = step.run["test"]
    shown = "  ".join(f"{name} {_figure(figures[name])}" for name in ("auroc", "accuracy", "macro_f1", "mcc"))
    state = f"{step.run['seconds']:.1f} s" if step.is_new else "measured before"
    return f"{step.task}  {step.mode}  seed {step.seed}  {shown}  ({state})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@app.command()
def speed(
    sizes: Annotated[str, typer.Option("--size", help="base, small, tiny, separated by commas.")] = "small",
    precisions: Annotated[
        str, typer.Option("--precision", help="fp32, bf16, bf16-stream, separated by commas.")
    ] = "fp32,bf16",
    n_bases: Annotated[int, typer.Option("--n-bases", help="Bases per batch; at least 8,192.")] = 16384,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Number of timings; the best counts.")] = 3,
    with_training: Annotated[
        bool, typer.Option("--training/--no-training", help="Also time steps of pretraining and fine-tuning.")
    ] = True,
    device: Device = "auto",
    threads: Threads = 0,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Time the network on this machine.

    The table has bases per second, and the fraction of the best matrix products' rate. It times forward passes by
    length, mixed lengths, embedding, training steps and a naive forward pass. If transformers is installed, it also
    times a BERT of DNABERT-2's size.
    """
    from findna.benchmark.speed import SpeedConfig, measure_speed, speed_table
    from findna.nn.device import pick_device, set_threads

    config = SpeedConfig(
        sizes=tuple(sizes.split(",")),
        precisions=tuple(precisions.split(",")),
        n_bases=n_bases,
        rounds=rounds,
        with_training=with_training,
    )
    set_threads(threads)
    with progress("timing", total=None, quiet=quiet, unit="runs"):
        report = measure_speed(config, device=pick_device(device))
    show(speed_table(report))
    write_report(json_file, report)


@app.command()
def study(
    variants: Annotated[
        Path, typer.Argument(help="TOML file with one table per variant: the settings that it changes.")
    ],
    inputs: Annotated[
        list[str], typer.Argument(help="FASTA of training sequences; windows are sampled from long records.")
    ],
    data: Annotated[Path, typer.Option("--data", help="Folder of the labelled sets, as in findna benchmark run.")],
    suite: Annotated[str, typer.Option("--suite", help="Layout of the labelled sets.")] = "gue",
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A data set, as tf/0; repeat the flag for more. Default: all.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the study: log, table and runs.")] = Path(
        "study"
    ),
    preset: Annotated[str, typer.Option("--preset", help="Recipe that the variants change.")] = "tiny",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps per run.")] = 500,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds per variant.")] = 2,
    holdout: Holdout = "",
    n_windows: Annotated[int, typer.Option("--n-windows", min=1, help="Number of windows to sample.")] = 20_000,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Maximum number of training sequences per set; 0: all.")
    ] = 2000,
    limit_valid: Annotated[
        int, typer.Option("--limit-valid", min=0, help="Maximum number of validation sequences per set.")
    ] = 1000,
    pool: Pool = "mean",
    blocks: Blocks = None,
    strand: Strand = "both",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Compare pretraining recipes.

    Each recipe is trained with several seeds and scored by frozen probes on validation splits. It writes study.json and
    study.md after every run, and the same command resumes. The other variants are compared with the first. A variant
    named untrained is measured without training. Test splits are not used.
    """
    import dataclasses

    from findna.benchmark.run import Stopped
    from findna.benchmark.study import StudyConfig, read_variants, run_study, study_table
    from findna.benchmark.suites import find_tasks
    from findna.config import PRESETS
    from findna.errors import ConfigError
    from findna.io.files import write_atomic
    from findna.models.readout import ReadOut
    from findna.nn.device import pick_device, pick_precision, set_threads
    from findna.train.sources import load_sources

    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset}: must be one of {', '.join(PRESETS)}")
    base = dataclasses.replace(PRESETS[preset], steps=steps, n_windows=n_windows)
    wanted = read_variants(variants, base)
    found, skipped = find_tasks(suite, data, only=tasks or ())
    for one in skipped:
        say(f"{one.name}: skipped: {one.reason}")
    set_threads(threads)
    place = pick_device(device)
    with progress("reading", total=None, quiet=quiet):
        sources = load_sources(
            inputs,
            is_genome=False,
            holdout=split_names(holdout),
            n_windows=n_windows,
            n_held_out=128,
            size=base.model.window,
            seed=0,
        )
    caught = catch_signals(once=True)
    config = StudyConfig(
        seeds=seeds,
        limit=limit,
        limit_valid=limit_valid,
        read_out=ReadOut(pool, blocks or "", strand),
        command=command_line(),
    )
    runs = []
    n_runs = sum(1 if variant.model else seeds for variant in wanted)
    with progress("training and scoring", total=n_runs, quiet=quiet, unit="runs") as advance:
        try:
            for run in run_study(
                wanted,
                found,
                sources,
                out,
                config=config,
                device=place,
                precision=pick_precision(precision, place),
                should_stop=lambda: bool(caught),
            ):
                runs.append(run)
                cost = f"  ({run['seconds']:,} s)" if "seconds" in run else ""
                say(f"{run['variant']}  seed {run['seed']}  auroc {run['score']:.4f}{cost}", quiet=quiet)
                write_atomic(out / "study.md", study_table(runs))
                advance(len(runs))
        except Stopped as stop:
            raise stopped(out, caught) from stop
