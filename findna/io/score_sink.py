"""An output of scored variants, written record by record, completely or not at all; lines of text."""

import sys
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from findna.io.arrays import require_absent
from findna.io.files import publish, raise_output_error, refuse_changed, refuse_irregular, stamps, temp_beside, writing
from findna.io.summed import SummedText, open_bgzf
from findna.io.vcf import Site

STDOUT = Path("-")

BGZF = (".gz", ".bgz")
BUFFER = 1 << 20


class ScoreFile(ABC):
    """An output, record by record; a context manager.

    It gets its name in `finish`; after an error it is deleted.

    Args:
        path: The output; `STDOUT` for a stream of text.
        head: The beginning of the file, see `findna.io.scores`.
        source: Name of the input in messages.
        longest: Length of the longest contig.
        force: Replace an existing output.
        temp: Path until it is complete; None: beside the output.

    Attributes:
        n_records: Records written.

    Raises:
        OutputError: The output exists, or cannot be written.
        MissingExtraError: The format needs a package that is not installed.
    """

    def __init__(
        self,
        path: Path,
        head: Any,
        *,
        source: str = "",
        longest: int = 0,
        force: bool = False,
        temp: Path | None = None,
    ) -> None:
        self.path, self._head, self._source = path, head, source
        self._index = self.index_of(path, longest)
        self.n_records = 0
        if path != STDOUT:
            refuse_irregular(path)
        self._temp = temp or temp_beside(path)
        self._outputs = [path, *([Path(f"{path}{self._index}")] if self._index else [])]
        for name in self._outputs if path != STDOUT else []:
            require_absent(name, force=force)
        self._before = stamps(*self._outputs)
        self._stack = ExitStack()
        with writing(path):
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            self._stack.close()
        if self.path != STDOUT:
            for suffix in ("", ".text", ".old", ".tbi", ".csi"):
                Path(f"{self._temp}{suffix}").unlink(missing_ok=True)

    def write(self, site: Site, content: Any) -> None:
        """Write a scored record.

        Raises:
            OutputError: It cannot be written.
            VariantError: The output gets an index, and the record is not sorted or lies beyond what it can hold.
        """
        self.n_records += 1
        try:
            self._write(site, content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise_output_error(error, self.path)

    def finish(self) -> list[Path]:
        """Give the output its name.

        Returns:
            The files, an index after its file; none for a stream.

        Raises:
            OutputError: It cannot be written, or another program wrote the file in the meantime.
        """
        try:
            if self.path != STDOUT:
                refuse_changed(self._outputs, self._before)
            self._finish()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise_output_error(error, self.path)
        return [] if self.path == STDOUT else self._outputs

    @staticmethod
    def index_of(path: Path, longest: int) -> str:
        """The extension of the index beside an output, whose longest contig has this length; "" without an index."""
        return ""

    @staticmethod
    def make_index(path: Path, written: Path, index: Path) -> None:
        """Index a complete output.

        Args:
            path: The output, for messages.
            written: The output, or its temporary file.
            index: The index to write.

        Raises:
            OutputError: The index cannot be written.
        """
        raise ValueError(f"{path} has no index")

    def _finish(self) -> None:
        self._stack.close()
        if self.path == STDOUT:
            sys.stdout.buffer.flush()
        else:
            publish(self._temp, self.path)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, site: Site, content: Any) -> None: ...


class TextFile(ScoreFile):
    """Lines of text, compressed in BGZF blocks for a name that ends in .gz or .bgz."""

    _has_sum = True

    @property
    def _written(self) -> Path:
        """The file to which the text is written."""
        return self._temp

    def _open(self) -> None:
        has_sum = False
        if self.path == STDOUT:
            file: BinaryIO = sys.stdout.buffer
        elif self.path.suffix in BGZF:
            file = self._stack.enter_context(open_bgzf(self._temp))
        else:
            file = self._stack.enter_context(self._written.open("wb", buffering=BUFFER))
            has_sum = self._has_sum
        self._text = SummedText(file, self._head, has_sum=has_sum)

    def _write(self, site: Site, content: str) -> None:
        self._text.write(content)

    def _finish(self) -> None:
        self._text.settle()
        super()._finish()
