"""Flags that more than one command has."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

from findna.commands.reports import check_report_place
from findna.settings import About, parse_number, settings_of_all

_LAST = ("dry_run", "json_file", "quiet")
"""Parameters whose flags come after all others in help."""

_OUTPUTS = ("out", "embeddings", "track", "plot", "html", "export", "json_file")

WITHOUT = (
    *("split", "center", "max_n", "strand", "region", "min_mapq", "exclude_flags", "reference_bases"),
    *("workers", "gpus", "shard", "plan", "deterministic"),
)
"""Settings that commands with results per base do not have."""

_BESIDE = (".partial", ".tbi", ".csi", ".meta.json", ".obs.tsv", ".tokens.h5")
"""Ends of files that belong to an output."""

Command = TypeVar("Command", bound=Callable[..., Any])


def _report_file(path: Path | None) -> Path | None:
    if path == Path("-"):
        raise typer.BadParameter("give the name of a file: stdout is for the results")
    if path is not None:
        check_report_place(path)
    return path


def check_outputs(given: Mapping[str, Any], *, has_stdout: bool = False, beside: Sequence[str] = _BESIDE) -> None:
    """Refuse, before any work, outputs with the same name, and "-" where stdout is not allowed.

    Args:
        given: The parameters of a command.
        has_stdout: Whether `out` may be "-".
        beside: Endings of the files beside `out`, after its name with or without its last ending.
    """
    seen: dict[Path, str] = {}
    for name in _OUTPUTS:
        path = Path(given.get(name) or "")
        if path == Path():
            continue
        flag = f"--{name.removesuffix('_file')}"
        if path == Path("-"):
            if name == "out" and has_stdout:
                continue
            raise typer.BadParameter("give the name of a file: this cannot go to stdout", param_hint=f"'{flag}'")
        if name == "out":
            stem = path.name.removesuffix(".gz").rpartition(".")[0]
            seen |= {(path.parent / (first + end)).resolve(): flag for first in (path.name, stem) for end in beside}
        if (other := seen.setdefault(path.resolve(), flag)) != flag:
            raise typer.BadParameter(f"{path} is also a file of {other}", param_hint=f"'{flag}'")


Inputs = Annotated[
    list[str],
    typer.Argument(
        help="FASTA, FASTQ, CSV, TSV, BED, narrowPeak, GTF, GFF3, VCF, bigBed, BAM or CRAM files, chrom:start-end, "
        "or '-' for stdin."
    ),
]
Genome = Annotated[
    Path | None,
    typer.Option(
        "--genome",
        "-g",
        help="Genome of the regions: FASTA (plain or bgzip), .2bit, or the name of a downloaded genome, e.g. hg38.",
    ),
]
ResumeRun = Annotated[
    bool, typer.Option("--resume", help="Resume from the newest checkpoint in --out, with its inputs and flags.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print counts, errors, output size and estimated time; write no output.")
]
ModelName = Annotated[
    str | None, typer.Option("--model", "-m", help="Name of a shipped model, a model folder, or a pulled ORG/NAME.")
]
Json = Annotated[
    Path | None, typer.Option("--json", help="Write a machine-readable report to this file.", callback=_report_file)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]


def flags_of(
    *configs: type, only: Sequence[str] = (), without: Sequence[str] = (), preset: object = None
) -> Callable[[Command], Command]:
    """Give a command a flag for each setting of dataclasses, with its name, type, default and help.

    The command gets the given ones as keywords.

    Args:
        configs: The dataclasses; if a name occurs twice, the first is used.
        only: Settings that become flags; (): all.
        without: Settings that do not become flags.
        preset: The recipe with the defaults that help shows; a flag that is not given then has no value.
    """
    chosen = settings_of_all(*configs, only=only, without=without)

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        @functools.wraps(command)
        def call(**values: Any) -> Any:
            return command(**{name: value for name, value in values.items() if not (name in chosen and value is None)})

        flags = [_flag(name, *one, preset=preset) for name, one in chosen.items()]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters = [p for p in own if p.name not in _LAST] + flags + [p for p in own if p.name in _LAST]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return call  # type: ignore[return-value]

    return decorate


def _flag(name: str, kind: Any, default: Any, about: About, *, preset: object) -> inspect.Parameter:
    types = [one for one in (get_args(kind) or (kind,)) if one in (int, float, bool)]
    word = name.replace("_", "-")
    names = about.flag.split() or [f"--{word}/--no-{word}" if types == [bool] else f"--{word}"]
    is_shown = default not in ("", None, ())
    shown = (default if about.shown is None else about.shown) if is_shown and preset is None else None
    value = getattr(preset, name, getattr(getattr(preset, "model", None), name, None))
    note = (word if value else "") if isinstance(value, bool) else "" if value is None else str(value)
    parser = _refusing(about.parse) if about.parse else numeric(types[0]) if types and types != [bool] else None
    extra: dict[str, Any] = {"parser": parser} if parser else {}
    if about.choices and not types:
        extra["metavar"] = "|".join(filter(None, about.choices))
    option = typer.Option(*names, help=about.help, show_default=note or shown is not None, **extra)
    annotation = operator.getitem(Annotated, ((types[0] if types else str) | None, option))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=annotation)


def numeric(kind: type, least: float | None = None) -> Callable[[str], Any]:
    """The parser of a flag whose value is a number: an int or a float, from the lowest value on."""
    return _refusing(partial(parse_number, kind=kind, least=least))


def _refusing(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same function; its ValueError is a mistake on the command line."""

    def call(text: str) -> Any:
        try:
            return parse(str(text))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return call
