"""Training sets: places of windows, skipped and held-out sequence, and the same bytes from the same seed."""

import gzip
import hashlib
import json
import re

import numpy as np
import pytest

from findna.data import origins, recipe, sifting
from findna.data.datasets import corpus_of
from findna.data.options import WindowsConfig
from findna.data.overlap import KmerSet, Novelty
from findna.data.recipe import make_windows
from findna.errors import BedError, ConfigError, InputError, OutputError
from findna.io.fasta import read_fasta
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import decode, encode, reverse_complement
from findna.train.sources import load_sources


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (recipe, sifting):
        monkeypatch.setattr(module, "BLOCK", 64)


@pytest.fixture
def genome(write):
    """Three contigs of random bases: 60,000, 20,000 and 10,000; and a copy of the first as an alternate one."""
    draws = np.random.default_rng(8)
    texts = {name: "".join(draws.choice(list("ACGT"), n)) for name, n in (("chr1", 60_000), ("chr8", 20_000))}
    texts |= {"chr8_K1_random": "".join(draws.choice(list("ACGT"), 10_000)), "chr1_K2_alt": texts["chr1"][5000:50_000]}
    return write("g.fa", "".join(f">{name}\n{wrap(text)}" for name, text in texts.items()))


def wrap(text):
    return "".join(f"{text[i : i + 60]}\n" for i in range(0, len(text), 60))


def settings(**values) -> WindowsConfig:
    return WindowsConfig(**({"n": 150, "min_length": 100, "max_length": 300} | values))


def make(inputs, out, *, force=False, genome=None, weights=None, holdout=(), exclude=(), cut=(), **values):
    return make_windows(
        inputs,
        out,
        config=settings(**values),
        genome=genome,
        weights=weights,
        holdout=holdout,
        exclude=exclude,
        cut=cut,
        force=force,
    )


def read(path):
    return {record.id: record for record in read_fasta(path)}


def place(id):
    chrom, start, end, strand = re.fullmatch(r"(.+):(\d+)-(\d+)\(([+-])\)", id).groups()
    return Region(chrom, int(start), int(end), strand=strand)


def words(codes, k=31):
    both = (codes, reverse_complement(codes))
    return {c[i : i + k].tobytes() for c in both for i in range(len(c) - k + 1)}


def test_a_window_is_what_its_place_says(genome, tmp_path):
    outcome = make([genome], tmp_path / "w.fa.gz")
    records = read(outcome.paths[0])
    assert len(records) == 150
    with Genome(genome) as source:
        for id, record in records.items():
            assert source.fetch(place(id))[0].tolist() == record.codes.tolist()
            assert record.name == "g"
    lengths = np.array([len(record.codes) for record in records.values()])
    assert lengths.min() >= 100
    assert lengths.max() <= 300
    assert np.mean(lengths) == pytest.approx(200, abs=20)
    assert np.mean([id.endswith("(-)") for id in records]) == pytest.approx(0.5, abs=0.15)
    part = outcome.manifest["windows"]
    assert (part["n_windows"], part["n_bases"]) == (150, lengths.sum())
    assert part["n_drawn"] == 150 + sum(part["n_left_out"].values())
    assert outcome.manifest["sources"][0]["n_alternate_contigs"] == 1
    assert not any(id.startswith("chr1_K2_alt") for id in records)


def test_the_same_recipe_gives_the_same_bytes_and_a_smaller_one_the_first_of_them(genome, tmp_path):
    first = make([genome], tmp_path / "a.fa.gz", seed=3)
    again = make([genome], tmp_path / "b.fa.gz", seed=3)
    assert first.paths[0].read_bytes() == again.paths[0].read_bytes()
    smaller = make([genome], tmp_path / "c.fa", seed=3, n=70)
    assert gzip.decompress(first.paths[0].read_bytes()).startswith(smaller.paths[0].read_bytes())
    other = make([genome], tmp_path / "d.fa.gz", seed=4)
    assert first.paths[0].read_bytes() != other.paths[0].read_bytes()


