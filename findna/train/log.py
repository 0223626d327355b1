"""The log of a run: one CSV row per report, and TensorBoard if it is installed."""

import contextlib
import csv
import io
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from findna.io.files import open_regular, write_atomic, writing
from findna.io.structured import reading

COLUMNS = [
    "step",
    "epoch",
    "n_bases",
    "seconds",
    "bases_per_second",
    "learning_rate",
    "momentum",
    "loss",
    "mnm_loss",
    "contrastive_loss",
    "accuracy",
    "grad_norm",
    "valid_loss",
    "valid_mnm_loss",
    "valid_contrastive_loss",
    "valid_accuracy",
    "kmer_accuracy",
    "teacher_entropy",
    "effective_rank",
    "agreement",
    "dissimilarity",
]


class Log:
    """Appends rows to `log.csv`. Rows after `step`, which a run wrote after its last checkpoint, are removed first."""

    def __init__(self, folder: Path, *, step: int, columns: Sequence[str] = COLUMNS) -> None:
        self._folder = folder
        path = folder / "log.csv"
        kept = [row for row in read_log(path) if row["step"] <= step] if path.exists() else []
        head = io.StringIO()
        writer = _writer(head, columns)
        writer.writeheader()
        writer.writerows(map(_cells, kept))
        write_atomic(path, head.getvalue())
        self._file = path.open("a", newline="")
        self._writer = _writer(self._file, columns)
        self._flushed = -math.inf
        with writing(self._folder):
            self._board = _tensorboard(folder, step)

    def write(self, row: Mapping[str, float]) -> None:
        """Add one report; missing columns stay empty. It is in the files at most one second of steps later.

        Raises:
            OutputError: A file cannot be written.
        """
        with writing(self._folder):
            self._writer.writerow(_cells(row))
            if self._board is not None:
                self._board.write(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
        if time.monotonic() - self._flushed >= 1:
            self.flush()

    def flush(self) -> None:
        """Write all rows so far to the files; see `write`."""
        with writing(self._folder):
            self._file.flush()
            if self._board is not None:
                self._board.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Close the files; see `write`."""
        with writing(self._folder), contextlib.ExitStack() as stack:
            if self._board is not None:
                stack.callback(self._board.close)
            self._file.close()


def _writer(file: TextIO, columns: Sequence[str]) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, columns, restval="", lineterminator="\n")


def _cells(row: Mapping[str, float]) -> dict[str, Any]:
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if v == v}


class Board:
    """A file of events for TensorBoard; it replaces what TensorBoard shows of this folder from a step on.

    TensorBoard's own writer has a thread, which prints a traceback when the disk is full. This one has none.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: The file cannot be made.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        self._event, self._summary = Event, Summary
        path = folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        self._file = RecordWriter(path.open("wb", buffering=0))
        self._put(file_version="brain.Event:2")
        self._put(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._put(step=step, summary=self._summary(value=scalars))

    def flush(self) -> None:
        """Let the file have every value so far."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _put(self, **content: Any) -> None:
        self._file.write(self._event(wall_time=time.time(), **content).SerializeToString())


def _tensorboard(folder: Path, step: int) -> Board | None:
    with contextlib.suppress(ImportError):
        return Board(folder / "tensorboard", purge_step=step + 1)
    return None


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a `log.csv` as numbers; empty cells are NaN. A last line that a crash truncated is skipped.

    Raises:
        TableError: It cannot be read, or holds something else than numbers.
    """
    with reading(path, "a log of a run"), open_regular(path) as file:
        lines = file.read().decode().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        rows = [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(whole)]
    return [{k: int(v) if k in ("step", "epoch", "n_bases") else v for k, v in row.items()} for row in rows]
