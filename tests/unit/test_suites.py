"""The sets that a suite finds in a folder."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from findna.benchmark.intervals import parse_genomes
from findna.benchmark.suites import find_tasks
from findna.errors import ConfigError, InputError
from findna.sequence import decode, encode, reverse_complement

RNG = np.random.default_rng(5)


def text(length: int = 40) -> str:
    return decode(RNG.integers(0, 4, length, dtype=np.uint8))


def table(path: Path, n: int = 20, *, extra: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{text()},{i % 2}{extra}\n" for i in range(n))
    content = f"sequence,label{',split' if extra else ''}\n{rows}".encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def gue(tmp_path: Path) -> Path:
    for split in ("train", "dev", "test"):
        table(tmp_path / f"gue/tf/0/{split}.csv")
    for split in ("train_partial_nt", "dev", "test"):
        table(tmp_path / f"gue/EMP/H3/{split}.csv.gz")
    for split in ("dev", "test"):
        table(tmp_path / f"gue/splice/reconstructed/{split}.csv.gz")
    table(tmp_path / "gue/mouse/9/test.csv")
    return tmp_path / "gue"


def test_gue_knows_what_compares_and_what_does_not(gue: Path) -> None:
    tasks, skipped = find_tasks("gue", gue)
    assert {task.name: task.is_comparable for task in tasks} == {
        "EMP/H3": False,
        "splice/reconstructed": False,
        "tf/0": True,
    }
    assert "train_partial_nt" in tasks[0].note
    assert "trained on dev" in tasks[1].note
    assert [one.name for one in skipped] == ["mouse/9"]
    splits = tasks[1].load()
    assert splits.valid is None
    train, valid = splits.chosen(0)
    assert (len(train), len(valid)) == (18, 2)
    assert valid.ids != splits.chosen(3)[1].ids


def test_a_limit_draws_the_same_rows_every_time(gue: Path) -> None:
    (task,), _ = find_tasks("gue", gue, only=["tf/0"])
    one, two = (task.load().limited(7, 3) for _ in range(2))
    assert [len(split) for split in one if split is not None] == [7, 3, 3]
    np.testing.assert_array_equal(one.train.corpus.codes, two.train.corpus.codes)
    assert len(task.load().limited(0, 0).train) == 20


def test_a_misspelt_set_names_the_nearest(gue: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean tf/0"):
        find_tasks("gue", gue, only=["tf/O"])
    with pytest.raises(ConfigError, match="genomic-benchmarks"):
        find_tasks("glue", gue)


def test_a_linked_set_is_found(gue: Path, tmp_path: Path) -> None:
    (tmp_path / "links/tf").mkdir(parents=True)
    (tmp_path / "links/tf/0").symlink_to(gue / "tf/0")
    tasks, _ = find_tasks("gue", tmp_path / "links")
    assert [task.name for task in tasks] == ["tf/0"]


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nested folders"):
        find_tasks("gue", tmp_path)


def test_a_table_with_a_column_split_is_a_set(tmp_path: Path) -> None:
    rows = [f"{text()}\t{'ab'[i % 2]}\t{'train' if i < 12 else 'test'}" for i in range(16)]
    (tmp_path / "enhancers.tsv").write_text("\n".join(["sequence\tlabel\tsplit", *rows]) + "\n")
    (task,), _ = find_tasks("csv", tmp_path)
    splits = task.load()
    assert task.name == "enhancers"
    assert not task.is_comparable
    assert (len(splits.train), splits.valid, len(splits.test)) == (12, None, 4)
    assert splits.test.classes == ("a", "b")
    assert decode(splits.test.corpus[0]) == rows[12].split("\t")[0]


def intervals(folder: Path, rows: list[tuple[str, int, int, str]], split: str, name: str) -> None:
    path = folder / split / f"{name}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i},{chrom},{start},{end},{strand}" for i, (chrom, start, end, strand) in enumerate(rows)]
    path.write_bytes(gzip.compress("\n".join(["id,region,start,end,strand", *lines, ""]).encode()))


@pytest.fixture
def genomic(tmp_path: Path) -> tuple[Path, str]:
    """A set with 24 intervals a split, 2 of them past the contig's end, and a set of mice."""
    bases = text(1000)
    (tmp_path / "g.fa").write_text(f">1\n{bases}\n")
    url = "    url: ftp://ftp.ensembl.org/pub/release-100/fasta/{}/dna/x.fa.gz\n"
    for name, species in (("ours", "homo_sapiens"), ("mice", "mus_musculus")):
        folder = tmp_path / "datasets" / name
        folder.mkdir(parents=True)
        entry = url.format(species)
        text_of = f"classes:\n  negative:\n    type: fa.gz\n{entry}  positive:\n    type: fa.gz\n{entry}version: 0\n"
        (folder / "metadata.yaml").write_text(text_of)
        for split, first in (("train", 0), ("test", 500)):
            for number, label in enumerate(("negative", "positive")):
                places = [first + 20 * i + 7 * number for i in range(11)] + [995]
                rows = [("chr1", start, start + 20, "-" if i % 2 else "+") for i, start in enumerate(places)]
                intervals(folder, rows, split, label)
    return tmp_path, bases


