"""Records to answers: scores, joining, calibration and labels by hand, and windows as rows of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from findna.classification import Classifier, column_order, decide, prediction_columns, value_names
from findna.config import ClassifyConfig
from findna.data.batch import pack
from findna.data.windows import split_windows
from findna.errors import BedError, ConfigError
from findna.models.task import TaskModel
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.nn.heads import Head
from findna.record import Record
from findna.sequence import encode, reverse_complement
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=2, max_len=23, n_class_tokens=3)  # 20 bases
CLASSES = ("a", "b", "c")
LONG = "ACGTTGCANNACGATCGATTACAGGCATTAGCCAGATTTACGACTGG"  # 47 bases: windows 0-20, 20-40, 27-47


def task(objective="classification", *, pools=("mean",), n_class_tokens=3, **settings):
    classes = () if objective == "regression" else CLASSES
    settings = {"window": 20, "stride": 20, **settings}
    chosen = TaskSettings(objective, classes, pools, n_class_tokens, **settings)
    torch.manual_seed(0)
    head = Head(chosen.n_features(6), chosen.n_outputs, hidden=4)
    with torch.no_grad():
        head.out.weight.mul_(8)  # far from even odds
    network = initialise(ChordMixer(MODEL), 2)
    return TaskModel("t", Path("t"), network, head.eval(), chosen, {"name": "x", "sha256": "0"}, "1", {})


def classifier(model, **config):
    return Classifier(model, ClassifyConfig(**config), compute=Compute(torch.device("cpu"), FP32))


def record(text, row=0, **fields):
    codes, n_iupac = encode(text)
    return Record(f"r{row}", codes, n_iupac, row, "made", **fields)


def only(model, item, **config):
    (cell,) = classifier(model, **config).classify([item])
    names = value_names(classifier(model, **config).config, model.settings)
    obs = {name: values[0] for name, values in cell.obs.items()}
    return {**obs, **dict(zip(names, cell.x[0].tolist(), strict=True))}


@torch.no_grad()
def outputs(model, codes, own_start=0):
    """What the head gives of one window."""
    batch = pack([codes], n_class_tokens=model.settings.n_class_tokens)
    blocks = model.settings.blocks or (model.network.config.depth,)
    after = [model.network(torch.from_numpy(batch.codes), batch.rings, blocks=[block]) for block in blocks]
    hidden = torch.cat(after, dim=1)
    states = {"mean": hidden[own_start : len(codes)].mean(0), "cls": hidden[len(codes) :].flatten()}
    features = torch.cat([states[pool] for pool in model.settings.pools])
    return model.head(features[None])[0].double().numpy()


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize(
    ("pools", "n_class_tokens", "blocks"),
    [(("mean",), 3, ()), (("mean", "cls"), 3, ()), (("mean",), 0, ()), (("mean", "cls"), 3, (0, 2, 3))],
)
def test_one_window_is_the_softmax_of_the_head_at_the_temperature(pools, n_class_tokens, blocks):
    model = task(pools=pools, n_class_tokens=n_class_tokens, temperature=2.0, joined_temperature=9.0, blocks=blocks)
    item = record("ACGTTGCAACGG", chrom="chr1", start=5, end=17, strand="+")
    p = softmax(outputs(model, item.codes) / 2)
    row = only(model, item)
    assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx(p.tolist(), rel=1e-5)
    best = int(p.argmax())
    assert (row["label"], row["status"], row["n_windows"]) == (CLASSES[best], "ok", 1)
    assert row["probability"] == pytest.approx(p[best], rel=1e-5)
    assert row["margin"] == pytest.approx(p[best] - np.sort(p)[-2], rel=1e-4)
    assert (row["chrom"], row["start"], row["end"], row["strand"], row["length"]) == ("chr1", 5, 17, "+", 12)


def joined(model, codes):
    log_p = [
        n_own * np.log(softmax(outputs(model, codes[a:b], own_start)))
        for a, b, own_start, n_own in ((0, 20, 0, 20), (20, 40, 0, 20), (27, 47, 13, 7))
    ]
    return np.sum(log_p, axis=0) / 47


def test_windows_are_averaged_as_log_probabilities_by_the_bases_they_own_and_then_calibrated():
    model = task(temperature=2.0, joined_temperature=0.25)
    codes = encode(LONG)[0]
    row = only(model, record(LONG))
    expected = softmax(joined(model, codes) / 0.25)
    assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx(expected.tolist(), rel=1e-4)
    assert row["n_windows"] == 3


def test_both_strands_are_averaged_as_log_probabilities():
    model = task()
    codes = encode(LONG)[0]
    expected = softmax((joined(model, codes) + joined(model, reverse_complement(codes))) / 2)
    row = only(model, record(LONG), strand="both")
    assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx(expected.tolist(), rel=1e-4)
    turned = only(model, record(LONG)._replace(codes=reverse_complement(codes)), strand="both")
    assert turned["p_a"] == pytest.approx(row["p_a"], rel=1e-5)
    both = task(strand="both")  # a task that was chosen so
    assert only(both, record(LONG)) == row
    assert only(both, record(LONG), strand="bed") == only(model, record(LONG))


def test_a_small_margin_abstains_and_the_probabilities_stay():
    model = task()
    plain = only(model, record("ACGTTGCA"))
    above = only(model, record("ACGTTGCA"), abstain=plain["margin"] + 1e-3)
    below = only(model, record("ACGTTGCA"), abstain=plain["margin"] - 1e-3)
    assert (above["label"], above["status"]) == ("unknown", "abstained")
    assert {**above, "label": plain["label"], "status": "ok"} == plain
    assert below == plain


def test_top_names_the_best_classes_in_their_order():
    model = task()
    plain, top = only(model, record("ACGTTGCA")), only(model, record("ACGTTGCA"), top=2)
    ranked = sorted(CLASSES, key=lambda name: -plain[f"p_{name}"])
    assert [top["label_1"], top["label_2"]] == ranked[:2]
    assert [top["p_1"], top["p_2"]] == [plain[f"p_{name}"] for name in ranked[:2]]
    assert top["label"] == top["label_1"]
    assert "p_a" not in top
    order = column_order(ClassifyConfig(top=2), model.settings, ["flag"])
    begin = order.index("label")
    assert order[begin : begin + 8] == ["label", "probability", "margin", "label_1", "p_1", "label_2", "p_2", "status"]
    assert order[-1] == "flag"
    assert classifier(model, top=9).config.top == 3


def test_multilabel_names_what_is_above_one_half_and_is_as_sure_as_its_least_certain_label():
    model = task("multilabel", temperature=1.5)
    item = record("ACGTTGCAACGG")
    p = 1 / (1 + np.exp(-outputs(model, item.codes) / 1.5))
    row = only(model, item)
    assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx(p.tolist(), rel=1e-5)
    assert row["label"] == ";".join(name for name, value in zip(CLASSES, p, strict=True) if value > 0.5)
    assert row["margin"] == pytest.approx(np.abs(2 * p - 1).min(), rel=1e-4)
    assert row["probability"] == pytest.approx(np.maximum(p, 1 - p).min(), rel=1e-4)
    assert decide(np.array([0.1, 0.2]), ["a", "b"], objective="multilabel")[0] == ""


def test_regression_gives_a_value_and_nothing_that_needs_classes():
    model = task("regression")
    item = record("ACGTTGCAACGG")
    row = only(model, item)
    assert row["prediction"] == pytest.approx(float(outputs(model, item.codes)[0]), rel=1e-5)
    assert set(row) == {*prediction_columns(ClassifyConfig(), model.settings), "prediction"}
    assert "label" not in row
    for settings in ({"top": 1}, {"abstain": 0.1}):
        with pytest.raises(ConfigError, match="abstain and top need classes"):
            classifier(model, **settings)


def test_every_column_is_written_once():
    for objective in ("classification", "multilabel", "regression"):
        settings = task(objective).settings
        for config in [ClassifyConfig()] + [ClassifyConfig(top=2)] * (objective != "regression"):
            order = column_order(config, settings, ["flag", "mapq"])
            held = [*prediction_columns(config, settings), *value_names(config, settings), "flag", "mapq"]
            assert sorted(order) == sorted(held)
            assert order[:6] == ["id", "chrom", "start", "end", "strand", "length"]


@pytest.mark.parametrize(("margin", "top"), [(-0.1, 0), (1.1, 0), (float("nan"), 0), (0, -1)])
def test_settings_out_of_range_are_refused(margin, top):
    with pytest.raises(ConfigError, match=r"abstain must lie in 0 to 1|top must be 0 or more"):
        ClassifyConfig(abstain=margin, top=top)


def test_windows_become_records_with_their_own_place():
    codes = encode(LONG)[0]
    forward = record(LONG, chrom="chr1", start=100, end=147, strand="+")
    fault = BedError("outside", record="x")
    first, second, third, between, short = split_windows([forward, fault, record("ACG", 1)], size=20, stride=20)
    assert between is fault
    assert [w.id for w in (first, second, third)] == ["r0:0-20", "r0:20-40", "r0:27-47"]
    assert [(w.start, w.end) for w in (first, second, third)] == [(100, 120), (120, 140), (127, 147)]
    assert np.array_equal(third.codes, codes[27:47])
    assert (short.id, short.start, short.end) == ("r1:0-3", -1, -1)
    reverse = forward._replace(strand="-")
    places = [(w.start, w.end) for w in split_windows([reverse], size=20, stride=20)]
    assert places == [(127, 147), (107, 127), (100, 120)]
    spliced = forward._replace(end=200)
    assert {(w.start, w.end) for w in split_windows([spliced], size=20, stride=20)} == {(100, 200)}


def test_a_windows_row_is_that_of_the_window_alone():
    model = task()
    windows = list(split_windows([record(LONG)], size=20, stride=20))
    (cell,) = classifier(model).classify(windows)
    for x, window in zip(cell.x, windows, strict=True):
        assert x[2:].tolist() == pytest.approx(softmax(outputs(model, window.codes)).tolist(), rel=1e-5)
