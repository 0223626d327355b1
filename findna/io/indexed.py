"""The bases of an indexed FASTA (plain or bgzip); its index is found and checked, or made."""

import gzip
import hashlib
import os
import struct
import zlib
from bisect import bisect_left, bisect_right
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from findna import phases
from findna.errors import GenomeError
from findna.io.cache import cache_dir
from findna.io.compressed import BGZF_EOF, ByteStream, end_of
from findna.io.faidx import Faidx, build_fai, format_fai, is_contig_of, is_index_of, parse_fai
from findna.io.files import MOST_INDEX, read_regular, temp_beside
from findna.io.tap import BLOCK_HEAD, iter_blocks
from findna.io.watch import Stamp

_MANY = 1000
"""With this many contigs, a stamp in the cache directory avoids checking all of them in every run."""

_DAMAGE = (OSError, EOFError, zlib.error)
_MOST = 1 << 30  # bytes of one call; Linux reads less than 2 GiB
_ROW = struct.Struct("<QQ")


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
            raise GenomeError("truncated: BGZF EOF marker missing; copy or download the file again", path=path)
        # `name.fai` and `name.gzi` are beside the file, or beside a link to it in the cache.
        key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
        self._places = [path, cache_dir() / "genomes" / key / path.name]
        self._stack = ExitStack()
        self._unchecked: set[str] = set()
        self._index, self._place, self._text = self._find() or self._build()
        self.contigs = {name: contig.length for name, contig in self._index.items()}

    def place(self, chrom: str, start: int) -> int:
        """The offset of a base in the file's text."""
        return self._index[chrom].byte(start)

    def bases(self, chrom: str, start: int, end: int) -> bytes:
        """The letters of [start, end), line ends among them."""
        if start == end:
            return b""
        contig = self._index[chrom]
        first = contig.byte(start)
        try:
            if chrom in self._unchecked:
                self._check(chrom)
            return self._text.read_at(first, contig.byte(end - 1) + 1 - first)
        except _DAMAGE as problem:
            reason = f"the file is damaged at {chrom}:{start + 1}-{end}: {problem}"
            raise GenomeError(reason, path=self._path) from problem

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._stack.close()

    def htslib_fasta(self) -> Path:
        """A path to this file with its index beside it; absolute, because htslib treats `data:x.fa` as a URL.

        Raises:
            GenomeError: No folder for an index can be written.
        """
        if self._place is None:
            reason = "cannot write its index, neither beside it nor in the cache directory ($FINDNA_CACHE)"
            raise GenomeError(reason, path=self._path)
        if self._place != self._path and not self._place.exists():
            self._place.symlink_to(self._path.resolve())
        return self._place.absolute()

    def _find(self) -> "tuple[Faidx, Path | None, _Text] | None":
        for place in self._places:
            with suppress(UnicodeDecodeError, *_DAMAGE), ExitStack() as stack:
                fai = read_regular(_beside(place, ".fai"), most=MOST_INDEX)
                gzi = read_regular(_beside(place, ".gzi"), most=MOST_INDEX) if self._is_compressed else b""
                index, blocks = parse_fai(fai.decode()), _parse_gzi(gzi, self._path) if gzi else []
                if index is None or blocks is None or bool(blocks) != self._is_compressed:
                    continue
                text = stack.enter_context(closing(_Text(self._path, blocks)))
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
            reason = "the index does not match: the file changed but its modification time did not"
            raise GenomeError(f"{reason}; run the command again", path=self._path, record=chrom)
        self._unchecked.discard(chrom)

    def _build(self) -> "tuple[Faidx, Path | None, _Text]":
        phases.enter(f"indexing {self._path.name}")
        with ByteStream(self._path, error=GenomeError) as stream:
            index = build_fai(stream.chunks(), path=str(self._path))
        blocks = _scan_blocks(self._path) if self._is_compressed else []
        files = {".fai": format_fai(index).encode()}
        if self._is_compressed:
            files[".gzi"] = (len(blocks) - 1).to_bytes(8, "little") + b"".join(_ROW.pack(*row) for row in blocks[1:])
        # Root can write to any folder; a folder without write permission is not used.
        is_read_only = not self._path.resolve().parent.stat().st_mode & 0o222
        is_taken = any(_holds_other(_beside(self._path, suffix), data) for suffix, data in files.items())
        # An index of another program is never replaced. An index that cannot be stored is used for this run only.
        for kept in (*self._places[is_read_only or is_taken :], None):
            with suppress(OSError), ExitStack() as stack:
                folder = kept.parent if kept else Path(stack.enter_context(TemporaryDirectory(prefix="findna-")))
                folder.mkdir(parents=True, exist_ok=True)
                for suffix, data in files.items():
                    _publish(_beside(folder / self._path.name, suffix), data)
                self._stack = stack.pop_all()
                return index, folder / self._path.name, _Text(self._path, blocks)
        return index, None, _Text(self._path, blocks)


