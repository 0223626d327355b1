"""From records to rows: windows, packed batches, the teacher, pooled vectors, in the order of the input."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from findna.config import EmbedConfig, ModelConfig
from findna.data.ahead import ahead
from findna.data.batch import Batch, pack
from findna.data.windows import Window, count_windows, iter_windows
from findna.errors import InputError
from findna.io.compressed import STDIN
from findna.io.hdf5 import Writer
from findna.io.rows import OBS_COLUMNS, Kind
from findna.nn.chordmixer import ChordMixer
from findna.nn.pooling import Pool, class_tokens
from findna.record import Record
from findna.sequence import Codes, N, reverse_complement

GRID = 128
"""Most records of a cell: batches never cross its end, rows are written there, and a resume can begin there."""

CELL_BATCHES = 4
"""A cell ends, too, with the record that fills so many batches. Where cells end depends on the records alone."""


class Cell(NamedTuple):
    """Finished rows and skipped records of one cell.

    Args:
        x: Vectors, shape (B, D), float32.
        obs: Their columns.
        cls: Class tokens, shape (B, K, C), where they were asked for.
        skipped: Records that have no row, in their order.
    """

    x: NDArray[np.float32]
    obs: list[dict[str, Any]]
    cls: NDArray[np.float32] | None
    skipped: list[InputError]


@dataclass
class _Slot:
    """One record on its way: its columns, and its vectors so far, one a strand."""

    obs: dict[str, Any]
    pools: list[Pool]
    cls: list[Pool] = field(default_factory=list)


class _Piece(NamedTuple):
    slot: _Slot
    strand: int
    window: Window
    codes: Codes


class _Work(NamedTuple):
    """A batch, or the end of a cell: all that has passed in it."""

    pieces: list[_Piece]
    batch: Batch | None
    done: list[_Slot | InputError]


def obs_columns(config: EmbedConfig, extra: Iterable[str] = ()) -> dict[str, Kind]:
    """Name and kind of the output's columns: those of every output, rc_cosine for both strands, those of the input."""
    columns = dict(OBS_COLUMNS)
    if config.strand == "both":
        columns["rc_cosine"] = "float32"
    return columns | dict.fromkeys(extra, "int32")


def feature_names(config: EmbedConfig, model: ModelConfig) -> list[str]:
    """Names of a vector's values: f000, ... or cls0_f000, ..."""
    features = [f"f{channel:03d}" for channel in range(model.channels)]
    if config.pool != "cls":
        return features
    return [f"cls{token}_{feature}" for token in range(model.n_class_tokens) for feature in features]


