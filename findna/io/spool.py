"""Spool: append-only files, and a journal of how many bytes of each were committed."""

import itertools
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from findna.errors import OutputError
from findna.io.files import raise_output_error, sync_folder, writing
from findna.io.locks import HELD, locked

_JOURNAL, _LOCK, _MARKER = "journal", "lock", "findna.txt"
_MARK = b"The rows of an unfinished run of findna. The run can be resumed as long as this folder is here.\n"
_PARTS = ("x", "obs", "skipped", "cls", "tokens", "arrays", "scores", _JOURNAL)  # of the spools of all commands
_OF_CONTENT = ("bytes", "sha256", "modified_ns", "digest", "n_contigs")  # of a file
_FOLLOWING = {"features", "tokens", "class tokens"}  # they follow from the settings
_KNOWN_AS = {
    "train": "the training split",
    "valid": "the validation split",
    "test": "the test split",
}
_BUFFER = 1 << 20
_FORMAT = {"spool format": 2}  # a run with another one cannot be resumed


class Spool:
    """A folder of byte files that grow by commits; a context manager.

    `append` adds bytes. `commit` commits all bytes so far: the files are synced, then one journal line
    with the length and running crc32 of each is written and synced. Opening the spool again removes everything
    after the last complete journal line, and a damaged commit with all later ones.
    The first journal line is the fingerprint of the run: only the same run can resume.

    Args:
        folder: Created if missing; its parent must exist. An existing folder must have our marker or be empty.
        names: The files in it.
        fingerprint: What must be the same for a resume; JSON values.
        resume: Continue an existing run.
        discard: Delete an existing run. Without `resume` and `discard`, a folder with a run is refused.

    Attributes:
        state: The state of the last commit; {} before the first.
        is_resumed: Whether an existing run is resumed.

    Raises:
        OutputError: In use by another process; holds a run that is not to be continued or was made with other
            settings; is not a spool; cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        fingerprint: Mapping[str, Any],
        *,
        resume: bool = False,
        discard: bool = False,
    ) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {}
        self._names = tuple(names)
        self._pending: dict[str, list[bytes]] = {name: [] for name in names}
        self._n_pending = 0
        self._unsynced: set[str] = set()
        self._length = dict.fromkeys(names, 0)
        self._crc = dict.fromkeys(names, 0)
        self._files: dict[str, BinaryIO] = {}
        _refuse_foreign(folder)
        with ExitStack() as stack:
            stack.enter_context(locked(folder / _LOCK, what=folder))
            stack.callback(self._close_files)
            with writing(folder):
                self.is_resumed = self._open(fingerprint, resume=resume, discard=discard)
            self._stack = stack.pop_all()

    def append(self, name: str, content: bytes) -> None:
        """Add bytes to a file. They are safe after the next commit.

        Raises:
            OutputError: They cannot be written. The spool is closed and can be resumed from its last commit.
        """
        self._pending[name].append(content)
        self._length[name] += len(content)
        self._crc[name] = zlib.crc32(content, self._crc[name])
        self._n_pending += len(content)
        if self._n_pending >= _BUFFER:
            self._guard_write(sync=False)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Commit everything appended so far, and store `state` (JSON values) with it.

        Raises:
            OutputError: It cannot be written; as in `append`.
        """
        self.state = dict(state)
        self._guard_write(sync=True)

    def path(self, name: str) -> Path:
        """The path of a file of the spool, or of NAME.new, which is assembled from it."""
        return self.folder / name

    def size(self, name: str) -> int:
        """Number of bytes appended to a file, committed or not."""
        return self._length[name]

    def remove(self) -> None:
        """Delete the folder."""
        self._close_files()
        self.path(_JOURNAL).unlink(missing_ok=True)  # first: without it, the rest of a spool is not a run
        self._wipe()
        self.path(_MARKER).unlink(missing_ok=True)
        self.path(_LOCK).unlink(missing_ok=True)
        self.path(f"{_LOCK}{HELD}").unlink(missing_ok=True)
        with suppress(OSError):  # another process took the lock meanwhile, or something of the user's is here
            self.folder.rmdir()
        sync_folder(self.folder.parent)

    def close(self) -> None:
        """Close the folder and keep it, up to its last commit."""
        self._stack.close()

    def leave(self, *, is_failed: bool) -> None:
        """Close the folder; after a failure, delete it if nothing was committed, because nothing can be resumed."""
        try:
            if is_failed and not self.state and self.folder.exists():
                self.remove()
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, fingerprint: Mapping[str, Any], *, resume: bool, discard: bool) -> bool:
        fingerprint = json.loads(json.dumps({**fingerprint, **_FORMAT}))
        self.path(_MARKER).write_bytes(_MARK)
        lines = [] if discard else list(_read_journal(self.path(_JOURNAL)))
        if lines and not resume:
            raise _partial_run(self.folder)
        if lines:
            self._refuse_other(lines[0]["fingerprint"], fingerprint)
            kept = self._keep(lines)
            self._wipe(but=(*self._names, _JOURNAL))
        else:
            self._wipe()
        for name in (*self._names, _JOURNAL):
            self._files[name] = self.path(name).open("ab", buffering=0)
        if lines:
            self._cut(_JOURNAL, kept)
        else:
            self._write(_JOURNAL, _journal_line({"fingerprint": fingerprint}))  # synced with the first commit
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        return bool(lines)

    def _refuse_other(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        if differing := changes(old, new):
            raise OutputError(
                f"{self.folder}: the partial run has other settings ({differing}): "
                "give the same ones, choose another output, or discard it with force=True"
            )

    def _keep(self, lines: list[dict[str, Any]]) -> int:
        """Truncate every file to the last commit that all files confirm; returns the journal bytes up to there."""
        commits = lines[1:]
        for name in self._names:
            commits = commits[: _n_intact(self.path(name), name, commits)]
        nothing = {"state": {}, "length": self._length, "crc": self._crc, "end": lines[0]["end"]}
        last: dict[str, Any] = commits[-1] if commits else nothing
        self.state = last["state"]
        self._length, self._crc = dict(last["length"]), dict(last["crc"])
        for name in self._names:
            self._cut(name, self._length[name])
        return int(last["end"])

    def _cut(self, name: str, length: int) -> None:
        with self.path(name).open("ab") as file:
            file.truncate(length)
            os.fsync(file.fileno())

    def _guard_write(self, *, sync: bool) -> None:
        try:
            for name, chunks in self._pending.items():
                if chunks:
                    self._write(name, b"".join(chunks))
                    self._unsynced.add(name)
                    chunks.clear()
            self._n_pending = 0
            if sync:
                while self._unsynced:
                    _sync(self._files[self._unsynced.pop()].fileno())
                line = {"state": self.state, "length": self._length, "crc": self._crc}
                self._write(_JOURNAL, _journal_line(line))
                _sync(self._files[_JOURNAL].fileno())
        except OSError as error:
            self._close_files()
            raise_output_error(error, self.folder, hint="written rows are kept: resume=True continues from there")

    def _write(self, name: str, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._files[name].write(rest) :]

    def _close_files(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _wipe(self, *, but: Iterable[str] = ()) -> None:
        for path in self.folder.iterdir():
            is_ours = path.name in (*_PARTS, *self._names) or ".new" in path.suffixes
            if is_ours and path.name not in but:
                path.unlink()


def holds_run(folder: Path) -> bool:
    """Whether a folder is the spool of an unfinished run with committed rows, not only what a killed run left."""
    return len(list(itertools.islice(_read_journal(folder / _JOURNAL), 2))) == 2


def refuse_partial(folder: Path) -> None:
    """Raise as a `Spool` of this folder would without `resume` and `discard`; nothing is written.

    Raises:
        OutputError: It is in use, holds a run, or is not a spool.
    """
    _refuse_foreign(folder)
    if any(_read_journal(folder / _JOURNAL)):
        with locked(folder / _LOCK, what=folder):
            raise _partial_run(folder)


def _partial_run(folder: Path) -> OutputError:
    return OutputError(
        f"{folder}: a partial run exists; resume=True continues it. To begin again, choose another name, "
        "or discard it with force=True"
    )


def remove_leftovers(folder: Path) -> None:
    """Delete what a run left that was killed while it removed its spool; keep a run, and foreign files."""
    if not holds_run(folder) and ((folder / _MARKER).is_file() or (folder / _LOCK).is_file()):
        with suppress(OutputError), Spool(folder, (), {}, discard=True) as spool:
            spool.remove()


def _refuse_foreign(folder: Path) -> None:
    """Raise if the folder exists and is not a spool.

    Raises:
        OutputError: It is a file or a symbolic link, or holds files and not our marker.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder}: is a {'symbolic link' if folder.is_symlink() else 'file'}: move it, or rename it")
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()}
    # A killed process may leave an empty folder, or only the lock. The first version wrote no marker.
    if names - {_LOCK, f"{_LOCK}{HELD}"} and _MARKER not in names and not list(_read_journal(folder / _JOURNAL)):
        raise OutputError(f"{folder}: holds files that findna did not write: move the folder, or rename it")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The differences between two nested settings (JSON values): name, and both values in short form.

    A setting that only one of them knows differs if it is given there.

    >>> differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": ""})
    [('a.b', '1', '2')]
    """
    old, new = _flat(old), _flat(new)
    given = [{key: value for key, value in facts.items() if value not in (None, "")} for facts in (old, new)]
    missing = object()
    keys = sorted(given[0].keys() | given[1].keys())
    differing = (key for key in keys if given[0].get(key, missing) != given[1].get(key, missing))
    return [(key, _brief(old.get(key)), _brief(new.get(key))) for key in differing]


def setting_name(key: str) -> str:
    """The name of a setting as a user knows it, from its place in nested settings.

    >>> setting_name("config.model.channels"), setting_name("options.max_n"), setting_name("genome.path")
    ('channels', 'max_n', 'genome')
    """
    name = re.sub(r"^(params|settings|options|sources|data|config(\.model)?)\.|\.(path|name)$", "", key)
    return _KNOWN_AS.get(name, name)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], *, most: int | None = None, is_part: bool = False) -> str:
    """The differences between the facts of two runs, at most `most`, for a message; "" if there are none.

    A setting that follows from another one is named only if nothing else differs.

    Args:
        old: The facts of the earlier run; of two parts, those of the other part.
        new: The facts of the run, or of the part.
        most: Maximum number of differences.
        is_part: Whether these are two parts of a run, not an earlier and a later run.

    >>> changes({"params": {"raw": False}, "features": [1]}, {"params": {"raw": True}, "features": [2]})
    'raw: true now, false before'
    >>> changes({"inputs": [{"path": "a.bed", "bytes": 9}]}, {"inputs": [{"path": "a.bed", "bytes": 8}]})
    'the file a.bed has changed'
    >>> changes({}, {"shard": {"number": 2, "n": 4, "first": 9}})
    'shard: 2/4 now, not given before'
    >>> changes({"params": {"pool": "mean"}}, {"params": {"pool": "max"}}, is_part=True)
    'pool is "max", there "mean"'
    """
    given = _as_given(old, new), _as_given(new, old)
    return "; ".join((_texts(*given, is_part=is_part) or _texts(old, new, is_part=is_part))[:most])


