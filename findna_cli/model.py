"""`findna model`: list, info, verify, readout, convert, pull."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig
from findna_cli import task
from findna_cli.console import say, show, show_facts, show_page, show_table, show_wrapped, write_report
from findna_cli.job import had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Json, Quiet, flags_of, numeric
from findna_cli.progress import progress

app = typer.Typer(help="List, describe, verify, convert and pull models.", rich_markup_mode=None)

Name = Annotated[
    str,
    typer.Argument(help="Name of a shipped model, a model folder or a pulled ORG/NAME. Default: the shipped model."),
]


@app.command("list")
def list_models() -> None:
    """Print the shipped and the pulled models.

    window: maximum number of bases per pass. Longer sequences are embedded as several windows.
    """
    from findna.commands import models

    rows = [
        (name, size.n_parameters, size.channels, size.n_layers, size.window, mark)
        for name, size, mark in models.list_models()
    ]
    show_table(("model", "parameters", "channels", "layers", "window", ""), rows)


@app.command()
def info(name: Name = "", json_file: Json = None) -> None:
    """Print path, size, sha256, read-out and card of a model.

    For a run directory of finetune, it prints the task.
    """
    from findna.commands import models

    if models.is_task(name):
        task.info(name, json_file)
        return
    facts, readout, card = models.describe_model(name)
    shown = {key: facts.get(key) for key in ("name", "window", "sha256", "folder")}
    shown["window"] = f"{facts['window']:,} bases"
    sizes = {key.removeprefix("n_").replace("_", " "): value for key, value in facts["model"].items()}
    del sizes["max len"]  # the window, and the class tokens
    show_facts({**shown, "read-out": readout, **sizes})
    if card:
        show("")
        show_page(card)
    write_report(json_file, facts)


@app.command()
@flags_of(ComputeConfig, only=("device", "precision"))
def verify(name: Name = "", json_file: Json = None, **settings: Any) -> None:
    """Check a model's weights and vectors on this machine.

    It checks sha256, config, tensors, read-out and stored vectors. The exit code is 1 if a check fails.
    """
    from findna.commands.models import check_model

    folder, checks = check_model(name, **settings)
    print_checks(folder, checks)
    write_report(json_file, {"model": folder, "checks": checks})
    if not all(check["ok"] for check in checks):
        raise typer.Exit(1)


@app.command()
@flags_of(ComputeConfig, without=("batch_bases", "deterministic"))
def readout(
    folder: Annotated[Path, typer.Argument(help="Model folder; its config.json is replaced.")],
    windows: Annotated[Path, typer.Argument(help="FASTA of reference windows; the first ones are read.")],
    pool: Annotated[str, typer.Option(help="mean, sd, max, min, cls, or several, e.g. mean,sd.")] = "mean,sd",
    blocks: Annotated[
        str | None, typer.Option(help="Blocks to read, e.g. 5,10,15,20. Default: the last block.")
    ] = None,
    n_windows: Annotated[int, typer.Option(parser=numeric(int, 2), help="Maximum number of windows to read.")] = 4096,
    max_columns: Annotated[int, typer.Option(parser=numeric(int, 1), help="Maximum number of features.")] = 1300,
    force: Annotated[bool, typer.Option("--force", help="Replace another read-out of the model.")] = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Set the pools and blocks of a model's vectors.

    It measures mean and sd on the windows. findna embed then uses this read-out by default, standardised:
    0.08 (value - mean) / sd.
    """
    from findna.commands.models import set_readout

    with saying_what_is_kept(), progress("measuring", total=n_windows, quiet=quiet, unit="windows") as advance:
        found, is_new = set_readout(
            folder,
            windows,
            pool=pool,
            blocks=blocks or "",
            n_windows=n_windows,
            max_columns=max_columns,
            force=force,
            on_done=advance,
            **settings,
        )
    write_report(json_file, {"model": str(folder), **found.to_dict()})
    if not had_nothing_to_do({"outputs": [str(folder)], "nothing_to_do": not is_new}, quiet=quiet):
        say(f"{folder}: {found}", quiet=quiet)


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of the published code (.pt), read without unpickling code.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Output model folder. Default: named after the checkpoint."),
    ] = None,
    is_student: Annotated[
        bool, typer.Option("--student", help="Convert the student of a training state, not the teacher.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model folder.")] = False,
) -> None:
    """Convert a checkpoint of the published code."""
    from findna.commands import models

    folder = out or Path(checkpoint.stem)
    config, is_new = models.convert(checkpoint, folder, is_student=is_student, force=force)
    if not had_nothing_to_do({"outputs": [str(folder)], "nothing_to_do": not is_new}, quiet=False):
        say(f"{folder}: {config.n_parameters:,} parameters, window of {config.window:,} bases")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="ORG/NAME, or ORG/NAME@REVISION: a branch, a tag or a commit.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not use the network; only check that the model is cached.")
    ] = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Download a model from a hub.

    The path of its folder goes to stdout, and --model ORG/NAME finds it. findna downloads tensors, settings and card,
    never a pickle, and compares the weights with the sha256 in config.json. The hub is huggingface.co or HF_ENDPOINT;
    HF_TOKEN gives access to private repositories.
    """
    from findna.commands import models

    found = models.pull(
        name, offline=offline, on_file=lambda file, n: say(f"{name}: {file}, {n / 1e6:,.1f} MB", quiet=quiet)
    )
    state = "downloaded" if found.is_new else "cached"
    say(f"{found.repo}: {state}: commit {found.commit[:12]}, weights sha256 {found.sha256[:12]}...", quiet=quiet)
    show(found.folder)
    write_report(json_file, found._asdict() | {"folder": str(found.folder), "repo": str(found.repo)})


def print_checks(name: str, checks: list[dict[str, Any]]) -> None:
    """The checks, one per line."""
    for check in checks:
        show_wrapped("ok   " if check["ok"] else "FAIL ", f"{name}: {check['check']}: {check['figure']}")