class Embedder:
    """A teacher on its device, with what is to be read from it.

    Args:
        network: The teacher; it is moved and, for bf16 products, cast.
        config: What is in a vector.
        device: Where it runs.
        products: Type of the matrix products; the residual stream and the pooling are float32.
    """

    def __init__(
        self, network: ChordMixer, config: EmbedConfig, *, device: torch.device, products: torch.dtype
    ) -> None:
        self.config = config.for_model(network.config)
        self.network = network.to(device).cast_products(products).eval()
        self.device, self.products = device, products

    def embed(self, items: Iterable[Record | InputError], *, sink: Writer | None = None) -> Iterator[Cell]:
        """Yield the rows of records, a cell at a time.

        Reading and packing run ahead in a thread. Memory is a few batches, however long a record is.

        Args:
            items: Records, and in their places the faults of those that are to be skipped.
            sink: Takes the tokens of every batch (`write_tokens`), if the config asks for them.
        """
        for work in ahead(self._works(items)):
            if work.batch is None:
                yield self._rows(work.done)
            else:
                self._run(work.pieces, work.batch, sink)

    def _works(self, items: Iterable[Record | InputError]) -> Iterator[_Work]:
        stream = iter(items)
        for first in stream:
            done: list[_Slot | InputError] = []
            pieces: list[_Piece] = []
            n_bases = 0
            for piece in self._pieces(self._cell(itertools.chain([first], stream)), done):
                if pieces and n_bases + len(piece.codes) > self.config.batch_bases:
                    yield self._packed(pieces)
                    pieces, n_bases = [], 0
                pieces.append(piece)
                n_bases += len(piece.codes)
            if pieces:
                yield self._packed(pieces)
            yield _Work([], None, done)

    def _packed(self, pieces: list[_Piece]) -> _Work:
        batch = pack([piece.codes for piece in pieces], n_class_tokens=self.network.config.n_class_tokens)
        return _Work(pieces, batch, [])

    def _cell(self, items: Iterable[Record | InputError]) -> Iterator[Record | InputError]:
        n_bases = 0
        for n_records, item in enumerate(items, start=1):
            yield item
            n_bases += 0 if isinstance(item, InputError) else len(item.codes)
            if n_records == GRID or n_bases >= CELL_BATCHES * self.config.batch_bases:
                return

    def _pieces(self, items: Iterable[Record | InputError], done: list[_Slot | InputError]) -> Iterator[_Piece]:
        size, stride = self.config.window, self.config.stride
        for item in items:
            if isinstance(item, InputError):
                done.append(item)
                continue
            strands = [item.codes]
            if self.config.strand == "both":
                strands.append(reverse_complement(item.codes))
            slot = _Slot(self._obs(item), [Pool(self.config.pool) for _ in strands])
            if self.config.with_cls:
                slot.cls = [Pool("cls") for _ in strands]
            done.append(slot)
            for strand, codes in enumerate(strands):
                for window in iter_windows(len(codes), size=size, stride=stride):
                    yield _Piece(slot, strand, window, codes[window.start : window.end])

    def _obs(self, record: Record) -> dict[str, Any]:
        n_bases = len(record.codes)
        return {
            "id": record.id,
            "name": record.name,
            "chrom": record.chrom,
            "start": record.start,
            "end": record.end,
            "strand": record.strand,
            "source": record.source,
            "row": record.row,
            "length": n_bases,
            "n_windows": count_windows(n_bases, size=self.config.window, stride=self.config.stride),
            "frac_n": np.count_nonzero(record.codes == N) / n_bases,
            "n_iupac": record.n_iupac,
            **record.extra,
        }

    @torch.inference_mode()
    def _run(self, pieces: list[_Piece], batch: Batch, sink: Writer | None) -> None:
        config, n_class_tokens = self.config, self.network.config.n_class_tokens
        codes = torch.from_numpy(batch.codes).to(self.device)
        hidden = self.network(codes, batch.rings, layer=config.layer, products=self.products)  # (positions, C)
        own = [
            hidden[start + piece.window.own_start - piece.window.start : start + len(piece.codes)]
            for start, piece in zip(batch.rings[:-1].tolist(), pieces, strict=True)
        ]
        tokens = None
        if config.pool == "cls" or config.with_cls:
            tokens = class_tokens(hidden, batch.rings, n_class_tokens).cpu().numpy()  # (B, K, C)
        if config.pool == "cls" and tokens is not None:
            vectors = tokens.reshape(len(pieces), -1)
        else:
            pooled = [bases.amax(0) if config.pool == "max" else bases.mean(0) for bases in own]
            vectors = torch.stack(pooled).cpu().numpy()  # (B, C)
        for index, piece in enumerate(pieces):
            n_own = piece.window.end - piece.window.own_start
            piece.slot.pools[piece.strand].add(vectors[index], n_own)
            if config.with_cls and tokens is not None:
                piece.slot.cls[piece.strand].add(tokens[index], n_own)
        if config.with_tokens and sink is not None:
            for bases in own:
                sink.write_tokens(bases.to(torch.float16).cpu().numpy())

    def _rows(self, done: list[_Slot | InputError]) -> Cell:
        slots = [item for item in done if isinstance(item, _Slot)]
        skipped = [item for item in done if isinstance(item, InputError)]
        by_strand = [[pool.vector() for pool in slot.pools] for slot in slots]
        n_features = len(feature_names(self.config, self.network.config))
        x = np.array([np.mean(vectors, axis=0) for vectors in by_strand], np.float32).reshape(-1, n_features)
        if self.config.strand == "both":
            for slot, (forward, reverse) in zip(slots, by_strand, strict=True):
                slot.obs["rc_cosine"] = _cosine(forward, reverse)
        cls = None
        if self.config.with_cls:
            shape = (-1, self.network.config.n_class_tokens, self.network.config.channels)
            joined = [np.mean([pool.vector() for pool in slot.cls], axis=0) for slot in slots]
            cls = np.array(joined, np.float32).reshape(shape)
        return Cell(x, [slot.obs for slot in slots], cls, skipped)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))


def write_rows(
    embedder: Embedder, items: Iterable[Record | InputError], writer: Writer, *, fatal: bool = True
) -> Iterator[int]:
    """Embed records into a writer, and yield after each cell how many records of this call are written or skipped.

    Args:
        embedder: The teacher.
        items: All records of the input, in order; those that the writer has already are passed over.
        writer: An `EmbeddingWriter` or `TsvStream`.
        fatal: Whether one record's fault ends the run.

    Raises:
        InputError: A record's fault, unless `fatal` is False; one that always skips (`TooManyN`) never.
    """
    n_done = 0
    todo = itertools.islice(_stop_at_fault(items, fatal=fatal), writer.n_records_done, None)
    for rows in embedder.embed(todo, sink=writer):
        if rows.obs:
            writer.write(rows.x, rows.obs, rows.cls)
        for fault in rows.skipped:
            writer.skip(
                fault.record,
                row=fault.row,
                line=fault.line,
                source=STDIN if fault.path == "stdin" else str(fault.path or ""),
                reason=fault.reason,
            )
        writer.commit()
        n_done += len(rows.obs) + len(rows.skipped)
        yield n_done


def _stop_at_fault(items: Iterable[Record | InputError], *, fatal: bool) -> Iterator[Record | InputError]:
    for item in items:
        if fatal and isinstance(item, InputError) and item.is_fatal:
            reason = f"{item.reason}; --on-error skip leaves it out"
            raise type(item)(reason, path=item.path, line=item.line, record=item.record, row=item.row)
        yield item
