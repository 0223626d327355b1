"""The bases of a .2bit file."""

from pathlib import Path
from typing import Any

from Bio.SeqIO.TwoBitIO import TwoBitIterator

from findna.errors import GenomeError

TWOBIT_MAGICS = (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43")


class TwoBit:
    """Bases by contig and position from a .2bit file.

    Raises:
        GenomeError: The file is cut or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        try:
            found: dict[str, Any] = TwoBitIterator(self._file).sequences  # type: ignore[no-untyped-call]
        except (ValueError, OSError, MemoryError, OverflowError) as problem:
            self._file.close()
            raise GenomeError(f"no whole .2bit file: {problem}", path=path) from problem
        # Its Seq objects read from the file when they are sliced.
        self._data = {name: sequence._data for name, sequence in found.items()}
        self.contigs = {name: len(data) for name, data in self._data.items()}
        size = path.stat().st_size
        for name, length in self.contigs.items():
            if self.place(name, length + 3) > size:
                self._file.close()
                raise GenomeError("the file is cut", path=path, record=name)
        if not self.contigs:
            self._file.close()
            raise GenomeError("no whole .2bit file: it holds no contigs", path=path)

    def place(self, chrom: str, start: int) -> int:
        """Where a base lies in the file."""
        return int(self._data[chrom].offset) + start // 4

    def bases(self, chrom: str, start: int, end: int) -> bytes:
        """The letters of [start, end)."""
        return bytes(self._data[chrom][start:end])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
