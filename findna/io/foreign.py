"""An HDF5 file that may be damaged or hostile: it is first read in a process that may crash or never end."""

import math
import os
import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from findna.errors import TableError

CPU_SECONDS = 5
"""CPU seconds allowed for a small file; an undamaged one takes milliseconds."""

BYTES_PER_SECOND = 5 << 20
"""A larger file may take a second more for each of these bytes."""

BYTES_OF_MEMORY = 256 << 20
"""Memory to read a small file; a larger one may take four times its size more."""

MAX_CHUNK = 1 << 28
"""Bytes of a chunk, which are in memory as a whole however few of its rows are read."""

MAX_RATIO = 1100
"""How much more than what is stored deflate can make of it."""

_ROWS = 4096


def open_foreign(path: Path) -> h5py.File:
    """Open an HDF5 file to read. Its structure and its texts were read before without a crash or an endless loop.

    Raises:
        OSError: It is not an HDF5 file.
        TableError: The file could not be checked, or libhdf5 crashes when it reads the file, or loops without end.
    """
    found = path.stat()
    times = (found.st_mtime_ns, found.st_ctime_ns)
    if ending := _try(path.absolute(), found.st_dev, found.st_ino, found.st_size, times):
        raise TableError(f"is damaged: HDF5 {ending} when it reads the file", path=path)
    return h5py.File(path, "r", locking="best-effort")


@lru_cache(maxsize=8192)
def _try(path: Path, _device: int, _inode: int, n_bytes: int, _times: tuple[int, int]) -> str:
    """How the child process that reads the file ends; "" if normally."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child uses HDF5 alone
        try:
            child = os.fork()
        except OSError as error:
            raise TableError(f"cannot be checked: no process can be started: {error.strerror}", path=path) from error
    if not child:
        try:
            _limit(CPU_SECONDS + n_bytes // BYTES_PER_SECOND, BYTES_OF_MEMORY + 4 * n_bytes)
            _read(path)
        finally:
            os._exit(0)  # h5py errors are left to the caller, except for memory errors
    try:
        status = os.waitpid(child, 0)[1]
    except ChildProcessError:  # a program that ignores SIGCHLD has no status
        return ""
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if not os.WIFSIGNALED(status):
        return "takes far more memory than its size" if os.WEXITSTATUS(status) else ""
    is_loop = os.WTERMSIG(status) == signal.SIGXCPU
    return "loops without end" if is_loop else f"ends with {signal.Signals(os.WTERMSIG(status)).name}"


def _limit(seconds: int, n_bytes: int) -> None:
    """Limit CPU time and memory of this process, and end silently on signals."""
    for number in (signal.SIGXCPU, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # Linux alone tells
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = used + n_bytes if hard == resource.RLIM_INFINITY else min(used + n_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 2)


def _read(path: Path) -> None:
    """Read all that may be linked in a circle: groups, attributes, the table of chunks, and values of any length."""
    with h5py.File(path, "r", locking="best-effort") as file:
        _attributes(file)
        file.visititems(lambda _, item: _visit(item))


def _visit(item: Any) -> None:
    with _passing():
        _attributes(item)
        if isinstance(item, h5py.Dataset) and not item.is_virtual and not fault(item) and item.dtype.hasobject:
            for start in range(0, len(item) if item.shape else 1, _ROWS):
                _ = item[start : start + _ROWS] if item.shape else item[()]


@contextmanager
def _passing() -> Iterator[None]:
    """Pass over what cannot be read, because the next item may be read without it; memory that runs out is the end."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            os._exit(1)


def fault(dataset: h5py.Dataset) -> str:
    """The error in the places where the values of a dataset are stored; "" if there is none."""
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        return "keeps its values in another file, which is not read"
    item_size = dataset.id.get_type().get_size()
    n_stored = dataset.id.get_storage_size()
    n_bytes = math.prod(dataset.shape or ()) * item_size
    if n_bytes > n_stored * (MAX_RATIO if made.get_nfilters() else 1):
        return f"has {n_bytes:,} bytes, and the file holds {n_stored:,} of them"
    n_chunk = math.prod(dataset.chunks or (0,)) * item_size
    return f"has chunks of {n_chunk:,} bytes, and at most {MAX_CHUNK:,} are read" if n_chunk > MAX_CHUNK else ""


def _attributes(item: Any) -> None:
    for name in item.attrs:
        with _passing():
            _ = item.attrs[name]
