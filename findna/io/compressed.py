"""The bytes of a file or of stdin, decompressed; truncated or damaged data is an error, never a shorter result."""

import gzip
import io
import itertools
import os
import re
import shlex
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import BinaryIO, NamedTuple, NoReturn, Self

from findna.errors import InputError, system_reason
from findna.io.tap import GZIP_MAGIC, HEAD, TAIL, Tap, block_sizes, is_bgzf

STDIN = "-"
BGZF_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every whole BGZF file."""

UTF_16 = "UTF-16 text: save it as UTF-8"
WORKBOOK = "an Excel workbook: save the sheet as CSV or TSV"
_BARE_CR = re.compile(rb"\r(?!\n)")
_CHUNK = 1 << 17
_STEP = 256
_NEAR = 10_000
"""Number of lines after a wrong one in which to look for damage of the compression."""


def is_workbook(head: bytes) -> bool:
    """Whether a file that begins so is .xlsx (a zip archive) or .xls (an OLE container)."""
    is_xlsx = head.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in head or b"xl/w" in head)
    return is_xlsx or head.startswith(b"\xd0\xcf\x11\xe0")


def end_of(path: str) -> bytes:
    """The last bytes of a file."""
    with Path(path).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        return file.read()


class Mark(NamedTuple):
    """The place of a record.

    Args:
        offset: Bytes of the decompressed text before it; of a BAM its virtual offset.
        line: Lines before it.
        row: Records of the file before it.
    """

    offset: int = 0
    line: int = 0
    row: int = 0


START = Mark()


class ByteStream:
    """A file or stdin ("-"), read once from beginning to end; a context manager.

    Gzip and BGZF are recognised by their content. The beginning of the file can be read without
    consuming it, also from a pipe.

    Args:
        source: Path, or "-" for stdin.
        error: The error class for damaged bytes; it gets this file's name.

    Attributes:
        name: Its name in messages.
        error: See above; set it when the kind of file is known.
        begin: The place at which to begin; set it before reading. Earlier text is skipped: by block sizes in BGZF,
            otherwise by decompressing it.
        offset: Start of the last line from `numbered`.
        mark: Place of the last record from a reader; None for CRAM.
        fault: The error that ended the pieces of a pipe; see `as_pipe`.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, source: str | Path, *, error: type[InputError] = InputError) -> None:
        self.source, self.error = str(source), error
        self.begin = START
        self.mark: Mark | None = START
        self.offset = self._n_text = 0
        self.fault: InputError | None = None
        self._is_second = False
        self.name = "stdin" if self.source == STDIN else self.source
        if self.source == STDIN and sys.stdin is None:
            self.fail("is closed")
        try:
            self._file: BinaryIO = sys.stdin.buffer if self.source == STDIN else io.FileIO(self.source)
            self._tap = Tap(self._file)
        except OSError as problem:
            self.fail(system_reason(problem, takes=self.error.takes), cause=problem)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.source != STDIN:
            self._file.close()

    @property
    def is_rereadable(self) -> bool:
        """Whether the bytes can be read a second time: not stdin, not a pipe."""
        return self.source != STDIN and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    @property
    def raw_head(self) -> bytes:
        """The first 64 KiB of the file, not decompressed."""
        return self._tap.head

    @property
    def head(self) -> bytes:
        """The beginning of the decompressed content: at least 64 KiB, if there are as many."""
        raw, text = self.raw_head, b""
        while raw[:2] == GZIP_MAGIC and len(text) < HEAD:
            piece, raw = _inflate(raw)
            text += piece
        return text if self.raw_head[:2] == GZIP_MAGIC else self.raw_head

    @property
    def fraction(self) -> float:
        """The fraction of a regular file that was read, approximately; 0 if not known (CRAM)."""
        if self._file.closed:
            return 1.0
        size = max(1, os.fstat(self._file.fileno()).st_size)
        if self._n_text:
            is_plain, done = self.raw_head[:2] != GZIP_MAGIC, max(self.offset, self.mark.offset if self.mark else 0)
            return done / size if is_plain else done / self._n_text * self._plain.tell() / size
        if self.mark is None or not self.mark.offset:
            return self._file.tell() / size if self.mark else 0.0
        start, n_before = self.mark.offset >> 16, self.mark.offset & 0xFFFF
        n_block, n_text = block_sizes(self._file.fileno(), start)
        return (start + n_block * n_before / max(1, n_text)) / size

    @property
    def tail(self) -> bytes:
        """The last bytes read from the file, not decompressed."""
        return self._tap.tail

    def chunks(self) -> Iterator[bytes]:
        """Yield the text in pieces of about 100 KB. A line ends with LF or CRLF, which is never split between pieces.

        Raises:
            InputError: (`error`) It is truncated, damaged, or holds a NUL byte or a CR without an LF.
        """
        is_gzip = self.raw_head[:2] == GZIP_MAGIC
        self._plain = plain = io.BufferedReader(self._tap, _CHUNK)
        text = gzip.GzipFile(fileobj=plain, mode="rb") if is_gzip else plain
        take = text.read1 if is_gzip else text.read  # `read` would drop the text before the damage
        n_lines, held, to_skip = self.begin.line, b"", self.begin.offset
        while True:
            try:
                if to_skip and is_gzip:
                    text.seek(self._tap.skip_blocks(to_skip))
                elif to_skip:
                    self._tap.skip_to(to_skip)
                to_skip = 0
                chunk = take(_CHUNK)
            except EOFError as problem:
                self.fail(f"truncated: the gzip stream ends after line {n_lines}", cause=problem)
            except (gzip.BadGzipFile, zlib.error) as problem:
                self.fail(f"damaged after line {n_lines}: {problem}", cause=problem)
            except OSError as problem:
                self.fail(f"cannot be read: {problem}", cause=problem)
            is_end, chunk = not chunk, held + chunk
            held = b"\r" if chunk.endswith(b"\r") and not is_end else b""
            chunk = chunk.removesuffix(held)
            if (position := chunk.find(b"\0")) >= 0:
                line = n_lines + chunk.count(b"\n", 0, position) + 1
                if is_workbook(self.head):
                    self.fail(f"this is {WORKBOOK}")
                if self.head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    self.fail(f"this is {UTF_16}")
                self.fail("a NUL byte: the file is damaged, or not text", line=line)
            if b"\r" in chunk and (bare := _BARE_CR.search(chunk)):
                line = n_lines + chunk.count(b"\n", 0, bare.start()) + 1
                how = self.converted_by("tr '\\r' '\\n'", "converted.txt")
                self.fail(f"a carriage return (CR) without a line feed: {how}", line=line)
            if is_end:
                break
            self._n_text += len(chunk)
            yield chunk
            n_lines += chunk.count(b"\n")
        if is_bgzf(self.raw_head) and self.tail[-len(BGZF_EOF) :] != BGZF_EOF:
            self.fail(f"truncated: BGZF EOF marker missing (after line {n_lines}); copy or make the file again")

    def lines(self) -> Iterator[bytes]:
        """Yield the lines without their line ends; see `chunks` for errors."""
        return (text for _, text in self.numbered())

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Yield the 1-based number and the text of each line, starting at `begin`; see `lines`."""
        line, end = self.begin.line, self.begin.offset
        for raw in self._raw_lines():
            line, self.offset, end = line + 1, end, end + len(raw) + 1
            if self.offset == 0:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            yield line, raw.removesuffix(b"\r")

    def _raw_lines(self) -> Iterator[bytes]:
        """Yield the lines with a CR before their LF, without the LF."""
        pieces = [b""]
        for chunk in self.chunks():
            first, *others = chunk.split(b"\n")
            pieces.append(first)
            if others:
                yield b"".join(pieces)
                yield from others[:-1]
                pieces = [others[-1]]
        if last := b"".join(pieces):
            yield last

    @contextmanager
    def as_pipe(self, pieces: Iterable[bytes] | None = None) -> Iterator[BinaryIO]:
        """A file with a descriptor, for a library that needs one; a thread writes to it.

        Args:
            pieces: Its content. An InputError in them ends it and becomes `fault`. None: the raw bytes;
                `tail` is set at the end.
        """
        read_end, write_end = os.pipe()

        def pump() -> None:
            with suppress(BrokenPipeError), os.fdopen(write_end, "wb", _CHUNK) as sink:
                try:
                    for piece in pieces or iter(partial(self._tap.read, _CHUNK), b""):
                        sink.write(piece)
                except InputError as fault:
                    self.fault = fault

        thread = Thread(target=pump, daemon=True)
        with os.fdopen(read_end, "rb") as pipe:
            thread.start()
            yield pipe
        thread.join()

    def converted_by(self, command: str, out: str) -> str:
        """How to convert the text of this input with a shell command, as a hint that runs as it is printed."""
        is_gzip = self.raw_head[:2] == GZIP_MAGIC
        if not self.is_rereadable:
            return f"pipe it through {'gunzip -c | ' * is_gzip}{command} first"
        return f"convert it with {'gunzip -c' if is_gzip else 'cat'} {shlex.quote(self.name)} | {command} > {out}"

    def fail(
        self, reason: str, *, line: int | None = None, record: str = "", cause: Exception | None = None
    ) -> NoReturn:
        """Raise `error` with this file's name, or the error of damaged gzip data that may have garbled the line.

        Raises:
            InputError: Always.
        """
        if line is not None and not self._is_second and self.raw_head[:2] == GZIP_MAGIC and self.is_rereadable:
            with ByteStream(self.source, error=self.error) as second:
                second._is_second = True
                for n_lines in itertools.accumulate(chunk.count(b"\n") for chunk in second.chunks()):
                    if n_lines > line + _NEAR:
                        break
        raise self.error(reason, path=self.name, line=line, record=record) from cause


def _inflate(raw: bytes) -> tuple[bytes, bytes]:
    """The text of a gzip member, up to damage or `HEAD` bytes, and the bytes after a complete member."""
    inflater, text = zlib.decompressobj(wbits=31), b""
    for start in range(0, len(raw), _STEP):
        try:
            text += inflater.decompress(raw[start : start + _STEP])
        except zlib.error:
            break
        if inflater.eof:
            return text, inflater.unused_data + raw[start + _STEP :]
        if len(text) >= HEAD:
            break
    return text, b""
