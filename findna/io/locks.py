"""Locks: only one process at a time writes an output."""

import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from findna.errors import OutputError
from findna.io.files import is_alive, pid_space, raise_output_error

_ATTEMPTS = 100
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
HELD = ".held"
"""Suffix of a lock file on a file system without locks."""


class _NoLocksError(Exception):
    """The file system has no locks."""


@contextmanager
def locked(path: Path, *, what: Path) -> Iterator[None]:
    """Hold a lock file as the only process that writes `what`; it is created if missing, with its folder.

    The system frees the lock when the process ends, for any reason. The holder may delete the file.

    Raises:
        OutputError: Another process holds it, or it cannot be made.
    """
    try:
        descriptor = _acquire(path, what)
    except _NoLocksError:
        with _held(path.with_name(f"{path.name}{HELD}"), what=what):
            yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _held(path: Path, *, what: Path) -> Iterator[None]:
    """The lock on a file system without locks: a file that only one process can create.

    A file that a dead process of this host left is taken over.
    """
    here = socket.gethostname(), pid_space()
    me = f"{here[0]} {os.getpid()} {here[1]}"
    try:
        _make_alone(path, me)
    except FileExistsError as error:
        host, pid, space, *_ = *path.read_text(errors="replace").split(), "", "", ""
        if (host, space) != here or not pid.isdecimal() or is_alive(int(pid)):
            who = f"process {pid} on {host}" if pid.isdecimal() else "another process"
            hint = f"this file system has no locks; if that process is dead, delete {path}"
            raise OutputError(f"{what}: in use, {who} is writing it ({hint})") from error
        path.unlink(missing_ok=True)
        _make_alone(path, me)
    warnings.warn(f"{what}: this file system has no locks; {path.name} guards it instead", RuntimeWarning, stacklevel=4)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _make_alone(path: Path, content: str) -> None:
    with path.open("x") as file:
        file.write(content)


def _acquire(path: Path, what: Path) -> int:
    n_tries = 0
    while True:
        n_tries += 1
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError as error:
            if path.parent.parent.is_dir():
                if n_tries < _ATTEMPTS:  # the holder has finished and deleted the folder since
                    continue
                raise_output_error(error, what)
            raise OutputError(f"{what}: the folder {path.parent.parent} does not exist") from error
        except OSError as error:
            raise_output_error(error, what)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise OutputError(f"{what}: in use, another process is writing it") from error
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise _NoLocksError from error
            raise_output_error(error, path)
        if _is_open_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the holder before us deleted the file: ours is no longer the one of that name


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
