"""An HDF5 file that was written wrongly never gets its name."""

import errno
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from outputs import FEATURES, dump, obs, table, vectors, write_all

from findna.errors import OutputError
from findna.io import h5ad, hdf5_file, outputs
from findna.io.rows import OBS_COLUMNS, Rows, obs_line

Damage = Callable[[h5py.File], object]


def _flip(file: h5py.File, name: str, at: int) -> None:
    values = file[name][()]
    values[at] = -values[at]
    file[name][...] = values


EMBEDDINGS: dict[str, Damage] = {
    "uns/findna/complete": lambda f: f["uns/findna/complete"].__setitem__((), False),
    "params": lambda f: f.__delitem__("uns/findna/params"),
    "model": lambda f: _put(f, "uns/findna/model", json.dumps({"id": "other"})),
    "one value of X": lambda f: _flip(f, "X", 17),
    "one class token": lambda f: _flip(f, "obsm/X_cls", 19),
    "one start": lambda f: _flip(f, "obs/start", 3),
    "one id": lambda f: f["obs/id"].__setitem__(4, "chr0:0-1(+)"),
    "one name": lambda f: f["obs/name"].__setitem__(4, "another"),
    "one category": lambda f: f["obs/chrom/codes"].__setitem__(0, 1),
    "the reason of a skipped record": lambda f: f["uns/findna/skipped/reason"].__setitem__(0, "none"),
    "a feature's name": lambda f: f["var/id"].__setitem__(0, "f999"),
    "the number of rows": lambda f: _shorten(f, "X", 5),
}
TOKENS: dict[str, Damage] = {
    "one token": lambda f: _flip(f, "X", 30),
    "one id": lambda f: f["id"].__setitem__(4, "chr0:0-1(+)"),
    "one length": lambda f: f["indptr"].__setitem__(4, f["indptr"][4] + 1),
    "the mark that it is complete": lambda f: f.attrs.__setitem__("complete", False),
}


def _shorten(file: h5py.File, name: str, n: int) -> None:
    values, attributes = file[name][:n], dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def _put(file: h5py.File, name: str, text: str) -> None:
    del file[name]
    file[name] = text


@pytest.mark.parametrize(
    ("writer", "what"),
    [*(("write_embeddings", what) for what in EMBEDDINGS), *(("write_tokens", what) for what in TOKENS)],
)
def test_a_file_that_is_not_what_was_written_gets_no_name_and_the_spool_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, what: str
) -> None:
    damage = {"write_embeddings": EMBEDDINGS, "write_tokens": TOKENS}[writer][what]
    write = getattr(h5ad, writer)

    def write_and_damage(path: Path, *args: Any, **options: Any) -> None:
        write(path, *args, **options)
        with h5py.File(path, "r+") as file:
            damage(file)

    path = tmp_path / "out.h5"
    with monkeypatch.context() as patch:
        patch.setattr(h5ad, writer, write_and_damage)
        with pytest.raises(
            OutputError, match=r"out\.h5: not written: read back from disk.*every row is kept"
        ) as caught:
            write_all(path, full=True)
    assert str(caught.value).count("\n") == 0
    assert [file.name for file in tmp_path.iterdir()] == ["out.h5.partial"]
    write_all(path, full=True, resume=True)
    write_all(tmp_path / "whole.h5", full=True)
    assert dump(path) == dump(tmp_path / "whole.h5")


def test_a_merged_file_is_compared_with_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.h5"
    rows = _some_rows(tmp_path)
    write = h5ad.write_embeddings

    def write_and_damage(path: Path, *args: Any, **options: Any) -> None:
        write(path, *args, **options)
        with h5py.File(path, "r+") as file:
            _flip(file, "X", 1)

    monkeypatch.setattr(h5ad, "write_embeddings", write_and_damage)
    with pytest.raises(OutputError, match="X differs from what was written"):
        outputs.write_output(path, rows, {}, n_expected=2)
    assert not path.exists()


def _some_rows(folder: Path) -> Rows:
    spool = folder / "rows"
    spool.mkdir()
    (spool / "x").write_bytes(vectors([0, 1]).tobytes())
    (spool / "obs").write_bytes(obs_line(OBS_COLUMNS, table([obs(0), obs(1)])))
    (spool / "skipped").write_bytes(b"")
    return Rows(spool, OBS_COLUMNS, FEATURES, np.dtype("float32"), None, None, n_rows=2)


@pytest.mark.parametrize("nth", [2, 13])
@pytest.mark.parametrize("how", ["fails", "is short and fails"])
def test_a_failed_write_anywhere_in_the_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, how: str
) -> None:
    count = 0

    class Disk:
        """A file whose nth write fails, as a disk that is full for a moment."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, content: Any) -> int:
            nonlocal count
            count += 1
            if count == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self._file.write(content[: 1 + len(content) // 2] if how != "fails" else content))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    real_open = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = real_open(path, mode, *args, **options)
        return Disk(file) if mode == "wb+" else file

    path = tmp_path / "out.h5"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(OutputError, match=r"no space left .*every row is kept"):
            write_all(path)
    assert [file.name for file in tmp_path.iterdir()] == ["out.h5.partial"]
    write_all(path, resume=True)
    write_all(tmp_path / "whole.h5")
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "named"), [(b"of mm10", b"of hg38", "/"), (b"values\0", b"valves\0", "values"), (b"", b"", "")]
)
def test_a_name_or_an_attribute_that_is_lost_on_the_way_to_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes, named: str
) -> None:
    path, close = tmp_path / "out.h5", hdf5_file._Sink.close

    def damage_and_close(sink: Any) -> None:
        close(sink)
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    monkeypatch.setattr(hdf5_file._Sink, "close", damage_and_close)
    ending = pytest.raises(OutputError, match=f"out.h5: {named} differ from") if named else nullcontext()
    with ending, hdf5_file.created(path) as (file, _):
        file.attrs["genome"], file["values"] = "bases of mm10", [1.5]


def test_bytes_that_a_failed_write_lacks_are_read_as_zeros(tmp_path: Path) -> None:
    with hdf5_file._Sink(tmp_path / "x.h5") as sink:
        sink.write(b"abc")
        sink.seek(1)
        found = bytearray(b"old bytes")
        assert sink.readinto(found) == len(found)
    assert found == b"bc" + bytes(7)
