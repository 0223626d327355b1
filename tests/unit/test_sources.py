"""Sources of windows: held-out places, skipped records, files that can be read again."""

import os

import numpy as np
import pytest

from findna.errors import InputError
from findna.train.sources import load_sources

SIZE = 100


@pytest.fixture
def write(tmp_path):
    def write(name, lengths, seed=0, n_share=0.0):
        """A FASTA of random records, s0, s1, ...; the first share of each is N."""
        draws = np.random.default_rng(seed)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            for index, length in enumerate(lengths):
                bases = draws.choice(list("ACGT"), size=length)
                bases[: int(n_share * length)] = "N"
                file.write(f">s{index}\n{''.join(bases)}\n")
        return path

    return write


def load(path, *, is_genome=False, **kwargs):
    kwargs = {"holdout": [], "n_windows": 2000, "n_held_out": 50, "size": SIZE, "seed": 1} | kwargs
    return load_sources([path], is_genome=is_genome, **kwargs)


def words(corpus, length=31):
    return {corpus[i][j : j + length].tobytes() for i in range(len(corpus)) for j in range(len(corpus[i]) - length + 1)}


@pytest.mark.parametrize("is_genome", [False, True])
@pytest.mark.parametrize("lengths", [[50_000], [3000] * 10, [30_000, 40, 150, 90], [60, 120, 99, 130, 101]])
def test_no_held_out_base_is_in_a_training_window(write, lengths, is_genome):
    sources = load(write("g.fa", lengths), is_genome=is_genome)
    held_out = words(sources.held_out)
    assert held_out
    assert not held_out & words(sources.corpus)
    assert len(sources.corpus) == 2000
    assert sources.summary["n_held_out"] == len(sources.held_out)


def test_what_is_held_out_is_little_and_the_ends_are_measured(write):
    path = write("g.fa", [50_000])
    sources = load(path)
    text = np.array(["ACGT".index(base) for base in path.read_text().split()[1]], np.uint8)
    reserved = SIZE + 500
    assert words(sources.corpus) <= words([text[:-reserved]])
    assert words(sources.held_out) <= words([text[-reserved:]])
    assert len(sources.held_out) == 6


def test_a_file_of_windows_is_split_by_records(write):
    sources = load(write("w.fa", [SIZE] * 300))
    assert (len(sources.corpus), len(sources.held_out), sources.summary["n_left_out"]) == (297, 3, 0)


def test_a_short_record_beside_longer_ones_is_a_window_whole_as_often_as_it_has_bases(write):
    sources = load(write("m.fa", [90, 880, 60]), n_held_out=1, holdout=["s1"])
    lengths = [len(sources.corpus[i]) for i in range(len(sources.corpus))]
    assert sorted(lengths) == [60, 90]  # all fit: once each
    sources = load(write("m.fa", [700, 90, 60, 800]), holdout=["s3"])
    lengths = np.array([len(sources.corpus[i]) for i in range(2000)])
    assert np.mean(lengths == 90) == pytest.approx(90 / 850, abs=0.03)
    assert np.mean(lengths == 60) == pytest.approx(60 / 850, abs=0.03)
    assert set(lengths) == {60, 90, SIZE}


@pytest.mark.parametrize("is_genome", [False, True])
@pytest.mark.parametrize("long", [[], [5000]])
def test_records_with_much_n_are_left_out_and_counted(write, tmp_path, long, is_genome):
    path = write("n.fa", [50, 60], n_share=0.5)
    clear = write("c.fa", [70, 80, *long]).read_text().replace(">s", ">c")
    path.write_text(path.read_text() + clear)
    sources = load(path, is_genome=is_genome)
    assert sources.summary["n_left_out"] == 2
    assert not {50, 60} & {len(corpus[i]) for corpus in sources[:2] for i in range(len(corpus))}


def test_the_summary_tells_windows_of_the_same_files_apart(write):
    kwargs = {"is_genome": True, "holdout": [], "n_windows": 20, "n_held_out": 2, "size": SIZE}
    paths = [str(write("g.fa", [5000, 5000]))]
    first, again, other = (load_sources(paths, seed=seed, **kwargs).summary for seed in (0, 0, 1))
    assert first["sha256"] == again["sha256"] != other["sha256"]
    assert {**first, "sha256": ""} == {**other, "sha256": ""}


def test_the_summary_names_every_file(write, tmp_path):
    paths = [str(write("a/x.fa", [90] * 5)), str(write("b/x.fa", [90] * 5, seed=2))]
    kwargs = {"holdout": [], "n_windows": 9, "n_held_out": 1, "size": SIZE, "seed": 0}
    sources = load_sources(paths, is_genome=False, **kwargs)
    assert list(sources.summary["files"]) == paths
    assert len(set(sources.summary["files"].values())) == 2
    with pytest.raises(InputError, match=r"x\.fa: is named twice"):
        load_sources([paths[0], paths[0]], is_genome=False, **kwargs)


def test_what_cannot_be_read_again_is_refused(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for name in ("-", str(fifo)):
        with pytest.raises(InputError, match="must be a regular file, because it is read more than once"):
            load(name)
    with pytest.raises(InputError, match="is a folder; give the files in it"):
        load(str(tmp_path))
    with pytest.raises(InputError, match="must be a regular file"):
        load(fifo, is_genome=True)
