"""Files that get their name only when they are complete: publish, free space, sha256."""

import errno
import glob
import hashlib
import io
import os
import re
import shutil
import socket
import stat
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from findna.errors import OutputError, system_reason

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)
_DAY = 86_400
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MOST_INDEX = 1 << 28
"""Maximum bytes of an index, also after decompression; that of a human genome or BAM file has some megabytes."""


def publish(temp: Path, final: Path) -> None:
    """Give a finished file its final name; after a crash, it is the complete new file or the complete old one.

    Both must be on the same file system.

    Raises:
        OutputError: The final name is a folder, a device, a pipe or a symbolic link.
    """
    refuse_irregular(final)
    with temp.open("rb") as file:
        os.fsync(file.fileno())
    temp.replace(final)
    sync_folder(final.parent)


def stamps(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """What changes when another file gets one of these names, or is written to; nothing for an absent file."""
    found = {}
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            found[path] = status.st_ino, status.st_mtime_ns, status.st_size
    return found


def refuse_changed(paths: Iterable[Path], before: Mapping[Path, tuple[int, int, int]]) -> None:
    """Raise if a file got one of these names, or was written to, since the `stamps` of an output were taken.

    Raises:
        OutputError: One did: it belongs to another program and is not replaced.
    """
    for path, now in stamps(*paths).items():
        if now != before.get(path):
            raise OutputError(f"{path}: another program wrote this file during the run: move it, and run again")


def already_exists(path: Path, what: str = "exists already") -> OutputError:
    """The error of an output that exists, with the ways out.

    >>> print(already_exists(Path("peaks.h5")))
    peaks.h5: exists already; choose another name, or force=True replaces it
    """
    return OutputError(f"{path}: {what}; choose another name, or force=True replaces it")


def refuse_irregular(path: Path) -> None:
    """Raise if a path exists and must not be replaced.

    Raises:
        OutputError: It is a folder, a device, a pipe or a symbolic link.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise OutputError(f"{path}: is a symbolic link, which is never replaced; name the file itself")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path}: is a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}, not a file")


def require_folder(path: Path) -> None:
    """Raise if an output cannot be written because its folder does not exist.

    Raises:
        OutputError: It does not.
    """
    if not path.parent.is_dir():
        reason = (
            f"{path.parent} is not a folder" if path.parent.exists() else f"the folder {path.parent} does not exist"
        )
        raise OutputError(f"{path}: {reason}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, if the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, temp: Path | None = None, *, is_shared: bool = False) -> Iterator[Path]:
    """A temporary path to write to. At the end it becomes the file; after an error it is removed.

    Args:
        path: The file.
        temp: The temporary path; None: beside the file.
        is_shared: Other processes may write it, too: the last one counts.

    Raises:
        OutputError: It cannot be written, is not a regular file, or another program wrote it in the meantime.
    """
    refuse_irregular(path)
    before = stamps(path)
    temp = temp or temp_beside(path)
    try:
        with writing(path):
            yield temp
            if not is_shared:
                refuse_changed([path], before)
            publish(temp, path)
    finally:
        with suppress(OSError):
            temp.unlink()


def temp_beside(path: Path) -> Path:
    """A hidden temporary path beside a file or folder. What killed processes left for this one is deleted."""
    host = f"{zlib.crc32(f'{socket.gethostname()} {pid_space()}'.encode()):08x}"
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        owner = re.fullmatch(r"([0-9a-f]{8})-(\d+)\.tmp(\.\w+)?", left.name[len(path.name) + 2 :])
        if owner is None:
            continue
        with suppress(OSError):  # it belongs to another user, or is gone
            is_dead = owner[1] == host and not is_alive(int(owner[2]))
            if is_dead or time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f".{path.name}.{host}-{os.getpid()}.tmp")


def pid_space() -> str:
    """The PID namespace on Linux. Containers of one host name may have several, with other processes in each."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def is_alive(process: int) -> bool:
    """Whether a process of this host and PID namespace exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user; no number of a process
        pass
    return True


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a small file atomically; text as UTF-8. Devices, pipes and link targets are written to directly.

    Raises:
        OutputError: It cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    if _is_stream(path):
        with writing(path), path.open("ab") as file:
            file.write(data)
        return
    with replacing(path.resolve() if path.is_symlink() else path, is_shared=True) as temp:
        temp.write_bytes(data)


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or an open file such as /dev/stdout."""
    is_link = path.is_symlink() and path.is_relative_to("/dev")
    return is_link or (path.exists() and not path.is_file() and not path.is_dir())


def free_bytes(folder: Path) -> int:
    """Free bytes on the file system of a folder."""
    return shutil.disk_usage(folder).free


def require_space(folder: Path, n_bytes: int, *, hint: str) -> None:
    """Raise if the file system of a folder has too little space.

    Raises:
        OutputError: It has not; the text says how much is missing, then the hint.
    """
    free = free_bytes(folder)
    if free < n_bytes:
        raise OutputError(f"{folder}: {_size(n_bytes)} are needed and {_size(free)} are free; {hint}")


def storable(path: Path) -> str:
    """A path as text that every output can store: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


@contextmanager
def open_regular(path: Path, *, most: int | None = None) -> Iterator[io.BufferedReader]:
    """Open a regular file of limited size; a pipe or device, which may never end, is refused.

    Raises:
        OSError: It cannot be read, is not a regular file, or is too large; `strerror` says which.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to would hang
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        if most is not None and found.st_size > most:
            raise OSError(errno.EFBIG, f"{found.st_size:,} bytes, and at most {most:,} are expected", str(path))
        yield file


def read_regular(path: Path, *, most: int) -> bytes:
    """The bytes of a regular file of limited size.

    Raises:
        OSError: As for `open_regular`.
    """
    with open_regular(path, most=most) as file:
        return file.read()


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex.

    Raises:
        OSError: As for `open_regular`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path, *, hint: str = "") -> Iterator[None]:
    """Turn an OSError into the OutputError that says why a path could not be written.

    Raises:
        OutputError: This block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise_output_error(error, path, hint=hint)


def make_folder(folder: Path) -> None:
    """Create a folder, with those above it, unless it exists.

    Raises:
        OutputError: It cannot be created.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def raise_output_error(error: OSError, path: Path, *, hint: str = "") -> NoReturn:
    """Raise the OutputError that says why a path could not be written."""
    if error.errno in _FULL:
        reason = "no space left (disk full, quota or file size limit)"
    else:
        reason = f"cannot be written: {system_reason(error)}"
    raise OutputError(f"{path}: {reason}{'; ' if hint else ''}{hint}") from error


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"
