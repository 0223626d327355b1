"""The summary of an embedding file for `findna view`, and its rows as text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from findna.io.layout import naming
from findna.io.reader import EmbeddingReader
from findna.io.rows import BLOCK, printable


def describe(path: Path, *, n_skipped: int = 10) -> dict[str, Any]:
    """The content of a file as JSON values, with the first `n_skipped` skipped records.

    Raises:
        TableError: It is not an embedding file, or an incomplete one.
    """
    with naming(path), EmbeddingReader(path) as reader:
        skipped = {name: values.tolist() for name, values in reader.read_skipped(slice(n_skipped)).items()}
        meta = dict(reader.meta)
        return {
            "path": str(path),
            "schema": meta.pop("schema"),
            "complete": meta.pop("complete"),
            "n_expected": meta.pop("n_expected"),
            "n_rows": len(reader),
            "n_skipped": reader.n_skipped,
            "n_features": len(reader.features),
            "features": _ends(reader.features),
            "dtype": reader.x.dtype.name,
            "class_tokens": list(reader.cls.shape[1:]) if reader.cls is not None else None,
            "columns": reader.columns,
            "n_bytes": path.stat().st_size,
            **meta,
            "skipped": [dict(zip(skipped, values, strict=True)) for values in zip(*skipped.values(), strict=True)],
        }


def iter_rows(path: Path, start: int = 0, stop: int | None = None, *, n_features: int = 4) -> Iterator[list[str]]:
    """The header, then rows [start, stop) of a file: its obs columns and first features, as text.

    Raises:
        TableError: As in `describe`.
    """
    with naming(path), EmbeddingReader(path) as reader:
        yield [*reader.columns, *reader.features[:n_features]]
        start, stop, _ = slice(start, stop).indices(len(reader))
        for begin in range(start, stop, BLOCK):
            rows = slice(begin, min(stop, begin + BLOCK))
            columns = [values.tolist() for values in reader.read_obs(rows).values()]
            x = reader.x[rows, :n_features].tolist()
            for values, vector in zip(zip(*columns, strict=True), x, strict=True):
                yield [*map(printable, values), *(f"{value:.6g}" for value in vector)]


def _ends(names: list[str]) -> list[str]:
    return names if len(names) <= 6 else [*names[:3], "...", *names[-2:]]
