"""Detects input files that change during a run."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from findna.errors import ConfigError, InputError
from findna.io.compressed import STDIN
from findna.io.files import sha256

_INDEXES = (".fai", ".gzi", ".bai", ".csi", ".crai", ".tbi")


class Stamp(NamedTuple):
    """Properties that change when a file is written to or replaced."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: str | Path) -> "Stamp | None":
        """The stamp of a regular file, else None."""
        try:
            found = Path(path).stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


class Watch:
    """Watches files. Create it before the first byte is read, and call `check` after the last.

    Args:
        paths: The files; anything but regular files is ignored.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        stamps = {str(path): Stamp.of(path) for path in paths}
        self._stamps = {path: stamp for path, stamp in stamps.items() if stamp is not None}

    def change(self, digests: Mapping[str, str] | None = None) -> InputError | None:
        """The first file that changed, as an error; None if there is none.

        Args:
            digests: sha256 of files by path; a file that was only touched counts as unchanged.
        """
        for path, before in self._stamps.items():
            now = Stamp.of(path)
            if now == before or (now is not None and digests and sha256(Path(path)) == digests.get(path)):
                continue
            how = "it is gone" if now is None else _difference(before, now)
            return InputError(f"changed while it was read ({how}): keep it as it is and run again", path=path)
        return None

    def check(self, digests: Mapping[str, str] | None = None) -> None:
        """Raise if a file changed; see `change`.

        Raises:
            InputError: It did.
        """
        if (change := self.change(digests)) is not None:
            raise change


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise if an output is also an input or its index, under any name: `force` would replace what the run reads.

    Raises:
        ConfigError: One is.
    """
    known = [Path(each) for each in inputs if each]
    stems = [*known, *(each.with_suffix("") for each in known if each.suffix in (".bam", ".cram"))]
    indexes = [Path(f"{stem}{ending}") for stem in stems for ending in _INDEXES]
    for path in outputs:
        for what, others in (("an input", known), ("an index of an input", indexes)):
            if path and _is_file(path) and any(_is_file(each) and path.samefile(each) for each in others):
                raise ConfigError(f"the output {path} is also {what}: choose another name; nothing was changed")


def _is_file(path: Path) -> bool:
    """Whether it is a file; "-" is stdin or stdout, even if a file has that name."""
    return str(path) != STDIN and os.path.isfile(path)  # noqa: PTH113  # False for a name that is too long


@contextmanager
def unchanged(paths: Iterable[str | Path]) -> Iterator[None]:
    """Raise if one of the files changes within this block.

    Raises:
        InputError: One changed.
    """
    watch = Watch(paths)
    yield
    watch.check()


def _difference(before: Stamp, now: Stamp) -> str:
    if now.size != before.size:
        return f"it had {before.size:,} bytes and has {now.size:,}"
    return "another file has its name" if now.inode != before.inode else "it was written to"
