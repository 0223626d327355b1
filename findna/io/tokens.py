"""The hidden states of every base, as `findna embed` writes them with pool tokens."""

import json
from pathlib import Path
from typing import Self

import numpy as np

from findna.errors import TableError
from findna.io.foreign import open_foreign
from findna.io.h5ad import TOKENS_SCHEMA
from findna.io.layout import check_layout, naming
from findna.io.reader import open_hdf5
from findna.io.rows import BLOCK, Checksums


class TokensReader:
    """An open token file; a context manager.

    Args:
        path: The file.
        is_own: This process wrote it just now, so libhdf5 can read it without a crash.

    Attributes:
        x: The tokens, an h5py dataset of shape (sum of lengths, C).
        indptr: Start of each sequence, and the end of the last; an h5py dataset of shape (N + 1,).
        id: The ids, an h5py dataset of shape (N,).
        checksums: sha256 of its parts.

    Raises:
        TableError: It is absent, damaged, of another kind, or incomplete.
    """

    def __init__(self, path: Path, *, is_own: bool = False) -> None:
        self.path = path
        self._file = open_hdf5(path, is_own=is_own)
        try:
            with naming(path):
                check_layout(self._file, path)
            if self._file.attrs.get("findna_schema") != TOKENS_SCHEMA or not self._file.attrs.get("complete"):
                raise TableError(f"is not a complete {TOKENS_SCHEMA} file", path=path)
            self.x, self.indptr, self.id = self._file["X"], self._file["indptr"], self._file["id"].asstr()
            self.checksums: dict[str, str] = json.loads(self._file.attrs.get("checksums", "{}"))
            if len(self.indptr) != len(self.id) + 1 or self.indptr[-1] != len(self.x):
                raise TableError("is damaged: its parts have different lengths", path=path)
        except KeyError as error:
            self._file.close()
            raise TableError(f"is damaged: {error}", path=path) from error
        except BaseException:
            self._file.close()
            raise

    def content_checksums(self) -> dict[str, str]:
        """The checksums computed from the content."""
        found = Checksums()
        for start in range(0, len(self.x), BLOCK):
            found.add("X", self.x[start : start + BLOCK].tobytes())
        for start in range(0, len(self.id), BLOCK):
            lengths = np.diff(self.indptr[start : start + BLOCK + 1])
            found.add_columns("id", {"id": self.id[start : start + BLOCK].tolist(), "length": lengths.tolist()})
        return found.hex()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def is_tokens_file(path: Path) -> bool:
    """Whether a file exists and is a token file, complete or not."""
    try:
        with open_foreign(path) as file:
            return bool(file.attrs.get("findna_schema") == TOKENS_SCHEMA)
    except OSError:
        return False
