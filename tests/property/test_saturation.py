"""Properties of mutagenesis: an effect is the difference of two answers, on both strands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.classification import Classifier
from findna.config import ClassifyConfig
from findna.data.batch import pack
from findna.judges import log_odds
from findna.models.store import Model
from findna.models.task import TaskModel
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.nn.heads import Head
from findna.record import Record
from findna.saturation import BaseMutagenesis, TaskMutagenesis
from findna.sequence import BLANK, encode, reverse_complement
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=24, hidden=32, track_width=4, n_layers=2, max_len=42, shift_layout="two-sided")
CPU = torch.device("cpu")  # windows have 32 bases
COMPUTE = Compute(CPU, FP32)
NETWORK = initialise(ChordMixer(MODEL), 1)
sequences = st.text("ACGTN", min_size=1, max_size=50)


def task(objective="classification", classes=("a", "b")):
    chosen = TaskSettings(objective, classes, ("mean", "max"), 10, 32, 32, temperature=1.5, joined_temperature=0.5)
    torch.manual_seed(1)
    return TaskModel("t", Path("t"), NETWORK, Head(48, chosen.n_outputs).eval(), chosen, {}, "", {})


def on_bases(**settings):
    return BaseMutagenesis(Model("m", Path("m"), NETWORK, "", {}), compute=Compute(CPU, FP32, **settings))


def on_task(model, *, batch_bases=0, **settings):
    return TaskMutagenesis(model, compute=Compute(CPU, FP32, batch_bases), **settings)


@settings(max_examples=4)
@given(text=sequences)
def test_the_effect_under_a_task_is_the_difference_of_what_classify_says(text):
    model, codes = task(), encode(text)[0]
    found = on_task(model).effects(codes)
    changed = [np.where(np.arange(len(codes)) == i, np.uint8(b), codes) for i in range(len(codes)) for b in range(4)]
    records = [Record(str(i), each, 0, i, "made") for i, each in enumerate(changed)]
    classifier = Classifier(model, ClassifyConfig(strand="both"), compute=COMPUTE)
    p = np.concatenate([cell.x for cell in classifier.classify(records)])[:, 3]  # probability, margin, p_a, p_b
    odds = log_odds(p.astype(np.float64)).reshape(len(codes), 4)
    for i, code in enumerate(codes):
        if code == 4:
            assert np.isnan(found[i]).all()
        else:
            np.testing.assert_allclose(found[i], odds[i] - odds[i, code], atol=1e-4)
            assert found[i, code] == 0


@settings(max_examples=4)
@given(text=sequences, batch_bases=st.integers(1, 500))
@pytest.mark.parametrize("make", [on_bases, lambda **s: on_task(task("regression", ()), **s)], ids=["bases", "task"])
def test_the_reverse_complement_has_the_effects_turned_round(make, text, batch_bases):
    codes = encode(text)[0]
    forward, reverse = make().effects(codes), make(batch_bases=batch_bases).effects(reverse_complement(codes))
    np.testing.assert_allclose(forward, reverse[::-1, ::-1], atol=1e-4)


def test_the_effect_on_bases_is_that_of_the_masked_base_alone():
    codes = encode("ACGTTGCATTAGGCATN")[0]
    expected = []
    for strand in (codes, reverse_complement(codes)):
        rows = []
        for place in range(len(codes)):
            masked = strand.copy()
            masked[place] = BLANK
            batch = pack([masked], n_class_tokens=10)
            with torch.inference_mode():
                hidden = NETWORK(torch.from_numpy(batch.codes), batch.rings)
                rows.append(torch.log_softmax(NETWORK.nucleotide_logits(hidden)[place, :4], 0).numpy())
        expected.append(np.array(rows))
    both = (expected[0] + expected[1][::-1, ::-1]) / 2
    known = np.arange(16)
    np.testing.assert_allclose(on_bases().effects(codes)[:16], both[:16] - both[known, codes[:16]][:, None], atol=1e-5)


def test_only_windows_that_a_change_touches_are_computed_again():
    codes = np.random.default_rng(1).integers(0, 4, 40, dtype=np.uint8)  # windows [0, 32) and [8, 40)
    model = on_task(task())
    model.effects(codes)
    n_touched = 8 + 2 * 24 + 8  # 8 positions lie in the first window alone, 24 in both, 8 in the second alone
    assert model.n_windows == 2 * (2 + 3 * n_touched)  # strands, windows of the sequence as it is, three changes


def test_a_dependency_is_the_largest_change_of_log_odds():
    codes = encode("ACGTTGCATTAG")[0]

    def odds(codes):
        batch = pack([codes], n_class_tokens=10)
        with torch.inference_mode():
            hidden = NETWORK(torch.from_numpy(batch.codes), batch.rings)[: len(codes)]
            return log_odds(torch.softmax(NETWORK.nucleotide_logits(hidden)[:, :4].double(), 1).numpy())

    found = on_bases().dependencies(codes)
    expected = 0
    for strand, place, column in ((codes, 3, 7), (reverse_complement(codes), 8, 4)):
        others = [np.where(np.arange(12) == place, np.uint8(b), strand) for b in range(4) if b != strand[place]]
        expected += max(np.abs(odds(other) - odds(strand))[column].max() for other in others) / 2
    assert abs(found[3, 7] - expected) <= 1e-4
    assert (np.diag(found) == 0).all()
    assert found.shape == (12, 12)
