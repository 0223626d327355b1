"""A model's own read-out: measured, standardised by default, overridden, and described in every output."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pyarrow.parquet
import pytest
from command import call, embedded, fasta, read

Write = Callable[..., Path]
SEQUENCES = {"a": "ACGTTGCAAGGATC" * 9, "b": "ACGGT", "c": "TTGACN" * 9}


@pytest.fixture
def seqs(write: Write) -> Path:
    return write("s.fa", fasta(SEQUENCES))


@pytest.fixture
def standardising(write: Write, model: Path, bases: dict[str, str]) -> Path:
    """The model with a read-out of its own: mean and sd after blocks 6 and 12, measured on windows of the genome."""
    shutil.copytree(model, "own")
    windows = {f"w{i}": bases["chr1"][20 * i : 20 * i + 50] for i in range(60)}
    write("w.fa", fasta(windows))
    result = call("model", "readout", "own", "w.fa", "--blocks", "6,12", "--precision", "fp32", "-t", 1)
    assert result.code == 0, result.err
    assert result.err == "own: mean,sd after blocks 6,12; 48 features, standardised on 60 windows\n"
    return Path("own")


def test_a_model_s_own_read_out_is_standardised_unless_asked_otherwise(seqs: Path, standardising: Path) -> None:
    vectors = {}
    for name, flags in {
        "own": (),
        "same": ("--pool", "mean,sd", "--blocks", "6,12"),
        "raw": ("--raw",),
        "mean": ("--pool", "mean"),
        "first": ("--layer", 1),
        "plain": ("--pool", "mean", "--raw"),
    }.items():
        embedded(seqs, "-m", standardising, *flags, "-o", f"{name}.h5")
        vectors[name] = read(Path(f"{name}.h5"))
    own, raw = vectors["own"], vectors["raw"]
    data = anndata.read_h5ad("own.h5")
    assert list(data.var.columns) == ["block", "pool", "channel", "mean", "sd"]
    mean, sd = (data.var[name].to_numpy() for name in ("mean", "sd"))
    np.testing.assert_allclose(own.x, 0.08 * (raw.x - mean) / sd, atol=1e-6, rtol=1e-6)
    assert np.array_equal(vectors["same"].x, own.x)
    assert np.array_equal(raw.x[:, 12:24], vectors["mean"].x)
    assert np.array_equal(raw.x[:, :12], vectors["first"].x)
    assert np.array_equal(vectors["plain"].x, vectors["mean"].x)
    assert [table.meta["params"]["raw"] for table in vectors.values()] == [False, False, True, True, True, True]
    assert own.meta["model"]["readout"]["reference"]["sources"].keys() == {"w.fa"}
    with h5py.File("own.h5") as file:
        var = file["var"]
        names = var["id"].asstr()[()].tolist()
        place = names.index("sd_b12_f003")
        assert (var["block"][place], var["channel"][place]) == (12, 3)
        assert var["pool/categories"].asstr()[var["pool/codes"][place]] == "sd"
    with h5py.File("mean.h5") as file:
        assert np.isnan(file["var/mean"][()]).all()


def test_tables_and_merged_shards_say_of_features_what_hdf5_does(seqs: Path, standardising: Path) -> None:
    flags = [seqs, "-m", standardising]
    embedded(*flags, "-o", "one.h5")
    for part in ("1/2", "2/2"):
        embedded(*flags, "--shard", part)
    assert call("merge", "s.part1of2.h5", "s.part2of2.h5", "-o", "two.h5").code == 0
    one, two = anndata.read_h5ad("one.h5"), anndata.read_h5ad("two.h5")
    assert np.allclose(one.X, two.X, atol=1e-5)
    assert one.var.equals(two.var)
    embedded(*flags, "-o", "one.tsv", "--pool", "max")
    embedded(*flags, "-o", "one.parquet")
    meta = json.loads(Path("one.meta.json").read_text())
    assert meta["features"][3] == "f003"
    assert {name: values[3] for name, values in meta["var"].items()} == {
        "block": 12, "pool": "max", "channel": 3, "mean": None, "sd": None
    }  # fmt: skip
    var = json.loads(pyarrow.parquet.read_schema("one.parquet").metadata[b"findna"])["var"]
    assert np.array_equal(np.float32(var["mean"]), one.var["mean"])


def test_a_read_out_is_shown_checked_and_refused_where_it_is_too_wide(standardising: Path, model: Path) -> None:
    shown = "mean,sd after blocks 6,12; 48 features, standardised on 60 windows"
    assert f"read-out {shown}" in " ".join(call("model", "info", standardising).out.split())
    assert f"ok   little: read-out: {shown}" in call("model", "verify", standardising, "--precision", "fp32").out
    assert "read-out mean after the last block; not standardised" in " ".join(call("model", "info", model).out.split())
    again = call("model", "readout", standardising, "w.fa", "--blocks", "6,12")
    assert (again.code, again.err) == (0, "own: complete; nothing to do\n")
    other = call("model", "readout", standardising, "w.fa", "--blocks", "6")
    assert (other.code, 'other inputs or settings (--blocks: "6" now, "6,12" before' in other.err) == (1, True)
    wide = call("model", "readout", standardising, "w.fa", "--blocks", "6,12", "--max-columns", 47, "--force")
    assert (wide.code, wide.err.count("\n")) == (2, 1)
    assert "a read-out of 48 features is above the limit of 47" in wide.err
    assert call("model", "readout", "absent", "w.fa").code == 1
    config = Path("own/config.json")
    config.write_text(config.read_text().replace('"track_width": 2', '"track_width": 3'))
    edited = call("embed", "w.fa", "-m", standardising)
    assert edited.code == 1
    assert "model own: the content of config.json has sha256 " in edited.err
