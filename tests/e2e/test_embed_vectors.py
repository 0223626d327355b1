"""`findna embed`: the values of a vector, and the formats of its file."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pyarrow.parquet
import pytest
from command import Oracle, assert_close, call, embedded, fasta, read

Write = Callable[..., Path]
SEQUENCES = {"a": "ACGTTGCAAGGATC" * 9, "b": "ACGGT", "c": "TTGACN" * 9}  # 126, 5 and 54 bases


@pytest.fixture
def seqs(write: Write) -> Path:
    return write("s.fa", fasta(SEQUENCES))


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (("--pool", "mean"), {}),
        (("--pool", "max"), {"pool": "max"}),
        (("--pool", "cls"), {"pool": "cls"}),
        (("--layer", 1), {"layer": 1}),
        (("--layer", 0), {"layer": 0}),
        (("--stride", 20), {"stride": 20}),
        (("--stride", 20, "--pool", "max", "--batch-bases", 60), {"stride": 20, "pool": "max"}),
    ],
)
def test_pooling_layer_and_stride(
    flags: tuple[object, ...], settings: dict[str, object], seqs: Path, model: Path, oracle: Oracle
) -> None:
    embedded(seqs, "-m", model, *flags)
    table = read(Path("s.h5"))
    expected = np.array([oracle.vector(text, **settings).ravel() for text in SEQUENCES.values()])
    assert_close(table.x, expected)
    if "stride" in settings:
        assert table.obs["n_windows"] == [5, 1, 2]


def test_a_smaller_window_is_a_shorter_ring(seqs: Path, model: Path) -> None:
    oracle = Oracle(model)
    oracle.window = 30
    embedded(seqs, "-m", model, "--window", 30)
    assert_close(read(Path("s.h5")).x, np.array([oracle.vector(text) for text in SEQUENCES.values()]))


def test_class_tokens_and_bases_stand_beside_the_means(seqs: Path, model: Path, oracle: Oracle) -> None:
    embedded(seqs, "-m", model, "--pool", "mean,cls,tokens")
    table = read(Path("s.h5"))
    assert_close(table.x, np.array([oracle.vector(text) for text in SEQUENCES.values()]))
    assert table.cls is not None
    assert_close(table.cls, np.array([oracle.vector(text, pool="cls") for text in SEQUENCES.values()]))
    with h5py.File("s.tokens.h5") as file:
        indptr, tokens = file["indptr"][()], file["X"][()]
        assert file["id"].asstr()[()].tolist() == ["a", "b", "c"]
        assert file.attrs["complete"]
    assert indptr.tolist() == [0, 126, 131, 185]
    assert tokens.dtype == np.float16
    for row, text in enumerate(SEQUENCES.values()):
        assert_close(tokens[indptr[row] : indptr[row + 1]], oracle.vector(text, pool="tokens"), tolerance=2e-3)


def test_bf16_products_stay_close(seqs: Path, model: Path, oracle: Oracle) -> None:
    result = call("embed", seqs, "-m", model, "--precision", "bf16", "-t", 1, "-q")
    assert (result.code, result.err) == (0, "")
    table = read(Path("s.h5"))
    assert table.meta["params"]["precision"] == "bf16"
    for found, text in zip(table.x, SEQUENCES.values(), strict=True):
        expected = oracle.vector(text)
        assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.9999


def test_float16_halves_the_vectors(seqs: Path, model: Path) -> None:
    embedded(seqs, "-m", model, "-o", "full.h5")
    embedded(seqs, "-m", model, "-o", "half.h5", "--dtype", "float16")
    full, half = read(Path("full.h5")), read(Path("half.h5"))
    assert half.x.dtype == np.float16
    assert np.array_equal(half.x, full.x.astype(np.float16))


@pytest.mark.parametrize("backed", [None, "r"])
def test_anndata_opens_an_output_without_a_warning(backed: str | None, seqs: Path, model: Path) -> None:
    # The project's pytest settings make every warning an error.
    embedded(seqs, "-m", model, "--pool", "mean,cls", "-o", "s.h5ad", "--max-n", "0.1")
    data = anndata.read_h5ad("s.h5ad", backed=backed)
    x = np.asarray(data.X[:])
    with h5py.File("s.h5ad") as file:
        assert np.array_equal(x, file["X"][()])
    assert data.obs_names.tolist() == ["a", "b"]
    assert data.var_names[0] == "f000"
    assert data.obsm["X_cls"].shape == (2, 3, 12)
    assert data.uns["findna"]["skipped"]["reason"].tolist() == ["16.7% of the bases are N, more than 10.0%"]
    assert json.loads(data.uns["findna"]["params"])["max_n"] == 0.1
    if backed:
        data.file.close()


def test_tables_hold_the_same_as_hdf5(seqs: Path, model: Path) -> None:
    flags = ("-m", model, "--max-n", "0.1")
    embedded(seqs, *flags, "-o", "out.h5")
    table = read(Path("out.h5"))
    embedded(seqs, *flags, "--format", "tsv")
    embedded(seqs, *flags, "-o", "z.tsv.gz")
    embedded(seqs, *flags, "-o", "n.npy")
    embedded(seqs, *flags, "-o", "s.parquet")
    lines = Path("s.tsv").read_text().splitlines()
    assert gzip.decompress(Path("z.tsv.gz").read_bytes()).decode().splitlines() == lines
    header, *rows = (line.split("\t") for line in lines)
    assert header[:2] == ["id", "chrom"]
    first = header.index("e0")
    assert np.array_equal(np.array([row[first:] for row in rows], np.float32), table.x)
    assert [row[0] for row in rows] == table.obs["id"]
    assert np.array_equal(np.load("n.npy"), table.x)
    assert Path("n.obs.tsv").read_text().splitlines() == ["\t".join(line.split("\t")[:first]) for line in lines]
    parquet = pyarrow.parquet.read_table("s.parquet")
    assert np.array_equal(np.stack(parquet["embedding"].to_numpy()), table.x)
    assert parquet["id"].to_pylist() == table.obs["id"]
    meta = json.loads(Path("s.meta.json").read_text())
    assert meta["n_expected"] == 3
    assert [(entry["id"], entry["reason"]) for entry in meta["skipped"]] == [
        ("c", "16.7% of the bases are N, more than 10.0%")
    ]
    assert json.loads(parquet.schema.metadata[b"findna"])["skipped"] == meta["skipped"]


def test_stdout_takes_a_table_that_says_when_it_is_whole(seqs: Path, model: Path) -> None:
    embedded(seqs, "-m", model, "-o", "out.tsv", "--max-n", "0.1")
    result = embedded(seqs, "-m", model, "-o", "-", "--max-n", "0.1")
    assert result.out == Path("out.tsv").read_text() + "# complete n_rows=2 n_skipped=1\n"
    assert "stdout: 2 rows, 1 skipped" in result.err


def test_the_report_and_the_provenance_tell_the_run(write: Write, genome: Path, model: Path) -> None:
    bed = write("a.bed", "chr1\t0\t60\nchrN\t0\t50\n")
    embedded(bed, "-g", genome, "-m", model, "--max-n", "0.5", "--json", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert (report["n_records"], report["n_rows"], report["n_skipped"], report["n_resumed"]) == (2, 1, 1, 0)
    assert report["outputs"] == ["a.h5"]
    assert report["n_bases"] == 60  # of what was embedded
    meta = read(Path("a.h5")).meta
    for name in ("provenance", "model", "genome", "inputs", "params"):
        assert report[name] == meta[name]
    assert meta["provenance"]["command"].startswith("findna embed a.bed -g g.fa")
    assert meta["model"]["name"] == "little"
    assert meta["genome"]["n_contigs"] == 3
    assert meta["inputs"][0]["path"] == "a.bed"
    assert len(meta["inputs"][0]["sha256"]) == 64
    assert meta["params"]["window"] == meta["params"]["stride"] == 50


def test_a_dry_run_counts_and_writes_nothing(write: Write, genome: Path, model: Path) -> None:
    bed = write("a.bed", "chr1\t0\t60\nchr1\t1990\t2010\nchr7\t0\t50\nchr7\t0\t60\n")
    flags = ("embed", bed, "-g", genome, "-m", model, "--dry-run", "-t", 1)
    result = call(*flags, "--json", "plan.json")
    assert result.code == 1  # `findna embed` would stop at once
    plan = json.loads(Path("plan.json").read_text())
    assert (plan["n_records"], plan["n_windows"], plan["n_bases"], plan["n_problems"]) == (4, 2, 60, 3)
    assert plan["missing_contigs"] == {"chr7": 2}
    assert plan["output_bytes"] > 48
    assert plan["bases_per_second"] > 0
    assert "a.bed, line 2: end 2,010 is past the end of chr1 (2,000 bases; 1 of 4 records affected" in result.err
    assert "\nproblems  2 of 4 records: contig is not in the genome; 1 of 4 records: does not fit" in result.out
    assert not Path("a.h5").exists()
    assert not Path("a.h5.partial").exists()
    (measured,) = Path(os.environ["FINDNA_CACHE"], "calibration").iterdir()
    measured.write_text("1234")
    again = call(*flags, "--on-error", "skip")
    assert (again.code, "at 1,234 bases/s" in again.out) == (0, True)


def test_a_dry_run_plans_for_its_flags(write: Write, model: Path) -> None:
    seqs = write("a.fa", ">long\n" + "ACGTTGCA" * 50_000 + "\n" + "".join(f">s{i}\nACGT\n" for i in range(3000)))

    def plan(*flags: object) -> dict[str, float]:
        result = call("embed", seqs, "-m", model, "--dry-run", "-t", 1, "--json", "plan.json", *flags)
        assert result.code == 0, result.err
        return json.loads(Path("plan.json").read_text())

    apart, close = plan(), plan("--stride", 5, "--format", "tsv")
    assert close["n_windows"] - 3000 > 9 * (apart["n_windows"] - 3000)
    seconds = [each["estimated_seconds"] * each["bases_per_second"] for each in (apart, close)]
    assert seconds[1] > 2 * seconds[0]  # ten times the work for the long one; the seconds shown are rounded
    assert close["output_bytes"] > apart["output_bytes"]  # text is larger than HDF5
    assert plan("--pool", "tokens")["n_records"] == plan("--strand", "both")["n_records"] == 3001


def test_the_rows_are_the_same_in_any_batch_on_any_number_of_threads(write: Write, genome: Path, model: Path) -> None:
    rows = "".join(f"chr1\t{3 * i}\t{3 * i + 1 + i % 90}\n" for i in range(300))
    bed = write("a.bed", rows)
    embedded(bed, "-g", genome, "-m", model, "-o", "one.h5")
    embedded(bed, "-g", genome, "-m", model, "-o", "small.h5", "--batch-bases", 130)
    call("embed", bed, "-g", genome, "-m", model, "-o", "two.h5", "-t", 2, "--precision", "fp32")
    embedded(bed, "-g", genome, "-m", model, "-o", "again.h5")
    one = read(Path("one.h5"))
    assert len(one.x) == 300
    assert np.array_equal(read(Path("again.h5")).x, one.x)
    for name in ("small.h5", "two.h5"):
        other = read(Path(name))
        assert_close(other.x, one.x)
        assert other.obs == one.obs


def test_windows_have_a_row_each_with_their_coordinates(write: Write, genome: Path, model: Path) -> None:
    bed = write("a.bed", "chr1\t100\t220\tlong\t0\t-\nchr1\t10\t40\tshort\n")
    single = write("b.bed", "".join(f"chr1\t{start}\t{start + 50}\tx\t0\t-\n" for start in (170, 120, 100)))
    embedded(bed, "-g", genome, "-m", model, "--windows", "-o", "w.h5")
    embedded(single, "-g", genome, "-m", model, "-o", "s.h5")
    windows, singles = read(Path("w.h5")), read(Path("s.h5"))
    assert windows.obs["id"] == [*(f"chr1:100-220(-):{a}-{a + 50}" for a in (0, 50, 70)), "chr1:10-40(.):0-30"]
    assert list(zip(windows.obs["start"], windows.obs["end"], strict=True))[:3] == [(170, 220), (120, 170), (100, 150)]
    assert windows.obs["name"] == ["long"] * 3 + ["short"]
    np.testing.assert_allclose(windows.x[:3], singles.x, atol=1e-5)
    assert call("verify", "w.h5").code == 0
    assert call("embed", bed, "-g", genome, "-m", model, "--windows", "--shard", "1/2", "-o", "x.h5").code == 2


def test_a_dry_run_looks_at_the_output_too(write: Write, model: Path) -> None:
    fasta = write("a.fa", ">a\nACGTRN\n")
    flags = ("embed", fasta, "-m", model, "-t", 1)
    assert "a/x.h5: the folder a does not exist" in call(*flags, "--dry-run", "-o", "a/x.h5").err
    assert "1 of 1 record: IUPAC codes, which are read as N" in call(*flags).err
    done = call(*flags, "--dry-run")
    assert (done.code, done.err) == (0, "a.h5: complete; nothing to do\n")
    assert "a.h5: exists already" in call(*flags, "--pool", "max", "--dry-run").err
