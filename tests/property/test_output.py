"""Outputs are read back as they were written, and a run that was killed anywhere and resumed gives the same content."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outputs import FEATURES, N_RECORDS, dump, table, write_all, write_batches

from findna.io.hdf5 import OBS_COLUMNS, EmbeddingWriter, read_embeddings

# Text that is Unicode and holds no NUL; ids are unique in an output.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "categorical": TEXT,
    "int64": INT64,
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float32": st.floats(width=32, allow_nan=False),
}
OBS = st.lists(
    st.fixed_dictionaries({name: VALUES[kind] for name, kind in OBS_COLUMNS.items()}),
    unique_by=lambda row: row["id"],
    max_size=12,
)
FILES = ("x", "obs", "skipped", "cls", "tokens", "journal")
FULL = {"features": FEATURES, "fingerprint": {"seed": 1}, "n_cls_shape": (2, 3), "tokens_dim": 2}


@settings(max_examples=10)
@given(rows=OBS, data=st.data(), dtype=st.sampled_from(["float32", "float16"]))
def test_what_is_written_reads_back_in_h5py_and_anndata(rows: list[dict[str, Any]], data: Any, dtype: str) -> None:
    value = st.floats(width=16 if dtype == "float16" else 32, allow_nan=False, allow_infinity=False)
    vector = st.lists(value, min_size=2, max_size=2)
    x = np.array([data.draw(vector) for _ in rows], np.float32).reshape(-1, 2)
    cut = data.draw(st.integers(0, len(rows)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.h5"
        with EmbeddingWriter(path, features=["a", "b"], fingerprint={}, dtype=dtype) as writer:
            writer.write(x[:cut], table(rows[:cut]))
            writer.write(x[cut:], table(rows[cut:]))
            writer.finish({"params": {"text": "ß"}}, n_expected=len(rows))
        with h5py.File(path) as file:
            assert file["X"].dtype == dtype
            np.testing.assert_array_equal(file["X"][:], x)
            assert file["obs/id"].asstr()[:].tolist() == [row["id"] for row in rows]
        columns = read_embeddings(path).obs
        for name in OBS_COLUMNS:
            assert columns[name].tolist() == [row[name] for row in rows]
        for backed in (None, "r"):
            frame = anndata.read_h5ad(path, backed=backed)
            np.testing.assert_array_equal(frame.X[:], x)
            assert frame.obs_names.tolist() == [row["id"] for row in rows]
            for name in list(OBS_COLUMNS)[1:]:
                assert frame.obs[name].tolist() == [row[name] for row in rows]
            if backed:
                frame.file.close()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A folder with a spool that lacks `finish`, and what both files hold at the end of a whole run."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_all(folder / "whole.h5", full=True)
    with EmbeddingWriter(folder / "out.h5", every=0, **FULL) as writer:
        write_batches(writer, full=True)
    return folder, dump(folder / "whole.h5"), dump(folder / "whole.tokens.h5")


@settings(max_examples=12)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1))
@example(name="journal", where=0.0)
@example(name="x", where=0.0)
@example(name="journal", where=1.0)
def test_a_spool_cut_at_any_byte_of_any_file_resumes_to_the_same_content(
    interrupted: tuple[Path, dict[str, str], dict[str, str]], name: str, where: float
) -> None:
    folder, whole, whole_tokens = interrupted
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder / "out.h5.partial", Path(copy) / "out.h5.partial")
        path = Path(copy) / "out.h5.partial" / name
        with path.open("r+b") as file:
            file.truncate(round(where * path.stat().st_size))
        write_all(Path(copy) / "out.h5", full=True, resume=True)
        assert sorted(file.name for file in Path(copy).iterdir()) == ["out.h5", "out.tokens.h5"]
        assert dump(Path(copy) / "out.h5") == whole
        assert dump(Path(copy) / "out.tokens.h5") == whole_tokens


@settings(max_examples=8)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_spool_with_a_wrong_byte_resumes_to_the_same_content(
    interrupted: tuple[Path, dict[str, str], dict[str, str]], name: str, where: float, flip: int
) -> None:
    folder, whole, _ = interrupted
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder / "out.h5.partial", Path(copy) / "out.h5.partial")
        path = Path(copy) / "out.h5.partial" / name
        content = bytearray(path.read_bytes())
        content[int(where * len(content))] ^= flip
        path.write_bytes(content)
        write_all(Path(copy) / "out.h5", full=True, resume=True)
        assert dump(Path(copy) / "out.h5") == whole


@settings(max_examples=5)
@given(stops=st.lists(st.integers(0, N_RECORDS), max_size=4))
def test_a_run_stopped_any_number_of_times_gives_the_same_content(
    interrupted: tuple[Path, dict[str, str], dict[str, str]], stops: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for stop in sorted(stops):
            with EmbeddingWriter(Path(folder) / "out.h5", every=0, resume=True, **FULL) as writer:
                write_batches(writer, stop - stop % 4, full=True)
        write_all(Path(folder) / "out.h5", full=True, resume=True)
        assert dump(Path(folder) / "out.h5") == interrupted[1]
