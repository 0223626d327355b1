"""The contents of a disk after a power loss: played from the log that `faults/shim.c` keeps of a process.

The model is the weakest that POSIX allows in practice: content is certain after fsync of its file, a name after fsync
of its folder. Of later writes any may be missing, of later names of a folder any but the first ones.
"""

import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<5Q")


class Call(NamedTuple):
    """One call: kind as in shim.c, inode, offset or size, and up to two texts."""

    kind: str
    inode: int
    offset: int
    a: bytes
    b: bytes


@dataclass
class File:
    """A file's certain content, and what was done to it since: (offset, bytes), or (size, None) if it was truncated."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for each in self.pending:
            _apply(self.certain, *each)
        self.pending.clear()

    def after_loss(self, draw: random.Random, share: float) -> bytes:
        content = bytearray(self.certain)
        for offset, text in self.pending:
            if draw.random() < share:
                is_torn = text is not None and draw.random() < 0.3
                _apply(content, offset, text[: draw.randrange(len(text) + 1)] if is_torn and text else text)
        return bytes(content)


@dataclass
class Change:
    """A change of names: `path` becomes `file` (None: a folder); with `goes`, `path` is deleted.

    `old` is its name before a rename.
    """

    path: Path
    file: File | None = None
    goes: bool = False
    old: Path | None = None
    is_certain: bool = False


def read_log(path: Path) -> list[Call]:
    """The calls in a log."""
    data, calls, place = path.read_bytes(), [], 0
    while place < len(data):
        kind, inode, offset, n_a, n_b = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        calls.append(Call(chr(kind), inode, offset, data[place : place + n_a], data[place + n_a : place + n_a + n_b]))
        place += n_a + n_b
    return calls


def lose_power(calls: list[Call], root: Path, into: Path, *, draw: random.Random) -> int:
    """Write to `into` what may be left of the folder `root` after these calls; the last mark that the process set."""
    changes: list[Change] = []
    files: dict[int, File] = {}
    names: dict[Path, File | None] = {}
    mark = 0
    for call in calls:
        path = Path(call.a.decode(errors="surrogateescape")) if call.kind in "ONUDRS" else root
        if call.kind == "M":
            mark = call.inode
        elif call.kind in "ON":
            if path not in names:
                files[call.inode] = File()
                changes.append(Change(path, files[call.inode]))
                names[path] = files[call.inode]
            if call.kind == "N":
                files[call.inode].pending.append((0, None))
        elif call.kind == "W":
            files[call.inode].pending.append((call.offset, call.a))
        elif call.kind == "T":
            files[call.inode].pending.append((call.offset, None))
        elif call.kind == "D":
            changes.append(Change(path))
            names[path] = None
        elif call.kind == "U":
            changes.append(Change(path, goes=True))
            names.pop(path, None)
        elif call.kind == "R":
            new = Path(call.b.decode(errors="surrogateescape"))
            names[new] = names.pop(path)
            changes.append(Change(new, names[new], old=path))
        elif call.inode in files and names.get(path, 0) is not None and path != root:
            files[call.inode].sync()
        else:
            for change in changes:
                change.is_certain |= change.path.parent == path
    _write(changes, root, into, draw)
    return mark


def _write(changes: list[Change], root: Path, into: Path, draw: random.Random) -> None:
    share = draw.choice((0, 0.5, 1))  # of the writes that are not certain
    open_folders: dict[Path, bool] = {}  # whether further changes of a folder are still kept
    kept: dict[Path, File | None] = {root: None}
    for change in changes:
        folders = {change.path.parent, *([change.old.parent] if change.old else ())}
        if not change.is_certain:
            for folder in folders:
                open_folders[folder] = open_folders.get(folder, True) and draw.random() < 0.8
            if not all(open_folders[folder] for folder in folders):
                continue
        if change.old:
            kept.pop(change.old, None)
        if change.goes:
            kept.pop(change.path, None)
        else:
            kept[change.path] = change.file
    into.mkdir(parents=True)
    for path, file in sorted(kept.items()):
        target = into / path.relative_to(root)
        if path != root and (path.parent not in kept or kept[path.parent] is not None):
            continue  # its folder is lost
        if file is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(file.after_loss(draw, share))


def _apply(content: bytearray, offset: int, text: bytes | None) -> None:
    if text is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(text)] = text
