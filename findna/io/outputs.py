"""The files of an output: their names, whether they may be written, and how they are written and published."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.errors import OutputError
from findna.io import h5ad, tables
from findna.io.files import (
    already_exists,
    publish,
    raise_output_error,
    refuse_changed,
    refuse_irregular,
    require_folder,
    require_space,
    stamps,
)
from findna.io.formats import Format
from findna.io.readback import check_embeddings, check_joined, check_tokens
from findna.io.reader import EmbeddingReader
from findna.io.rows import Rows
from findna.io.spool import Spool, holds_run
from findna.io.tokens import is_tokens_file

_HEAD = 1 << 16


def tokens_path(path: Path) -> Path:
    """The path of the tokens of an output.

    >>> tokens_path(Path("a/peaks.h5")).name
    'peaks.tokens.h5'
    """
    return output_paths(path, "h5", with_tokens=True)["tokens"]


def write_output(
    path: Path,
    rows: Rows,
    uns: Mapping[str, Any],
    *,
    n_expected: int,
    output_format: Format = "h5",
    force: bool = False,
    order: Sequence[str] = (),
) -> list[Path]:
    """Write an output whose rows are all on disk, completely or not at all. Returns the paths, the main one first.

    Args:
        path: The output.
        rows: Its rows.
        uns: As in `EmbeddingWriter.finish`.
        n_expected: Records of the input.
        output_format: Format of `path`.
        force: Replace an existing output.
        order: As for `EmbeddingWriter`.

    Raises:
        OutputError: The output exists, is in use or cannot be written, or the disk is full. Nothing is left behind.
        MissingExtraError: The format needs a package that is not installed.
    """
    if output_format == "parquet":
        tables.require_pyarrow()
    refuse_existing(path, output_format, is_allowed=force or not path.exists())
    folder = path.with_name(f"{path.name}.partial")
    names = output_paths(path, output_format, with_tokens=bool(rows.tokens_dim))
    what = {"command": "merge"}  # remove our own leftovers of a crash, but not those of another run
    with Spool(folder, [], what, resume=not force, discard=force) as spool:
        temps = {name: spool.path(f"{name}.new") for name in names}
        try:
            if spool.is_resumed and not path.exists():
                _remove_sidecars(path, names, {})  # the crash came after they got their names
            refuse_existing(path, output_format, is_allowed=force)
            outputs = output_paths(path, output_format, with_tokens=True).values()
            before = stamps(*outputs)
            require_space(path.absolute().parent, n_bytes_needed(rows, output_format), hint="make room")
            assemble(temps, rows, uns, n_expected=n_expected, output_format=output_format, path=path, order=order)
            refuse_changed(outputs, before)
            try:
                return publish_outputs(path, output_format, temps)
            finally:
                if not path.exists():
                    _remove_sidecars(path, names, before)
        except OSError as error:
            raise_output_error(error, path)
        except RuntimeError as error:
            raise OutputError(f"{path}: not written: {error}") from error
        finally:
            spool.remove()


def n_bytes_needed(rows: Rows, output_format: Format) -> int:
    """An upper bound of the bytes that an output takes."""
    text = 14 * rows.n_rows * len(rows.features) if output_format == "tsv" else 0
    return h5ad.n_bytes_needed(rows) + text


def assemble(
    temps: Mapping[str, Path],
    rows: Rows,
    uns: Mapping[str, Any],
    *,
    n_expected: int,
    output_format: Format,
    path: Path,
    order: Sequence[str] = (),
) -> None:
    """Write the files of an output to temporary names."""
    file_name, folder = path.name, path.parent
    if "tokens" in temps:
        h5ad.write_tokens(temps["tokens"], rows)
        if rows.sources:
            check_joined(temps["tokens"], folder)
        else:
            check_tokens(temps["tokens"], rows)
    main = temps["main"]
    if output_format == "h5":
        h5ad.write_embeddings(main, rows, uns, n_expected=n_expected)
        if rows.sources:
            check_joined(main, folder)
        else:
            check_embeddings(main, rows, uns, n_expected=n_expected)
    elif output_format == "tsv":
        tables.write_tsv(main, rows, is_gzip=file_name.endswith(".gz"), order=order)
    elif output_format == "npy":
        tables.write_tsv(temps["obs"], rows, with_vectors=False)
        tables.write_npy(main, rows)
    else:
        tables.write_parquet(main, rows, uns, n_expected=n_expected)
    if "meta" in temps:
        names = output_paths(Path(file_name), output_format, with_tokens=False)
        files = {names[part].name: temps[part] for part in ("main", "obs") if part in temps}
        tables.write_meta(temps["meta"], rows, uns, n_expected=n_expected, file_name=file_name, files=files)


def publish_outputs(path: Path, output_format: Format, temps: Mapping[str, Path]) -> list[Path]:
    """Give the files of an output their names, the main one last; returns them, the main one first."""
    refuse_existing(path, output_format, is_allowed=True)  # check again: another run may have finished in the meantime
    every = output_paths(path, output_format, with_tokens=True)
    for name, final in every.items():
        if name in temps:
            publish(temps[name], final)
    if "tokens" not in temps and _is_sidecar_of(path, every["tokens"], "tokens"):  # of an output that this one replaces
        every["tokens"].unlink()
    return [final for name, final in reversed(every.items()) if name in temps]


def refuse_existing(path: Path, output_format: Format, *, is_allowed: bool) -> None:
    """Raise if a file of an output, including tokens, exists.

    Raises:
        OutputError: One exists and `is_allowed` is False, is not a regular file, or is not of this output; or there
            is no such folder.
    """
    require_folder(path)
    refuse_irregular(path)
    outputs = output_paths(path, output_format, with_tokens=True)
    for file in outputs.values():
        refuse_irregular(file)
    found = {name: file for name, file in outputs.items() if file.exists()}
    for name, file in found.items():
        if file != path and not _is_sidecar_of(path, file, name):
            raise OutputError(f"{file}: would be replaced, and does not belong to {path.name}: choose another name")
    if found and not is_allowed and "main" not in found:
        file = [*found.values()][-1]
        raise OutputError(f"{file}: belongs to an earlier {path.name}: remove it, or choose another name")
    if found and not is_allowed:
        raise already_exists([*found.values()][-1])


def _remove_sidecars(path: Path, names: Mapping[str, Path], before: Mapping[Path, object]) -> None:
    """Delete the files beside a missing output, except earlier ones with these stamps."""
    for name, file in names.items():
        if file != path and not stamps(file).items() <= before.items() and _is_sidecar_of(path, file, name):
            file.unlink()


def finished_meta(path: Path, output_format: Format) -> dict[str, Any] | None:
    """Metadata of a finished output, with `n_rows` and `n_skipped`; None without one, or with a partial run.

    Raises:
        TableError: It is damaged or not ours.
    """
    if not path.is_file() or holds_run(path.with_name(f"{path.name}.partial")):
        return None
    if output_format == "h5":
        with EmbeddingReader(path) as reader:
            return {**reader.meta, "n_rows": len(reader), "n_skipped": reader.n_skipped}
    if output_format == "parquet":
        meta = json.loads(tables.require_pyarrow().parquet.read_schema(path).metadata[b"findna"])
    else:
        beside = output_paths(path, output_format, with_tokens=False)["meta"]
        if not beside.is_file() or not _is_sidecar_of(path, beside, "meta"):
            return None
        meta = json.loads(beside.read_text(encoding="utf-8"))
    return {**meta, "n_rows": meta["n_expected"] - len(meta["skipped"]), "n_skipped": len(meta["skipped"])}


def _is_sidecar_of(path: Path, file: Path, name: str) -> bool:
    """Whether a file beside an output belongs to it."""
    if name == "tokens":
        return is_tokens_file(file)
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if name == "obs":
        return head.startswith(b"id\t")
    return b'"schema": "findna-' in head and (b'"file": ' not in head or tables.file_entry(path) in head)


def output_paths(path: Path, output_format: Format, *, with_tokens: bool) -> dict[str, Path]:
    """The files of an output, in the order in which they get their names."""
    stem = re.sub(r"(\.(h5ad|h5|hdf5|tsv|txt|parquet|npy))?(\.gz)?$", "", path.name)
    outputs = {"tokens": path.parent / f"{stem}.tokens.h5"} if with_tokens else {}
    if output_format in ("tsv", "npy"):
        outputs["meta"] = path.with_name(f"{stem}.meta.json")
    if output_format == "npy":
        outputs["obs"] = path.with_name(f"{stem}.obs.tsv")
    return outputs | {"main": path}
