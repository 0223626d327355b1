"""The common part of commands that read records: the output's name, the run with its progress, the summary."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer

from findna.counts import counted
from findna.errors import ConfigError
from findna.limits import SHORT_REGION
from findna_cli.console import say, write_report
from findna_cli.options import check_outputs
from findna_cli.progress import progress
from findna_cli.screens import say_uneven, show_plan
from findna_cli.translate import said

_MOST_REASONS = 8
_LONGEST_COMMAND = 300


def run_files(
    run: Callable[..., dict[str, Any]],
    inputs: list[str],
    out: Path,
    *,
    dry_run: bool,
    json_file: Path | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Run a function of the API over files, or print what it would do.

    Args:
        run: `embed_file` or `classify_file`.
        inputs: The inputs.
        out: The output.
        dry_run: Print only what would be done; exit with 1 if problems would end the run.
        json_file: File for the report.
        quiet: No progress and no summary.
        settings: Further settings of the function.
    """
    check_outputs({"out": out, "json_file": json_file}, has_stdout=True)
    title = {"embed_file": "embedding", "classify_file": "classifying"}[run.__name__]
    call = partial(run, inputs, out, command=command_line(), dry_run=dry_run, **settings)
    if dry_run:
        with progress(title, total=None, quiet=quiet):
            report = call()
        if not had_nothing_to_do(report, quiet=quiet):
            report["first_problems"] = said(report["first_problems"])
            show_plan(report, out)
            say_short(report, quiet=quiet)
        write_report(json_file, report)
        if report.get("n_problems") and settings.get("on_error") != "skip":
            raise typer.Exit(1)
        return
    unit = "windows" if settings.get("windows") else "records"
    with saying_what_is_kept(out), progress(title, total=None, quiet=quiet, unit=unit) as advance:
        report = call(on_progress=lambda done, total: advance(done, total=total))
    write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    every = counted(report["n_records"], "record")
    if report["n_mostly_n"]:
        only_n = f", {report['n_only_n']:,} of them only N (frac_n is 1)" if report["n_only_n"] else ""
        first = f"the first: {report['first_mostly_n']}; --max-n 0.5 skips them"
        say(f"{report['n_mostly_n']:,} of {every}: mostly N{only_n}; {first}", quiet=quiet)
    if report["n_with_iupac"]:
        say(f"{report['n_with_iupac']:,} of {every}: IUPAC codes, which are read as N", quiet=quiet)
    say_short(report, quiet=quiet)
    say_uneven(report, quiet=quiet)
    since = f" after record {report['n_resumed']:,}" if report["n_resumed"] else ""
    say(
        f"{', '.join(report['outputs']) or 'stdout'}: {counted(report['n_rows'], 'row')}, "
        f"{report['n_skipped']:,} skipped, {counted(report['n_bases'], 'base')}{since} in {report['seconds']:,.1f} s "
        f"({report['model']['name']}, {report['params']['precision']} on {report['params']['device']})",
        quiet=quiet,
    )


def say_short(report: Mapping[str, Any], *, quiet: bool) -> None:
    """Say that regions have too few bases to have a context."""
    if n_short := report.get("n_short"):
        say(
            f"{n_short:,} of {counted(report['n_records'], 'region')} {'has' if n_short == 1 else 'have'} fewer than "
            f"{SHORT_REGION} bases (the first: {report['first_short']}). The model reads only the bases of a region: "
            "--size 1000 widens each to 1,000 bases",
            quiet=quiet,
        )


