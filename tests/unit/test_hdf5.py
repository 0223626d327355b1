import json
import os
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from outputs import BATCH, FEATURES, N_RECORDS, UNS, batches, dump, obs, table, vectors, write_all, write_batches

from findna.errors import ConfigError, InputError, ModelError, OutputError, TableError
from findna.io import files, spool
from findna.io.hdf5 import OBS_COLUMNS, EmbeddingReader, EmbeddingWriter, read_embeddings
from findna.io.view import describe, iter_rows

ROWS = [row for rows, _ in batches() for row in rows]
SKIPPED = [row for _, rows in batches() for row in rows]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    assert write_all(tmp_path / "out.h5") == [tmp_path / "out.h5"]
    assert _names(tmp_path) == ["out.h5"]
    with EmbeddingReader(tmp_path / "out.h5") as reader:
        assert len(reader) == len(ROWS)
        assert reader.x.dtype == np.float32
        np.testing.assert_array_equal(reader.x[:], vectors(ROWS))
        assert reader.features == FEATURES
        assert reader.columns == list(OBS_COLUMNS) == list(reader.obs)
        for name, kind in OBS_COLUMNS.items():
            dtype = object if kind in ("string", "categorical") else kind
            expected = np.array([obs(row)[name] for row in ROWS], dtype=dtype)
            assert reader.obs[name].dtype == expected.dtype
            np.testing.assert_array_equal(reader.obs[name], expected)
        assert reader.skipped["id"].tolist() == [f"bad {row}" for row in SKIPPED]
        assert reader.skipped["line"].tolist() == [row + 1 for row in SKIPPED]
        assert set(reader.skipped["reason"]) == {"no\tregion"}
        meta = dict(reader.meta)
        assert meta.pop("checksums").keys() == {"X", "obs", "skipped"}
        assert meta == UNS | {"schema": "findna-embedding/1", "complete": True, "n_expected": N_RECORDS}
        assert reader.cls is None


