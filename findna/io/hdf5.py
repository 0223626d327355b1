"""EmbeddingWriter: stores rows in order; a crash loses no committed row."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.counts import counted
from findna.errors import ConfigError, OutputError
from findna.io import tables
from findna.io.files import raise_output_error, refuse_changed, require_space, stamps
from findna.io.formats import Format
from findna.io.outputs import assemble, n_bytes_needed, output_paths, publish_outputs, refuse_existing
from findna.io.reader import EmbeddingReader, read_embeddings
from findna.io.rows import OBS_COLUMNS, SKIPPED_COLUMNS, Columns, Kind, Rows, checked, columns_of, obs_line
from findna.io.spool import Spool

__all__ = ["OBS_COLUMNS", "EmbeddingReader", "EmbeddingWriter", "Format", "Writer", "read_embeddings"]

_KEPT = "every row is kept: resume=True finishes the run once there is room"
_LOST = "the input cannot be read again: make room and run again with force=True"


class EmbeddingWriter:
    """Writes rows to a spool, and the spool to a `findna-embedding/1` file or a table; a context manager.

    Leaving the `with` block without `finish` keeps the spool (`NAME.partial`), so the same run can resume from its last
    commit. A spool without a commit is deleted. `finish` gives the complete file its final name.

    Args:
        path: The output. Other files beside it can be NAME.tokens.h5, and for tables NAME.meta.json and NAME.obs.tsv.
        features: Names of the D values of a vector.
        var: `findna.io.rows.VAR_COLUMNS` of these values.
        fingerprint: What must be the same for a resume: inputs, model, options, version.
        obs_columns: Name and kind of the columns, in order, `id` first.
        n_cls_shape: (K, C) of the class tokens beside the vectors; only for h5.
        tokens_dim: C of the tokens, for a second file.
        dtype: Of vectors and class tokens in the file.
        output_format: Format of `path`.
        is_resumable: Whether a later run can continue the spool; only used in messages.
        resume: Continue an existing spool.
        force: Replace an existing output (it is kept until the new one is complete) and, without
            `resume`, discard a spool.
        every: Minimum time between two journal lines, in seconds.
        order: Order of a TSV's columns, see `tables.write_tsv`.

    Attributes:
        n_rows: Rows written so far, those of a resumed spool included.
        n_skipped: Records skipped so far, likewise.

    Raises:
        OutputError: The output exists, is in use, cannot be written, or the spool is of another run.
        MissingExtraError: The format needs a package that is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        features: Sequence[str],
        var: Mapping[str, Sequence[Any]] = MappingProxyType({}),
        fingerprint: Mapping[str, Any],
        obs_columns: Mapping[str, Kind] = OBS_COLUMNS,
        n_cls_shape: tuple[int, int] | None = None,
        tokens_dim: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
        output_format: Format = "h5",
        is_resumable: bool = True,
        resume: bool = False,
        force: bool = False,
        every: float = 1.0,
        order: Sequence[str] = (),
    ) -> None:
        if output_format not in get_args(Format):
            raise ConfigError(f"{output_format!r} is not an output format: h5, tsv, parquet, npy")
        if n_cls_shape and output_format != "h5":
            raise ConfigError("class tokens beside the vectors need output_format=h5")
        if output_format == "parquet":
            tables.require_pyarrow()
        self.path, self._format, self._every, self._order = path, output_format, every, order
        self._hint = _KEPT if is_resumable else _LOST
        self._outputs = output_paths(path, output_format, with_tokens=tokens_dim is not None)
        refuse_existing(path, output_format, is_allowed=force or resume)
        folder = path.with_name(f"{path.name}.partial")
        self._rows = Rows(
            folder, dict(obs_columns), tuple(features), np.dtype(dtype), n_cls_shape, tokens_dim, var=dict(var)
        )
        names = ["x", "obs", "skipped"] + ["cls"] * bool(n_cls_shape) + ["tokens"] * bool(tokens_dim)
        self._spool = Spool(
            folder, names, dict(fingerprint) | self._layout(), resume=resume, discard=force and not resume
        )
        self.n_rows = int(self._spool.state.get("rows", 0))
        self.n_skipped = int(self._spool.state.get("skipped", 0))
        self._n_tokens_pending = 0
        self._committed_at = time.monotonic()
        try:  # check again: now no other process can publish it
            is_ours = force or bool(self._spool.state.get("finishing"))
            refuse_existing(path, output_format, is_allowed=is_ours)
            self._before = stamps(*self._outputs.values())
        except OutputError:
            if not self._spool.is_resumed:
                self._spool.remove()
            self._spool.close()
            raise

    @property
    def n_records_done(self) -> int:
        """Number of finished records: rows and skipped records."""
        return self.n_rows + self.n_skipped

    def write(self, x: NDArray[Any], obs: Columns, cls: NDArray[Any] | None = None) -> None:
        """Append rows.

        Args:
            x: Vectors, shape (B, D).
            obs: Their columns, B values each.
            cls: Their class tokens, shape (B, K, C), if the writer has class tokens.

        Raises:
            ModelError: NaN or Inf; none of these rows is written.
            OutputError: The disk is full, or a value does not fit float16.
        """
        rows, ids = self._rows, obs["id"]
        x = checked(x, rows.dtype, (len(ids), len(rows.features)), ids=ids)
        if (cls is None) != (rows.cls_shape is None):
            raise ValueError("class tokens must be given if, and only if, the writer was opened for them")
        if cls is not None and rows.cls_shape:
            cls = checked(cls, rows.dtype, (len(ids), *rows.cls_shape), ids=ids)
        if rows.tokens_dim:
            n_tokens = sum(map(int, obs["length"]))
            if n_tokens != self._n_tokens_pending:
                raise ValueError(f"{self._n_tokens_pending} tokens were written for rows of {n_tokens} bases")
        lines = obs_line(rows.columns, obs)
        self._n_tokens_pending = 0
        self._spool.append("x", x.tobytes())
        self._spool.append("obs", lines)
        if cls is not None:
            self._spool.append("cls", cls.tobytes())
        self.n_rows += len(ids)

    def write_tokens(self, tokens: NDArray[Any]) -> None:
        """Append tokens, shape (n, C), of the rows of the next `write`. All must be written before it."""
        stored = checked(tokens, np.dtype("<f2"), (len(tokens), self._rows.tokens_dim or 0))
        self._spool.append("tokens", stored.tobytes())
        self._n_tokens_pending += len(stored)

    def skip(self, id: str, *, row: int, line: int | None, source: str, reason: str) -> None:
        """List a record as skipped, at its place among the rows."""
        if self._n_tokens_pending:
            raise ValueError("a record was skipped after its tokens were written")
        fields = {"id": id, "source": source, "row": row, "line": -1 if line is None else line, "reason": reason}
        self._spool.append("skipped", obs_line(SKIPPED_COLUMNS, columns_of([fields], SKIPPED_COLUMNS)))
        self.n_skipped += 1

    def commit(self) -> None:
        """Commit everything so far, unless the last commit was very recent.

        Call it only at the end of a cell, where a resumed run can begin.
        """
        if time.monotonic() - self._committed_at >= self._every:
            self._commit()

    def finish(self, uns: Mapping[str, Any], *, n_expected: int) -> list[Path]:
        """Assemble the output, give it its name and delete the spool. Returns the paths, the main one first.

        Args:
            uns: JSON values by name: provenance, model, genome, inputs, params.
            n_expected: Records of the input.

        Raises:
            OutputError: Rows and skipped records are not `n_expected`, or there is no space. The spool stays.
        """
        phases.enter(f"writing {self.path.name}")
        if self.n_records_done != n_expected:
            raise OutputError(
                f"{self.path}: {counted(n_expected, 'record')} came in, {counted(self.n_rows, 'row')} and "
                f"{self.n_skipped:,} skipped came out: not finished (this is a bug in findna; please report it)"
            )
        self._commit()
        rows = replace(self._rows, n_rows=self.n_rows, n_skipped=self.n_skipped)
        require_space(self.path.absolute().parent, n_bytes_needed(rows, self._format), hint=self._hint)
        temps = {name: self._spool.path(f"{name}.new") for name in self._outputs}
        try:
            self._assemble(temps, rows, uns, n_expected)
            refuse_changed(self._outputs.values(), self._before)
            self._commit(finishing=True)
            published = publish_outputs(self.path, self._format, temps)
            self._spool.remove()
        except OSError as error:
            raise_output_error(error, self.path, hint=self._hint)
        except (OutputError, RuntimeError) as error:
            raise OutputError(f"{self.path}: not written: {error}; {self._hint}") from error
        return published

    def close(self) -> None:
        """Close the output; an unfinished run stays in its spool."""
        self._spool.close()

    def discard(self) -> None:
        """Delete the spool of a run that cannot be resumed."""
        self._spool.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._spool.leave(is_failed=kind is not None)

    def _commit(self, *, finishing: bool = False) -> None:
        if self._n_tokens_pending:
            raise ValueError("commit between tokens and their row")
        state = {"rows": self.n_rows, "skipped": self.n_skipped}
        self._spool.commit(state | ({"finishing": True} if finishing else {}))
        self._committed_at = time.monotonic()

    def _assemble(self, temps: Mapping[str, Path], rows: Rows, uns: Mapping[str, Any], n_expected: int) -> None:
        assemble(temps, rows, uns, n_expected=n_expected, output_format=self._format, path=self.path, order=self._order)

    def _layout(self) -> dict[str, Any]:
        rows = self._rows
        return {
            "format": self._format,
            "dtype": rows.dtype.name,
            "features": [len(rows.features), *rows.features[:1], *rows.features[-1:]],
            "columns": dict(rows.columns),
            "class tokens": rows.cls_shape,
            "tokens": rows.tokens_dim,
        }


Writer = EmbeddingWriter | tables.TsvStream
"""A target for rows: a file that can be resumed, or a pipe."""
