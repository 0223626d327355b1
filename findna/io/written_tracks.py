"""Reads tracks: the facts of a bedGraph or bigWig about its run, and whether it is complete."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from findna.errors import TableError
from findna.io.compressed import ByteStream
from findna.io.summed import check_text
from findna.io.tracks import SCHEMA, bigwig_facts
from findna.io.written_rows import Row, Written

TRACK_HEADS = (b"&\xfc\x8f\x88", f'## {{"schema": "{SCHEMA}"'.encode())
"""The first bytes of a bigWig, and of our bedGraph."""

_PIECE = 1 << 20


class WrittenTrack(Written):
    """Values along a genome; its rows cannot be compared with records.

    Raises:
        TableError: It does not say how it was made.
    """

    family, kind = "tracks", SCHEMA

    def __init__(self, path: Path) -> None:
        self.path, self._n_bytes = path, 0
        with path.open("rb") as file:
            is_bigwig = file.read(len(TRACK_HEADS[0])) == TRACK_HEADS[0]
        if is_bigwig:
            found = bigwig_facts(path)
            if found is None:
                raise self.fail("has no record of how findna made it, so it cannot be checked")
            self.meta, self._n_bytes = found
            self.n_rows = int(self.meta["n_values"])
            return
        with ByteStream(path, error=TableError) as stream:
            lines = stream.lines()
            self.meta = json.loads(next(lines).removeprefix(b"## "))
            self.n_rows = sum(not line.startswith(b"#") for line in lines)

    def check(self) -> str:
        if not self._n_bytes:
            return "BGZF checksums agree" if self.path.suffix == ".gz" else check_text(self.path)
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while n_bytes := min(_PIECE, self._n_bytes - file.tell()):
                digest.update(file.read(n_bytes))
        if digest.hexdigest() != self.meta["sha256"]:
            raise self.fail("its sha256 differs: the content is not what was written")
        return "sha256 agrees"

    def rows(self) -> Iterator[Row]:
        return iter(())
