"""Merges the parts of a sharded run into the output of a single run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from findna import __version__, phases
from findna.errors import ConfigError, TableError
from findna.io.hdf5 import Format
from findna.io.layout import naming
from findna.io.outputs import refuse_existing, tokens_path, write_output
from findna.io.reader import EmbeddingReader
from findna.io.rows import BLOCK, Block, Checksums, Rows
from findna.io.tokens import TokensReader
from findna.io.virtual import VirtualSource
from findna.runs.finished import finished_vectors, require_same_run
from findna.runs.parts import Reader, ShardFile, in_order, provenance_of, read_part


@dataclass(frozen=True)
class MergedRows(Rows):
    """The rows of all parts, in order, read from their files.

    Args:
        parts: In order.
    """

    parts: tuple[ShardFile, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Number of bases of all rows, if there are tokens."""
        return sum(part.tokens_shape[0] for part in self.parts if part.tokens_shape)

    @property
    def n_bytes(self) -> tuple[int, int]:
        """Number of bytes of the matrices, and of everything else."""
        n_values = self.n_rows * (len(self.features) + int(np.prod(self.cls_shape or 0)))
        matrices = n_values * self.dtype.itemsize
        if self.sources:
            return 0, 32 * self.n_rows
        text = max(0, sum(part.path.stat().st_size for part in self.parts) - matrices)
        return matrices + 2 * self.n_tokens * (self.tokens_dim or 0), text

    def blocks(self) -> Iterator[Block]:
        """The rows in order, `BLOCK` at a time; each part is compared with its checksums while it is read."""
        start, sums = 0, [Checksums() for _ in self.parts]
        with _Opened(self.parts, lambda part: EmbeddingReader(part.path)) as opened:
            for pieces in _slices([part.n_rows for part in self.parts]):
                found = []
                for index, rows in pieces:
                    with opened.reading(index) as reader:
                        found.append(reader.block(rows))
                    sums[index].add_block(found[-1])
                    part = self.parts[index]
                    if rows.stop == part.n_rows:
                        _compare(part.path, sums[index], part.meta.get("checksums"))
                x, lines = np.concatenate([one.x for one in found]), b"".join(one.lines for one in found)
                obs = {name: [value for one in found for value in one.obs[name]] for name in self.columns}
                cls = np.concatenate([one.cls for one in found if one.cls is not None]) if self.cls_shape else None
                phases.report("merging", start, self.n_rows)
                yield Block(start, x, obs, cls, lines)
                start += len(x)

    def obs(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, list[Any]]]]:
        """Some columns of the rows, with their place, `BLOCK` rows at a time; nothing else is read."""
        start = 0
        with _Opened(self.parts, lambda part: EmbeddingReader(part.path)) as opened:
            for pieces in _slices([part.n_rows for part in self.parts]):
                found = []
                for index, rows in pieces:
                    with opened.reading(index) as reader:
                        found.append(reader.read_obs(rows, names))
                n_rows = sum(rows.stop - rows.start for _, rows in pieces)
                yield slice(start, start + n_rows), _joined(found, dict.fromkeys(names))
                start += n_rows

    def skipped(self) -> Iterator[dict[str, list[Any]]]:
        """The columns of the skipped records, `BLOCK` at a time, compared like `blocks`."""
        sums = [Checksums() for _ in self.parts]
        with _Opened(self.parts, lambda part: EmbeddingReader(part.path)) as opened:
            for pieces in _slices([part.n_skipped for part in self.parts]):
                found = []
                for index, rows in pieces:
                    with opened.reading(index) as reader:
                        found.append(reader.read_skipped(rows))
                    part, columns = self.parts[index], found[-1]
                    sums[index].add_columns("skipped", _joined([columns], columns))
                    if rows.stop == part.n_skipped:
                        _compare(part.path, sums[index], part.meta.get("checksums"))
                yield _joined(found, found[0])

    def tokens(self) -> Iterator[NDArray[np.float16]]:
        """The tokens of all rows in order, in pieces of shape (n, C), compared like `blocks`."""
        sums = [Checksums() for _ in self.parts]
        with _Opened(self.parts, lambda part: TokensReader(tokens_path(part.path))) as opened:
            lengths = [part.tokens_shape[0] if part.tokens_shape else 0 for part in self.parts]
            for pieces in _slices(lengths):
                found = []
                for index, rows in pieces:
                    with opened.reading(index) as reader:
                        found.append(reader.x[rows])
                    sums[index].add("X", found[-1].tobytes())
                    if rows.stop == lengths[index]:
                        _compare(reader.path, sums[index], reader.checksums)
                yield np.concatenate(found)


