"""`findna task`, and what `findna model` and `findna embed` say of a task model."""

import json
from pathlib import Path

from command import call
from test_classify import CLASSES, make_task

from findna.tasks.catalog import read_task, task_names
from findna_cli.task import training_command


def test_the_list_names_every_task_and_whether_it_has_weights() -> None:
    result = call("task", "list", "--json", "tasks.json")
    assert result.code == 0
    header, *rows = result.out.splitlines()
    assert header.split() == ["task", "weights", "bases", "description"]
    lines = {line.split()[0]: line for line in rows}
    assert set(lines) == set(task_names())
    for name, line in lines.items():
        assert line.split()[1] == ("yes" if read_task(name).has_weights else "no")
        assert line.endswith(read_task(name).title)
        assert line[header.index("description") :] == read_task(name).title
    assert [entry["name"] for entry in json.loads(Path("tasks.json").read_text())["tasks"]] == task_names()


def test_info_tells_what_a_task_is_and_how_it_is_trained() -> None:
    for name in ("covid", "mtcdna-1024", "human-regulatory"):
        task = read_task(name)
        result = call("task", "info", name, "--json", f"{name}.json")
        assert result.code == 0, result.err
        assert training_command(task) in result.out
        assert task.licence in result.out
        assert json.loads(Path(f"{name}.json").read_text())["classes"] == dict(task.classes)
    wrong = call("task", "info", "covvid")
    assert (wrong.code, "did you mean covid?" in wrong.err) == (2, True)


def test_a_run_directory_is_described_by_task_info_and_by_model_info(model: Path) -> None:
    make_task(Path("greek"), model)
    for command in ("task", "model"):
        result = call(command, "info", "greek", "--json", "info.json")
        assert result.code == 0, result.err
        assert ", ".join(CLASSES) in result.out
        assert "# greek" in result.out
        facts = json.loads(Path("info.json").read_text())
        assert (facts["objective"], facts["metrics"]) == ("classification", {"valid": {"loss": 0.5}})
    damaged = Path("greek/head.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"oops")
    assert (call("task", "info", "greek").code, call("model", "info", "greek").code) == (1, 1)


def test_a_task_model_is_no_teacher(model: Path) -> None:
    make_task(Path("greek"), model)
    Path("a.fa").write_text(">a\nACGT\n")
    result = call("embed", "a.fa", "-m", "greek")
    assert result.code == 1
    assert "it is a task model, for `findna classify`" in result.err