def test_the_file_has_the_layout_of_the_schema(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5", full=True)
    with h5py.File(tmp_path / "out.h5") as file:
        assert dict(file.attrs) == {
            "encoding-type": "anndata",
            "encoding-version": "0.1.0",
            "findna_schema": "findna-embedding/1",
            "complete": True,
            "n_expected": N_RECORDS,
        }
        assert set(file) == {"X", "layers", "obs", "obsm", "obsp", "uns", "var", "varm", "varp"}
        assert file["X"].compression is None
        assert file["obsm/X_cls"].shape == (len(ROWS), 2, 3)
        assert set(file["uns/findna"]) == {
            "schema",
            "complete",
            "n_expected",
            "params",
            "model",
            "skipped",
            "checksums",
        }
        filters: set[str | None] = set()
        file.visititems(lambda _, item: filters.add(getattr(item, "compression", None)))
        assert filters == {None, "gzip"}
        text = h5py.check_string_dtype(file["obs/id"].dtype)
        assert (text.encoding, text.length) == ("utf-8", None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("backed", [None, "r"])
def test_anndata_takes_the_file_as_its_own(tmp_path: Path, backed: str | None, dtype: str) -> None:
    write_all(tmp_path / "out.h5", full=True, dtype=dtype)
    data = anndata.read_h5ad(tmp_path / "out.h5", backed=backed)
    assert data.obs_names.tolist() == [obs(row)["id"] for row in ROWS]
    assert data.var_names.tolist() == FEATURES
    assert list(data.obs.columns) == list(OBS_COLUMNS)[1:]
    assert data.obs["chrom"].dtype == "category"
    assert data.obs["strand"].tolist() == [obs(row)["strand"] for row in ROWS]
    np.testing.assert_array_equal(data.X[:], vectors(ROWS).astype(dtype))
    np.testing.assert_array_equal(data.obsm["X_cls"][:], vectors(ROWS, 6).reshape(-1, 2, 3).astype(dtype))
    assert json.loads(data.uns["findna"]["params"]) == UNS["params"]
    assert data.uns["findna"]["skipped"]["row"].tolist() == SKIPPED
    if backed:
        data.file.close()


def test_a_file_that_anndata_saved_again_is_still_ours(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5", full=True)
    anndata.read_h5ad(tmp_path / "out.h5").write_h5ad(tmp_path / "again.h5ad")
    read = read_embeddings(tmp_path / "again.h5ad", slice(2, 5))
    np.testing.assert_array_equal(read.x, vectors(ROWS[2:5]))
    assert len(read) == 3
    assert read.obs["name"].tolist() == [obs(row)["name"] for row in ROWS[2:5]]
    assert read.features == FEATURES
    assert read.skipped["row"].tolist() == SKIPPED
    assert read.meta["params"] == UNS["params"]


@pytest.mark.parametrize("n_skipped", [0, 3])
def test_a_result_without_rows_is_a_valid_file(tmp_path: Path, n_skipped: int) -> None:
    with EmbeddingWriter(
        tmp_path / "out.h5", features=FEATURES, fingerprint={}, n_cls_shape=(2, 3), tokens_dim=2
    ) as writer:
        for row in range(n_skipped):
            writer.skip("bad", row=row, line=None, source="-", reason="zero length")
        writer.finish(UNS, n_expected=n_skipped)
    read = read_embeddings(tmp_path / "out.h5")
    assert read.x.shape == read_embeddings(tmp_path / "out.h5", is_mapped=True).x.shape == (0, 3)
    assert read.obs["id"].tolist() == []
    for backed in (None, "r"):
        data = anndata.read_h5ad(tmp_path / "out.h5", backed=backed)
        assert data.shape == (0, 3)
        assert len(data.uns["findna"]["skipped"]) == n_skipped
        if backed:
            data.file.close()


def test_more_rows_than_a_block_stay_in_order(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5", n_records=5000, full=True, every=1000)
    rows = [row for rows, _ in batches(5000) for row in rows]
    read = read_embeddings(tmp_path / "out.h5")
    np.testing.assert_array_equal(read.x, vectors(rows))
    assert read.obs["row"].tolist() == rows
    mapped = read_embeddings(tmp_path / "out.h5", slice(2000, 3000), is_mapped=True)
    assert isinstance(mapped.x, np.memmap)
    assert not mapped.x.flags.writeable
    np.testing.assert_array_equal(mapped.x, read.x[2000:3000])
    with h5py.File(tmp_path / "out.tokens.h5") as file:
        lengths = [obs(row)["length"] for row in rows]
        assert np.diff(file["indptr"]).tolist() == lengths
        assert file["X"].shape == (sum(lengths), 2)
        begin, end = file["indptr"][4000:4002]
        assert (file["X"][begin:end] == vectors([rows[4000]], 2).astype(np.float16)).all()
        assert file["id"].asstr()[:].tolist() == read.obs["id"].tolist()
        assert file.attrs["findna_schema"] == "findna-tokens/1"


@pytest.mark.parametrize("rows", [-1, [3, 1], [1, 1], [-1], [0, 99], [0.5], [True, False], slice(None, None, -1)])
def test_rows_that_are_absent_or_out_of_order_are_no_damage(tmp_path: Path, rows: object) -> None:
    write_all(tmp_path / "out.h5", full=True)
    with pytest.raises(ValueError, match=r"^rows"):
        read_embeddings(tmp_path / "out.h5", rows)  # type: ignore[arg-type]


def test_own_columns_come_in_the_given_order(tmp_path: Path) -> None:
    columns = OBS_COLUMNS | {"flag": "int32", "rc_cosine": "float32"}
    with EmbeddingWriter(tmp_path / "o.h5", features=["a"], fingerprint={}, obs_columns=columns) as writer:
        row = obs(0, flag=np.int64(16), rc_cosine=np.float32(0.1), frac_n=np.float64(0.5))
        writer.write(np.ones((1, 1), np.float32), table([row]))
        writer.finish({}, n_expected=1)
    with EmbeddingReader(tmp_path / "o.h5") as reader:
        assert reader.columns[-2:] == ["flag", "rc_cosine"]
        assert reader.obs["rc_cosine"][0] == np.float32(0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_with_nan_or_inf_is_an_error_and_not_written(tmp_path: Path, bad: float) -> None:
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}) as writer:
        x = vectors([0, 1])
        x[1, 2] = bad
        with pytest.raises(ModelError, match=r"record chr1:1-3\(\+\): its vector holds NaN or Inf"):
            writer.write(x, table([obs(0), obs(1)]))
        assert writer.n_rows == 0


def test_a_value_outside_float16_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    with (
        EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}, dtype="float16") as writer,
        pytest.raises(OutputError, match="dtype=float32"),
    ):
        writer.write(vectors([0]) + np.float32(1e6), table([obs(0)]))


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_text_that_hdf5_cannot_hold_is_an_input_error(tmp_path: Path, name: str) -> None:
    with (
        EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}) as writer,
        pytest.raises(InputError, match=r"NUL byte|not Unicode"),
    ):
        writer.write(vectors([0]), table([obs(0, name=name)]))


def test_backslashes_quotes_and_line_ends_in_names_read_back(tmp_path: Path) -> None:
    name = 'a\\u0000 "b"\n\u2028],['
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}) as writer:
        writer.write(vectors([0]), table([obs(0, name=name)]))
        writer.finish({}, n_expected=1)
    assert read_embeddings(tmp_path / "out.h5").obs["name"].tolist() == [name]


