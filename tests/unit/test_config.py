"""Sizes, recipes and what is in a vector: defaults, limits, errors."""

import dataclasses
import json

import pytest

from findna.config import EmbedConfig
from findna.errors import ConfigError
from findna.nn.chordmixer import ChordMixer
from findna.recipes import PRESETS, PretrainConfig
from findna.sizes import SIZES, ModelConfig


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_counted_as_the_network_has_them(size):
    network = ChordMixer(SIZES[size])
    assert SIZES[size].n_parameters == sum(p.numel() for p in network.parameters())
    assert SIZES[size].n_blocks == 10
    assert SIZES[size].window == 1000


@pytest.mark.parametrize(
    ("max_len", "n_blocks"), [(11, 4), (16, 4), (17, 5), (64, 6), (1010, 10), (1024, 10), (1025, 11)]
)
def test_blocks_a_layer_are_log2_of_the_positions_rounded_up(max_len, n_blocks):
    assert ModelConfig(max_len=max_len).n_blocks == n_blocks


def test_shifts_are_powers_of_two_and_the_last_track_may_be_narrower():
    assert ModelConfig(channels=10, track_width=4).tracks(0) == ((0, 1, 2), 4)
    assert ModelConfig(channels=4, track_width=4).tracks(0) == ((0,), 4)


@pytest.mark.parametrize(
    ("layout", "even", "odd"),
    [
        ("published", (0, 1, 2, 4), (0, 1, 2, 4)),
        ("alternating", (0, 1, 2, 4), (0, -1, -2, -4)),
        ("two-sided", (0, 1, -1, 2), (0, 1, -1, 2)),
        ("mixed", (0, 1, -1, 2), (0, 1, -1, 16)),
    ],
)
def test_a_shift_layout_says_how_each_track_of_a_block_rotates(layout, even, odd):
    model = ModelConfig(channels=8, track_width=2, shift_layout=layout)
    assert (model.tracks(0).shifts, model.tracks(1).shifts) == (even, odd)
    assert ModelConfig.from_dict(model.to_dict()) == model


def test_only_our_own_sizes_have_a_two_sided_layout_and_a_config_without_the_field_is_published():
    assert {size.shift_layout for size in SIZES.values()} == {"two-sided"}
    assert PRESETS["paper"].model == ModelConfig() == ModelConfig.from_dict({})
    assert "shift_layout" not in ModelConfig().to_dict()


def test_an_unknown_shift_layout_is_refused_and_a_transformer_has_none():
    with pytest.raises(ConfigError, match="shift_layout must be one of published, alternating, two-sided, mixed"):
        ModelConfig(shift_layout="left")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a transformer has no tracks"):
        ModelConfig(channels=8, track_width=4, mixer="transformer", shift_layout="mixed")
    assert PRESETS["tiny"].changed(mixer="transformer", shift_layout="mixed").model.shift_layout == "published"


