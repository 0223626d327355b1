"""Every write, sync and rename of an output fails once: the right file, or an error and all rows kept."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from outputs import write_all

from findna.errors import OutputError
from findna.io import spool

N = 40
FORMATS = {"h5": "out.h5", "tsv": "out.tsv", "npy": "out.npy"}


class Faults:
    """Counts the calls that put something on the disk, and lets one of them fail."""

    def __init__(self, nth: int, code: int) -> None:
        self.nth, self.code, self.n = nth, code, 0

    def step(self) -> None:
        self.n += 1
        if self.n == self.nth:
            raise OSError(self.code, os.strerror(self.code))

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **options: Any) -> Any:
            self.step()
            return call(*args, **options)

        return checked


class File:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, content: Any) -> Any:
        self._faults.step()
        return self._file.write(content)

    def truncate(self, size: int | None = None) -> Any:
        self._faults.step()
        return self._file.truncate(size)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def failing(nth: int, code: int) -> Iterator[Faults]:
    """Let the nth call within the block fail."""
    faults, real_open = Faults(nth, code), Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = real_open(path, mode, *args, **options)
        return file if mode in ("r", "rb") else File(file, faults)

    with (
        mock.patch.object(Path, "open", opened),
        mock.patch.object(Path, "replace", faults.wrap(Path.replace)),
        mock.patch.object(Path, "write_bytes", faults.wrap(Path.write_bytes)),
        mock.patch.object(os, "fsync", faults.wrap(os.fsync)),
        mock.patch.object(spool, "_sync", faults.wrap(os.fdatasync)),
    ):
        yield faults


def files(folder: Path) -> dict[str, bytes]:
    """Content of the finished files."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def attempt(folder: Path, output_format: str, nth: int, code: int, expected: dict[str, bytes]) -> bool:
    """Write an output with one fault in it and finish it after; whether there was such a call."""
    folder.mkdir()
    options: Any = {"n_records": N, "output_format": output_format}
    path = folder / FORMATS[output_format]
    with failing(nth, code) as faults:
        try:
            write_all(path, **options)
        except OutputError:
            is_told = True
        else:
            is_told = False
    assert is_told or files(folder) == expected, f"call {nth} failed and nothing was said"
    if faults.n < nth:
        return False
    assert files(folder).items() <= expected.items(), f"call {nth}: a damaged file has its name"
    if not path.exists() or path.with_name(f"{path.name}.partial").exists():
        write_all(path, resume=True, **options)
    assert files(folder) == expected, f"call {nth}: rows were lost"
    return True


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_call_that_fails_costs_no_row_and_leaves_no_damaged_file(
    tmp_path: Path, output_format: str, step: int, code: int
) -> None:
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole" / FORMATS[output_format], n_records=N, output_format=output_format)
    expected = files(tmp_path / "whole")
    nth = step
    while attempt(tmp_path / str(nth), output_format, nth, code, expected):
        nth += step
    print(f"{output_format}, {errno.errorcode[code]}: {nth // step - 1} faults")
    assert nth > step