class _Text:
    """The text of a FASTA at any place; threads and forked processes can share it, since no read moves a position.

    Args:
        path: The FASTA.
        blocks: The start of each BGZF block, in the file and in the text; empty for a plain file.
    """

    def __init__(self, path: Path, blocks: list[tuple[int, int]]) -> None:
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._blocks = blocks and [*blocks, (self._size, 1 << 63)]
        self._last = (-1, b"")  # the block that was read last

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The text at [offset, offset + n_bytes), shorter at the end."""
        end = offset + n_bytes
        if not self._blocks:
            end = min(end, self._size)
            return b"".join(self._read(place, min(end, place + _MOST)) for place in range(offset, end, _MOST))
        first = bisect_right(self._blocks, offset, key=itemgetter(1)) - 1
        last = bisect_left(self._blocks, end, first, key=itemgetter(1))
        text = b"".join(map(self._block, range(first, last)))
        return text[offset - self._blocks[first][1] :][:n_bytes]

    def _block(self, index: int) -> bytes:
        number, text = self._last
        if number != index:
            (place, begin), (end, next_begin) = self._blocks[index : index + 2]
            text = gzip.decompress(self._read(place, end))
            if begin + len(text) != next_begin and index + 2 < len(self._blocks):
                raise gzip.BadGzipFile(f"the block at byte {place} has {len(text)} bytes of text")
            self._last = index, text
        return text

    def _read(self, place: int, end: int) -> bytes:
        return os.pread(self._file.fileno(), end - place, place)

    def close(self) -> None:
        self._file.close()


def _parse_gzi(gzi: bytes, path: Path) -> list[tuple[int, int]] | None:
    """The blocks in the bytes of a .gzi, or None if they are not a valid .gzi of this file."""
    if len(gzi) != 8 + 16 * int.from_bytes(gzi[:8], "little"):
        return None
    blocks: list[tuple[int, int]] = [(0, 0), *_ROW.iter_unpack(gzi[8:])]
    steps = pairwise([*blocks, (path.stat().st_size, blocks[-1][1])])
    # Two blocks at most, for the empty one at the end.
    return blocks if all(0 < b[0] - a[0] <= 1 << 17 and 0 <= b[1] - a[1] <= 1 << 16 for a, b in steps) else None


def _scan_blocks(path: Path) -> list[tuple[int, int]]:
    """The start of each block with text, in the file and in the text."""
    n_bytes, rows = 0, []
    with path.open("rb") as file:
        for place, n_text in iter_blocks(file.fileno(), file.read(BLOCK_HEAD)):
            rows += [(place, n_bytes)] if n_text else []
            n_bytes += n_text
    return rows


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _holds_other(path: Path, data: bytes) -> bool:
    try:
        return read_regular(path, most=MOST_INDEX) != data
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


def _publish(path: Path, data: bytes) -> None:
    temporary = temp_beside(path)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