def test_all_problems_of_a_size_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        ModelConfig(channels=0, hidden=-1, max_len=10)
    assert str(error.value) == (
        "channels must be at least 1, not 0; hidden must be at least 1, not -1; "
        "max_len 10 leaves no base beside 10 class tokens"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    stored = json.loads(json.dumps(dataclasses.asdict(PRESETS[name])))
    assert PretrainConfig.from_dict(stored) == PRESETS[name]


def test_paper_preset_is_the_paper():
    paper = PRESETS["paper"]
    assert (paper.model, paper.alpha, paper.epochs, paper.n_windows) == (ModelConfig(), 0.5, 50, 100_000)
    assert (paper.student_temp, paper.teacher_temp, paper.center_momentum) == (0.1, 0.04, 0.996)
    assert (paper.mask_fraction, paper.max_indel, paper.noise_sd, paper.warmup) == (0.3, 20, 0.2, 0.3)
    assert (paper.reduction, paper.min_length) == ("sum", 0)


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"unknown settings dropout, heads; known are channels, extended_len, hidden"):
        ModelConfig.from_dict({"channels": 4, "heads": 2, "dropout": 0.1})
    with pytest.raises(ConfigError, match="unknown settings lr"):
        PretrainConfig.from_dict({"model": {}, "lr": 0.1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be positive, not 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, not nan"),
        ({"learning_rate": 1e38}, "learning_rate must be at most 1, not 1e+38"),
        ({"weight_decay": 1e300}, "weight_decay must lie in 0 to 1, not 1e+300"),
        ({"teacher_temp": 0.0}, "teacher_temp must lie in 0.001 to 1,000"),
        ({"alpha": 1.5}, "alpha must lie in 0 to 1, not 1.5"),
        ({"warmup": float("nan")}, "warmup must lie in 0 to 1"),
        ({"clip": -1.0}, "clip must be 0 or more"),
        ({"noise_sd": float("nan")}, "noise_sd must lie in 0 to 100, not nan"),
        ({"reduction": "median"}, "reduction must be sum or mean, not 'median'"),
        ({"contrast": "bases"}, "contrast must be tokens or features, not 'bases'"),
        ({"projection": -1}, "projection must lie in 0 to 65,536, not -1"),
        ({"projection": 8, "alpha": 1.0}, "projection serves the contrast, which alpha 1 omits"),
        ({"optimizer": "sgd"}, "optimizer must be adamw or muon, not 'sgd'"),
        ({"student_augment": "MTD"}, "student_augment must be letters of MDITNR in this order, not 'MTD'"),
        ({"teacher_augment": "x"}, "teacher_augment must be letters of MDITNR in this order, not 'x'"),
        ({"student_augment": "DIT"}, "M, the mask, must be in student_augment and not in teacher_augment"),
        ({"student_augment": "MN"}, "N, the noise, must be in one of student_augment and teacher_augment only"),
        ({"mask_span": 0.5}, "mask_span must lie in 1 to 1,048,576, not 0.5"),
        ({"mask_span": float("nan")}, "mask_span must lie in 1 to 1,048,576, not nan"),
        ({"min_length": 1001}, "min_length 1001 is above the window of 1000"),
        ({"mask_fraction": 0}, "mask_fraction 0 leaves no masked bases to learn"),
    ],
)
def test_recipes_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        PretrainConfig(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": "median"}, "pool must be one or more of mean, cls, max, min, sd, separated by commas, not 'median'"),
        ({"pool": "mean,cls"}, "the class tokens are a part of the vectors"),
        ({"blocks": "3", "layer": 0}, "give blocks or layer, not both: blocks 3, layer 0"),
        ({"strand": "."}, "strand must be bed, +, - or both"),
        ({"dtype": "float64"}, "dtype must be float32 or float16"),
        ({"with_tokens": True, "strand": "both"}, "tokens cannot be combined with strand=both"),
        ({"with_cls": True, "pool": "cls"}, "class tokens are the vectors already"),
    ],
)
def test_contradictions_in_what_a_vector_holds_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        EmbedConfig(**settings)
    assert message in str(error.value)


def test_layer_window_and_stride_come_from_the_model():
    filled = EmbedConfig().for_model(SIZES["small"])
    assert (filled.layer, filled.window, filled.stride) == (2, 1000, 1000)
    filled = EmbedConfig(layer=0, window=200).for_model(SIZES["small"])
    assert (filled.layer, filled.window, filled.stride) == (0, 200, 200)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3}, "layer 3 must lie in 0 to 2"),
        ({"layer": -2}, "layer -2 must lie in 0 to 2"),
        ({"window": 1001}, "window must be 0 to 1,000 bases, the longest of the model, not 1,001"),
        ({"window": -5}, "window must be 0 to 1,000 bases, the longest of the model, not -5"),
        ({"window": 100, "stride": 101}, "stride must be 0 to the window of 100 bases, not 101: otherwise bases"),
        ({"stride": -1}, "stride must be 0 to the window of 1,000 bases, not -1"),
    ],
)
def test_what_a_model_cannot_give_is_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        EmbedConfig(**settings).for_model(SIZES["small"])
    assert message in str(error.value)


def test_settings_of_the_network_are_changed_beside_the_others_and_keep_the_window():
    changed = PRESETS["tiny"].changed(n_class_tokens=1, mask_span=3.0, mixer="transformer")
    assert (changed.model.n_class_tokens, changed.model.window, changed.mask_span) == (1, 1000, 3.0)
    assert changed.model.mixer == "transformer"
    assert changed.model.n_parameters == pytest.approx(SIZES["tiny"].n_parameters, rel=0.01)
    assert PRESETS["tiny"].changed() == PRESETS["tiny"]
    assert PRESETS["tiny"].changed(mixer="chordmixer").model == SIZES["tiny"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixer": "mamba"}, "mixer must be chordmixer or transformer, not 'mamba'"),
        ({"n_class_tokens": 0}, "n_class_tokens must be at least 1, not 0"),
        ({"alhpa": 1.0}, "unknown settings alhpa; known are alpha"),
    ],
)
def test_changes_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PRESETS["tiny"].changed(**settings)
