"""Flags that more than one command has."""

import dataclasses
import inspect
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from findna.errors import ConfigError

MAX_THREADS = 1024

Command = TypeVar("Command", bound=Callable[..., Any])

Genome = Annotated[
    Path | None,
    typer.Option("--genome", "-g", help="FASTA (plain or bgzip) or .2bit that regions are on.", show_default=False),
]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="Matrix products in auto (bf16 where the device has it), fp32 or bf16.")
]
Threads = Annotated[
    int, typer.Option("--threads", "-t", min=0, help="CPU threads; 0 is all that this process may use.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Only GPU kernels that give the same bits every time.")
]
Json = Annotated[
    Path | None, typer.Option("--json", help="Write a machine-readable report to this file.", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]


def set_threads(n_threads: int, *, deterministic: bool = False) -> None:
    """Tell torch how many CPU threads to take and whether to keep to deterministic kernels."""
    import os

    import torch

    if n_threads > MAX_THREADS:
        raise ConfigError(f"--threads {n_threads}: at most {MAX_THREADS:,}")
    torch.set_num_threads(n_threads or n_cpus())
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def n_cpus() -> int:
    """CPUs that this process may use; all where the system does not tell, as macOS."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def config_flags(config: type, *, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a command one flag for each field of a config: its name, its type, and its line of the docstring.

    The command takes them as keywords; one that is not given is None, which leaves the preset's value.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        texts = argument_texts(config)
        types = get_type_hints(config)
        flags = []
        for field in dataclasses.fields(config):
            if field.name in without:
                continue
            kind: Any = types[field.name] if types[field.name] in (int, float) else str
            option = typer.Option(f"--{field.name.replace('_', '-')}", help=texts[field.name], show_default=False)
            hint = operator.getitem(Annotated, (kind | None, option))
            flags.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint))
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + flags
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return command

    return decorate


def argument_texts(config: type) -> dict[str, str]:
    """The `Args:` section of a config's docstring: field name to its text on one line."""
    section = inspect.cleandoc(config.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
