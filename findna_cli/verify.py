"""`findna verify`: checks that an output is complete, and that its model gives the same rows for its inputs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig
from findna.errors import TableError
from findna_cli.console import say, show_wrapped, write_report
from findna_cli.job import saying_what_is_kept
from findna_cli.options import Genome, Json, Quiet, flags_of, numeric
from findna_cli.progress import progress
from findna_cli.translate import said


@flags_of(ComputeConfig, only=("threads",))
def verify(
    path: Annotated[Path, typer.Argument(help="Output of embed, classify, score, predict-bases, mutagenesis, merge.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model or task that the output must come from. Default: the one that it names."
        ),
    ] = None,
    genome: Genome = None,
    n: Annotated[
        int, typer.Option(parser=numeric(int, 0), help="Number of rows to compute again, drawn with a fixed seed.")
    ] = 20,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Check an output: content, model, genome, inputs, and a sample of rows.

    It compares counts and checksums, the sha256 of the model and the inputs, and the digest of the genome. It reads the
    inputs again, compares the id of every row, and computes a sample of rows. A check whose files are not found is
    listed as not checked. The exit code is 1 if a check fails.
    """
    import dataclasses

    from findna.commands import files

    with saying_what_is_kept(), progress("checking", total=None, quiet=quiet):
        found = files.verify(path, model=model or "", genome=genome, n=n, **settings)
    checks = [(name, status, said(detail)) for name, status, detail in found.checks]
    for name, status, detail in checks if not quiet else ():
        show_wrapped(f"{name:8} {status:12} ", detail)
    write_report(json_file, {**dataclasses.asdict(found), "checks": checks, "is_valid": found.is_valid})
    if failed := [f"{name}: {detail}" for name, status, detail in checks if status == "failed"]:
        raise TableError("; ".join(failed).replace(f"file {path}: ", ""), path=path)
    others = {word: ", ".join(n for n, status, _ in checks if status == word) for word in ("changed", "not checked")}
    say(f"{path}: valid{''.join(f'; {word}: {names}' for word, names in others.items() if names)}", quiet=quiet)