def test_the_manifest_holds_what_is_needed_to_do_it_again(genome, write, tmp_path):
    tests = write("test.csv", f"sequence\tlabel\n{'ACGT' * 20}\t1\n{'ACGT' * 7}\t0\n")
    outcome = make([f"human={genome}"], tmp_path / "w.fa.gz", holdout=["chr8"], exclude=[tests], seed=9, n_held_out=5)
    manifest = json.loads((tmp_path / "w.json").read_text())
    assert manifest == outcome.manifest
    assert manifest["schema"] == "findna-windows/1"
    assert manifest["settings"]["seed"] == 9
    source = manifest["sources"][0]
    assert source["sha256"] == hashlib.sha256(genome.read_bytes()).hexdigest()
    assert (source["name"], source["n_bases"], source["n_bases_held_out"]) == ("human", 60_000, 30_000)
    assert manifest["exclude"][0]["sha256"] == hashlib.sha256(tests.read_bytes()).hexdigest()
    assert (manifest["exclude"][0]["n_sequences"], manifest["exclude"][0]["n_too_short"]) == (2, 1)
    for part, path in zip((manifest["windows"], manifest["held_out"]), outcome.paths, strict=True):
        assert part["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert part["sha256_of_text"] == hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()


def test_held_out_contigs_go_to_a_second_file_with_what_belongs_to_them(genome, tmp_path):
    outcome = make([genome], tmp_path / "w.fa.gz", holdout=["chr8"], n_held_out=40)
    training, held_out = map(read, outcome.paths)
    assert [path.name for path in outcome.paths] == ["w.fa.gz", "w.held-out.fa.gz"]
    assert {place(id).chrom for id in training} == {"chr1"}
    assert {place(id).chrom for id in held_out} == {"chr8", "chr8_K1_random"}
    assert len(held_out) == 40
    with pytest.raises(InputError, match="holdout=chr9: no source"):
        make([genome], tmp_path / "v.fa.gz", holdout=["chr8", "chr9"])
    with pytest.raises(InputError, match="left to train on"):
        make([genome], tmp_path / "v.fa.gz", holdout=["g"])


def test_a_source_can_be_held_out_and_pretrain_takes_both_files(genome, write, tmp_path):
    other = write("other.fa", f">o\n{''.join(np.random.default_rng(1).choice(list('ACGT'), 5000))}\n")
    outcome = make([genome, other], tmp_path / "w.fa.gz", holdout=["chr8", "other"], n_held_out=60)
    assert {record.name for record in read(outcome.paths[1]).values()} == {"g", "other"}
    sources = load_sources(
        outcome.paths,
        is_genome=False,
        holdout=[str(outcome.paths[1])],
        n_windows=1,
        n_held_out=50,
        size=300,
        seed=0,
    )
    assert (len(sources.corpus), len(sources.held_out)) == (150, 50)


def test_nothing_shares_a_word_with_an_excluded_sequence(genome, write, tmp_path):
    with Genome(genome) as source:
        excluded = [source.fetch(Region("chr1", start, start + 70))[0] for start in range(0, 60_000, 3000)]
    excluded = [codes if i % 2 else reverse_complement(codes) for i, codes in enumerate(excluded)]
    table = write("test.csv", "sequence,label\n" + "".join(f"{decode(c)},0\n" for c in excluded[:10]))
    fasta = write("more.fa.gz", "".join(f">{i}\n{decode(c)}\n" for i, c in enumerate(excluded[10:])), "gz")
    outcome = make([genome], tmp_path / "w.fa.gz", exclude=[table, fasta], n=120, holdout=["chr8"])
    forbidden = set().union(*map(words, excluded))
    kept = read(outcome.paths[0]).values()
    assert not any(words(record.codes) & forbidden for record in kept)
    n_excluded = outcome.manifest["windows"]["n_left_out"]["excluded"]
    # A window of 200 bases at random shares a word where it begins within 200 + 70 - 2 * 30 of the 3,000.
    assert n_excluded / outcome.manifest["windows"]["n_drawn"] == pytest.approx(209 / 3000, abs=0.06)
    assert n_excluded > 0


def test_one_shared_word_is_enough_and_30_bases_are_not():
    draws = np.random.default_rng(0)
    a, b = draws.integers(0, 4, 100).astype(np.uint8), draws.integers(0, 4, 100).astype(np.uint8)
    found = KmerSet([corpus_of([a])])
    n = np.array([4], np.uint8)  # so that chance does not make 30 bases 31
    spliced = [np.concatenate([b, n, reverse_complement(a[20 : 20 + size]), n, b]) for size in (30, 31)]
    assert found.count_in(corpus_of([*spliced, a, b])).tolist() == [0, 1, 70, 0]
    assert found.count_in(corpus_of([])).tolist() == []
    assert KmerSet([]).count_in(corpus_of(spliced)).tolist() == [0, 0]


def test_a_window_that_was_there_is_left_out_on_either_strand_in_any_call():
    draws = np.random.default_rng(0)
    a, b, c = (draws.integers(0, 4, 500).astype(np.uint8) for _ in range(3))
    novelty = Novelty(1.0)
    assert novelty.sift([a, reverse_complement(a), b, a], most=9) == ["", "repeated", "", "repeated"]
    assert novelty.sift([b, reverse_complement(b), c], most=9) == ["repeated", "repeated", ""]
    short = encode("ACGTTGCA")[0]
    assert novelty.sift([short, short, encode("A")[0]], most=9) == ["", "repeated", ""]
    assert novelty.sift([a, draws.integers(0, 4, 50).astype(np.uint8), c], most=1) == ["repeated", ""]


def test_what_most_of_is_there_is_left_out_and_what_is_left_out_does_not_count():
    whole = np.random.default_rng(0).integers(0, 4, 3000).astype(np.uint8)
    cut = lambda start: whole[start : start + 1000]  # noqa: E731
    for calls in ([[0, 200, 700, 900]], [[0, 200], [700, 900]], [[0], [200], [700], [900]]):
        novelty = Novelty(0.7)
        verdicts = [verdict for starts in calls for verdict in novelty.sift([cut(s) for s in starts], most=9)]
        assert verdicts == ["", "overlapping", "", "overlapping"]
    novelty = Novelty(0.7)
    assert novelty.sift([cut(0), cut(200), cut(400)], most=9) == ["", "overlapping", ""]  # not 0.8 of the second


def test_windows_with_much_n_are_left_out(write, tmp_path):
    bases = np.random.default_rng(0).choice(list("ACGT"), 20_000)
    bases[5000:12_000] = "N"
    outcome = make([write("n.fa", f">c\n{''.join(bases)}\n")], tmp_path / "w.fa", n=60)
    assert outcome.manifest["windows"]["n_left_out"]["n"] > 10
    shares = [np.mean(record.codes == 4) for record in read(outcome.paths[0]).values()]
    assert max(shares) <= 0.1


def test_sources_are_drawn_by_their_bases_and_weights(genome, write, tmp_path):
    other = write("other.fa", f">o\n{''.join(np.random.default_rng(1).choice(list('ACGT'), 45_000))}\n")
    shares = {}
    for weight in (None, {"other": 2.0}, {"other": 0.0}):
        found = make([genome, other], tmp_path / "w.fa", weights=weight, n=400, force=True).manifest["windows"][
            "by_source"
        ]
        shares[str(weight)] = found["other"] / 400
    assert list(shares.values()) == [
        pytest.approx(1 / 3, abs=0.08),
        pytest.approx(1 / 2, abs=0.08),
        0.0,
    ]
    with pytest.raises(ConfigError, match="weight of mouse: no such source; there are g, other"):
        make([genome, other], tmp_path / "v.fa", weights={"mouse": 1.0})
    with pytest.raises(ConfigError, match="two sources are called other"):
        make([other, other], tmp_path / "v.fa")


def test_windows_of_a_bed_file_lie_in_its_regions(genome, write, tmp_path):
    bed = write("peaks.bed", "chr1\t100\t400\nchr1\t350\t900\t.\t0\t-\nchr8\t0\t5000\nchr8\t9000\t9050\n")
    outcome = make([bed], tmp_path / "w.fa", genome=genome, n=15, max_length=120)
    regions = [("chr1", 100, 900), ("chr8", 0, 5000)]
    for id, record in read(outcome.paths[0]).items():
        found = place(id)
        assert any(c == found.chrom and s <= found.start and found.end <= e for c, s, e in regions)
        assert len(record.codes) == found.end - found.start
    assert outcome.manifest["genome"]["sha256"] == hashlib.sha256(genome.read_bytes()).hexdigest()
    assert outcome.manifest["sources"][0]["n_stretches"] == 3
    with pytest.raises(ConfigError, match="need a genome"):
        make([bed], tmp_path / "v.fa")
    with pytest.raises(BedError, match=r"line 1: .*chr77"):
        make([write("bad.bed", "chr77\t0\t500\n")], tmp_path / "v.fa", genome=genome)


@pytest.mark.parametrize("strand", ["", "(+)", "(-)"])
def test_records_that_are_named_by_their_place_keep_it(genome, write, tmp_path, strand):
    with Genome(genome) as source:
        codes = source.fetch(Region("chr1", 1000, 4000, strand=strand[1:2] or "."))[0]
        run = write("runs.fa", f">chr1:1000-4000{strand} run\n{decode(codes)}\n")
        for id, record in read(make([run], tmp_path / "w.fa", n=20).paths[0]).items():
            assert source.fetch(place(id))[0].tolist() == record.codes.tolist()


def test_the_same_place_in_two_genomes_has_two_ids(genome, tmp_path, write):
    other = write("h.fa", ">chr1\n" + "".join(np.random.default_rng(1).choice(list("ACGT"), 300)) + "\n")
    third = write("i.fa", ">chr1\n" + "".join(np.random.default_rng(2).choice(list("ACGT"), 300)) + "\n")
    outcome = make([other, third], tmp_path / "w.fa", n=2, min_length=300, strand="+")
    assert sorted(read(outcome.paths[0])) == ["chr1:0-300(+)", "chr1:0-300(+)_2"]


def test_too_little_sequence_is_an_error_that_says_why(write, tmp_path):
    path = write("s.fa", f">a\n{'ACGTTGCATTGACCATTGCA' * 10}\n")
    with pytest.raises(InputError, match=r"only \d+ of 150 windows can be drawn .* of earlier windows"):
        make([path], tmp_path / "w.fa")
    assert list(tmp_path.glob("*w.*")) == []
    with pytest.raises(InputError, match="no stretch of at least 5000 bases is left to train on"):
        make([path], tmp_path / "w.fa", min_length=5000, max_length=5000)


def test_all_files_get_their_names_or_none(genome, write, tmp_path):
    unknown = write("unknown.fa", f">u\n{'N' * 5000}\n")
    with pytest.raises(InputError, match="only 0 of 1,000 windows can be drawn"):
        make([genome, unknown], tmp_path / "w.fa", holdout=["unknown"])
    assert [path.name for path in tmp_path.iterdir() if "w." in path.name] == []


def test_a_genome_read_by_its_index_gives_the_same_windows(genome, tmp_path, monkeypatch):
    in_memory = make([genome], tmp_path / "a.fa").paths[0].read_bytes()
    monkeypatch.setattr(origins, "MOST_IN_MEMORY", 0)
    by_index = make([genome], tmp_path / "b.fa")
    assert by_index.paths[0].read_bytes() == in_memory
    assert genome.with_name("g.fa.fai").exists()


def twobit(texts):
    """A .2bit file of contigs without N."""
    head, index, records = np.array([0x1A412743, 0, len(texts), 0], "<u4").tobytes(), b"", b""
    first = len(head) + sum(5 + len(name) for name in texts)
    for name, text in texts.items():
        codes = np.array(["TCAG".index(base) for base in text] + [0] * (-len(text) % 4), np.uint8).reshape(-1, 4)
        index += bytes([len(name)]) + name.encode() + (first + len(records)).to_bytes(4, "little")
        records += (
            np.array([len(text), 0, 0, 0], "<u4").tobytes() + (codes @ np.array([64, 16, 4, 1], np.uint8)).tobytes()
        )
    return head + index + records


def test_a_twobit_genome_gives_the_same_windows(genome, write, tmp_path):
    texts = {record.id: decode(record.codes) for record in read_fasta(genome)}
    outcome = make([write("g.2bit", twobit(texts))], tmp_path / "b.fa")
    assert outcome.manifest["sources"][0]["kind"] == "2bit"
    assert outcome.paths[0].read_bytes() == make([genome], tmp_path / "a.fa").paths[0].read_bytes()


@pytest.mark.shared
def test_no_word_of_a_real_test_split_is_in_a_window(shared, tmp_path):
    human = shared / "data/human/hg38_contig_ge1kb.fa.gz"
    split = shared / "data/gue/prom/prom_core_all/test.csv.gz"
    rows = gzip.decompress(split.read_bytes()).decode().split("\n")[1:]
    tests = [encode(row.partition(",")[0])[0] for row in rows if row]
    outcome = make([human], tmp_path / "w.fa", exclude=[split], n=500, max_length=1000)
    forbidden = set().union(*map(words, tests))
    assert outcome.manifest["windows"]["n_left_out"]["excluded"] > 0
    assert not any(words(record.codes) & forbidden for record in read(outcome.paths[0]).values())


def test_outputs_are_not_replaced_unasked(genome, tmp_path):
    for name in ("w.fa.gz", "w.json", "w.held-out.fa.gz"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(
            OutputError, match=f"{name}: exists already; choose another name, or force=True replaces it"
        ):
            make([genome], tmp_path / "w.fa.gz", holdout=["chr8"])
        (tmp_path / name).unlink()
    (tmp_path / "w.json").write_text("{}")
    with pytest.raises(OutputError, match=r"w\.json: exists already; choose another name, or force=True replaces it"):
        make([genome], tmp_path / "w.fa")
    (tmp_path / "w.json").unlink()
    with pytest.raises(ConfigError, match=r"must end in \.fa or \.fa\.gz"):
        make([genome], tmp_path / "w.txt")
    assert make([genome], tmp_path / "w.fa").is_new
    assert not make([genome], tmp_path / "w.fa").is_new
    whole = (tmp_path / "w.fa").read_bytes()
    (tmp_path / "w.fa").unlink()  # as if the run was killed after its manifest got its name
    with pytest.raises(OutputError, match=r"w\.json: exists already, .*seed: 1 now, 0 before"):
        make([genome], tmp_path / "w.fa", seed=1)
    assert make([genome], tmp_path / "w.fa").is_new
    assert (tmp_path / "w.fa").read_bytes() == whole
    older = json.loads((tmp_path / "w.json").read_text()) | {"findna": "0.0.1"}
    del older["settings"]["exclude_kmers"]  # as if it came with a later version
    (tmp_path / "w.json").write_text(json.dumps(older))
    assert not make([genome], tmp_path / "w.fa").is_new
    with pytest.raises(OutputError, match=r"exists already, with other windows \(seed: 1 now, 0 before"):
        make([genome], tmp_path / "w.fa", seed=1)
    (tmp_path / "w.fa").write_text(">a\nACGT\n")
    with pytest.raises(OutputError, match=r"w\.fa: exists already; choose another name, or force=True replaces it$"):
        make([genome], tmp_path / "w.fa")


def test_all_bad_settings_are_named_at_once():
    with pytest.raises(
        ConfigError, match=r"n must be at least 1, not 0; max_n must lie in 0 to 1, not 1.5; strand must be both or \+"
    ):
        WindowsConfig(n=0, max_n=1.5, strand="-")
    with pytest.raises(ConfigError, match="max_length 5 must not be below min_length 100"):
        WindowsConfig(max_length=5)


def test_no_window_touches_a_sequence_that_is_cut_out_on_either_strand(genome, write, tmp_path):
    with Genome(genome) as source:
        regions = [Region("chr1", 1000, 1070), Region("chr1", 30_000, 30_500), Region("chr8", 0, 200)]
        items = [source.fetch(region)[0] for region in regions]
    items[1] = reverse_complement(items[1])
    table = write("items.csv", "sequence,label\n" + "".join(f"{decode(codes)},1\n" for codes in items))
    kept, cut = (
        make([genome], tmp_path / name, cut=files, n=600, max_shared=1.0)
        for name, files in (("kept.fa", []), ("cut.fa", [table]))
    )

    def n_touching(outcome):
        places = [place(id) for id in read(outcome.paths[0])]
        return sum(any(r.chrom == p.chrom and r.start < p.end and p.start < r.end for r in regions) for p in places)

    assert n_touching(kept) > 0
    assert n_touching(cut) == 0
    assert cut.manifest["sources"][0]["n_bases_cut"] == 70 + 500 + 200
    assert cut.manifest["cut"][0]["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()


def test_regions_of_a_bed_file_are_cut_by_coordinate_from_records_named_by_their_place(write, tmp_path):
    bases = "".join(np.random.default_rng(3).choice(list("ACGT"), 5000))
    source = write("part.fa", f">chr17:10000-15000(-)\n{bases}\n")
    bed = write("gene.bed", "chr17\t11000\t12000\nchr1\t0\t90000\n")
    outcome = make([source], tmp_path / "w.fa", cut=[bed], n=200, max_shared=1.0)
    places = [place(id) for id in read(outcome.paths[0])]
    assert all(p.end <= 11_000 or p.start >= 12_000 for p in places)
    assert {p.end <= 11_000 for p in places} == {True, False}
    assert outcome.manifest["sources"][0]["n_bases_cut"] == 1000
    for id, record in read(outcome.paths[0]).items():
        p = place(id)
        expected = encode(bases)[0][15_000 - p.end : 15_000 - p.start]
        assert record.codes.tolist() == (expected if p.strand == "-" else reverse_complement(expected)).tolist()


def test_repeats_elsewhere_stay_where_a_cut_sequence_stands_once(write, tmp_path):
    """A k-mer shared with a cut sequence does not skip a window; one shared with an excluded sequence does."""
    rng = np.random.default_rng(4)
    repeat, item = ("".join(rng.choice(list("ACGT"), n)) for n in (300, 60))
    source = write("g.fa", f">c\n{repeat}{item}{repeat[:200]}\n")
    table = write("items.csv", f"sequence,label\n{repeat[240:]}{item},1\n")
    outcome = make([source], tmp_path / "w.fa", cut=[table], n=20, max_shared=1.0, max_length=200)
    assert {place(id).end <= 240 for id in read(outcome.paths[0])} == {True, False}
