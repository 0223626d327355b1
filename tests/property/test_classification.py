"""Properties of classify for all inputs: an answer depends on its record alone, labels follow from probabilities."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from findna.classification import Classifier, decide
from findna.config import ClassifyConfig
from findna.data.windows import split_windows
from findna.models.task import TaskModel
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import BF16, BF16_STREAM, FP32, Compute
from findna.nn.heads import Head
from findna.record import Record
from findna.sequence import is_mostly_n
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=24, hidden=32, track_width=4, n_layers=3, max_len=42)  # windows of 32 bases
CLASSES = ("a", "b", "c")
lengths = st.lists(st.integers(1, 90), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)


def records_of(lengths, seed):
    rng = np.random.default_rng(seed)
    return [Record(f"s{i}", rng.integers(0, 5, size=n, dtype=np.uint8), 0, i, "made") for i, n in enumerate(lengths)]


NETWORK = initialise(ChordMixer(MODEL), 1)


@cache
def classifier(precision=FP32, *, batch_bases=0, **config):
    pools = ("mean", "cls", "max")
    chosen = TaskSettings("classification", CLASSES, pools, 10, 32, 32, temperature=1.5, joined_temperature=0.5)
    torch.manual_seed(1)
    head = Head(24 * 12, 3).eval()
    task = TaskModel("t", "t", NETWORK, head, chosen, {}, "", {})
    return Classifier(task, ClassifyConfig(**config), compute=Compute(torch.device("cpu"), precision, batch_bases))


def answers(classifier, records):
    """(numbers, label) by id."""
    found = {}
    for cell in classifier.classify(records):
        answered = zip(cell.obs["id"], cell.obs["label"], cell.x, strict=True)
        found |= {id: (x, label) for id, label, x in answered}
    return found


def assert_same(found, expected, *, tolerance):
    assert found.keys() == expected.keys()
    for key, (x, label) in expected.items():
        assert np.abs(found[key][0] - x).max() <= tolerance, key
        if x[1] > 2 * tolerance:  # unless two classes are as good as equal
            assert found[key][1] == label


@pytest.mark.parametrize(("precision", "tolerance"), [(FP32, 1e-5), (BF16, 2e-2), (BF16_STREAM, 2e-2)])
@settings(max_examples=6)
@given(lengths=lengths, seed=seeds, batch_bases=st.integers(1, 500), data=st.data())
def test_an_answer_does_not_depend_on_its_batch_its_order_or_its_neighbours(
    precision, tolerance, lengths, seed, batch_bases, data
):
    records = records_of(lengths, seed)
    together = answers(classifier(precision), records)
    alone = {}
    for record in records:
        alone |= answers(classifier(precision), [record])
    assert_same(alone, together, tolerance=tolerance)
    assert_same(answers(classifier(precision, batch_bases=batch_bases), records), together, tolerance=tolerance)
    order = data.draw(st.permutations(records))
    assert_same(answers(classifier(precision), order), together, tolerance=tolerance)


@settings(max_examples=10)
@given(lengths=lengths, seed=seeds, strand=st.sampled_from(["bed", "both"]))
@example(lengths=[1], seed=1, strand="bed")
def test_probabilities_add_up_and_the_label_is_the_largest_or_unknown(lengths, seed, strand):
    records = records_of(lengths, seed)
    found = answers(classifier(strand=strand), records)
    for record in records:
        x, label = found[record.id]
        probability, margin, *p = x.tolist()
        assert sum(p) == pytest.approx(1, abs=1e-6)
        assert probability == max(p)
        assert label == ("unknown" if is_mostly_n(record.codes) else CLASSES[int(np.argmax(p))])
        assert margin == pytest.approx(probability - sorted(p)[-2], abs=1e-6)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_multilabel_margin_is_that_of_the_least_certain_label(p):
    names = [f"c{i}" for i in range(len(p))]
    label, probability, margin = decide(np.array(p), names, objective="multilabel")
    assert [name for name in label.split(";") if name] == [n for n, value in zip(names, p, strict=True) if value > 0.5]
    assert all(abs(2 * value - 1) >= margin for value in p)
    assert probability == pytest.approx(min(max(value, 1 - value) for value in p))


@given(lengths=lengths, seed=seeds, size=st.integers(1, 40), data=st.data())
def test_windows_as_records_keep_ids_apart_and_cover_every_base(lengths, seed, size, data):
    stride = data.draw(st.integers(1, size))
    records = [record._replace(start=7, end=7 + len(record.codes)) for record in records_of(lengths, seed)]
    windows = list(split_windows(records, size=size, stride=stride))
    assert len({window.id for window in windows}) == len(windows)
    for record in records:
        mine = [window for window in windows if window.id.startswith(f"{record.id}:")]
        covered = {base for window in mine for base in range(window.start, window.end)}
        assert covered == set(range(record.start, record.end))
        for window in mine:
            assert np.array_equal(window.codes, record.codes[window.start - 7 : window.end - 7])
