"""A model's own read-out: how it is measured, stored, chosen and switched off."""

import json
import math

import numpy as np
import pytest
import torch

from findna.config import EmbedConfig, parse_blocks
from findna.embedding import RecordEmbedder, feature_columns, feature_names
from findna.errors import ConfigError, FastaError, InputError, ModelError
from findna.models.manifest import config_text
from findna.models.readout import ModelReadout
from findna.models.store import load_model, save_model, save_readout, verify_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.recipes import FinetuneConfig
from findna.record import Record
from findna.reference import measure_readout
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=2, max_len=23, n_class_tokens=3)  # 10 blocks
HOW = {"compute": Compute(torch.device("cpu"), FP32)}
OWN = {"pool": "mean,sd", "blocks": "4,10"}


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "m", initialise(ChordMixer(MODEL), 3), name="m", training={}, card="")
    return tmp_path / "m"


def records(n=40, seed=1):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 50, size=n)
    return [Record(f"r{i}", rng.integers(0, 4, size=m, dtype=np.uint8), 0, i, "made") for i, m in enumerate(lengths)]


def measured(folder, items=None, **changes):
    found = measure_readout(load_model(str(folder)), items or records(), sources={"w.fa": "5"}, **OWN | HOW | changes)
    save_readout(folder, found)
    return load_model(str(folder))


def embed(model, items, **settings):
    embedder = RecordEmbedder(model.network, EmbedConfig(**settings), readout=model.readout, **HOW)
    return np.concatenate([cell.x for cell in embedder.embed(items)])


def test_statistics_are_mean_and_sd_of_the_first_windows(folder):
    x = embed(load_model(str(folder)), records()[:30], **OWN)
    readout = measured(folder, n_windows=30).readout
    np.testing.assert_allclose(readout.center, x.mean(0, dtype=float), rtol=1e-4)
    np.testing.assert_allclose(readout.scale, x.std(0, dtype=float), rtol=1e-4)
    weights = load_model(str(folder)).sha256
    assert readout.reference == {"n_windows": 30, "sources": {"w.fa": "5"}, "weights": weights}


