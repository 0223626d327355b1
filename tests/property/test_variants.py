"""Properties of scores for all variants: independent of other variants, equal on both strands, as defined."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import findna
from findna.alleles import PASSES, SPAN, pair_alleles
from findna.commands.files import score
from findna.config import ScoreConfig
from findna.data.batch import pack
from findna.io.genome import Genome
from findna.io.scores import Outcome
from findna.io.vcf import Site
from findna.judges import log_odds
from findna.models.readout import ModelReadout
from findna.models.store import Model, save_model
from findna.models.task import TaskModel
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.nn.heads import Head
from findna.runs.merge_scores import merge_scores
from findna.sequence import BLANK, decode, encode, reverse_complement
from findna.sizes import ModelConfig
from findna.variants import VariantScorer

MODEL = ModelConfig(channels=24, hidden=32, track_width=4, n_layers=2, max_len=74, shift_layout="two-sided")
WINDOW, LONGEST = MODEL.window, 12
CONTIGS = {"long": 400, "known": 150, "short": 40, "shortest": 15}  # the window has 64 bases
CPU = torch.device("cpu")
NETWORK = initialise(ChordMixer(MODEL), 1)


def flipped(bases):
    return decode(reverse_complement(encode(bases)[0]))


@pytest.fixture(scope="module")
def bases():
    draws = random.Random(5)
    texts = {name: "".join(draws.choices("ACGTN", [9, 9, 9, 9, 1], k=n)) for name, n in CONTIGS.items()}
    return texts | {"known": texts["known"].replace("N", "A")}


@pytest.fixture(scope="module")
def genomes(bases, tmp_path_factory):
    """The genome, and its reverse complement."""
    folder = tmp_path_factory.mktemp("genomes")
    paths = []
    for name, texts in (("plus.fa", bases), ("minus.fa", {name: flipped(text) for name, text in bases.items()})):
        paths.append(folder / name)
        paths[-1].write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    with Genome(paths[0]) as plus, Genome(paths[1]) as minus:
        yield [plus, minus]


def teacher():
    return Model("little", Path("little"), NETWORK, "", {})


def task(objective="classification"):
    chosen = TaskSettings(objective, ("a", "b", "c"), ("mean", "max"), 10, WINDOW, WINDOW, temperature=1.5)
    torch.manual_seed(1)
    return TaskModel("t", Path("t"), NETWORK, Head(48, chosen.n_outputs).eval(), chosen, {}, "", {})


def scorer(genome, model=None, batch_bases=0, **config):
    config = ScoreConfig(max_length=LONGEST, **config)
    return VariantScorer(model or teacher(), genome, config, compute=Compute(CPU, FP32, batch_bases))


def values(scorer, sites):
    """The scores of every ALT of every record, NaN where there are none."""
    nothing = [np.nan] * len(scorer.fields)
    return np.array([o.values or nothing for scored in scorer.score(sites) for o in scored.outcomes])


@st.composite
def places(draw):
    """Contig, start, bases of REF and the ALTs."""
    chrom = draw(st.sampled_from(list(CONTIGS)))
    start = draw(st.integers(0, CONTIGS[chrom] - 1))
    n_ref = draw(st.integers(1, min(LONGEST, CONTIGS[chrom] - start)))
    alleles = st.text("ACGT", min_size=1, max_size=LONGEST)
    same_length = st.text("ACGT", min_size=n_ref, max_size=n_ref)
    return chrom, start, n_ref, tuple(draw(st.lists(alleles | same_length, min_size=1, max_size=3)))


def sites_of(places, bases):
    return [
        Site(chrom, start, bases[chrom][start : start + n_ref], alts, row)
        for row, (chrom, start, n_ref, alts) in enumerate(places)
    ]


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=tolerance)


@settings(max_examples=5)
@given(places=st.lists(places(), min_size=2, max_size=8), batch_bases=st.integers(1, 2000), data=st.data())
def test_a_score_does_not_depend_on_batch_order_or_neighbours(places, batch_bases, data, bases, genomes):
    sites = sites_of(places, bases)
    together = values(scorer(genomes[0]), sites)
    order = data.draw(st.permutations(range(len(sites))))
    counts = np.cumsum([0, *(len(site.alts) for site in sites)])
    shuffled = values(scorer(genomes[0], batch_bases=batch_bases), [sites[i] for i in order])
    assert_close(shuffled, np.concatenate([together[counts[i] : counts[i + 1]] for i in order]))
    assert_close(np.concatenate([values(scorer(genomes[0]), [site]) for site in sites]), together)


@pytest.mark.parametrize("model", [teacher(), task(), task("regression")], ids=["teacher", "task", "regression"])
@settings(max_examples=5)
@given(places=st.lists(places(), min_size=1, max_size=4))
def test_the_reverse_complement_of_genome_and_variant_has_the_same_scores(model, places, bases, genomes):
    sites = sites_of(places, bases)
    mirrored = [
        site._replace(
            start=CONTIGS[site.chrom] - site.start - len(site.ref), ref=flipped(site.ref),
            alts=tuple(flipped(alt) for alt in site.alts),
        )
        for site in sites
    ]  # fmt: skip
    assert_close(values(scorer(genomes[1], model), mirrored), values(scorer(genomes[0], model), sites))


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "little"
    save_model(folder, NETWORK, name="little", training={}, card="")
    return str(folder)


@settings(max_examples=4)
@given(places=st.lists(places(), min_size=1, max_size=6), n_shards=st.integers(1, 4), data=st.data())
def test_scores_do_not_depend_on_shards(places, n_shards, data, bases, genomes, little, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    source = folder / "in.tsv"
    lines = [f"{s.chrom}\t{s.start + 1}\t{s.ref}\t{','.join(s.alts)}\n" for s in sites_of(places, bases)]
    source.write_text("chrom\tpos\tref\talt\n" + "".join(lines))

    def scored(name, shard=""):
        same = {"genome": genomes[0].path, "model": little, "max_length": LONGEST, "precision": "fp32", "threads": 1}
        score(source, folder / name, output_format="tsv", shard=shard, **same)
        return folder / name

    parts = [scored(f"{number}.tsv", f"{number}/{n_shards}") for number in range(1, n_shards + 1)]
    merge_scores(data.draw(st.permutations(parts)), folder / "merged.tsv")
    rows = [
        [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("##")]
        for path in (scored("whole.tsv"), folder / "merged.tsv")
    ]
    assert [[*row[:4], row[-1]] for row in rows[0]] == [[*row[:4], row[-1]] for row in rows[1]]
    whole, merged = (np.array([[float(v or "nan") for v in row[4:-1]] for row in each[1:]]) for each in rows)
    assert_close(merged, whole)


def log_p(codes, position):
    """Log-probabilities of A, C, G and T at a position, by the network alone."""
    batch = pack([codes], n_class_tokens=MODEL.n_class_tokens)
    with torch.inference_mode():
        hidden = NETWORK(torch.from_numpy(batch.codes), batch.rings)
        return torch.log_softmax(NETWORK.nucleotide_logits(hidden)[position, :4], 0).numpy()


@settings(max_examples=10)
@given(start=st.integers(0, 399), alt=st.sampled_from("ACGT"))
def test_the_llr_of_an_snv_is_that_of_predict_bases_in_its_window(start, alt, bases, genomes):
    text = bases["long"]
    if text[start] in ("N", alt):
        return
    expected = []
    for contig, place, ref, other in (
        (text, start, text[start], alt),
        (flipped(text), len(text) - 1 - start, flipped(text[start]), flipped(alt)),
    ):
        first = min(max(place - (WINDOW - 1) // 2, 0), len(contig) - WINDOW)
        window = contig[first : first + WINDOW]
        (p,) = findna.predict_bases([window], model=teacher(), passes=0, precision="fp32")
        found = np.log(p[place - first].astype(np.float64))
        expected.append(found["ACGT".index(other)] - found["ACGT".index(ref)])
    site = Site("long", start, text[start], (alt,))
    assert abs(values(scorer(genomes[0], scores=("llr",)), [site])[0, 0] - np.mean(expected)) <= 1e-5


def test_the_llr_of_an_insertion_is_the_difference_of_both_spans_summed_base_by_base(bases, genomes):
    text, start, alt = bases["known"], 70, "ACGT"
    parts = [encode(part)[0] for part in (text[:start], text[start], alt, text[start + 1 :])]
    expected = 0.0
    for pair in pair_alleles(*parts, size=WINDOW):
        for allele, sign in ((pair.alt, 1), (pair.ref, -1)):
            n_span = len(alt) + 2 * SPAN
            first = allele.start - (n_span - allele.length) // 2
            for offset in range(n_span):
                masked = allele.codes.copy()
                masked[first + offset % PASSES : first + n_span : PASSES] = BLANK
                expected += sign * log_p(masked, first + offset)[allele.codes[first + offset]] / 2
    site = Site("known", start, text[start], (alt,))
    assert abs(values(scorer(genomes[0], scores=("llr",)), [site])[0, 0] - expected) <= 1e-4


def test_a_deletion_of_almost_a_whole_contig_has_no_score(bases, genomes):
    (scored,) = scorer(genomes[0]).score([Site("shortest", 0, bases["shortest"][:9], ("A",))])
    assert scored.outcomes == [Outcome(None, "contig_too_short")]


@settings(max_examples=50)
@given(place=places())
def test_both_alleles_stand_in_windows_of_one_length_with_the_bases_beside_them(place, bases):
    chrom, start, n_ref, (alt, *_) = place
    text = bases[chrom]
    ref = text[start : start + n_ref]
    assume(len(text) - n_ref + min(n_ref, len(alt)) >= max(n_ref, len(alt)))
    codes = [encode(part)[0] for part in (text[:start], ref, alt, text[start + n_ref :])]
    forward, reverse = pair_alleles(*codes, size=WINDOW)
    for pair, flip in ((forward, str), (reverse, flipped)):
        haplotypes = [flip(text), flip(text[:start] + alt + text[start + n_ref :])]
        assert len(pair.ref.codes) == len(pair.alt.codes) == min(WINDOW, *map(len, haplotypes))
        for allele, haplotype, bases_of in zip(pair, haplotypes, (flip(ref), flip(alt)), strict=True):
            assert decode(allele.codes) in haplotype
            assert decode(allele.codes[allele.start : allele.start + allele.length]) == bases_of


def test_the_alts_of_a_position_share_its_windows(bases, genomes):
    place = next(i for i in range(100, 300) if bases["long"][i] == "A")
    one = scorer(genomes[0])
    one.score([Site("long", place, "A", ("C", "G", "T")), Site("long", place, "A", ("C",), 1)])
    assert one.reader.n_windows == 2 * (1 + 1 + 3)  # strands; masked, REF and three ALTs


def test_the_answer_of_a_task_is_the_difference_of_its_probabilities(bases, genomes):
    found = scorer(genomes[0], task())
    site = next(Site("long", i, "A", ("C",)) for i in range(100, 300) if bases["long"][i] == "A")
    (row,) = values(found, [site])
    assert [field.name for field in found.fields[:3]] == ["dp_a", "dlogit_a", "dp_b"]
    assert abs(row[0::2].sum()) <= 1e-6  # probabilities of classes add up to 1
    assert (np.sign(row[0::2]) == np.sign(row[1::2])).all()
    assert log_odds(np.array([0.0, 1.0])).tolist() == [-log_odds(np.array([1.0]))[0], log_odds(np.array([1.0]))[0]]


def test_the_python_function_gives_the_values_of_the_scorer(bases, genomes):
    place = next(i for i in range(100, 300) if bases["long"][i] == "A")
    variants = [("long", place + 1, "A", "C"), ("long", place + 1, "A", "<DEL>")]
    found = findna.score_variants(variants, genomes[0], model=teacher(), max_length=LONGEST, precision="fp32")
    assert found.names == ("llr", "cosine", "euclidean", "influence")
    assert found.reasons == ("", "symbolic")
    assert_close(found.values[:1], values(scorer(genomes[0]), [Site("long", place, "A", ("C",))]))
    assert np.isnan(found.values[1]).all()
    with pytest.raises(findna.VariantError, match=r"REF is C, but plus\.fa has A there"):
        findna.score_variants([("long", place + 1, "C", "A")], genomes[0], model=teacher(), max_length=LONGEST)


def test_distances_are_those_of_the_models_own_standardised_vectors(bases, genomes):
    rng = np.random.default_rng(1)
    center = rng.normal(size=2 * MODEL.channels).astype(np.float32)
    readout = ModelReadout("mean", "7,14", center, np.exp(center))
    model = dataclasses.replace(teacher(), readout=readout)
    place = next(i for i in range(100, 300) if bases["long"][i] == "A")
    (row,) = values(scorer(genomes[0], model, scores=("distance",)), [Site("long", place, "A", ("C",))])
    codes = [encode(part)[0] for part in (bases["long"][:place], "A", "C", bases["long"][place + 1 :])]
    pairs = pair_alleles(*codes, size=WINDOW)
    texts = [[decode(pair[side].codes) for pair in pairs] for side in (0, 1)]
    x = [findna.embed(two, model=model, precision="fp32").mean(axis=0, dtype=np.float64) for two in texts]
    cosine = 1 - x[0] @ x[1] / np.linalg.norm(x[0]) / np.linalg.norm(x[1])
    np.testing.assert_allclose(row, [cosine, np.linalg.norm(x[0] - x[1])], rtol=1e-3)
