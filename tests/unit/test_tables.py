import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from outputs import FEATURES, N_RECORDS, UNS, batches, obs, table, vectors, write_all

from findna.errors import MissingExtraError, ModelError, OutputError
from findna.io.hdf5 import OBS_COLUMNS
from findna.io.tables import TsvStream

ROWS = [row for rows, _ in batches() for row in rows]
FIRST = ["id", "chrom", "start", "end", "strand", "length", "frac_n"]
REST = ["name", "source", "row", "n_windows", "n_iupac"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False)


@pytest.mark.parametrize("name", ["out.tsv", "out.tsv.gz"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_tsv_reads_back_bit_for_bit(tmp_path: Path, name: str, dtype: str) -> None:
    write_all(tmp_path / name, output_format="tsv", dtype=dtype)
    assert _names(tmp_path) == ["out.meta.json", name]
    table = _read(tmp_path / name)
    assert list(table) == [*FIRST, *REST, "e0", "e1", "e2"]
    x = table[["e0", "e1", "e2"]].to_numpy().astype(dtype)
    np.testing.assert_array_equal(x, vectors(ROWS).astype(dtype))
    for column in ("id", "name", "strand", "start"):
        assert table[column].tolist() == [obs(row)[column] for row in ROWS]
    assert (table["frac_n"].to_numpy().astype("f4") == np.array([row / 7 for row in ROWS], "f4")).all()


def test_the_same_rows_give_the_same_gzip_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_all(tmp_path / folder / f"{folder}.tsv.gz", output_format="tsv")
    assert (tmp_path / "a/a.tsv.gz").read_bytes() == (tmp_path / "b/b.tsv.gz").read_bytes()


def test_the_metadata_beside_a_table_lists_what_was_skipped(tmp_path: Path) -> None:
    write_all(tmp_path / "out.tsv", output_format="tsv")
    meta = json.loads((tmp_path / "out.meta.json").read_text())
    assert meta["schema"] == "findna-embedding/1"
    assert meta["complete"] is True
    assert meta["n_expected"] == N_RECORDS == len(ROWS) + len(meta["skipped"])
    assert meta["params"] == UNS["params"]
    assert meta["features"] == FEATURES
    assert meta["skipped"][0] == {
        "id": "bad 3",
        "source": "peaks.bed",
        "row": 3,
        "line": 4,
        "reason": "no\tregion",
    }


def test_an_npy_has_its_columns_beside_it(tmp_path: Path) -> None:
    outputs = write_all(tmp_path / "out.npy", output_format="npy")
    assert [path.name for path in outputs] == ["out.npy", "out.obs.tsv", "out.meta.json"]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy", mmap_mode="r"), vectors(ROWS))
    assert list(_read(tmp_path / "out.obs.tsv")) == FIRST + REST
    assert len(_read(tmp_path / "out.obs.tsv")) == len(ROWS)


@pytest.mark.parametrize("n_records", [0, N_RECORDS, 5000])
def test_parquet_holds_a_list_of_fixed_size_and_the_metadata(tmp_path: Path, n_records: int) -> None:
    write_all(tmp_path / "out.parquet", n_records=n_records, output_format="parquet", every=1000)
    assert _names(tmp_path) == ["out.parquet"]
    rows = [row for rows, _ in batches(n_records) for row in rows]
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == [*OBS_COLUMNS, "embedding"]
    assert table.schema.field("embedding").type.list_size == len(FEATURES)
    x = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, len(FEATURES))
    np.testing.assert_array_equal(x, vectors(rows))
    assert table["strand"].to_pylist() == [obs(row)["strand"] for row in rows]
    meta = json.loads(table.schema.metadata[b"findna"])
    assert meta["n_expected"] == n_records == len(rows) + len(meta["skipped"])


def test_parquet_without_pyarrow_says_what_to_install_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'findna\[parquet\]'"):
        write_all(tmp_path / "out.parquet", output_format="parquet")
    assert _names(tmp_path) == []


@pytest.mark.parametrize(("output_format", "suffix"), [("tsv", "tsv"), ("npy", "npy"), ("parquet", "parquet")])
def test_tables_without_rows_are_valid(tmp_path: Path, output_format: str, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    write_all(path, n_records=0, output_format=output_format)
    if output_format == "npy":
        assert np.load(path).shape == (0, 3)
    elif output_format == "tsv":
        assert len(_read(path)) == 0
    else:
        assert pyarrow.parquet.read_table(path).num_rows == 0


def test_no_part_of_a_table_that_exists_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.obs.tsv").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.obs\.tsv: would be replaced, and does not belong"):
        write_all(tmp_path / "out.npy", output_format="npy")


def test_tabs_in_a_name_become_spaces_in_a_tsv() -> None:
    file = io.BytesIO()
    with TsvStream(file, features=FEATURES) as stream:
        stream.write(vectors([0]), table([obs(0, name="a\tb\nc")]))
    assert file.getvalue().decode().splitlines()[1].split("\t")[7] == "a b c"


def test_a_stream_is_the_tsv_file_and_a_line_that_says_it_is_whole(tmp_path: Path) -> None:
    write_all(tmp_path / "out.tsv", output_format="tsv")
    file = io.BytesIO()
    with TsvStream(file, features=FEATURES) as stream:
        for rows, skipped in batches():
            stream.write(vectors(rows), table([obs(row) for row in rows]))
            for row in skipped:
                stream.skip("bad", row=row, line=row + 1, source="peaks.bed", reason="no region")
            stream.commit()
        assert stream.finish(UNS, n_expected=N_RECORDS) == []
    text, last = file.getvalue()[:-1].rsplit(b"\n", 1)
    assert text + b"\n" == (tmp_path / "out.tsv").read_bytes()
    assert last.decode() == f"# complete n_rows={len(ROWS)} n_skipped={N_RECORDS - len(ROWS)}"


def test_a_stream_that_lacks_rows_does_not_say_it_is_whole() -> None:
    file = io.BytesIO()
    with TsvStream(file, features=FEATURES) as stream:
        stream.write(vectors([0]), table([obs(0)]))
        with pytest.raises(OutputError, match="2 records came in"):
            stream.finish(UNS, n_expected=2)
    assert b"complete" not in file.getvalue()


def test_a_stream_refuses_nan() -> None:
    with TsvStream(io.BytesIO(), features=FEATURES) as stream, pytest.raises(ModelError, match="NaN"):
        stream.write(vectors([0]) * np.float32(np.nan), table([obs(0)]))


def test_a_closed_pipe_goes_up_to_the_caller() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        TsvStream(file, features=FEATURES)


def test_a_tsv_gz_is_one_whole_gzip_member(tmp_path: Path) -> None:
    write_all(tmp_path / "out.tsv.gz", output_format="tsv")
    with gzip.open(tmp_path / "out.tsv.gz", "rt") as file:
        assert len(file.readlines()) == 1 + len(ROWS)