def _as_given(facts: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run with those settings that a user gave, if another run is compared with it.

    A flag that was given with its default value counts as not given: the facts are the same.
    """
    own, theirs = (one["params"] if isinstance(one.get("params"), Mapping) else {} for one in (facts, other))
    follows = {"stride"} if own.get("stride") == own.get("window") else set()
    if any(own.get(name) != theirs.get(name) for name in ("pool", "blocks", "layer")):
        follows.add("raw")  # only the model's own read-out has statistics
        follows |= {"layer"} if own.get("blocks") or theirs.get("blocks") else set()
        follows |= {"pool", "blocks"} if own.get("raw") is False else set()
    given = {name: value for name, value in own.items() if name not in follows and value not in (None, "")}
    return {**facts, "params": given}


def _texts(old: Mapping[str, Any], new: Mapping[str, Any], *, is_part: bool) -> list[str]:
    pair, changed = ("{0} is {2}, there {1}", "differs") if is_part else ("{0}: {2} now, {1} before", "has changed")
    found, now = differences(old, new), _flat(new)
    differing = {key for key, _, _ in found}
    texts: dict[str, None] = {}
    for key, before, after in found:
        base, _, leaf = key.rpartition(".")
        if key in _FOLLOWING and differing - _FOLLOWING:
            continue
        if "shard" in (base, key):
            before, after = _shard_of(old), _shard_of(new)
            is_same = before == after
            texts[f"shard {after} has other records" if is_same else pair.format("shard", before, after)] = None
        elif base and leaf in _OF_CONTENT:
            if differing.isdisjoint({f"{base}.path", f"{base}.name"}):
                path = now.get(f"{base}.path")
                texts[f"the file {path} {changed}" if path else f"the content of {base} {changed}"] = None
        elif _is_hash(before) and _is_hash(after):
            texts[f"the content of {setting_name(key)} {changed}"] = None
        else:
            before, after = ("given" if _is_hash(value) else value for value in (before, after))
            texts[pair.format(setting_name(key), before, after)] = None
    return list(texts)


def _shard_of(facts: Mapping[str, Any]) -> str:
    shard = facts.get("shard")
    return f"{shard.get('number')}/{shard.get('n')}" if isinstance(shard, Mapping) else "not given"


def _is_hash(text: str) -> bool:
    return re.fullmatch(r'"[0-9a-f]{56}\.\.\.', text) is not None


def _sync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync


def _journal_line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines from the first on, each with the byte where it ends: a fingerprint, then commits."""
    end, keys = 0, {"fingerprint"}
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # not ours
        return
    with file:
        for line in file:
            end += len(line)
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(line[9:-1]):
                return
            try:
                content = json.loads(line[9:])
            except (ValueError, RecursionError):
                return
            if not isinstance(content, dict) or content.keys() != keys:
                return
            yield content | {"end": end}
            keys = {"state", "length", "crc"}


def _n_intact(path: Path, name: str, commits: Sequence[Mapping[str, Any]]) -> int:
    """The number of commits, from the first, that a file confirms; reads it once."""
    position = crc = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return 0
    with file:
        for index, commit in enumerate(commits):
            while position < commit["length"][name]:
                chunk = file.read(min(_BUFFER, commit["length"][name] - position))
                if not chunk:
                    return index
                position, crc = position + len(chunk), zlib.crc32(chunk, crc)
            if crc != commit["crc"][name]:
                return index
    return len(commits)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested settings, named `outer.inner`; those of a list of settings `outer.1.inner`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            value = {str(number): each for number, each in enumerate(value, 1)}
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _brief(value: Any) -> str:
    if value is None or value == "":
        return "not given"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
