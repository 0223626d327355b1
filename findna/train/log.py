"""The log of a run: one CSV row a report, and TensorBoard beside it where that is installed."""

import contextlib
import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from findna.errors import TableError
from findna.io.files import write_atomic

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
]


class Log:
    """Append rows to `log.csv`; rows after `step`, from a run that went on past its checkpoint, are dropped."""

    def __init__(self, folder: Path, *, step: int, columns: Sequence[str] = COLUMNS) -> None:
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
        self._board = _tensorboard(folder, step)

    def write(self, row: Mapping[str, float]) -> None:
        """Add one report; columns that it lacks stay empty. The file has it within a second of steps."""
        self._writer.writerow(_cells(row))
        if time.monotonic() - self._flushed >= 1:
            self.flush()
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(row["step"]))

    def flush(self) -> None:
        """Let the file have every row so far."""
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _writer(file: TextIO, columns: Sequence[str]) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, columns, restval="", lineterminator="\n")


def _cells(row: Mapping[str, float]) -> dict[str, Any]:
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if v == v}


def _tensorboard(folder: Path, step: int) -> Any:
    with contextlib.suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
    return None


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a `log.csv` as numbers; empty cells are NaN. A last line that a crash cut short is left out.

    Raises:
        TableError: It cannot be read, or holds something else than numbers.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        rows = [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(whole)]
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror}", path=path) from error
    except (TypeError, ValueError) as error:
        raise TableError(f"is no log of a run: {error}", path=path) from error
    return [{k: int(v) if k in ("step", "epoch", "n_bases") else v for k, v in row.items()} for row in rows]
