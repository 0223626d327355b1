"""Reads outputs of every kind: their facts about the run, their rows, whether they are complete."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.errors import TableError
from findna.io.arrays import content_checksum
from findna.io.base_tracks import SCHEMA as BASES
from findna.io.compressed import ByteStream
from findna.io.effects import SCHEMA as MUTAGENESIS
from findna.io.files import sha256
from findna.io.hdf5 import Format
from findna.io.layout import check_layout
from findna.io.outputs import finished_meta, tokens_path
from findna.io.reader import EmbeddingReader, open_hdf5, require_file
from findna.io.rows import BLOCK, Block, Checksums
from findna.io.tables import open_parquet, require_pyarrow
from findna.io.tokens import TokensReader, is_tokens_file
from findna.io.virtual import open_source
from findna.io.written_rows import Row, Written, read_json_text
from findna.io.written_tables import FACT_NAME, EffectsTable, WrittenScores, read_blocks, table_columns
from findna.io.written_tracks import TRACK_HEADS, WrittenTrack

_MAGIC: Mapping[bytes, Format] = {b"\x89HDF": "h5", b"PAR1": "parquet", b"\x93NUM": "npy"}
_ENDINGS = (".h5", ".h5ad", ".hdf5", ".tsv", ".tsv.gz", ".parquet", ".npy")


def open_written(path: Path) -> Written:
    """The kind of a file, by its content.

    Raises:
        TableError: It is absent, unfinished, damaged, or not an output that says how it was made.
    """
    require_file(path)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == TRACK_HEADS[0]:
        return WrittenTrack(path)
    kind = _MAGIC.get(magic)
    if kind == "h5":
        if is_tokens_file(path):
            return open_written(_main_of(path))
        with open_hdf5(path) as hdf5:
            schema = hdf5.attrs.get("findna_schema")
        return _Sequences(path) if schema in (BASES, MUTAGENESIS) else _Vectors(path, "h5")
    if kind == "parquet":
        metadata = require_pyarrow().parquet.read_schema(path).metadata or {}
        return WrittenScores(path) if f"{FACT_NAME}Model".encode() in metadata else _Vectors(path, kind)
    if kind:
        return _Vectors(path, kind)
    with ByteStream(path, error=TableError) as stream:
        head = stream.head
    if head.startswith(TRACK_HEADS[1]):
        return WrittenTrack(path)
    if head.startswith(b"## {"):
        return EffectsTable(path)
    if head.startswith(b"id\t"):
        return _Vectors(path, "tsv")
    if head.startswith((b"##fileformat=VCF", b"BCF\x02", f"##{FACT_NAME}".encode())):
        return WrittenScores(path)
    raise TableError("has no record of how findna made it, so it cannot be checked", path=path)


def _main_of(path: Path) -> Path:
    stem = path.name.removesuffix(".tokens.h5")
    found = [path.with_name(stem + ending) for ending in _ENDINGS if path.with_name(stem + ending).is_file()]
    if not found:
        raise TableError("is a token file, and its output is not beside it", path=path)
    return found[0]


class _Vectors(Written):
    """Vectors or predictions: HDF5, Parquet, TSV or npy."""

    def __init__(self, path: Path, output_format: Format) -> None:
        meta = finished_meta(path, output_format)
        if meta is None:
            raise TableError("is unfinished, or its NAME.meta.json is missing or belongs to another file", path=path)
        self.path, self.meta, self._format = path, meta, output_format
        self.kind, self.n_rows = str(meta["schema"]), int(meta["n_rows"])
        self._has_tokens = bool(meta["params"].get("with_tokens"))

    def check(self) -> str:
        stored: Mapping[str, str] = self.meta.get("checksums") or {}
        if parts := self.meta.get("parts"):
            return self._check_parts(parts)
        if self._format == "h5":
            with EmbeddingReader(self.path) as reader:
                found = reader.checksums()
        else:
            checksums, n_rows = Checksums(), 0
            found = {}
            if self._format in ("tsv", "npy"):
                found = {name: sha256(self.path.with_name(Path(name).name)) for name in stored}
                self.compare(found, stored)
            for block in self._blocks():
                n_rows += len(block.x)
                if self._format == "parquet":
                    checksums.add_block(block)
            if n_rows != self.n_rows:
                raise self.fail(f"has {counted(n_rows, 'row')}, and its metadata says {self.n_rows:,}")
            if self._format == "parquet":
                text = require_pyarrow().parquet.read_metadata(self.path).metadata.get(b"findna_checksums", b"{}")
                stored, found = json.loads(text), checksums.hex()
        return "; ".join(filter(None, [self.compare(found, stored), self._check_tokens()]))

    def rows(self) -> Iterator[Row]:
        for block in self._blocks():
            for i, x in enumerate(block.x):
                obs = {name: values[i] for name, values in block.obs.items()}
                yield Row(str(obs["id"]), obs, x)

    def more(self, index: int) -> list[NDArray[Any]]:
        found = []
        if self._format == "h5":
            with EmbeddingReader(self.path) as reader:
                found += [reader.cls[index]] if reader.cls is not None else []
        if self._has_tokens:
            with TokensReader(tokens_path(self.path)) as tokens:
                start, stop = tokens.indptr[index : index + 2].tolist()
                found.append(tokens.x[start:stop].astype(np.float32))
        return found

    def _check_parts(self, parts: Sequence[Mapping[str, Any]]) -> str:
        """Check the parts that a virtual output points to."""
        for part in parts:
            with open_source(self.path.parent, part["name"]) as file:
                found = _Vectors(Path(file.filename), "h5")
            found.check()
            if found.meta.get("checksums", {}) != part["checksums"]:
                raise self.fail(f"its part {part['name']} is not the one that was merged")
        return f"checksums of {counted(len(parts), 'part')} agree"

    def _check_tokens(self) -> str:
        if not self._has_tokens:
            return ""
        path = tokens_path(self.path)
        with TokensReader(path) as tokens:
            row = 0
            for block in self._blocks():
                rows = slice(row, row := row + len(block.x))
                ids, lengths = tokens.id[rows].tolist(), np.diff(tokens.indptr[rows.start : rows.stop + 1]).tolist()
                if ids != block.obs["id"] or lengths != [int(length) for length in block.obs["length"]]:
                    raise TableError(f"has other sequences than {self.path.name}", path=path)
            checksums, stored = tokens.content_checksums(), tokens.checksums
        found = {f"tokens {name}": value for name, value in checksums.items()}
        return self.compare(found, {f"tokens {name}": value for name, value in stored.items()})

    def _blocks(self) -> Iterator[Block]:
        if self._format == "h5":
            with EmbeddingReader(self.path) as reader:
                yield from reader.blocks()
        elif self._format == "parquet":
            with open_parquet(self.path) as file:
                for batch in file.iter_batches(BLOCK):
                    x = np.asarray(batch["embedding"].flatten()).reshape(len(batch), -1)
                    names = [name for name in batch.schema.names if name != "embedding"]
                    yield Block(0, x, {name: batch[name].to_pylist() for name in names}, None)
        elif self._format == "npy":
            x, beside = np.load(self.path, mmap_mode="r", allow_pickle=False), self.path
            beside = self.path.with_name(next(n for n in self.meta["checksums"] if n.endswith(".obs.tsv")))
            n_rows = 0
            for names, lines in read_blocks(beside):
                yield Block(0, x[n_rows : n_rows + len(lines)], table_columns(names, lines), None)
                n_rows += len(lines)
            if n_rows != len(x):
                raise self.fail(f"has {counted(len(x), 'vector')}, and {beside.name} {counted(n_rows, 'row')}")
        else:
            for names, lines in read_blocks(self.path):
                values = (
                    self.meta["features"] if self.meta["features"][0] in names else names[-len(self.meta["features"]) :]
                )
                places = [names.index(name) for name in values]
                x = np.array([[float(line[place]) for place in places] for line in lines], np.float32)
                yield Block(0, x, table_columns(names, lines, but=places), None)


class _Sequences(Written):
    """Predictions per base, or effects of changes, as HDF5."""

    family = "bases"

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_hdf5(path) as file:
            check_layout(file, path)
            attributes = dict(file.attrs)
            self.kind, self.n_rows = str(attributes["findna_schema"]), len(file["id"])
            is_complete = bool(attributes.get("complete"))
            self._checksum = str(attributes.pop("checksum", ""))
        if not is_complete:
            raise self.fail("is incomplete")
        self.meta = {name: read_json_text(value) for name, value in attributes.items() if isinstance(value, str)}

    def check(self) -> str:
        with open_hdf5(self.path) as file:
            for row, length in enumerate(map(len, file["sequence"].asstr())):
                if self.kind == BASES and int(np.diff(file["offsets"][row : row + 2])[0]) != length:
                    raise self.fail(f"row {row:,} has values of another number of bases than its sequence")
            if self.kind == BASES and not len(file["probabilities"]) == len(file["log_p"]) == file["offsets"][-1]:
                raise self.fail("its parts have different lengths")
            if any(len(file[name]) != self.n_rows for name in ("sequence", "chrom", "start", "end", "strand")):
                raise self.fail("its columns have different lengths")
            stored = {"content": self._checksum} if self._checksum else {}
            return self.compare({"content": content_checksum(file)}, stored)

    def rows(self) -> Iterator[Row]:
        with open_hdf5(self.path) as file:
            for row, (name, sequence) in enumerate(zip(file["id"].asstr(), file["sequence"].asstr(), strict=True)):
                if self.kind == BASES:
                    start, stop = file["offsets"][row : row + 2].tolist()
                    values = file["probabilities"][start:stop]
                else:
                    values = file["effects"][row, : len(sequence)]
                yield Row(name, {"sequence": sequence}, values)