def test_columns_with_one_value_read_back_and_a_negative_zero_keeps_its_sign(tmp_path: Path) -> None:
    same = {"name": "%s %", "chrom": "c", "start": 0, "strand": "+", "frac_n": 0.0, "n_iupac": 0}
    rows = [obs(row, **same) for row in range(3)] + [obs(3, **same | {"frac_n": -0.0})]
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}) as writer:
        writer.write(vectors([0, 1, 2, 3]), table(rows))
        writer.finish({}, n_expected=4)
    found = read_embeddings(tmp_path / "out.h5").obs
    assert {name: found[name].tolist() for name in same} == {name: [value] * 4 for name, value in same.items()}
    assert np.signbit(found["frac_n"]).tolist() == [False, False, False, True]


def test_tokens_must_match_the_lengths_of_their_rows(tmp_path: Path) -> None:
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}, tokens_dim=2) as writer:
        writer.write_tokens(vectors([0, 1], 2))
        with pytest.raises(ValueError, match="2 tokens were written for rows of 1 bases"):
            writer.write(vectors([0]), table([obs(0)]))
        with pytest.raises(ValueError, match="was skipped after its tokens"):
            writer.skip("a", row=0, line=1, source="", reason="")


def test_rows_that_went_missing_are_an_error_and_the_spool_stays(tmp_path: Path) -> None:
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}) as writer:
        writer.write(vectors([0]), table([obs(0)]))
        with pytest.raises(OutputError, match="2 records came in, 1 row and 0 skipped came out"):
            writer.finish({}, n_expected=2)
    assert _names(tmp_path) == ["out.h5.partial"]


def test_an_interrupted_run_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    write_all(tmp_path / "whole.h5", full=True)
    options = {"features": FEATURES, "fingerprint": {"seed": 1}, "n_cls_shape": (2, 3), "tokens_dim": 2}
    with EmbeddingWriter(tmp_path / "out.h5", every=0, **options) as writer:
        write_batches(writer, 2 * BATCH, full=True)
        writer.write_tokens(vectors([0], 2))  # not committed
    assert not (tmp_path / "out.h5").exists()
    with pytest.raises(OutputError, match="a partial run exists"):
        write_all(tmp_path / "out.h5", full=True)
    with pytest.raises(OutputError, match="seed: 2 now, 1 before"):
        write_all(tmp_path / "out.h5", full=True, resume=True, fingerprint={"seed": 2})
    with pytest.raises(OutputError, match='dtype: "float16" now, "float32" before'):
        write_all(tmp_path / "out.h5", full=True, resume=True, dtype="float16")
    with EmbeddingWriter(tmp_path / "out.h5", resume=True, **options) as writer:
        assert writer.n_records_done == 2 * BATCH
        assert writer.n_skipped == 1
    write_all(tmp_path / "out.h5", full=True, resume=True)
    for name in ("{}.h5", "{}.tokens.h5"):
        out, whole = (tmp_path / name.format(stem) for stem in ("out", "whole"))
        assert out.read_bytes() == whole.read_bytes()
    assert _names(tmp_path) == ["out.h5", "out.tokens.h5", "whole.h5", "whole.tokens.h5"]
    (tmp_path / "out.h5").unlink()
    with pytest.raises(OutputError, match=r"out\.tokens\.h5: belongs to an earlier out\.h5: remove it"):
        write_all(tmp_path / "out.h5")


def test_an_existing_output_is_refused_and_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_text("old")
    for resume in (False, True):
        with pytest.raises(OutputError, match="exists already; choose another name, or force=True replaces it"):
            write_all(path, resume=resume)
    assert _names(tmp_path) == ["out.h5"]
    with EmbeddingWriter(path, features=FEATURES, fingerprint={}, force=True) as writer:
        write_batches(writer)
        assert path.read_text() == "old"
        writer.finish({}, n_expected=N_RECORDS)
    assert len(read_embeddings(path)) == len(ROWS)


def test_force_discards_a_partial_run_and_resume_with_force_continues_it(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_text("old")
    options = {"features": FEATURES, "fingerprint": {"seed": 1}, "force": True}
    with EmbeddingWriter(path, every=0, **options) as writer:
        write_batches(writer, BATCH)
    with EmbeddingWriter(path, resume=True, **options) as writer:
        assert writer.n_records_done == BATCH
    with EmbeddingWriter(path, **options) as writer:
        assert writer.n_records_done == 0


def test_an_output_in_an_absent_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent does not exist"):
        write_all(tmp_path / "absent" / "out.h5")


def test_an_output_that_is_a_folder_is_refused_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "out.h5").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_all(tmp_path / "out.h5", force=True)


def test_class_tokens_need_hdf5(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="output_format=h5"):
        write_all(tmp_path / "out.tsv", full=True, output_format="tsv")


