"""The built-in tasks: every file is whole, and each says how to train it."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.classification import Classifier
from findna.config import ClassifyConfig
from findna.data.labels import sort_labels
from findna.errors import ConfigError, ModelError
from findna.models.task import load_task
from findna.models.task_settings import find_task
from findna.nn.device import FP32, Compute
from findna.recipes import FinetuneConfig
from findna.record import Record
from findna.tasks.catalog import find_head, read_recipe, read_task, recipe_names, task_names
from findna_cli.task import training_command

TASKS = [read_task(name) for name in task_names()]


def test_the_papers_tasks_and_the_sets_of_gue_are_there():
    assert len(recipe_names()) == 1 + 8 + 10 + 1 + 3
    assert {"covid", "tf-0", "mouse-4", "promoter-core", "promoter-tata", "promoter-300", "splice"} <= set(task_names())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_described_in_full_and_its_command_names_all_of_it(task):
    assert len(task.classes) >= 2
    assert len(set(task.classes.values())) == len(task.classes)
    assert list(task.classes) == sort_labels(task.classes)  # names are given in the order of the labels
    assert task.length > 0
    assert task.url.startswith("https://")
    assert task.prepare
    first, _, last = training_command(task).rpartition(" && ")
    assert shlex.split(first)[:2] == (["findna", "pretrain"] if task.teacher else [])
    words = shlex.split(last)
    assert words[:2] == ["findna", "finetune"]
    assert words[-2:] == ["--out", f"runs/{task.name}"]
    for path in (*task.train, *task.valid, *task.test):
        assert path in words
    if any(label != name for label, name in task.classes.items()):
        assert words[words.index("--class-names") + 1].split(",") == list(task.classes.values())
    assert words[words.index("--preset") + 1] == task.preset
    if task.teacher:
        assert words[words.index("--model") + 1] == shlex.split(first)[-1]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_found_with_its_weights_or_says_how_to_train_it(task):
    if task.has_weights:
        model = load_task(task.name)
        assert set(model.settings.classes) == set(task.classes.values())
        assert (task.head / "CARD.md").is_file()
        for split in model.training["data"].values():
            assert not any(Path(name).is_absolute() for name in split["files"])
    else:
        with pytest.raises(ConfigError) as caught:
            find_task(task.name)
        text = str(caught.value)
        assert f"`findna task info {task.name}` shows how to train it" in text
        assert task.url in text


def test_a_misspelt_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"task covdi: .*did you mean covid\?"):
        find_task("covdi")
    with pytest.raises(ConfigError, match=r"did you mean tf-0\?"):
        find_head("TF-0")
    with pytest.raises(ConfigError, match=r"nor a built-in task \(`findna task list`"):
        find_task("wholly/elsewhere")


def test_a_teacher_is_no_task():
    with pytest.raises(ModelError, match="it is a pretrained model; `findna finetune` makes a task from it"):
        find_task("findna-small")


@pytest.mark.parametrize("name", [name for name in task_names() if read_task(name).has_weights])
def test_a_shipped_task_has_windows_of_a_length_that_it_was_trained_on(name: str) -> None:
    settings = json.loads((read_task(name).head / "config.json").read_text())["settings"]
    assert read_task(name).length <= settings["window"] <= max(read_task(name).length, 802)
    assert settings["stride"] == settings["window"]
    lengths = [settings["window"], settings["window"] + 1, 2 * settings["window"] + 1]
    records = [Record(str(n), np.zeros(n, np.uint8), 0, 0, "x") for n in lengths]
    compute = Compute(torch.device("cpu"), FP32)
    cells = Classifier(load_task(read_task(name).head), ClassifyConfig(), compute=compute).classify(records)
    assert [n for cell in cells for n in cell.obs["n_windows"]] == [1, 2, 3]  # none is longer than the task's


@pytest.mark.parametrize("name", recipe_names())
def test_presets_survive_json(name):
    config = read_recipe(name)
    assert FinetuneConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_presets_are_those_of_the_paper():
    assert {name for name in recipe_names() if read_recipe(name).warmup_steps} == {"default"}
    regulatory, mark, covid = (read_recipe(n) for n in ("human-regulatory", "emp-h4ac", "covid"))
    assert (regulatory.batch_size, regulatory.learning_rate, regulatory.weight_decay) == (1024, 0.01, 0.1)
    assert (mark.batch_size, mark.learning_rate, mark.epochs, mark.mixer_dropout) == (32, 5e-4, 20, 0.1)
    assert (covid.batch_size, covid.learning_rate, covid.epochs, covid.warmup) == (256, 1e-3, 100, 0.3)
    assert [read_recipe(f"mtcdna-{n}").extend for n in (1024, 4096, 8192)] == [1024, 4096, 8192]


def test_an_unknown_recipe_is_named_with_those_that_exist():
    for name in ("tf-0", "nonsense"):  # the paper has no recipe for the first
        with pytest.raises(ConfigError, match=f"preset must be one of default, coding-.*, not '{name}'"):
            read_recipe(name)