@pytest.mark.parametrize("strand", ["bed", "both"])
def test_the_default_is_the_own_read_out_less_the_mean_by_the_sd(folder, strand):
    model = measured(folder)
    items = records(20, seed=2)
    raw = embed(model, items, raw=True, strand=strand)
    x = embed(model, items, strand=strand)
    assert x.shape == (20, 24)
    assert np.array_equal(raw, embed(model, items, raw=True, strand=strand, **OWN))
    np.testing.assert_allclose(x, 0.08 * (raw - model.readout.center) / model.readout.scale, atol=1e-6, rtol=1e-6)
    own = embed(model, records())
    np.testing.assert_allclose(own.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(own.std(0), 0.08, atol=1e-3)


def test_a_model_without_one_gives_the_mean_after_the_last_block_as_it_is(folder):
    model = load_model(str(folder))
    assert str(model.readout) == "mean after the last block; not standardised"
    items = records(9)
    bare = RecordEmbedder(model.network, EmbedConfig(pool="mean", layer=2), **HOW)
    expected = np.concatenate([cell.x for cell in bare.embed(items)])
    assert np.array_equal(embed(model, items), expected)
    assert np.array_equal(embed(model, items, raw=True), expected)
    assert model.readout.embed_config(EmbedConfig(), MODEL).raw


@pytest.mark.parametrize(
    ("settings", "pool", "blocks", "raw"),
    [
        ({}, "mean,sd", "4,10", False),
        ({"raw": True}, "mean,sd", "4,10", True),
        ({"pool": "mean,sd", "blocks": "4,10"}, "mean,sd", "4,10", False),
        ({"pool": "sd,mean", "blocks": "4,10"}, "sd,mean", "4,10", True),
        ({"pool": "mean,sd"}, "mean,sd", "", True),
        ({"pool": "max"}, "max", "", True),
        ({"blocks": "4,10"}, "mean", "4,10", True),
        ({"layer": 1}, "mean", "", True),
    ],
)
def test_what_is_named_overrides_it_and_has_no_statistics(folder, settings, pool, blocks, raw):
    config = measured(folder).readout.embed_config(EmbedConfig(**settings), MODEL)
    assert (config.pool, config.blocks, config.raw) == (pool, blocks, raw)


def test_the_last_block_is_the_same_by_whatever_name():
    readout = ModelReadout.measured("mean", "", mean=np.ones(6), sd=np.ones(6), reference={})
    for settings in ({}, {"pool": "mean"}, {"layer": 2}, {"blocks": "10"}, {"pool": "mean", "with_tokens": True}):
        assert not readout.embed_config(EmbedConfig(**settings), MODEL).raw, settings
    assert readout.embed_config(EmbedConfig(layer=1), MODEL).raw


def test_a_constant_feature_is_centred_and_not_scaled():
    sd = np.array([0.0, 1e-9, 1e-4, 0.5])
    readout = ModelReadout.measured("mean", "", mean=np.array([0.0, 0.0, 2.0, 2.0]), sd=sd, reference={})
    assert readout.scale.tolist() == [1.0, 1.0, 1.0, 0.5]
    standardised = readout.standardise(np.float32([[0.25, 0, 2.5, 2.5]]))
    np.testing.assert_allclose(standardised, [[0.02, 0.0, 0.04, 0.08]], rtol=1e-6)


def test_columns_say_of_each_feature_where_it_is_read(folder):
    readout = measured(folder).readout
    config = readout.embed_config(EmbedConfig(), MODEL)
    columns = feature_columns(config, MODEL, readout)
    names = feature_names(config, MODEL)
    assert len(names) == 24
    rows = dict(zip(names, zip(*columns.values(), strict=True), strict=True))
    assert list(columns) == ["block", "pool", "channel", "mean", "sd"]
    assert rows["sd_b4_f005"] == (4, "sd", 5, readout.center[17].item(), readout.scale[17].item())
    other = feature_columns(readout.embed_config(EmbedConfig(pool="cls"), MODEL), MODEL, readout)
    assert (other["pool"][6], other["block"][6], other["channel"][6]) == ("cls1", 10, 0)
    assert all(math.isnan(value) for value in (*other["mean"], *other["sd"]))


def test_a_fine_tuning_takes_the_own_read_out(folder):
    readout = measured(folder).readout
    for config, pool, blocks in (
        (FinetuneConfig(frozen=True), "mean,sd", "4,10"),
        (FinetuneConfig(), "mean,sd", "4,10"),
        (FinetuneConfig(frozen=True, pool="max"), "max", ""),
        (FinetuneConfig(frozen=True, blocks="3"), "mean", "3"),
        (FinetuneConfig(frozen=True, extend=100), "mean", ""),
    ):
        found = readout.finetune_config(config, MODEL)
        assert (found.pool, found.blocks) == (pool, blocks)
    assert ModelReadout().finetune_config(FinetuneConfig(frozen=True), MODEL).pool == "mean"
    found = ModelReadout().finetune_config(FinetuneConfig(), MODEL)
    assert (found.pool, len(found.blocks.split(","))) == ("mean,max", 4)
    assert parse_blocks(found.blocks, MODEL.depth)


def test_too_many_columns_are_refused_unless_asked_for(folder):
    with pytest.raises(ConfigError, match=r"a read-out of 24 features is above the limit of 20"):
        measured(folder, max_columns=20)
    assert measured(folder, max_columns=24).readout.center.shape == (24,)


@pytest.mark.parametrize(
    ("items", "changes", "error", "message"),
    [
        (records(1), {}, InputError, "1 reference windows found: an sd needs at least two"),
        ([*records(2), FastaError("no bases", record="x")], {}, FastaError, "no bases"),
        (records(2), {"blocks": "4,11"}, ConfigError, "blocks 4,11: the network has 10"),
        (records(2), {"pool": "median"}, ConfigError, "pool must be one or more of"),
    ],
)
def test_what_cannot_be_measured_is_said(folder, items, changes, error, message):
    with pytest.raises(error, match=message):
        measured(folder, items, **changes)
    assert load_model(str(folder)).readout.center is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"center": [0.0] * 23}, "23 means and 24 sds for 24 features"),
        ({"scale": [0.0] * 24}, "an sd is not positive"),
        ({"center": [math.nan] * 24}, "a mean is not finite"),
        ({"blocks": [4, 12]}, "blocks 4,12: the network has 10"),
        ({"pools": ["median"]}, "pool must be one or more of"),
        ({"pools": 3}, "do not match"),
        ({"center": ["a"] * 24}, "do not match"),
        ({"reference": 3}, "do not match"),
        ({"reference": {"n_windows": "many"}}, "reference must have a number as n_windows"),
    ],
)
def test_a_damaged_read_out_is_refused(folder, changes, message):
    measured(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(config_text(config | {"readout": config["readout"] | changes}))
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


def test_an_edited_number_is_noticed(folder):
    measured(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["readout"]["scale"][3] *= 2
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"model .*m: the content of config\.json has sha256"):
        load_model(str(folder))


def test_a_read_out_that_was_measured_with_other_weights_does_not_verify(folder, tmp_path):
    model = measured(folder)
    checks = {name: (ok, figure) for name, ok, figure in verify_model(model)}
    text = "mean,sd after blocks 4,10; 24 features, standardised on 40 windows"
    assert checks["read-out"] == (True, text)
    save_model(tmp_path / "n", initialise(ChordMixer(MODEL), 4), name="n", training={}, card="")
    save_readout(tmp_path / "n", model.readout)
    other = {name: ok for name, ok, _ in verify_model(load_model(str(tmp_path / "n")))}
    assert other == {"weights are finite": True, "read-out": False, "golden vectors": True}
