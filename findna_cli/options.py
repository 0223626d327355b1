"""Flags that more than one command has."""

import dataclasses
import inspect
import operator
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from findna.errors import ConfigError

MAX_THREADS = 1024

Command = TypeVar("Command", bound=Callable[..., Any])


def not_empty(text: str | None) -> str | None:
    """What a flag was given, None where it was not; an empty text is a mistake of the command line."""
    if text == "":
        raise typer.BadParameter("is empty; leave the flag out for its default")
    return text


def _no_stdout(path: Path | None) -> Path | None:
    if path == Path("-"):
        raise typer.BadParameter("give the name of a file: stdout is for the results")
    return path


Inputs = Annotated[
    list[str],
    typer.Argument(
        help="FASTA, FASTQ, CSV, TSV, BED, narrowPeak, GTF, GFF3, VCF, bigBed, BAM or CRAM files, chrom:start-end, "
        "or '-' for stdin."
    ),
]
Genome = Annotated[
    Path | None,
    typer.Option("--genome", "-g", help="Genome of the regions: FASTA (plain or bgzip) or .2bit.", show_default=False),
]
InFormat = Annotated[
    str,
    typer.Option(
        "--in-format",
        help="fasta, fastq, bed, narrowpeak, bam, cram or region. Default: inferred from the content.",
        show_default=False,
    ),
]
Strand = Annotated[
    str, typer.Option("--strand", help="bed (strand of each record), +, -, or both (mean of the two vectors).")
]
Split = Annotated[bool, typer.Option("--split", help="Join the blocks of BED12 regions.")]
Size = Annotated[int, typer.Option("--size", min=0, help="Recentre regions to this many bases; 0 keeps them.")]
Center = Annotated[str, typer.Option("--center", help="Center for --size: middle, or summit (narrowPeak).")]
MaxN = Annotated[float, typer.Option("--max-n", help="Skip records whose N fraction exceeds this.")]
ReadsRegion = Annotated[
    str, typer.Option("--region", help="BAM: only reads that overlap this region.", show_default=False)
]
MinMapq = Annotated[int, typer.Option("--min-mapq", min=0, help="BAM: minimum MAPQ.")]
ExcludeFlags = Annotated[
    str, typer.Option("--exclude-flags", help="BAM: skip reads with any of these flag bits (as samtools view -F).")
]
ReferenceBases = Annotated[
    bool, typer.Option("--reference-bases", help="BAM: use the genome's bases under each alignment, not the read's.")
]
OnError = Annotated[
    str, typer.Option("--on-error", help="fail, or skip: skip invalid records and list them in the output.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")]
ResumeRun = Annotated[
    bool, typer.Option("--resume", help="Resume from the newest checkpoint in --out, with its inputs and flags.")
]
CheckpointEvery = Annotated[str, typer.Option("--checkpoint-every", help="Time between checkpoints.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print counts, errors, output size and estimated time; write nothing.")
]
BatchBases = Annotated[
    int, typer.Option("--batch-bases", min=0, help="Bases per batch; 0: 16,384 on a CPU, 131,072 on a GPU.")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name of a shipped model, a model folder, or a pulled ORG/NAME.",
        show_default=False,
        callback=not_empty,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="auto (bf16 if supported), fp32, bf16 (matrix products), or bf16-stream (also the residual stream).",
    ),
]
Threads = Annotated[int, typer.Option("--threads", "-t", min=0, help="CPU threads; 0: all available CPUs.")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Use only GPU kernels that give the same bits in every run.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Processes that compute rows on the CPU; they share --threads.")
]
Gpus = Annotated[
    int, typer.Option("--gpus", min=0, help="Number of GPUs, one process per GPU; 0: one process on --device.")
]
ShardOf = Annotated[
    str,
    typer.Option(
        "--shard",
        help="i/n: the i-th of n parts, for findna merge. auto: from torchrun, srun or the Slurm array task.",
        show_default=False,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        help="Plan of findna split, for --shard: the shard reads and checks only its own records.",
        show_default=False,
    ),
]
Holdout = Annotated[
    str,
    typer.Option("--holdout", help="Held-out contigs or FASTA files, e.g. chr8,chr20.", show_default=False),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", help="Write a machine-readable report to this file.", show_default=False, callback=_no_stdout
    ),
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
        # findna reads nothing that it has not written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def n_cpus() -> int:
    """CPUs that this process may use: its affinity and the quota of its control group; all where neither is known."""
    import os

    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(n_cpus, cgroup_quota() or n_cpus))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """CPUs that the control groups of this process allow, rounded up; None without a quota."""
    quotas = []
    try:
        groups = [line.split(":", 2)[2].strip("/") for line in own.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        groups = []
    for group in {parent for path in ["", *groups] for parent in [path, *map(str, Path(path).parents)]}:
        for folder in (root / group, root / "cpu" / group):
            with suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text().split()
                quotas.append(-(-int(quota) // int(period)))
            with suppress(OSError, ValueError):
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                quotas.append(-(-int(quota) // int(period)))
    return min((quota for quota in quotas if quota > 0), default=None)


def split_names(text: str) -> tuple[str, ...]:
    """The names of a list separated by commas.

    >>> split_names("chr8,chr20")
    ('chr8', 'chr20')
    """
    return tuple(name for name in text.split(",") if name)


def parse_flags(text: str) -> int:
    """A SAM flag as a number, decimal or hexadecimal.

    Raises:
        ConfigError: It is none.

    >>> parse_flags("0x900")
    2304
    """
    try:
        flags = int(text, 0)
    except ValueError as error:
        raise ConfigError(f"--exclude-flags {text}: no number such as 2304 or 0x900") from error
    if not 0 <= flags < 1 << 16:
        raise ConfigError(f"--exclude-flags {text}: SAM flags lie in 0 to 0xffff")
    return flags


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
            kind: Any = types[field.name] if types[field.name] in (int, float, bool) else str
            name = field.name.replace("_", "-")
            flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
            callback = not_empty if kind is str else None
            option = typer.Option(flag, help=texts.get(field.name), show_default=False, callback=callback)
            hint = operator.getitem(Annotated, (kind | None, option))
            flags.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint))
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + flags
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return command

    return decorate


def argument_texts(config: type) -> dict[str, str]:
    """The `Args:` section of a config's docstring: field name to its text on one line; none under `python -OO`."""
    section = inspect.cleandoc(config.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
