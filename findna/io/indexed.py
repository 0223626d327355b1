"""The bases of an indexed FASTA, plain or bgzip; its index is found, checked, or made and kept."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from findna import phases
from findna.errors import GenomeError
from findna.io.bgzf import BgzfFile, PlainFile, RandomAccess, read_gzi, write_gzi
from findna.io.cache import cache_dir
from findna.io.compressed import ByteStream
from findna.io.faidx import Faidx, build_fai, format_fai, is_contig_of, is_index_of, parse_fai
from findna.io.watch import Stamp

_MANY = 1000
"""From this number of contigs on, a stamp in the cache directory saves checking all of them in every run."""


class IndexedFasta:
    """Bases by contig and position from a FASTA file.

    Args:
        path: The FASTA.
        is_compressed: It is BGZF.

    Raises:
        GenomeError: The file is not FASTA, is truncated or damaged.
    """

    def __init__(self, path: Path, *, is_compressed: bool) -> None:
        self._path, self._is_compressed = path, is_compressed
        # Where `name.fai` and `name.gzi` may lie: beside the file, or beside a link to it in the cache.
        key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
        self._bases = [path, cache_dir() / "genomes" / key / path.name]
        self._indexed: Path | None = None
        self._unchecked: set[str] = set()
        self._index, self._file = self._find() or self._build()
        self.contigs = {name: contig.length for name, contig in self._index.items()}

    def place(self, chrom: str, start: int) -> int:
        """Where a base lies in the file's text."""
        return self._index[chrom].byte(start)

    def bases(self, chrom: str, start: int, end: int) -> bytes:
        """The letters of [start, end), line ends among them."""
        contig = self._index[chrom]
        if chrom in self._unchecked:
            self._check(chrom)
        first = contig.byte(start)
        n_bytes = contig.byte(end - 1) + 1 - first
        return self._file.read_at(first, n_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def htslib_fasta(self) -> Path:
        """A path to this file with its index beside it.

        Raises:
            GenomeError: No directory for an index can be written.
        """
        if self._indexed is None:
            reason = "its index can be written neither beside it nor in the cache directory ($FINDNA_CACHE)"
            raise GenomeError(reason, path=self._path)
        if self._indexed != self._path and not self._indexed.exists():
            self._indexed.symlink_to(self._path.resolve())
        return self._indexed

    def _find(self) -> tuple[Faidx, RandomAccess] | None:
        for base in self._bases:
            try:
                fai = _beside(base, ".fai").read_bytes()
                gzi = _beside(base, ".gzi").read_bytes() if self._is_compressed else b""
                index = parse_fai(fai.decode())
                blocks = read_gzi(gzi) if self._is_compressed else None
            except (OSError, UnicodeDecodeError):
                continue
            if index is None or (self._is_compressed and blocks is None):
                continue
            try:
                file = BgzfFile(self._path, blocks) if self._is_compressed else PlainFile(self._path)
            except GenomeError:
                continue
            with suppress(GenomeError):
                if self._is_trusted(index, file, fai + gzi):
                    self._indexed = base
                    return index, file
            file.close()
        return None

    def _is_trusted(self, index: Faidx, file: RandomAccess, content: bytes) -> bool:
        """Whether an index fits; one of many contigs that was found to fit before is checked contig by contig."""
        if len(index) < _MANY:
            return is_index_of(index, file)
        stamp = f"{Stamp.of(self._path)} {hashlib.sha256(content).hexdigest()}\n"
        path = _beside(self._bases[1], ".stamp")
        with suppress(OSError):
            if path.read_text() == stamp:
                self._unchecked = set(index)
                return True
        if not is_index_of(index, file):
            return False
        with suppress(OSError):  # a stamp that can be kept nowhere costs the next run the same time
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, stamp.encode())
        return True

    def _check(self, chrom: str) -> None:
        if not is_contig_of(chrom, self._index[chrom], self._file):
            with suppress(OSError):
                _beside(self._bases[1], ".stamp").unlink()
            reason = "the index does not fit any more: the file has changed and kept its date; run again"
            raise GenomeError(reason, path=self._path, record=chrom)
        self._unchecked.discard(chrom)

    def _build(self) -> tuple[Faidx, RandomAccess]:
        phases.enter(f"indexing {self._path.name}")
        with ByteStream(self._path, error=GenomeError) as stream:
            index = build_fai(stream.chunks(), path=str(self._path))
        files = {".fai": format_fai(index).encode()}
        file: RandomAccess = PlainFile(self._path)
        if self._is_compressed:
            file.close()
            file = bgzf = BgzfFile(self._path)
            files[".gzi"] = write_gzi(bgzf.blocks)
        # Root may write where nobody should: a folder without a write bit is left alone.
        is_read_only = not self._path.resolve().parent.stat().st_mode & 0o222
        is_taken = any(_holds_other(_beside(self._path, suffix), data) for suffix, data in files.items())
        for base in self._bases[is_read_only or is_taken :]:  # an index that we may not have made is never replaced
            # An index that can be kept nowhere still serves this run.
            with suppress(OSError):
                base.parent.mkdir(parents=True, exist_ok=True)
                for suffix, data in files.items():
                    _publish(_beside(base, suffix), data)
                self._indexed = base
                break
        return index, file


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
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