def test_intervals_are_cut_from_the_genome_on_their_strand(genomic: tuple[Path, str]) -> None:
    folder, bases = genomic
    tasks, skipped = find_tasks("genomic-benchmarks", folder / "datasets", genomes=parse_genomes([f"{folder}/g.fa"]))
    assert [(task.name, task.is_comparable) for task in tasks] == [("ours", False)]
    assert "4 of 48 intervals" in tasks[0].note
    assert [(one.name, "mus_musculus=FILE" in one.reason) for one in skipped] == [("mice", True)]
    splits = tasks[0].load()
    assert (len(splits.train), splits.valid, len(splits.test)) == (22, None, 22)
    assert splits.train.classes == ("negative", "positive")
    assert decode(splits.train.corpus[0]) == bases[:20]
    np.testing.assert_array_equal(splits.train.corpus[1], reverse_complement(encode(bases[20:40])[0]))
    assert decode(splits.test.corpus[11]) == bases[507:527]


def test_a_genome_on_which_too_little_lies_leaves_the_set_out(genomic: tuple[Path, str]) -> None:
    folder, bases = genomic
    (folder / "short.fa").write_text(f">1\n{bases[:600]}\n")
    genomes = parse_genomes([f"homo_sapiens={folder}/short.fa"])
    tasks, skipped = find_tasks("genomic-benchmarks", folder / "datasets", genomes=genomes)
    assert not tasks
    assert "do not fit" in {one.name: one.reason for one in skipped}["ours"]


def test_mtcdna_is_cut_to_its_three_lengths(tmp_path: Path) -> None:
    for name in ("mouse", "turtle"):
        (tmp_path / name).mkdir()
        records = "".join(f">{name}{i}\n{text(2000)}\n" for i in range(20))
        (tmp_path / name / f"{name}_cdna.fa").write_text(records)
    tasks, _ = find_tasks("mtcdna", tmp_path)
    assert [task.name for task in tasks] == ["1024", "4096", "8192"]
    splits = tasks[0].load()
    assert splits.train.classes == ("mouse", "turtle")
    assert (len(splits.train), len(splits.test)) == (36, 4)
    assert set(np.diff(splits.test.corpus.offsets).tolist()) == {1024}
    assert set(np.diff(tasks[1].load().test.corpus.offsets).tolist()) == {2000}


def test_mtcdna_that_begins_alike_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    for name in ("mouse", "turtle"):
        (tmp_path / name).mkdir()
        starts = [text(1024) for _ in range(20)]
        records = "".join(f">{name}{i}\n{starts[i // 2]}{text(200)}\n" for i in range(40))
        (tmp_path / name / f"{name}_cdna.fa").write_text(records)
    splits = find_tasks("mtcdna", tmp_path)[0][0].load()
    train, test = ({s.corpus[i].tobytes() for i in range(len(s))} for s in (splits.train, splits.test))
    assert test
    assert not train & test


def test_real_folders(shared: Path) -> None:
    tasks, _ = find_tasks("gue", shared / "data/gue")
    assert sum(task.is_comparable for task in tasks) == 8
    tasks, skipped = find_tasks("genomic-benchmarks", shared / "data/genomic_benchmarks")
    assert [task.name for task in tasks] == ["human_ensembl_regulatory.ready", "human_ocr_ensembl.ready"]
    assert len(skipped) == 9
    splits = tasks[1].load()
    assert (len(splits.train), len(splits.test)) == (3352, 623)
