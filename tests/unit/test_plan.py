"""The plan of a run: written, read back, and compared with the settings of a resume."""

import dataclasses
import json

import pytest

from findna.errors import ConfigError, TrainingError
from findna.models.store import load_model
from findna.recipes import PRESETS
from findna.train.plan import PretrainPlan

GIVEN = {"preset": "tiny", "inputs": ("a.fa", "b/a.fa"), "holdout": ("chr8",), "n_held_out": 7, "batch_size": 3}


@pytest.fixture
def stored(tmp_path):
    plan = PretrainPlan.make(GIVEN)
    content = {"config": dataclasses.asdict(plan.config), "plan": plan.asked()}
    (tmp_path / "pretrain.json").write_text(json.dumps(content))
    return plan


def test_a_new_plan_is_the_preset_with_what_is_given():
    plan = PretrainPlan.make(GIVEN)
    assert plan.config == dataclasses.replace(PRESETS["tiny"], batch_size=3)
    assert (plan.preset, plan.inputs, plan.genome, plan.holdout) == ("tiny", ("a.fa", "b/a.fa"), "", ("chr8",))
    assert PretrainPlan.make({"genome": "g.fa"}).config == PRESETS["small"]


def test_a_plan_is_read_back_and_resumed_without_a_word(tmp_path, stored):
    assert PretrainPlan.read(tmp_path) == stored
    assert PretrainPlan.read(tmp_path).follow({}) == stored
    assert PretrainPlan.read(tmp_path).follow(GIVEN) == stored


def test_the_network_s_own_settings_are_followed_too(tmp_path):
    given = GIVEN | {"mixer": "transformer", "n_class_tokens": 2}
    plan = PretrainPlan.make(given)
    assert (plan.config.model.mixer, plan.config.model.n_class_tokens) == ("transformer", 2)
    content = {
        "config": {**dataclasses.asdict(plan.config), "model": plan.config.model.to_dict()},
        "plan": plan.asked(),
    }
    (tmp_path / "pretrain.json").write_text(json.dumps(content))
    assert PretrainPlan.read(tmp_path).follow(given) == plan
    with pytest.raises(ConfigError, match="mixer=chordmixer differs from transformer of the resumed run"):
        PretrainPlan.read(tmp_path).follow({"mixer": "chordmixer"})


def test_sources_may_have_moved(tmp_path, stored):
    assert PretrainPlan.read(tmp_path).follow({"inputs": ("c.fa",)}) == dataclasses.replace(stored, inputs=("c.fa",))
    assert PretrainPlan.read(tmp_path).follow({"genome": "g"}) == dataclasses.replace(stored, inputs=(), genome="g")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 4}, "batch_size=4 differs from 3 of the resumed run"),
        ({"learning_rate": 1e-5}, r"learning_rate=1e-05 differs from 0\.004"),
        ({"preset": "small"}, "preset=small differs from tiny"),
        ({"holdout": ("chr8", "chr9")}, "holdout=chr8,chr9 differs from chr8 of"),
        ({"n_held_out": 8}, "n_held_out=8 differs from 7"),
        ({"time_budget": 60.0}, r"time_budget=60\.0 differs from none"),
        ({"inputs": ("a.fa",), "genome": "g"}, "give FASTA files or genome=FILE, not both"),
    ],
)
def test_what_differs_is_named(tmp_path, stored, given, message):
    with pytest.raises(ConfigError, match=message):
        PretrainPlan.read(tmp_path).follow(given)


def test_the_same_time_budget_is_fine(tmp_path):
    plan = PretrainPlan.make({"genome": "g", "time_budget": 60.0})
    (tmp_path / "pretrain.json").write_text(
        json.dumps({"config": dataclasses.asdict(plan.config), "plan": plan.asked()})
    )
    assert PretrainPlan.read(tmp_path).follow({"time_budget": 60.0}).time_budget == 60


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"config": {}, "plan": {}}', '{"config": {"model": {}}, "plan": {"x": 1}}']
)
def test_a_damaged_pretrain_json_is_one_clear_line(tmp_path, text):
    (tmp_path / "pretrain.json").write_text(text)
    with pytest.raises(TrainingError, match=r"pretrain\.json: damaged, or of another version of findna"):
        PretrainPlan.read(tmp_path)


def test_a_run_that_starts_from_a_model_has_its_size():
    plan = PretrainPlan.make({"genome": "g", "preset": "tiny", "initial": "findna-small", "alpha": 1.0})
    assert plan.config.model == load_model("findna-small").config
    assert (plan.config.learning_rate, plan.initial) == (PRESETS["tiny"].learning_rate, "findna-small")
    with pytest.raises(ConfigError, match="n_class_tokens 3 differs from 10 of the initial weights"):
        PretrainPlan.make({"genome": "g", "initial": "findna-small", "n_class_tokens": 3})


def test_gpus_decide_a_batch_size_that_is_not_given():
    given = {name: value for name, value in GIVEN.items() if name != "batch_size"}
    assert PretrainPlan.make(given, n_gpus=2).config.batch_size == 256
    assert PretrainPlan.make(GIVEN, n_gpus=2).config.batch_size == 3
    assert PretrainPlan.make({**given, "preset": "paper"}, n_gpus=2).config.batch_size == 64
    for preset in PRESETS:  # no number of GPUs of one host asks for more processes than sequences
        assert PretrainPlan.make({**given, "preset": preset}, n_gpus=8).config.batch_size >= 64
