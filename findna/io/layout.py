"""Checks of an HDF5 file before it is read: its arrays are no larger than its bytes and those of its own parts."""

import resource
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py

from findna.errors import TableError
from findna.io.foreign import fault
from findna.io.virtual import open_source, pieces_of

MAX_OBJECTS = 100_000
_OTHER_FILES = 64
"""Number of open files besides the parts of a virtual dataset."""

_DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    TokenError,
)
"""Errors of h5py, of numpy's headers and of code that relies on our layout, for a damaged or malicious file."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors of reading a damaged HDF5 file into an error that names it.

    Raises:
        TableError: In place of any of them.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise TableError(f"is damaged: {reason}", path=path) from error


def check_layout(file: h5py.File, path: Path) -> None:
    """Refuse a file that points to other files, or whose values are not stored in it.

    A link or external storage could show the bytes of any other file. A dataset without storage needs no space in
    the file, but any amount of memory. A virtual dataset may point to finished findna files beside the file, as
    a virtual merge writes it.

    Raises:
        TableError: It is such a file.
    """
    groups: list[h5py.Group] = [file]
    virtual: dict[str, h5py.Dataset] = {}
    seen = {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise TableError(f"{_place(group, name)} is a link, which findna does not follow", path=path)
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise TableError(f"holds more than {MAX_OBJECTS:,} groups and datasets", path=path)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and item.is_virtual:
                virtual[_place(group, name)] = item
            elif isinstance(item, h5py.Dataset) and (reason := fault(item)):
                raise TableError(f"{_place(group, name)} {reason}", path=path)
    if virtual:
        _check_parts(virtual, path)


def _check_parts(virtual: Mapping[str, h5py.Dataset], path: Path) -> None:
    """Refuse virtual datasets, except of complete datasets of findna files beside this one."""
    wanted: dict[str, list[tuple[str, h5py.Dataset, int]]] = defaultdict(list)
    for place, dataset in virtual.items():
        try:
            for piece in pieces_of(dataset):
                wanted[piece.name].append((piece.place, dataset, piece.n_rows))
        except ValueError as problem:
            raise TableError(f"{place} {problem}", path=path) from problem
    _allow_open_files(len(wanted), path)
    for name, datasets in wanted.items():
        try:
            with open_source(path.absolute().parent, name) as source:
                for place, dataset, n_rows in datasets:
                    _check_piece(source, place, dataset, n_rows)
        except ValueError as problem:
            raise TableError(str(problem), path=path) from problem


def _check_piece(source: h5py.File, place: str, joined: h5py.Dataset, n_rows: int) -> None:
    group: Any = source
    for step in place.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(step, getlink=True), h5py.HardLink):
            raise ValueError(f"its part {source.filename} has no {place}")
        group = group[step]
    if not isinstance(group, h5py.Dataset) or group.shape != (n_rows, *joined.shape[1:]) or group.dtype != joined.dtype:
        raise ValueError(f"its part {source.filename} was changed: {place} has another shape or type")
    if reason := "points to other files" if group.is_virtual else fault(group):
        raise ValueError(f"its part {source.filename}: {place} {reason}")


def _allow_open_files(n_files: int, path: Path) -> None:
    """Raise the limit of open files: HDF5 returns empty rows, and no error, if it cannot open a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = n_files + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise TableError(f"needs {needed:,} open files, and the limit is {hard:,} (ulimit -Hn)", path=path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _place(group: h5py.Group, name: str) -> str:
    return f"{group.name or ''}/{name}".replace("//", "/").lstrip("/")
