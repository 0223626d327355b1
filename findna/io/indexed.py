"""The bases of an indexed FASTA (plain or bgzip), by htslib; its index is found and checked, or made."""

import glob
import hashlib
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import pysam

from findna import phases
from findna.errors import GenomeError
from findna.io.cache import cache_dir
from findna.io.compressed import BGZF_EOF, ByteStream, end_of
from findna.io.faidx import Faidx, build_fai, format_fai, is_contig_of, is_index_of, parse_fai
from findna.io.tap import BLOCK_HEAD, iter_blocks
from findna.io.watch import Stamp

_MANY = 1000
"""With this many contigs, a stamp in the cache directory avoids checking all of them in every run."""


class IndexedFasta:
    """Bases by contig and position from a FASTA file.

    Args:
        path: The FASTA.
        is_compressed: Whether it is BGZF.

    Raises:
        GenomeError: The file is not FASTA, is truncated or damaged.
    """

    def __init__(self, path: Path, *, is_compressed: bool) -> None:
        self._path, self._is_compressed = path, is_compressed
        if is_compressed and not end_of(str(path)).endswith(BGZF_EOF):
            raise GenomeError("truncated: BGZF EOF marker missing", path=path)
        # `name.fai` and `name.gzi` are beside the file, or beside a link to it in the cache.
        key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
        self._places = [path, cache_dir() / "genomes" / key / path.name]
        self._stack = ExitStack()
        self._unchecked: set[str] = set()
        self._lock = Lock()
        try:
            self._index, self._place, text = self._find() or self._build()
            self._text = self._stack.enter_context(closing(text))
            gzi = os.fspath(_beside(self._place, ".gzi")) if is_compressed else None
            with _quiet():
                file = pysam.FastaFile(os.fspath(path.absolute()), os.fspath(_beside(self._place, ".fai")), gzi)
            self._fasta = self._stack.enter_context(file)
        except BaseException as problem:
            self.close()
            if isinstance(problem, OSError | ValueError):
                raise GenomeError(f"htslib cannot read it: {problem}", path=path) from problem
            raise
        self.contigs = {name: contig.length for name, contig in self._index.items()}

    def place(self, chrom: str, start: int) -> int:
        """The offset of a base in the file's text."""
        return self._index[chrom].byte(start)

    def bases(self, chrom: str, start: int, end: int) -> bytes:
        """The letters of [start, end)."""
        if chrom in self._unchecked:
            self._check(chrom)
        with self._lock, _quiet():
            try:
                letters: str = self._fasta.fetch(chrom, start, end)
            except (OSError, ValueError) as problem:
                reason = f"the file is damaged at {chrom}:{start + 1}-{end}: {problem}"
                raise GenomeError(reason, path=self._path) from problem
        return letters.encode()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def htslib_fasta(self) -> Path:
        """A path to this file with its index beside it."""
        if self._place != self._path and not self._place.exists():
            self._place.symlink_to(self._path.resolve())
        return self._place

    def _find(self) -> "tuple[Faidx, Path, _Text] | None":
        for place in self._places:
            with suppress(OSError, UnicodeDecodeError), ExitStack() as stack:
                fai = _beside(place, ".fai").read_bytes()
                gzi = _beside(place, ".gzi").read_bytes() if self._is_compressed else b""
                index = parse_fai(fai.decode())
                if index is None or (self._is_compressed and not _is_table(gzi, self._path)):
                    continue
                text = stack.enter_context(closing(_Text(self._path, gzi)))
                if self._is_trusted(index, fai + gzi, text):
                    stack.pop_all()
                    return index, place, text
        return None

    def _is_trusted(self, index: Faidx, content: bytes, text: "_Text") -> bool:
        """Whether an index matches. If it has many contigs and matched before, each contig is checked when used."""
        if len(index) < _MANY:
            return is_index_of(index, text)
        stamp = f"{Stamp.of(self._path)} {hashlib.sha256(content).hexdigest()}\n"
        path = _beside(self._places[1], ".stamp")
        with suppress(OSError):
            if path.read_text() == stamp:
                self._unchecked = set(index)
                return True
        if not is_index_of(index, text):
            return False
        with suppress(OSError):  # without a place for the stamp, the next run checks again
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, stamp.encode())
        return True

    def _check(self, chrom: str) -> None:
        if not is_contig_of(chrom, self._index[chrom], self._text):
            with suppress(OSError):
                _beside(self._places[1], ".stamp").unlink()
            reason = "the index no longer matches: the file has changed, but not its date; run again"
            raise GenomeError(reason, path=self._path, record=chrom)
        self._unchecked.discard(chrom)

    def _build(self) -> "tuple[Faidx, Path, _Text]":
        phases.enter(f"indexing {self._path.name}")
        with ByteStream(self._path, error=GenomeError) as stream:
            index = build_fai(stream.chunks(), path=str(self._path))
        files = {".fai": format_fai(index).encode()}
        if self._is_compressed:
            files[".gzi"] = _format_gzi(self._path)
        # Root can write to any folder; a folder without write permission is not used.
        is_read_only = not self._path.resolve().parent.stat().st_mode & 0o222
        is_taken = any(_holds_other(_beside(self._path, suffix), data) for suffix, data in files.items())
        # An index of another program is never replaced. An index that cannot be stored is used for this run only.
        for kept in (*self._places[is_read_only or is_taken :], None):
            with suppress(OSError):
                place = kept or Path(self._stack.enter_context(TemporaryDirectory(prefix="findna-")), self._path.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                for suffix, data in files.items():
                    _publish(_beside(place, suffix), data)
                return index, place, _Text(self._path, files.get(".gzi", b""))
        reason = "cannot write its index, neither beside it nor in the cache directory ($FINDNA_CACHE)"
        raise GenomeError(reason, path=self._path)


class _Text:
    """The text of a FASTA at any place; for BGZF through its table of blocks, as in a .gzi."""

    def __init__(self, path: Path, gzi: bytes) -> None:
        self._file: Any = pysam.BGZFile(os.fspath(path), "r", None) if gzi else path.open("rb")
        self._blocks = [(0, 0), *struct.iter_unpack("<QQ", gzi[8:])] if gzi else []
        self._start, self._text = 0, b""  # of the block that was read last

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The text at [offset, offset + n_bytes), shorter at the end."""
        if not self._start <= offset <= offset + n_bytes <= self._start + len(self._text):
            place, end = offset, offset + n_bytes
            if self._blocks:
                index = bisect_right(self._blocks, offset, key=itemgetter(1))
                place = self._blocks[index - 1][0] << 16 | (offset - self._blocks[index - 1][1])
                end = max(end, *(begin for _, begin in self._blocks[index : index + 1]), 0)
            with _quiet():
                self._file.seek(place)
                self._start, self._text = offset, self._file.read(end - offset)
        return self._text[offset - self._start :][:n_bytes]

    def close(self) -> None:
        with suppress(OSError):  # damage that was met before
            self._file.close()


def _is_table(gzi: bytes, path: Path) -> bool:
    """Whether these are the bytes of a .gzi: blocks in order, within the file, with at most 64 KiB of text each."""
    if len(gzi) != 8 + 16 * int.from_bytes(gzi[:8], "little"):
        return False
    blocks, n_bytes = [(0, 0), *struct.iter_unpack("<QQ", gzi[8:])], path.stat().st_size
    return all(a[0] < b[0] < n_bytes and 0 <= b[1] - a[1] <= 1 << 16 for a, b in pairwise(blocks))


def _format_gzi(path: Path) -> bytes:
    """The bytes of a .gzi file, as bgzip writes them, without the first block."""
    n_bytes, rows = 0, []
    with path.open("rb") as file:
        for place, n_text in iter_blocks(file.fileno(), file.read(BLOCK_HEAD)):
            rows += [(place, n_bytes)] if n_text else []
            n_bytes += n_text
    return (len(rows) - 1).to_bytes(8, "little") + b"".join(struct.pack("<QQ", *row) for row in rows[1:])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without htslib's own messages."""
    verbosity = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(verbosity)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _holds_other(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() != data
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


def _publish(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):  # left by a killed run
            left.unlink()
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
