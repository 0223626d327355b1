"""What an HDF5 file must be before anything of it is read: whole by itself, and no larger than its bytes."""

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from findna.errors import TableError

MAX_OBJECTS = 100_000
MAX_CHUNK = 1 << 28
"""Bytes of a chunk, which are in memory as a whole however few of its rows are read."""

MAX_RATIO = 1100
"""How much more than what is stored deflate can make of it."""

_DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)
"""What h5py, and the code that relies on our layout, make of a file that is damaged or hostile."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what a damaged HDF5 file makes of reading it into an error that names it.

    Raises:
        TableError: In place of any of them.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise TableError(f"is damaged: {reason}", path=path) from error


def check_layout(file: h5py.File, path: Path) -> None:
    """Refuse a file that leads out of itself, or whose values are not stored in it.

    A link or an external storage would show the bytes of any other file. A dataset without storage takes no room in
    the file and any amount of memory.

    Raises:
        TableError: It is such a file.
    """
    groups: list[h5py.Group] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise TableError(f"{_place(group, name)} is a link to elsewhere, which is not followed", path=path)
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise TableError(f"holds more than {MAX_OBJECTS:,} groups and datasets", path=path)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and (reason := _fault(item)):
                raise TableError(f"{_place(group, name)} {reason}", path=path)


def _fault(dataset: h5py.Dataset) -> str:
    """What is wrong with where the values of a dataset are stored; "" if nothing is."""
    made = dataset.id.get_create_plist()
    if dataset.is_virtual or made.get_external_count():
        return "keeps its values in another file, which is not read"
    item_size = dataset.id.get_type().get_size()
    n_stored = dataset.id.get_storage_size()
    n_bytes = math.prod(dataset.shape or ()) * item_size
    if n_bytes > n_stored * (MAX_RATIO if made.get_nfilters() else 1):
        return f"has {n_bytes:,} bytes, and the file holds {n_stored:,} of them"
    n_chunk = math.prod(dataset.chunks or (0,)) * item_size
    return f"has chunks of {n_chunk:,} bytes, and at most {MAX_CHUNK:,} are read" if n_chunk > MAX_CHUNK else ""


def _place(group: h5py.Group, name: str) -> str:
    return f"{group.name or ''}/{name}".replace("//", "/").lstrip("/")
