"""`findna task`: list, info."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna.counts import counted
from findna_cli.console import show, show_facts, show_page, show_table, show_wrapped, write_report
from findna_cli.options import Json

if TYPE_CHECKING:
    from findna.commands.tasks import Task

app = typer.Typer(help="List and describe the tasks of findna classify.", rich_markup_mode=None)


@app.command("list")
def list_tasks(json_file: Json = None) -> None:
    """Print the built-in tasks.

    The column weights is yes if `findna classify --task NAME` works at once; otherwise `findna task info NAME` prints
    how to train the task. The column bases is the length of its sequences.
    """
    from findna.commands.tasks import read_task, task_names

    tasks = [read_task(name) for name in task_names()]
    ready_first = sorted(tasks, key=lambda task: not task.has_weights)
    rows = [(task.name, "yes" if task.has_weights else "no", task.length, task.title) for task in ready_first]
    show_table(("task", "weights", "bases", "description"), rows)
    write_report(json_file, {"tasks": [_facts(task.name) for task in tasks]})


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="Name of a built-in task, or a run directory of `findna finetune`.")],
    json_file: Json = None,
) -> None:
    """Print a task's classes, metrics, data and training."""
    from findna.commands.tasks import read_task, task_names

    is_builtin = name in task_names() and not (Path(name) / "config.json").is_file()
    facts = _facts(name) if is_builtin else {}
    shown = {key: value for key, value in facts.items() if key not in ("prepare", "command")}
    shown = {_NAMES.get(key, key): _text(value, key) for key, value in shown.items()}
    if is_builtin and not read_task(name).has_weights:
        show_facts(shown)
        show("\nTo train it:\n")
        if "\n" in facts["prepare"]:
            show(_indented(facts["prepare"]))  # commands: a terminal breaks them, so that they can be copied
        else:
            show_wrapped("    ", facts["prepare"])
        show(f"\n    {facts['command']}")
        write_report(json_file, facts)
        return
    from findna.commands.models import describe_task

    model, card = describe_task(name)
    metrics = model.pop("metrics")
    show_facts(shown | {key: _text(value, key) for key, value in model.items() if key not in facts})
    if card:
        show("")
        show_page(card)
    if facts and facts["command"] not in card:
        show(f"\nTrained by:\n\n    {facts['command']}")
    write_report(json_file, {**model, **facts, "metrics": metrics})


def training_command(task: "Task") -> str:
    """The command that trains a task; if it has its own teacher, after the command that pretrains it."""
    first = ""
    words = ["findna", "finetune", *task.train]
    for flag, files in (("--valid", task.valid), ("--test", task.test)):
        words += [word for path in files for word in (flag, path)]
    if any(label != name for label, name in task.classes.items()):
        words += ["--class-names", ",".join(task.classes.values())]
    if task.teacher:
        own = f"runs/{task.name}-teacher"
        first = shlex.join(["findna", "pretrain", f"{task.name}.fa", *task.teacher, "--out", own]) + " && "
        words += ["--model", own]
    words += ["--preset", task.preset, *task.flags, "--out", f"runs/{task.name}"]
    return first + shlex.join(words)


def _facts(name: str) -> dict[str, Any]:
    from findna.commands.tasks import read_task, task_facts

    task = read_task(name)
    return {**task_facts(task), "command": training_command(task)}


_NAMES = {"has_weights": "weights", "teacher": "pretraining"}
"""Names of facts on the screen, where they differ from those in JSON."""


def _text(value: Any, key: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return counted(value, "base")  # of a window or a sequence
    if isinstance(value, float):
        return f"{value:.4g}"
    if key in ("flags", "teacher"):
        return value if isinstance(value, str) else " ".join(value)
    if isinstance(value, dict):
        return ", ".join(name if name == label else f"{label} = {name}" for label, name in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
