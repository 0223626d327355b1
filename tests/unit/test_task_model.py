"""Task folders: what is saved is loaded, what is damaged or unfinished is refused, scores become probabilities."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from findna.errors import ConfigError, ModelError
from findna.models.manifest import config_text
from findna.models.save_task import save_task
from findna.models.store import load_model, save_model
from findna.models.task import load_task, log_scores, probabilities
from findna.models.task_settings import TaskSettings, read_task_folder
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.heads import Head
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=8, hidden=8, track_width=2, n_layers=1, max_len=16, n_class_tokens=2)
SETTINGS = TaskSettings("classification", ("no", "yes", "else"), ("mean", "cls"), 2, 14, 14, 1.5, 0.5)


@pytest.fixture
def teacher(tmp_path):
    network = initialise(ChordMixer(MODEL), 2)
    save_model(tmp_path / "teacher", network, name=str(tmp_path / "teacher"), training={}, card="")
    return load_model(str(tmp_path / "teacher"))


def save(folder, teacher, **changes):
    given = {
        "name": "t",
        "settings": SETTINGS,
        "teacher": {"name": teacher.name, "sha256": teacher.sha256},
        "metrics": {"valid": {"loss": 0.5}},
        "training": {"config": {}},
        "card": "# t\n",
    }
    torch.manual_seed(0)
    return save_task(folder, teacher.network, Head(24, 3, hidden=4), **(given | changes))


def test_what_is_saved_is_loaded(tmp_path, teacher):
    saved = save(tmp_path / "run", teacher)
    loaded = load_task(tmp_path / "run")
    assert (loaded.name, loaded.settings, loaded.teacher) == ("t", SETTINGS, saved.teacher)
    assert loaded.sha256 == saved.sha256
    assert loaded.metrics == {"valid": {"loss": 0.5}}
    assert (tmp_path / "run" / "CARD.md").read_text() == "# t\n"
    for name in ("network", "head"):
        found, expected = getattr(loaded, name).state_dict(), getattr(saved, name).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        assert found.keys() == expected.keys()
        assert not getattr(loaded, name).training


def test_an_encoder_that_is_the_teacher_s_may_be_left_out(tmp_path, teacher):
    whole = save(tmp_path / "whole", teacher)
    short = save(tmp_path / "short", teacher, with_encoder=False)
    assert not (tmp_path / "short" / "model.safetensors").exists()
    assert read_task_folder(tmp_path / "short").encoder == (teacher.path / "model.safetensors").read_bytes()
    assert load_task(tmp_path / "short").sha256 == short.sha256 == whole.sha256
    save_model(tmp_path / "teacher", initialise(ChordMixer(MODEL), 9), name=teacher.name, training={}, card="")
    with pytest.raises(ModelError, match=r"its head was trained on teacher .* with sha256 .* train the head again"):
        load_task(tmp_path / "short")


def test_the_sha_is_that_of_what_decides_the_outputs(tmp_path, teacher):
    first = save(tmp_path / "a", teacher).sha256
    assert save(tmp_path / "b", teacher, name="other", metrics={}, card="x").sha256 == first
    warmer = dataclasses.replace(SETTINGS, temperature=2.0)
    assert save(tmp_path / "c", teacher, settings=warmer).sha256 != first


def test_a_class_must_be_named_only_among_three(tmp_path, teacher):
    task = save(tmp_path / "run", teacher)
    for classes, last in ((("a",), "a"), (("a", "b"), "b")):
        settings = dataclasses.replace(SETTINGS, objective="multilabel", classes=classes)
        assert dataclasses.replace(task, settings=settings).class_of("") == last
    with pytest.raises(ConfigError, match="task t: has more than two classes: name one, label=NAME; its"):
        task.class_of("")
    with pytest.raises(ConfigError, match="task t: has no class 'zzz'; its classes are no, yes, else"):
        task.class_of("zzz")


def test_damage_is_named(tmp_path, teacher):
    save(tmp_path / "run", teacher)
    for name in ("head.safetensors", "model.safetensors"):
        content = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(content[:-1] + b"!")
        with pytest.raises(ModelError, match=f"{name} has sha256 .* damaged or not of this model"):
            load_task(tmp_path / "run")
        (tmp_path / "run" / name).write_bytes(content)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    for change, reason in (
        ({"schema": "findna-task/9"}, "does not have schema 'findna-task/1'"),
        ({"alphabet": "ACGNT"}, "its alphabet is 'ACGNT'"),
        ({"settings": config["settings"] | {"classes": ["no", "yes"]}}, "do not match"),
        ({"settings": config["settings"] | {"pools": ["mean"]}}, "the head needs 24 features, and the encoder has 8"),
        ({"settings": config["settings"] | {"objective": "ranking"}}, "do not match"),
        ({"settings": config["settings"] | {"blocks": [5]}}, "do not match: blocks .* must .* lie in 0 to 4"),
    ):
        path.write_text(config_text(config | change))
        with pytest.raises(ModelError, match=reason):
            load_task(tmp_path / "run")
    for name in ("teacher", "head", "encoder", "settings"):
        path.write_text(config_text({key: value for key, value in config.items() if key != name}))
        with pytest.raises(ModelError, match=f"do not match: '{name}'"):
            load_task(tmp_path / "run")
    path.write_text(json.dumps(config | {"settings": config["settings"] | {"temperature": 9.0}}))
    with pytest.raises(ModelError, match=r"task .*: the content of config\.json has sha256 .*, its digest says"):
        load_task(tmp_path / "run")
    path.write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_task(tmp_path / "run")


def test_what_is_no_task_says_what_it_is(tmp_path, teacher):
    with pytest.raises(ModelError, match="it is a pretrained model; `findna finetune` makes a task from it"):
        load_task(teacher.path)
    with pytest.raises(ConfigError, match="neither a run directory of `findna finetune` nor a built-in task"):
        load_task(tmp_path / "nowhere")
    (tmp_path / "begun").mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_task(tmp_path / "begun")
    (tmp_path / "begun" / "finetune.json").write_text("{}")
    with pytest.raises(ModelError, match="its training is not finished; resume its fine-tuning"):
        load_task(tmp_path / "begun")


def test_probabilities_are_calibrated_by_how_many_windows_there_were():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4, 3)))
    scores = log_scores(logits, "classification").numpy()
    assert np.exp(scores).sum(1) == pytest.approx(np.ones(4))
    found = probabilities(scores, SETTINGS, np.array([False, True, False, True]))
    assert found.sum(1) == pytest.approx(np.ones(4))
    for row, (logit, t) in enumerate(zip(logits.numpy(), (1.5, 0.5, 1.5, 0.5), strict=True)):
        expected = np.exp(logit / t) / np.exp(logit / t).sum()
        assert found[row] == pytest.approx(expected, rel=1e-5)
    alone = dataclasses.replace(SETTINGS, joined_temperature=None)
    assert probabilities(scores, alone, True) == pytest.approx(probabilities(scores, alone, False))


def test_labels_are_independent_and_values_stay_as_they_are():
    several = dataclasses.replace(SETTINGS, objective="multilabel", temperature=2.0)
    scores = np.array([[0.0, 2.0, -900.0]])
    assert probabilities(scores, several, False)[0] == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 0.0])
    value = TaskSettings("regression", (), ("mean",), 2, 14, 14)
    assert value.n_outputs == 1
    assert probabilities(np.array([[7.5]]), value, True).tolist() == [[7.5]]


HOSTILE = {
    "settings as a list": ({"settings": []}, "settings must be an object, not []"),
    "no settings": ({"settings": None}, "settings must be an object, not None"),
    "window null": ({"settings": {"window": None}}, "settings: window must be a whole number, not None"),
    "window as text": ({"settings": {"window": "14"}}, "settings: window must be a whole number, not '14'"),
    "window 2^33": ({"settings": {"window": 2**33}}, "settings: window must lie in 1 to 1,048,576"),
    "stride 0": ({"settings": {"stride": 0}}, "settings: stride must lie in 1 to the window"),
    "stride null": ({"settings": {"stride": None}}, "settings: stride must be a whole number"),
    "temperature null": ({"settings": {"temperature": None}}, "settings: temperature must be a finite number"),
    "temperature 0": ({"settings": {"temperature": 0}}, "settings: temperature must be positive"),
    "temperature NaN": ({"settings": {"temperature": float("nan")}}, "settings: temperature must be positive"),
    "joined as text": ({"settings": {"joined_temperature": "x"}}, "joined_temperature must be a positive number"),
    "class tokens": ({"settings": {"n_class_tokens": 10**9}}, "n_class_tokens must lie in 0 to 1,024"),
    "pools as text": ({"settings": {"pools": "mean"}}, "pools must be some of mean, cls, max, min, sd"),
    "classes as a number": ({"settings": {"classes": 3}}, "classes must be 1 to 1,000 printable texts"),
    "a class that is no text": ({"settings": {"classes": [1, 2, 3]}}, "classes must be 1 to 1,000 printable"),
    "an escape in a class": (
        {"settings": {"classes": ["a", "b", "\x1b[31m"]}},
        "classes must be 1 to 1,000 printable",
    ),
    "blocks": ({"settings": {"blocks": [3, 2]}}, "blocks must be increasing numbers up to"),
    "a setting that is unknown": ({"settings": {"sharpness": 3}}, "sharpness"),
    "a head of 10^9 features": ({"head": {"n_features": 10**9}}, "a head of n_features 1000000000 and"),
    "a hidden layer of 10^9": ({"head": {"hidden": 10**9}}, "and hidden 1000000000"),
    "features as text": ({"head": {"n_features": "14"}}, "a head of n_features '14'"),
    "the teacher null": ({"teacher": None}, "teacher must be an object, not None"),
    "no training": ({"training": None}, "training must be an object, not None"),
    "max_len infinite": ({"encoder": {"model": {"max_len": float("inf")}}}, "max_len must be a whole number, not inf"),
    "an encoder of text": ({"encoder": "x"}, "encoder must be an object, not 'x'"),
    "a name of control characters": ({"name": "\x9b2J"}, "name must be a short printable text"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_config_is_one_line_of_a_model_error(tmp_path, teacher, what):
    changes, message = HOSTILE[what]
    save(tmp_path / "run", teacher)
    path = tmp_path / "run" / "config.json"
    path.write_text(config_text(merged(json.loads(path.read_text()), changes)))
    with pytest.raises(ModelError) as error:
        load_task(tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def merged(content, changes):
    """JSON with some of its values changed; objects are gone into."""
    if not isinstance(content, dict) or not isinstance(changes, dict):
        return changes
    return content | {name: merged(content.get(name), value) for name, value in changes.items()}
