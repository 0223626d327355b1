"""`import findna`: what it offers, and that it gives what the commands write."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

import findna
from findna.classification import Classifier
from findna.config import ClassifyConfig
from findna.data.batch import pack
from findna.nn.device import FP32 as FP32_KIND
from findna.nn.device import Compute
from findna.sequence import BLANK, encode
from findna.sklearn import Embedder

SEQUENCES = ["ACGTACGTTTRRN", "ttgacc", "ACGU" * 300]  # the last is longer than a window
FP32 = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def model():
    return findna.load_model()


def written(tmp_path: Path, sequences=SEQUENCES, **settings):
    """What `findna.embed_file` writes for the sequences."""
    (tmp_path / "in.fa").write_text("".join(f">s{i}\n{bases}\n" for i, bases in enumerate(sequences)))
    report = findna.embed_file(tmp_path / "in.fa", tmp_path / "out.h5", **settings)
    return report, findna.read_embeddings(tmp_path / "out.h5")


def hidden(model, codes):
    batch = pack([codes], n_class_tokens=model.config.n_class_tokens)
    with torch.inference_mode():
        return model.network(torch.from_numpy(batch.codes), batch.rings)


@pytest.mark.parametrize("module", ["findna", "findna.commands.tasks"])
def test_importing_loads_no_heavy_library(module):
    heavy = {"torch", "h5py", "pysam", "pandas"} | ({"numpy", "Bio"} if module == "findna" else set())
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_and_has_a_docstring():
    assert {"embed", "classify", "load_model", "Genome", "Region", "FindnaError"} <= set(findna.__all__)
    assert set(findna.__all__) <= set(dir(findna))
    for name in findna.__all__:
        value = getattr(findna, name)
        assert name == "__version__" or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'embeddings'"):
        _ = findna.embeddings


def test_a_model_is_a_name_or_a_path(model, tmp_path):
    expected = findna.embed(["ACGT"], model=model)
    assert findna.load_model(model.path).sha256 == model.sha256
    assert (findna.embed(["ACGT"], model=model.path) == expected).all()
    assert (Embedder(model=model.path).fit_transform(["ACGT"]) == expected).all()
    _, found = written(tmp_path, ["ACGT"], model=model.path)
    assert (found.x == expected).all()


@pytest.mark.parametrize(
    "settings", [{}, {"strand": "both", "pool": "mean,sd", "blocks": "5,20"}, {"strand": "-", "pool": "cls"}]
)
def test_embed_gives_what_the_command_writes(settings, model, tmp_path: Path):
    x = findna.embed(SEQUENCES, model=model, **FP32, **settings)
    report, stored = written(tmp_path, **FP32, **settings)
    assert (report["n_rows"], report["n_skipped"]) == (3, 0)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, stored.x)
    assert len(stored.features) == x.shape[1]


def test_a_sequence_may_be_text_bytes_biopython_or_codes(model):
    kinds = ["ACGTTN", b"acguTN", Seq("ACGTTR"), SeqRecord(Seq("ACGTTN"), id="x"), encode("ACGTTN")[0]]
    x = findna.embed(kinds, model=model, **FP32)
    assert (x == x[0]).all()
    np.testing.assert_array_equal(findna.embed((bases for bases in kinds), model=model, **FP32), x)
    assert findna.embed([], model=model).shape == (0, x.shape[1])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (["ACGT", "ACLT"], "sequence 1: 'L' at base 3"),
        (["ACGT", ""], "sequence 1: is empty"),
        (["ACGT", None], "sequence 1: expected text, bytes, .* found NoneType"),
        ([np.array([0, 5], np.uint8)], "sequence 0: an array must have"),
        ([np.array([0, 1])], "sequence 0: an array must have"),
        ("ACGT", "found a single one"),
        ({"a": "ACGT"}, r"found a dict: write list\(d.values\(\)\)"),
        ({"ACGT"}, "found a set: a set has no order"),
    ],
)
def test_what_is_not_dna_is_refused_with_its_index(sequences, message, model):
    with pytest.raises(findna.InputError, match=message):
        findna.embed(sequences, model=model)


@pytest.fixture
def genome_path(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\n" + "ACGTTGCATTAGC" * 40 + "\n>chr2\nACGTNNACGT\n")
    return path


def test_regions_are_a_path_strings_tuples_or_regions(genome_path, model, tmp_path: Path):
    bed = tmp_path / "in.bed"
    bed.write_text("chr1\t10\t60\tfirst\t0\t-\nchr2\t0\t10\n")
    e = findna.embed_regions(bed, genome_path, model=model, strand="both", **FP32)
    assert e.x.shape == (2, len(e.features))
    assert e.obs["id"].tolist() == ["chr1:10-60(-)", "chr2:0-10(.)"]
    assert e.obs["frac_n"].tolist() == pytest.approx([0, 0.2])
    assert {len(column) for column in e.obs.values()} == {2}
    assert e.meta["model"]["name"] == model.name
    assert {name: len(column) for name, column in e.var.items()} == dict.fromkeys(
        ("block", "pool", "channel", "mean", "sd"), e.x.shape[1]
    )
    given = [("chr1", np.int64(10), 60, "first", "-"), findna.Region("chr2", 0, 10)]
    with findna.Genome(genome_path) as genome:
        again = findna.embed_regions(given, genome, model=model, strand="both", **FP32)
        assert genome.contigs  # still open
    np.testing.assert_array_equal(again.x, e.x)
    assert {name: column.tolist() for name, column in again.obs.items() if name != "source"} == {
        name: column.tolist() for name, column in e.obs.items() if name != "source"
    }
    one = findna.embed_regions("chr2:1-10", genome_path, model=model, strand="both", **FP32)
    assert one.obs["start"].tolist() == [0]
    np.testing.assert_allclose(one.x[0], e.x[1], rtol=1e-5, atol=1e-6)
    assert findna.embed_regions([], genome_path, model=model).x.shape == (0, e.x.shape[1])


def test_the_table_of_regions_is_one_that_pandas_takes(genome_path, model):
    pandas = pytest.importorskip("pandas")
    e = findna.embed_regions(["chr1:1-50", "chr1:5-20"], genome_path, model=model)
    table = pandas.DataFrame(e.obs)
    assert table.loc[1, ["chrom", "start", "end", "length"]].tolist() == ["chr1", 4, 20, 16]
    frame = pandas.DataFrame({"chrom": ["chr1"], "start": [3], "end": [30]})
    assert len(findna.embed_regions(frame.itertuples(index=False), genome_path, model=model)) == 1


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (("chr1", 60, 50), r"\[1\]: start 60 and end 50 must satisfy"),
        (("chr1", 5), r"\[1\]: expected \(chrom, start, end\)"),
        (("chr1", 5.7, 9), r"\[1\]: expected \(chrom, start, end\).*5\.7, 9\); start and end are whole numbers"),
        (("chr1", "5", "2_0"), r"\[1\]: expected \(chrom, start, end\)"),
        (("chr1", 5, 9, "", "x"), r"\[1\]: strand must be"),
        (("1", 5, 9), r"1:6-9: contig '1' is not in genome.fa \(did you mean 'chr1'"),
        ("chr1:500-9000", "past the end of chr1"),
    ],
)
def test_a_region_that_does_not_fit_is_an_error_or_is_listed(region, message, genome_path, model):
    regions = ["chr1:1-50", region]
    with pytest.raises(findna.RegionError, match=message):
        findna.embed_regions(regions, genome_path, model=model)
    if "contig" in message or "past" in message:
        e = findna.embed_regions(regions, genome_path, model=model, on_error="skip")
        assert (len(e), e.skipped["row"].tolist()) == (1, [1])
    with pytest.raises(findna.ConfigError, match="on_error"):
        findna.embed_regions(regions, genome_path, model=model, on_error="ignore")


def test_regions_with_too_many_n_are_listed_as_skipped(genome_path, model):
    e = findna.embed_regions(["chr1:1-50", "chr2"], genome_path, model=model, max_n=0.1)
    assert (len(e), e.skipped["id"].tolist()) == (1, ["chr2:0-10(.)"])


def test_hidden_states_are_one_row_a_base(model):
    codes = encode("ACGTTGCA")[0]
    h = findna.hidden_states("ACGTTGCA", model=model, **FP32)
    np.testing.assert_allclose(h, hidden(model, codes)[:8].numpy(), rtol=1e-5, atol=1e-6)
    long = findna.hidden_states("ACGT" * 300, model=model, **FP32)
    assert long.shape == (1200, model.config.channels)
    np.testing.assert_allclose(
        long.mean(0), findna.embed(["ACGT" * 300], model=model, pool="mean", **FP32)[0], atol=1e-4
    )
    assert findna.hidden_states("ACGT", model=model, blocks="5,20").shape == (4, 2 * model.config.channels)


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_bases_are_predicted_where_they_are_masked(passes, model):
    codes = encode("ACGTTGCATN")[0]
    found = findna.predict_bases(["ACGTTGCATN", "AC"], model=model, passes=passes, **FP32)
    assert [p.shape for p in found] == [(10, 4), (2, 4)]
    n = passes or len(codes)
    for first in range(n):
        masked = codes.copy()
        masked[first::n] = BLANK
        with torch.inference_mode():
            logits = model.network.nucleotide_logits(hidden(model, masked)[:10][first::n])
        np.testing.assert_allclose(found[0][first::n], torch.softmax(logits[:, :4], dim=1).numpy(), atol=1e-5)


def test_bases_of_a_long_sequence_are_predicted_in_the_window_that_owns_them(model):
    size = model.config.window
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), size + 7))
    (found,) = findna.predict_bases([bases], model=model, passes=4, **FP32)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    codes = encode(bases)[0]
    masked = codes[-size:].copy()
    masked[[i - 7 for i in range(size, size + 7) if i % 4 == 2]] = BLANK
    with torch.inference_mode():
        logits = model.network.nucleotide_logits(hidden(model, masked))[:, :4]
    for place in (i for i in range(size, size + 7) if i % 4 == 2):
        np.testing.assert_allclose(found[place], torch.softmax(logits[place - 7], dim=0).numpy(), atol=1e-5)
    with pytest.raises(findna.ConfigError, match="passes"):
        findna.predict_bases([bases], model=model, passes=-1)


def test_classify_gives_labels_and_calibrated_probabilities():
    task = findna.load_task("promoter-tata")
    y = findna.classify(["ACGT" * 75, "TTGACC" * 40], task, **FP32)
    assert (len(y), y.classes, len(y.values)) == (2, task.settings.classes, 0)
    np.testing.assert_allclose(y.probabilities.sum(1), 1, rtol=1e-5)
    assert y.labels.tolist() == [y.classes[best] for best in y.probabilities.argmax(1)]
    assert findna.classify(["ACGTTGCATTAGGCAT" * 18], task, abstain=1.0).labels.tolist() == ["unknown"]
    assert findna.classify([], task).probabilities.shape == (0, 2)
    with pytest.raises(findna.FindnaError, match="promoter-tat"):
        findna.classify(["ACGT"], "promoter-tat")


def test_classifying_leaves_the_task_model_as_it_is():
    task = findna.load_task("promoter-tata")
    config = ClassifyConfig()
    for device in ("cpu", "meta"):
        Classifier(task, config, compute=Compute(torch.device(device), FP32_KIND))
    assert {weight.device.type for weight in task.head.parameters()} == {"cpu"}


def test_a_file_is_embedded_with_progress_or_only_planned(tmp_path: Path):
    (tmp_path / "in.fa").write_text(">a\nACGT\n>b\nTTGA\n")
    told: list[tuple[int, int | None, bool]] = []
    report = findna.embed_file(
        [tmp_path / "in.fa"],
        tmp_path / "x.tsv.gz",
        on_progress=lambda done, total: told.append((done, total, gc.get_freeze_count() > 0)),
    )
    assert (report["n_rows"], told[-1], gc.get_freeze_count()) == (2, (2, 2, True), 0)
    assert (tmp_path / "x.tsv.gz").exists()
    assert findna.embed_file([tmp_path / "in.fa"], tmp_path / "x.tsv.gz")["nothing_to_do"]
    with pytest.raises(findna.OutputError, match=r"exists already.*pool: "):
        findna.embed_file([tmp_path / "in.fa"], tmp_path / "x.tsv.gz", pool="max")
    with pytest.raises(findna.ConfigError, match="does not write"):
        findna.embed_file([tmp_path / "in.fa"], tmp_path / "x.csv")
