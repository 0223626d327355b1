"""Variants with known effects: the figures of `findna benchmark run variants`."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.benchmark.variants import VariantSetConfig, kmer_llr, measure_variants, table_of
from findna.config import ScoreConfig
from findna.errors import TableError
from findna.io.genome import Genome
from findna.io.vcf import Site
from findna.models.store import Model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.sizes import ModelConfig

SIZE = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=1, max_len=60, n_class_tokens=3)


@pytest.fixture
def text():
    return "".join(random.Random(2).choices("ACGT", k=400))


@pytest.fixture
def genome(tmp_path, text):
    path = tmp_path / "g.fa"
    path.write_text(f">c\n{text}\n")
    with Genome(path) as opened:
        yield opened


def table_with(tmp_path, text, labels):
    lines = ["chrom\tpos\tref\talt\tlabel\tdepth"]
    for i, label in enumerate(labels):
        pos = 100 + 7 * i
        alt = "ACGT".replace(text[pos - 1], "")[0]
        lines.append(f"c\t{pos}\t{text[pos - 1]}\t{alt}\t{label}\t{i % 2}")
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def measured(path, genome, **changes):
    config = VariantSetConfig(score=ScoreConfig(max_length=2), **changes)
    model = Model("m", Path("m"), initialise(ChordMixer(SIZE), 1), "", {})
    return measure_variants(path, genome, model, config, compute=Compute(torch.device("cpu"), FP32))


def test_each_score_of_each_source_has_a_figure_and_rows_of_other_labels_are_left_out(tmp_path, text, genome):
    result = measured(table_with(tmp_path, text, ["LOF", "FUNC", "INT"] * 8), genome)
    assert (result["n_positive"], result["n_negative"]) == (8, 8)
    names = [(row["source"], row["score"]) for row in result["rows"]]
    scores = ["llr", "cosine", "euclidean", "influence"]
    assert names[:8] == [(source, score) for source in ("m", "random weights") for score in scores]
    assert names[8][1] == "llr"
    assert names[-1] == ("column", "depth")
    assert all(row["low"] <= row["auroc"] <= row["high"] for row in result["rows"])
    assert table_of(result).count("\n") == 2 + len(names)


def test_a_column_that_is_the_label_has_auroc_1(tmp_path, text, genome):
    result = measured(table_with(tmp_path, text, ["FUNC", "LOF"] * 6), genome, seeds=0)
    assert result["rows"][-1]["auroc"] == 1


def test_as_many_variants_of_each_label_as_the_limit_are_drawn(tmp_path, text, genome):
    result = measured(table_with(tmp_path, text, ["FUNC", "LOF", "FUNC"] * 6), genome, seeds=0, limit=5)
    assert (result["n_positive"], result["n_negative"]) == (5, 5)


def test_a_table_of_kmers_counts_both_strands_but_not_the_site(tmp_path):
    path = tmp_path / "k.fa"
    path.write_text(">c\nAAACTTTNAAATTTTNAAACTTT\n")  # AAACTTT twice, and AAATTTT; their complements differ
    with Genome(path) as opened:
        (found,) = kmer_llr(opened, [Site("c", 3, "C", ("T",))])
    # AAA_TTT: C twice, T once, and from the other strand G twice, A once; a pseudocount each, the site itself removed
    assert found == pytest.approx(np.log((1 + 1) / (1 + 2 - 1)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("FUNC", "INT"), "column 'label' has neither LOF and FUNC nor 1 and 0"),
        (("label", "class"), "column 'label' not found; it has chrom, pos, ref, alt, class"),
        ((r"\tA\t", r"\tAC\t"), "is not a single-base substitution"),
    ],
)
def test_a_table_without_what_is_needed_is_an_error(change, reason, tmp_path, text, genome):
    path = table_with(tmp_path, text, ["FUNC", "LOF"] * 4)
    path.write_text(re.sub(*change, path.read_text()))
    with pytest.raises(TableError, match=reason):
        measured(path, genome)
