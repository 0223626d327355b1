"""Writes HDF5 files: a full disk or a failed write is an error, never a damaged file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.errors import OutputError

_CACHE_BYTES = 1 << 20


class _Sink(io.RawIOBase):
    """The bytes of a new HDF5 file. It stores a failed write, which HDF5 may hide when it closes the file.

    HDF5 does not see the failure, because it may crash after one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+", buffering=0)
        self._problem: BaseException | None = None

    def check(self) -> None:
        """Raise the first failure."""
        if self._problem is not None:
            raise self._problem

    def write(self, content: Any, /) -> int:
        rest = memoryview(content)
        n_bytes = len(rest)
        try:
            while rest and self._problem is None:
                rest = rest[self._file.write(rest) :]
        except BaseException as problem:  # an exception from a signal must not reach HDF5 during a write either
            self._problem = problem
        return n_bytes

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return self._file.truncate(size)
        except OSError as problem:
            self._problem = self._problem or problem
            return size or 0

    def readinto(self, buffer: Any, /) -> int | None:
        view = memoryview(buffer)
        n_bytes = self._file.readinto(view) or 0
        view[n_bytes:] = bytes(len(view) - n_bytes)  # after a failed write; else HDF5 follows pointers from free memory
        return len(view)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def created(path: Path) -> Iterator[tuple[h5py.File, _Sink]]:
    """A new HDF5 file and its sink, whose `check` raises a failed write. At the end, all parts are read back.

    Raises:
        OSError: A write failed.
        OutputError: The file lacks a group, a dataset or an attribute that was written.
    """
    with _Sink(path) as sink:
        try:
            # Blocks are whole chunks and nothing is read back, so caches that grow with the file only cost memory.
            with h5py.File(sink, "w", libver=("earliest", "v110"), rdcc_nbytes=0) as file:
                cache = file.id.get_mdc_config()
                cache.set_initial_size = True
                cache.initial_size = cache.min_size = cache.max_size = _CACHE_BYTES
                file.id.set_mdc_config(cache)
                yield file, sink
                written = outline(file)
        finally:
            sink.check()
    with h5py.File(path, "r", locking=False) as file:
        found = outline(file)
    if lost := [name for name in written if found.get(name) != written[name]]:
        raise OutputError(f"{path.name}: {', '.join(lost)} differ from what was written")


def outline(file: h5py.File) -> dict[str, str]:
    """Attributes, shape and type of everything in a file, by name; h5py's low-level interface takes half the time."""
    parts: dict[str, str] = {}

    def visit(name: bytes) -> None:
        item = h5py.h5o.open(file.id, name)
        attributes = {}
        for number in range(h5py.h5a.get_num_attrs(item)):
            attribute = h5py.h5a.open(item, index=number)
            attribute.read(value := np.empty(attribute.shape, attribute.dtype))
            attributes[attribute.name] = value.tolist()
        shape = (item.shape, item.dtype) if isinstance(item, h5py.h5d.DatasetID) else ()
        parts[name.decode()] = repr((attributes, shape))

    visit(b"/")
    h5py.h5o.visit(file.id, visit)
    return parts
