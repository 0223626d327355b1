"""Duplicates across splits: all of them are found, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from findna.benchmark.audit import Split, audit, is_leaked, read_splits
from findna.data.datasets import corpus_of
from findna.data.kmers import canonical_kmers, iter_kmers
from findna.errors import ConfigError, TableError
from findna.sequence import Codes, N, reverse_complement

RNG = np.random.default_rng(11)


def draw(n: int, length: int) -> list[Codes]:
    return [RNG.integers(0, 4, length, dtype=np.uint8) for _ in range(n)]


def split(name: str, sequences: Sequence[Codes], labels: Sequence[str] | None = None) -> Split:
    return Split(name, corpus_of(sequences), labels or [""] * len(sequences), np.arange(2, len(sequences) + 2))


def mutated(codes: Codes, every: int) -> Codes:
    changed = codes.copy()
    changed[::every] = (changed[::every] + 1) % 4
    return changed


def test_a_word_is_that_of_its_reverse_complement() -> None:
    codes = draw(1, 40)[0]
    words, is_known = canonical_kmers(codes, 16)
    reverse, _ = canonical_kmers(reverse_complement(codes), 16)
    assert is_known.all()
    np.testing.assert_array_equal(words, reverse[::-1])


def test_words_are_those_of_a_slow_loop_and_stay_inside_their_sequence() -> None:
    sequences = [*draw(3, 25), np.array([0, 1, N, 2, 3, 3], np.uint8), np.array([0], np.uint8)]
    expected = set()
    for index, codes in enumerate(sequences):
        for start in range(len(codes) - 2):
            word = codes[start : start + 3]
            if (word < N).all():
                both = (word, reverse_complement(word))
                expected.add((index, min(int(w[0]) * 16 + int(w[1]) * 4 + int(w[2]) for w in both)))
    found = {
        (i, w) for owners, words in iter_kmers(corpus_of(sequences), 3) for i, w in zip(owners, words, strict=True)
    }
    assert found == expected


@pytest.mark.parametrize("length", [60, 300, 3000])
def test_every_kind_of_duplicate_is_counted_as_what_it_is(length: int) -> None:
    train = draw(50, length)
    other = [
        train[3],  # exact
        reverse_complement(train[4]),  # on the other strand
        np.concatenate([train[5][length // 4 :], draw(1, length // 4)[0]]),  # overlaps by three quarters
        reverse_complement(mutated(train[6], length - 1)),  # two substitutions, at the ends, and turned
        *draw(20, length),
    ]
    found = audit([split("train", train), split("test", other)])
    (overlap,) = found.overlaps
    assert (overlap.n, overlap.n_exact, overlap.n_reverse, overlap.n_near) == (24, 2, 1, 2)
    assert {(pair.line, pair.of_line) for pair in overlap.examples} == {(2, 5), (3, 6), (4, 7), (5, 8)}
    assert found.has_leaks
    expected = [True] * 4 + [False] * 20
    assert is_leaked(corpus_of(train), corpus_of(other)).tolist() == expected


def test_a_distant_relative_is_no_near_duplicate() -> None:
    train = draw(20, 400)
    relatives = [mutated(codes, 8) for codes in train]  # no 16-mer survives
    assert not is_leaked(corpus_of(train), corpus_of(relatives)).any()


def test_the_threshold_is_the_share_of_words() -> None:
    (codes,) = draw(1, 400)
    half = np.concatenate([codes[:160], draw(1, 240)[0]])  # 145 of 385 words
    reference, query = corpus_of([codes]), corpus_of([half])
    assert is_leaked(reference, query, threshold=0.37).tolist() == [True]
    assert is_leaked(reference, query, threshold=0.39).tolist() == [False]


def test_a_repeat_that_everything_holds_hides_nothing() -> None:
    repeat = draw(1, 30)[0]
    train = [np.concatenate([repeat, codes]) for codes in draw(200, 170)]
    assert is_leaked(corpus_of(train), corpus_of([train[199]])).all()
    near = [np.concatenate([repeat, mutated(train[199][30:], 160)])]
    assert is_leaked(corpus_of(train), corpus_of(near)).all()


def test_labels_that_disagree_are_counted_and_come_first() -> None:
    a, b, c = draw(3, 50)
    train = split("train", [a, b, a, c], ["x", "y", "y", "x"])
    test = split("test", [b, reverse_complement(c)], ["y", "y"])
    found = audit([train, test])
    assert (found.within[0].n_repeated, found.within[0].n_conflicts) == (1, 1)
    assert (found.within[1].n_repeated, found.within[1].n_conflicts) == (0, 0)
    (overlap,) = found.overlaps
    assert (overlap.n_exact, overlap.n_conflicts) == (2, 1)
    assert overlap.examples[0].labels == ("y", "x")


def test_clean_splits_are_clean() -> None:
    found = audit([split(name, draw(30, 100)) for name in ("train", "valid", "test")])
    assert not found.has_leaks
    assert len(found.overlaps) == 3
    assert found.to_dict()["has_leaks"] is False


def test_sequences_shorter_than_a_word_and_of_n_are_compared_whole() -> None:
    short, unknown = np.array([0, 1, 2], np.uint8), np.full(40, N, np.uint8)
    found = is_leaked(corpus_of([short, unknown]), corpus_of([short, unknown, short[:2]]))
    assert found.tolist() == [True, True, False]


def test_splits_are_read_with_labels_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sequence,label\nACGT,x\nACGG,x\n")
    (tmp_path / "b.fa").write_text(">one\nACGT\n")
    table, fasta = read_splits([tmp_path / "a.csv", tmp_path / "b.fa"])
    assert (list(table.labels), table.lines.tolist()) == (["x", "x"], [2, 3])
    assert (list(fasta.labels), len(fasta.corpus)) == ([""], 1)
    with pytest.raises(ConfigError, match="duplicate file"):
        read_splits([tmp_path / "a.csv", tmp_path / "a.csv"])
    (tmp_path / "c.csv").write_text("sequence,label\nACGT,x\nAC!T,x\n")
    with pytest.raises(TableError, match="line 3"):
        read_splits([tmp_path / "c.csv"])


def test_real_splits(shared: Path) -> None:
    files = [shared / f"data/gue/mouse/2/{name}.csv.gz" for name in ("train", "dev", "test")]
    found = audit(read_splits(files))
    assert [one.n for one in found.within] == [2620, 328, 328]
    assert sum(overlap.n_exact for overlap in found.overlaps) == 0
    assert [overlap.n_near for overlap in found.overlaps] == [5, 6, 5]
