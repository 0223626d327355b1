"""Counting models: contexts by hand, probabilities against a slow loop, and the best accuracy possible."""

from collections import Counter

import numpy as np
import pytest

from findna.benchmark.counting import CONTEXTS, REACH, CountingModel, Masked, fit_counting, iter_masked
from findna.data.datasets import corpus_of
from findna.sequence import BLANK, N, encode


def item_of(text: str, positions: list[int]) -> Masked:
    """A window whose bases at these positions are masked."""
    original = encode(text)[0]
    codes = original.copy()
    codes[positions] = BLANK
    return Masked(0, codes, np.array(positions), original)


def letters(name: str, item: Masked) -> list[str]:
    """The contexts of the masked bases as text; an unknown base is "-"."""
    return ["".join("ACGT-"[code] for code in row) for row in CONTEXTS[name](item)]


def test_contexts_hold_the_nearest_letters_first() -> None:
    item = item_of("ACGTNACGTACGT", [3, 8])
    assert letters("left", item) == ["GCA-----", "GCA--GCA"]
    assert letters("left_unmasked", item) == ["GCA-----", "GCA-TGCA"]
    assert letters("around", item) == ["G-CAAC-G", "GACCAG-T"]
    assert letters("visible_around", item) == ["GACCAG-A", "GACCAGGT"]
    assert item.targets.tolist() == [3, 3]


def test_probabilities_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    contexts, targets = rng.integers(0, 5, (400, REACH), np.uint8), rng.integers(0, 4, 400, np.uint8)
    contexts[:, 2:] %= 2  # so that long contexts are seen more than once
    model = CountingModel()
    model.count(contexts, targets)
    for order, strength in ((0, 1.0), (2, 4.0), (8, 2.5)):
        model.order, model.strength = order, strength
        found = model.probabilities(contexts[:20])
        for row, context in zip(found, contexts[:20], strict=True):
            p = np.full(4, 0.25)
            for k in range(order + 1):
                seen = Counter(int(t) for c, t in zip(contexts, targets, strict=True) if (c[:k] == context[:k]).all())
                n = np.array([seen[base] for base in range(4)])
                p = (n + strength * p) / (n.sum() + strength)
            assert row == pytest.approx(p)


def test_what_is_masked_depends_on_seed_round_and_window_alone() -> None:
    rng = np.random.default_rng(1)
    windows = [rng.integers(0, 5, 50, np.uint8) for _ in range(6)]
    every = list(iter_masked(corpus_of(windows), fraction=0.3, seed=3, n_rounds=2))
    first = list(iter_masked(corpus_of(windows[:2]), fraction=0.3, seed=3))
    assert [item.codes.tolist() for item in every[:2]] == [item.codes.tolist() for item in first]
    assert [item.window for item in every] == [*range(6), *range(6)]
    assert every[0].codes.tolist() != every[6].codes.tolist()
    for item in every:
        is_masked = item.codes == BLANK
        assert is_masked.sum() == 15
        assert (item.codes == np.where(is_masked, BLANK, item.original)).all()
        assert item.positions.tolist() == np.flatnonzero(is_masked & (item.original < N)).tolist()


def test_what_two_letters_decide_is_known_as_far_as_they_are_seen() -> None:
    rng = np.random.default_rng(2)

    def window(next_base: np.ndarray) -> np.ndarray:
        bases = [int(base) for base in rng.integers(0, 4, 3)]
        while len(bases) < 200:
            bases.append(int(next_base[bases[-1], bases[-2]]) if rng.random() < 0.9 else int(rng.integers(0, 4)))
        return np.array(bases, np.uint8)

    rule = rng.integers(0, 4, (4, 4))
    corpus, held_out = (corpus_of(window(rule) for _ in range(n)) for n in (600, 50))
    models = fit_counting(iter_masked(corpus, fraction=0.2, seed=0), ["left", "left_unmasked"])
    assert 2 <= models["left_unmasked"].order <= 4
    items = list(iter_masked(held_out, fraction=0.2, seed=1))
    targets = np.concatenate([item.targets for item in items])
    right = {}
    for name, model in models.items():
        contexts = np.concatenate([CONTEXTS[name](item) for item in items])
        right[name] = (model.probabilities(contexts).argmax(axis=1) == targets).mean()
    assert right["left_unmasked"] == pytest.approx(0.9 + 0.1 / 4, abs=0.03)
    assert 0.4 < right["left"] < right["left_unmasked"]


def test_random_bases_cannot_be_known() -> None:
    rng = np.random.default_rng(4)
    corpus = corpus_of(rng.integers(0, 4, 500, np.uint8) for _ in range(100))
    model = fit_counting(iter_masked(corpus, fraction=0.3, seed=0), ["around"])["around"]
    items = list(iter_masked(corpus_of([rng.integers(0, 4, 20_000, np.uint8)]), fraction=0.5, seed=1))
    probabilities = model.probabilities(CONTEXTS["around"](items[0]))
    assert (probabilities.argmax(axis=1) == items[0].targets).mean() == pytest.approx(0.25, abs=0.02)
    assert probabilities == pytest.approx(0.25, abs=0.1)
