"""The baselines learn a signal that exists, and their features are right."""

import numpy as np
import pytest
import torch

from findna.benchmark.baselines import Cnn, Data, Prediction, fit_cnn, fit_kmers, fit_strands, kmer_counts
from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet
from findna.metrics import metrics_of
from findna.sequence import Codes, N, encode, reverse_complement

pytest.importorskip("sklearn")
MOTIF = encode("TGACTCATGC")[0]


def fit_vectors(train: Data, valid: Data, test: Data, *, n_classes: int) -> Prediction:
    return fit_strands({"bed": (train, valid, test)}, n_classes=n_classes)


def labelled(n: int, *, seed: int, n_classes: int = 2) -> LabelledSet:
    """Random sequences of 50 to 70 bases; class 1 holds the motif on either strand."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    sequences: list[Codes] = []
    for label in labels.tolist():
        codes = rng.integers(0, 4, rng.integers(50, 70), dtype=np.uint8)
        if label:
            place = rng.integers(0, len(codes) - len(MOTIF))
            codes[place : place + len(MOTIF)] = MOTIF if rng.random() < 0.5 else reverse_complement(MOTIF)
        sequences.append(codes)
    return LabelledSet(
        corpus=corpus_of(sequences),
        labels=labels,
        classes=tuple("abcd"[:n_classes]),
        objective="classification",
        ids=tuple(map(str, range(n))),
        lines=np.arange(n),
        sources={},
    )


def auroc(split: LabelledSet, probabilities: np.ndarray) -> float:
    return metrics_of(split.labels, probabilities, classes=split.classes)["auroc"]  # type: ignore[no-any-return]


def test_word_counts_are_those_of_a_slow_loop_on_both_strands() -> None:
    codes = np.random.default_rng(1).integers(0, 4, 30, dtype=np.uint8)
    codes[7] = N
    expected = np.zeros(4**6)
    for strand in (codes, reverse_complement(codes)):
        for start in range(len(strand) - 5):
            word = strand[start : start + 6]
            if (word < N).all():
                expected[int(word @ 4 ** np.arange(5, -1, -1))] += 1
    found = kmer_counts(corpus_of([codes, codes[:3]])).toarray()
    np.testing.assert_array_equal(found[0], expected)
    assert not found[1].any()


def test_words_find_a_motif() -> None:
    train, valid, test = (labelled(n, seed=s) for n, s in ((600, 0), (100, 1), (100, 2)))
    found = fit_kmers(train, valid, test, n_classes=2)
    assert auroc(test, found.test) > 0.9
    assert found.chosen["C"] > 0
    np.testing.assert_allclose(found.test.sum(1), 1)


def test_a_cnn_finds_a_motif_and_repeats_itself() -> None:
    train, valid, test = (labelled(n, seed=s) for n, s in ((400, 0), (60, 1), (60, 2)))
    found = fit_cnn(train, valid, test, n_classes=2, seed=3, device=torch.device("cpu"))
    assert auroc(test, found.test) > 0.9
    one, two = (fit_cnn(valid, valid, test, n_classes=2, seed=3, device=torch.device("cpu")) for _ in range(2))
    np.testing.assert_array_equal(one.test, two.test)


def test_both_strands_of_a_sequence_get_one_answer() -> None:
    train, valid, test = (labelled(n, seed=s) for n, s in ((64, 0), (20, 1), (20, 2)))
    turned = LabelledSet(
        **{**vars(test), "corpus": corpus_of(reverse_complement(test.corpus[i]) for i in range(len(test)))}
    )
    found = [fit_cnn(train, valid, split, n_classes=2, seed=0, device=torch.device("cpu")) for split in (test, turned)]
    np.testing.assert_allclose(found[0].test, found[1].test, atol=1e-6)


@pytest.mark.parametrize("length", [12, 45, 48, 49])
def test_padding_has_no_part_in_a_score(length: int) -> None:
    torch.manual_seed(0)
    model = Cnn(3).eval()
    torch.nn.init.constant_(model.motifs.bias, 1.0)  # what padding would show
    torch.nn.init.constant_(model.pairs.bias, 1.0)
    codes = torch.randint(0, 4, (1, length))
    padded = torch.cat([codes, torch.full((1, 23), N)], dim=1)
    n_bases = torch.tensor([length])
    torch.testing.assert_close(model(padded, n_bases), model(codes, n_bases))
    assert not torch.allclose(model(padded, n_bases + 23), model(codes, n_bases))


def test_vectors_are_standardised_and_c_is_chosen_on_the_validation_split() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = (rng.normal(size=(300, 5)) + 2 * np.eye(3, 5)[y]) * [1, 1000, 1e-3, 1, 1] + [0, 1e4, 0, 0, 0]
    train, valid, test = (Data(x[part], y[part]) for part in (slice(200), slice(200, 250), slice(250, 300)))
    found = fit_vectors(train, valid, test, n_classes=3)
    assert metrics_of(test.y, found.test, classes="abc")["auroc"] > 0.9
    assert found.test.shape == (50, 3)
    wrong = [Data(split.x, (split.y + 1) % 3) for split in (valid, test)]
    assert fit_vectors(train, valid, wrong[1], n_classes=3).chosen == found.chosen
    assert fit_vectors(train, wrong[0], test, n_classes=3).chosen != found.chosen


@pytest.mark.parametrize("informative", ["bed", "both"])
def test_the_strand_is_the_one_with_the_better_validation_auroc(informative: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = {strand: rng.normal(size=(300, 3)) + 2 * (strand == informative) * y[:, None] for strand in ("bed", "both")}
    parts = [slice(100), slice(100, 200), slice(200, 300)]
    data = {strand: tuple(Data(rows[part], y[part]) for part in parts) for strand, rows in x.items()}
    found = fit_strands(data, n_classes=2)
    assert found.chosen["strand"] == informative
    np.testing.assert_array_equal(found.test, fit_vectors(*data[informative], n_classes=2).test)


def test_a_class_that_training_lacks_gets_nothing() -> None:
    rng = np.random.default_rng(0)
    y = np.array([0, 2] * 50)
    x = rng.normal(size=(100, 2)) + y[:, None]
    found = fit_vectors(Data(x, y), Data(x, y), Data(x, y), n_classes=3)
    assert found.test.shape == (100, 3)
    assert (found.test[:, 1] < 1e-3).all()
    np.testing.assert_allclose(found.test.sum(1), 1, atol=1e-6)


def test_the_penalty_of_vectors_is_chosen_on_the_validation_split_alone() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(240, 60)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=240) > 0).astype(np.int64)
    train, valid = Data(x[:60], y[:60]), Data(x[60:150], y[60:150])
    found = [fit_vectors(train, valid, Data(x[150:], labels), n_classes=2) for labels in (y[150:], 1 - y[150:])]
    assert found[0].chosen == found[1].chosen
    np.testing.assert_array_equal(found[0].test, found[1].test)
    flipped = fit_vectors(train, Data(x[60:150], 1 - y[60:150]), train, n_classes=2)
    assert flipped.chosen != found[0].chosen
