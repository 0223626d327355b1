"""Whether an output is finished, and of the same run: then there is nothing to do."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from findna.errors import InputError
from findna.io.files import already_exists
from findna.io.formats import Format
from findna.io.outputs import finished_meta, output_paths
from findna.io.spool import changes, holds_run, remove_leftovers
from findna.io.written import open_written

T = TypeVar("T")
_NOT_OURS = (InputError, ValueError, KeyError, TypeError)
"""What reading a damaged file, or one of another program, ends in."""


def read_output(path: Path, read: Callable[[Path], T], *, is_resumed: bool = False) -> T | None:
    """What `read` gives of an output; None if it does not exist, is damaged, or not ours.

    Of an unfinished run it is None, too, unless this run is resumed: it may have been killed after its last step.
    Leftovers of a finished run's spool are deleted.
    """
    partial = path.with_name(f"{path.name}.partial")
    if not path.exists() or (not is_resumed and holds_run(partial)):
        return None
    found = None
    with suppress(*_NOT_OURS):
        found = read(path)
    if found is not None and not is_resumed:
        remove_leftovers(partial)
    return found


def finished_vectors(path: Path, output_format: Format) -> dict[str, Any] | None:
    """Metadata of vectors or predictions that have all their files, as `findna.io.outputs.finished_meta` gives it."""
    meta = read_output(path, lambda path: finished_meta(path, output_format))
    if meta is None:
        return None
    paths = output_paths(path, output_format, with_tokens=bool(meta["params"].get("with_tokens")))
    return meta if all(file.is_file() for file in paths.values()) else None


def n_finished(path: Path, facts: Mapping[str, Any], *, is_resumed: bool = False) -> int | None:
    """Rows of an output, which must say these facts of its run; None as for `read_output`.

    Raises:
        OutputError: The output is of another run.
    """
    if (written := read_output(path, open_written, is_resumed=is_resumed)) is None:
        return None
    require_same_run(path, written.meta, facts)
    return written.n_rows


def decisive(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run that must be the same for a resume, as JSON values.

    Bases per batch and `on_error` may differ. But a shard ends at the end of a batch, and `findna merge` compares all
    settings of the parts.
    """
    found: dict[str, Any] = json.loads(json.dumps({n: fact for n, fact in facts.items() if n != "provenance"}))
    if isinstance(params := found.get("params"), dict) and not found.get("shard"):
        found["params"] = {name: value for name, value in params.items() if name not in ("batch_bases", "on_error")}
    return found


def settled(facts: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run, with the device and the precision of a finished output where the run takes any ("auto").

    >>> settled({"params": {"device": "auto", "precision": "fp32"}}, {"params": {"device": "cpu", "precision": "bf16"}})
    {'params': {'device': 'cpu', 'precision': 'fp32'}}
    """
    params, earlier = facts.get("params") or {}, found.get("params") or {}
    taken = {name: earlier[name] for name in ("device", "precision") if params.get(name) == "auto" and name in earlier}
    return {**facts, "params": {**params, **taken}} if taken else dict(facts)


def require_same_run(path: Path, found: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise if the metadata of a finished output differ from these facts of a run.

    An output with `on_error` "skip" may lack records that a run with "fail" refuses.

    Raises:
        OutputError: They differ; the text has the differences.
    """
    facts = settled(facts, found)
    is_one_part = bool(found.get("shard")) != bool(facts.get("shard"))  # then all other differences follow
    names = ["shard"] if is_one_part else list(facts)
    earlier, own = ({name: facts.get(name) for name in names} for facts in (found, facts))
    strictness = [{"on_error": (one.get("params") or {}).get("on_error")} for one in (earlier, own)]
    differing = changes(decisive(earlier), decisive(own))
    if not differing and strictness == [{"on_error": "skip"}, {"on_error": "fail"}]:
        differing = changes(*strictness)
    if differing:
        raise already_exists(path, f"exists already, made with other inputs or settings ({differing})")
