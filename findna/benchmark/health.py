"""The health of a pretraining, from the rows of its log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LAST_PART = 0.2
"""The last part of a run, in which the effective rank must not fall."""


def health(log: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Metrics of student and teacher at the start of the last fifth of a run and at its end, from the rows of log.csv.

    `rank_slope` is the slope of a line through the effective ranks of the last fifth, per whole run.
    """
    measured = [row for row in log if not np.isnan(row["effective_rank"])]
    last_step = measured[-1]["step"]
    late = [row for row in measured if row["step"] >= (1 - LAST_PART) * last_step]
    ranks = [row["effective_rank"] for row in late]
    slope = float(np.polyfit([row["step"] / last_step for row in late], ranks, 1)[0]) if len(late) > 1 else 0.0
    return {
        "n_reports": len(measured),
        "steps": int(last_step),
        "last_fifth_from": _known(late[0]),
        "end": _known(late[-1]),
        "rank_slope": slope,
    }


def _known(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not np.isnan(value)}
