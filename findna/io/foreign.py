"""HDF5 files that may be damaged or malicious: a second process reads them first, because it may crash or hang."""

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
"""A larger file may take one more second per this many bytes."""

BYTES_OF_MEMORY = 256 << 20
"""Memory to read a small file, in bytes; a larger one may take four times its size more."""

MAX_CHUNK = 1 << 28
"""Maximum bytes of a chunk: a chunk is in memory as a whole even if one row is read."""

MAX_RATIO = 1100
"""Maximum expansion of stored bytes by deflate."""

_ROWS = 4096


def open_foreign(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, after its structure and texts were read without a crash or an endless loop.

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
    except ChildProcessError as error:
        reason = "cannot be checked: this program ignores SIGCHLD and cannot learn how a process ends"
        raise TableError(reason, path=path) from error
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
    with suppress(OSError):  # only Linux reports it
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = used + n_bytes if hard == resource.RLIM_INFINITY else min(used + n_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 2)


def _read(path: Path) -> None:
    """Read everything that may contain a cycle: groups, attributes, the table of chunks, variable-length values."""
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
    """Skip items that cannot be read; running out of memory is an error."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            os._exit(1)


def fault(dataset: h5py.Dataset) -> str:
    """The error in the storage of a dataset's values; "" if there is none."""
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
