"""Properties for all labelled sets: splits are disjoint, windows tile, features depend on their window alone."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet, split_off
from findna.data.windows import cut, join
from findna.encode import embed_windows, pack_windows
from findna.errors import InputError
from findna.models.task import probabilities
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, extended, initialise
from findna.nn.device import FP32, Compute
from findna.sequence import reverse_complement
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=22, n_class_tokens=2)
NETWORK = initialise(ChordMixer(MODEL), 1)
CPU = torch.device("cpu")

lengths = st.lists(st.integers(1, 70), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)


def corpus(lengths, seed):
    rng = np.random.default_rng(seed)
    return corpus_of(rng.integers(0, 5, size=n, dtype=np.uint8) for n in lengths)


@given(st.integers(1, 40), st.integers(2, 4), st.floats(0.05, 0.95), seeds)
def test_a_split_parts_a_set_and_no_sequence_is_on_both_sides(n, n_classes, fraction, seed):
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, 4, size=int(rng.integers(1, 4)), dtype=np.uint8) for _ in range(n)]
    classes = tuple(map(str, range(n_classes)))
    whole = LabelledSet(
        corpus_of(codes), rng.integers(0, n_classes, n), classes, "classification", tuple(map(str, range(n))),
        np.arange(n), {},
    )  # fmt: skip
    try:
        train, valid = split_off(whole, fraction=fraction, seed=seed)
    except InputError:
        assert len({min(c.tobytes(), reverse_complement(c).tobytes()) for c in codes}) <= n_classes
        return
    assert sorted(train.ids + valid.ids, key=int) == list(whole.ids)
    assert len(train)
    assert len(valid)
    seen = {train.corpus[i].tobytes() for i in range(len(train))}
    for i in range(len(valid)):
        codes_of_valid = valid.corpus[i]
        assert codes_of_valid.tobytes() not in seen
        assert reverse_complement(codes_of_valid).tobytes() not in seen


@settings(max_examples=25)
@given(lengths, seeds, st.integers(20, 300), st.integers(1, 20))
def test_batches_hold_every_window_once_with_its_own_bases(lengths, seed, max_bases, window):
    sequences = corpus(lengths, seed)
    windows = cut(sequences.lengths, window=window, stride=window)
    works = list(pack_windows(sequences, windows, np.arange(windows.n), n_class_tokens=2, max_bases=max_bases))
    assert sorted(np.concatenate([work.indices for work in works]).tolist()) == list(range(windows.n))
    for work in works:
        assert len(work.batch.codes) - 2 * len(work.indices) <= max(max_bases, window)
        for index, (start, end) in zip(work.indices.tolist(), work.own, strict=True):
            codes = sequences[int(windows.sequence[index])][windows.own_start[index] : windows.end[index]]
            assert work.batch.codes[start:end].tolist() == codes.tolist()
    n_owned = join((windows.end - windows.own_start)[:, None] / windows.share[:, None], windows, len(lengths))
    assert np.allclose(n_owned[:, 0], lengths)


@settings(max_examples=20)
@given(lengths, seeds, st.sampled_from([(2, ("mean", "cls")), (0, ("max",))]))
def test_features_of_a_sequence_do_not_depend_on_the_others(lengths, seed, kind):
    n_class_tokens, pools = kind
    settings = TaskSettings("classification", ("a", "b"), pools, n_class_tokens, 20, 20)
    sequences = corpus(lengths, seed)

    def features(some):
        windows = cut(some.lengths, window=20, stride=20)
        found = embed_windows(NETWORK, some, windows, settings=settings, compute=Compute(CPU, FP32))
        return join(found.numpy(), windows, len(some))

    together = features(sequences)
    alone = np.concatenate([features(corpus_of([sequences[i]])) for i in range(len(lengths))])
    assert np.abs(together - alone).max() <= 1e-5 * np.abs(alone).max()


@settings(max_examples=15)
@given(lengths, seeds, st.integers(23, 600), st.integers(0, 3))
def test_an_extension_starts_as_the_same_function(lengths, seed, max_len, n_class_tokens):
    work = next(
        pack_windows(
            corpus(lengths, seed),
            cut(corpus(lengths, seed).lengths, window=1000, stride=1000),
            np.arange(len(lengths)),
            n_class_tokens=n_class_tokens,
            max_bases=10**6,
        )
    )
    codes = torch.from_numpy(work.batch.codes)
    with torch.no_grad():
        before = NETWORK(codes, work.batch.rings)
        assert torch.equal(extended(NETWORK, max_len)(codes, work.batch.rings), before)


@given(st.integers(1, 6), st.integers(2, 5), seeds, st.floats(0.05, 20))
def test_calibration_keeps_the_order_of_the_classes(n, n_classes, seed, temperature):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, n_classes)) * 5
    settings = TaskSettings("classification", tuple(map(str, range(n_classes))), ("mean",), 0, 20, 20, temperature, 1.0)
    found = probabilities(scores, settings, rng.integers(0, 2, n).astype(bool))
    assert np.allclose(found.sum(1), 1)
    assert (found.argmax(1) == scores.argmax(1)).all()