def test_without_space_for_the_final_file_the_spool_is_kept_and_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "free_bytes", lambda _: 10_000)
        with pytest.raises(OutputError, match="are free; every row is kept: resume=True finishes"):
            write_all(tmp_path / "out.h5")
    assert _names(tmp_path) == ["out.h5.partial"]
    write_all(tmp_path / "out.h5", resume=True)
    write_all(tmp_path / "whole.h5")
    assert dump(tmp_path / "out.h5") == dump(tmp_path / "whole.h5")


def test_commits_are_no_closer_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[object] = []
    monkeypatch.setattr(spool.Spool, "commit", lambda _, state: states.append(state["rows"]))
    with EmbeddingWriter(tmp_path / "out.h5", features=FEATURES, fingerprint={}, every=1000) as writer:
        write_batches(writer)
    assert states == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("uns/findna/schema", "findna-embedding/2", "has schema findna-embedding/2"),
        ("uns/findna/complete", False, "is incomplete"),
        ("uns/findna/n_expected", N_RECORDS + 1, "is incomplete: 20 rows and 3 skipped of 24 records"),
        ("uns/findna/n_expected", None, "is damaged"),
        ("uns/findna/schema", None, "is not a findna-embedding/1 file"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, name: str, value: object, message: str) -> None:
    write_all(tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5", "a") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(TableError, match=rf"out\.h5: {message}"):
        EmbeddingReader(tmp_path / "out.h5")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not found"):
        EmbeddingReader(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(TableError, match="is a text file, not HDF5"):
        EmbeddingReader(tmp_path / "text.h5")
    write_all(tmp_path / "out.h5", full=True)
    with pytest.raises(TableError, match="but findna-tokens/1"):
        EmbeddingReader(tmp_path / "out.tokens.h5")
    content = (tmp_path / "out.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match="damaged"):
        EmbeddingReader(tmp_path / "cut.h5")


def test_describe_says_what_is_in_a_file(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5", full=True)
    summary = describe(tmp_path / "out.h5", n_skipped=1)
    json.dumps(summary)
    assert summary["n_rows"] == len(ROWS)
    assert summary["n_skipped"] == len(SKIPPED)
    assert summary["class_tokens"] == [2, 3]
    assert summary["params"] == UNS["params"]
    assert summary["skipped"] == [{"id": "bad 3", "source": "peaks.bed", "row": 3, "line": 4, "reason": "no\tregion"}]


def test_rows_are_shown_as_text(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5")
    header, first, second = iter_rows(tmp_path / "out.h5", 1, 3, n_features=2)
    assert header == [*OBS_COLUMNS, "f000", "f001"]
    assert first[:5] == ["chr1:1-3(+)", "peak 1", "chr1", "1", "3"]
    assert [float(value) for value in second[-2:]] == pytest.approx(vectors([2])[0, :2].tolist(), rel=1e-5)
    assert len(list(iter_rows(tmp_path / "out.h5", 15, 100))) == 1 + len(ROWS) - 15


@pytest.mark.parametrize("name", ["o.tokens.h5", "o.meta.json", "o.obs.tsv"])
def test_a_file_beside_the_output_that_is_not_of_it_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(OutputError, match=rf"{name}: would be replaced, and does not belong to o\.npy"):
            write_all(tmp_path / "o.npy", output_format="npy", **options)
    assert (tmp_path / name).read_text() == '{"mine": 1}'
    assert _names(tmp_path) == [name]


def test_two_outputs_never_share_their_metadata(tmp_path: Path) -> None:
    write_all(tmp_path / "o.tsv", output_format="tsv")
    write_all(tmp_path / "o.tsv", output_format="tsv", force=True)
    with pytest.raises(OutputError, match=r"o\.meta\.json: would be replaced, and does not belong to o\.npy"):
        write_all(tmp_path / "o.npy", output_format="npy", force=True)
    assert json.loads((tmp_path / "o.meta.json").read_text())["file"] == "o.tsv"


@pytest.mark.parametrize("output_format", ["h5", "tsv", "npy", "parquet"])
def test_an_output_that_is_a_link_or_a_pipe_is_refused_even_with_force(tmp_path: Path, output_format: str) -> None:
    (tmp_path / "target").write_text("old")
    for name in ("link", "dangling"):
        path = tmp_path / f"{name}.{output_format}"
        path.symlink_to(tmp_path / ("target" if name == "link" else "absent"))
        with pytest.raises(OutputError, match="is a symbolic link"):
            write_all(path, output_format=output_format, force=True)
        assert path.is_symlink()
    assert (tmp_path / "target").read_text() == "old"
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OutputError, match="is a device or pipe"):
        write_all(tmp_path / "fifo", output_format=output_format, force=True)
    assert not list(tmp_path.glob("*.partial"))