@contextmanager
def saying_what_is_kept(out: Path | None = None, *, kept: str = "", then: str = "continues") -> Iterator[None]:
    """Say of an interrupted command what it keeps, and how to continue.

    Args:
        out: The output, if --resume continues its run.
        kept: What is kept without --resume, in words.
        then: What the same command then does.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(_what_is_kept(out, kept, then))
        raise


def _what_is_kept(out: Path | None, kept: str, then: str) -> str:
    if str(out) == "-":
        return "the output on stdout is not complete, and nothing is kept"
    is_kept = out is not None and Path(f"{out}.partial").exists()
    again = command_line() + " --resume" * (is_kept and "--resume" not in sys.argv)
    again = f"`{again}`" if len(again) < _LONGEST_COMMAND else f"the same command{' with --resume' * is_kept}"
    if is_kept or kept:
        kept = kept or f"{out}.partial keeps its finished part"
        return f"the run is not complete, and {kept}; {again} {then}"
    rest = "" if any(map(_is_pipe, sys.argv[1:])) else f"; {again} starts from the beginning"
    return f"the run is not complete, and nothing of it is kept{rest}"


def _is_pipe(word: str) -> bool:
    """Whether an argument is stdin or a named pipe, which a second command cannot read again."""
    return word == "-" or (os.path.exists(word) and Path(word).is_fifo())  # noqa: PTH110  # False for a long name


def had_nothing_to_do(report: Mapping[str, Any], *, quiet: bool) -> bool:
    """Whether the same run was finished before; if so, say it."""
    if is_complete := bool(report.get("nothing_to_do")):
        say(f"{', '.join(report['outputs'])}: complete; nothing to do", quiet=quiet)
    return is_complete


def command_line() -> str:
    """The command as it was typed, for the provenance."""
    return shlex.join(["findna", *sys.argv[1:]])


def default_output(inputs: list[str], kind: str) -> str:
    """The name of an output in the working directory, made of the name of the input.

    Raises:
        ConfigError: The input is stdin, or there are several.

    >>> default_output(["data/peaks.bed.gz"], "h5"), default_output(["chr20:1,001-2,000"], "tsv")
    ('peaks.h5', 'chr20_1001-2000.tsv')
    """
    if inputs[0] == "-":
        raise ConfigError("an output of stdin needs a name: -o FILE")
    if len(inputs) > 1:
        raise ConfigError("an output of several inputs needs a name: -o FILE")
    name = re.sub(r"\.(gz|bgz)$", "", Path(inputs[0]).name)
    stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]*$", "", name) or name
    is_file = os.path.exists(inputs[0])  # noqa: PTH110  # False for a name that is too long
    return f"{stem if is_file else re.sub(r'[^a-zA-Z0-9_.+-]', '', stem.replace(':', '_'))}.{kind}"  # else a region


def named_output(inputs: list[str], out: str, ending: str, *, shard: str = "") -> Path:
    """The path of the output. A default name includes the part of a shard; with auto, a given name does, too.

    Raises:
        ConfigError: It is also an input, whatever its ending.
    """
    from findna.commands.files import refuse_inputs

    path = Path(out or default_output(inputs, ending))
    refuse_inputs([path], inputs)
    if not shard or out == "-" or (out and shard != "auto"):
        return path
    from findna.commands.shards import Shard

    suffix = f".{ending}" if not out else "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    return path.with_name(f"{path.name.removesuffix(suffix)}.{Shard.parse(shard, os.environ).name}{suffix}")


def run_framed(
    title: str,
    run: Callable[..., dict[str, Any]],
    out: Path,
    *,
    json_file: Path | None,
    quiet: bool,
    counts: Sequence[str],
) -> None:
    """Run a job with a progress display, write its report, and print a summary line.

    Args:
        title: Title of the progress bar.
        run: A command of the library, which takes `command` and `on_progress` and returns its report.
        out: Its output.
        json_file: File for the report.
        quiet: No progress and no summary.
        counts: The counts in the summary: their names without `n_`, of nouns in the singular.
    """
    check_outputs({"out": out, "json_file": json_file}, has_stdout=True)
    with saying_what_is_kept(out), progress(title, total=None, quiet=quiet) as advance:
        report = run(command=command_line(), on_progress=lambda done, total=None: advance(done, total=total))
    write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    say_short(report, quiet=quiet)
    say_uneven(report, quiet=quiet)
    found = [
        f"{report[f'n_{name}']:,} {name}" if f"n_{name}" in report else counted(report[f"n_{name}s"], name)
        for name in counts
    ]
    if reasons := [f"{n:,} {word}" for word, n in report["skipped"].items()]:
        found[-1] += f" ({', '.join(reasons[:_MOST_REASONS])}{', ...' if len(reasons) > _MOST_REASONS else ''})"
    say(
        f"{', '.join(report['outputs']) or 'stdout'}: {', '.join(found)} in {report['seconds']:,.1f} s "
        f"({report['model']['name']}, {report['params']['precision']} on {report['params']['device']})",
        quiet=quiet,
    )