def merge(
    paths: Sequence[Path],
    out: Path,
    *,
    output_format: Format = "h5",
    virtual: bool = False,
    force: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Write the output that one run would have written, from the parts of its shards.

    The parts may be in any order. Memory is one block of rows.

    Args:
        paths: The parts, HDF5 files; their token files are found beside them and may be named too.
        out: The output.
        output_format: Its format.
        virtual: The output points to the rows of the parts, which must lie in its folder, instead of copying them.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Returns:
        The report, as JSON values.

    Raises:
        TableError: A part is incomplete, damaged, missing, duplicate, or does not belong to the others.
        OutputError: The output exists, is in use, or cannot be written.
        ConfigError: The format cannot hold what is in the parts, or the output is a part.
    """
    started, began = datetime.now(UTC), time.monotonic()
    if out.exists() and any(path.exists() and out.samefile(path) for path in paths):
        raise ConfigError(f"the output {out} is also a part: choose another name; nothing was changed")
    found = None if force else finished_vectors(out, output_format)
    beside = {tokens_path(path) for path in paths}
    parts = in_order([read_part(path) for path in paths if path not in beside])
    refuse_existing(out, output_format, is_allowed=force or found is not None or not out.exists())
    first = next((part for part in parts if part.n_rows), parts[0])
    if first.cls_shape and output_format != "h5":
        raise ConfigError("class tokens beside the vectors need output_format=h5")
    if virtual and output_format != "h5":
        raise ConfigError(f"only HDF5 can point to its parts, not {output_format}")
    table = first.meta.get("table", {})  # of predictions: its schema, and the order of its columns
    if table and output_format != "tsv":
        raise ConfigError(f"predictions are a TSV, not {output_format}")
    rows = MergedRows(
        out,
        first.columns,
        first.features,
        first.dtype,
        first.cls_shape,
        first.tokens_shape and first.tokens_shape[1],
        sum(part.n_rows for part in parts),
        sum(part.n_skipped for part in parts),
        var=first.var,
        sources=tuple(source_of(part, out.absolute().parent) for part in parts) if virtual else (),
        parts=tuple(parts),
    )
    uns = {name: first.meta[name] for name in ("model", "inputs", "genome", "params")}
    uns |= {"schema": table["schema"]} if table else {}
    uns = {"provenance": provenance_of(parts, command, started), **uns}
    if rows.sources:
        pairs = zip(rows.sources, parts, strict=True)
        uns["parts"] = [{"name": one.name, "checksums": part.meta.get("checksums", {})} for one, part in pairs]
    n_total = first.shard["n_total"]
    order, done = table.get("order", ()), {}
    if found is not None:
        require_same_run(out, found, {**uns, "n_expected": n_total, "parts": uns.get("parts")})
        outputs, done = [out], {"nothing_to_do": True}
    else:
        outputs = write_output(
            out, rows, uns, n_expected=n_total, output_format=output_format, force=force, order=order
        )
    return {
        "findna": __version__,
        "outputs": [str(path) for path in outputs],
        "n_parts": len(parts),
        "n_records": n_total,
        "n_rows": rows.n_rows,
        "n_skipped": rows.n_skipped,
        **done,
        "seconds": round(time.monotonic() - began, 3),
        **uns,
    }


def source_of(part: ShardFile, folder: Path) -> VirtualSource:
    """The reference of an output in a folder to a part.

    Raises:
        ConfigError: The part lies elsewhere.
    """

    def relative(path: Path) -> str:
        place = path.parent.resolve() / path.name
        if not place.is_relative_to(folder.resolve()) or "%" in str(place.relative_to(folder.resolve())):
            raise ConfigError(f"{path}: a virtual output needs its parts in its own folder, without % in their names")
        return str(place.relative_to(folder.resolve()))

    if part.tokens_shape is None:
        return VirtualSource(relative(part.path), part.n_rows)
    return VirtualSource(relative(part.path), part.n_rows, relative(tokens_path(part.path)), part.tokens_shape[0])


class _Opened(Generic[Reader]):
    """The files of the parts, one open at a time."""

    def __init__(self, parts: Sequence[ShardFile], open: Callable[[ShardFile], Reader]) -> None:
        self._parts, self._open = parts, open
        self._stack = ExitStack()
        self._index, self._reader = -1, None

    @contextmanager
    def reading(self, index: int) -> Iterator[Any]:
        with naming(self._parts[index].path):
            if index != self._index:
                self._stack.close()
                self._reader = self._stack.enter_context(self._open(self._parts[index]))
                self._index = index
            yield self._reader

    def __enter__(self) -> "_Opened[Reader]":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _compare(path: Path, found: Checksums, stored: Mapping[str, str] | None) -> None:
    """Raise if the rows of a part differ from its checksums."""
    if bad := [name for name, value in found.hex().items() if (stored or {}).get(name, value) != value]:
        raise TableError(f"checksum of {', '.join(bad)} differs: the content is not what was written", path=path)


def _slices(counts: Sequence[int]) -> Iterator[list[tuple[int, slice]]]:
    """For each block of the output, the parts and their rows.

    >>> [[(part, rows.start, rows.stop) for part, rows in block] for block in _slices([3, 2048])]
    [[(0, 0, 3), (1, 0, 2045)], [(1, 2045, 2048)]]
    """
    block: list[tuple[int, slice]] = []
    room = BLOCK
    for part, count in enumerate(counts):
        start = 0
        while start < count:
            stop = min(count, start + room)
            block.append((part, slice(start, stop)))
            room -= stop - start
            start = stop
            if not room:
                yield block
                block, room = [], BLOCK
    if block:
        yield block


def _joined(pieces: Sequence[Mapping[str, NDArray[Any]]], columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [value for piece in pieces for value in piece[name].tolist()] for name in columns}
