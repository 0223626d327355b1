"""Writes predictions of windows as a track: the probability of a class along the genome."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from findna.errors import InputError, TableError
from findna.io.compressed import ByteStream
from findna.io.genome import Genome, find_genome
from findna.io.tracks import TrackValue, write_track
from findna.models.described import TaskFacts
from findna.models.task_settings import class_of


def track_column(task: TaskFacts, label: str) -> str:
    """The column of the predictions that a track shows: a class's probability, or the value of a regression.

    Args:
        task: The task.
        label: As for `findna.models.task_settings.class_of`.

    Raises:
        ConfigError: The task has no such class, or more than two and none is named.
    """
    settings = task.settings
    return "prediction" if settings.objective == "regression" else f"p_{class_of(settings, label, task=task.name)}"


def write_window_track(
    predictions: Path, path: Path, column: str, facts: Mapping[str, Any], *, genome: str | Path | None = None
) -> None:
    """Write a column of predictions of windows as bedGraph or bigWig.

    Each base has the value of the first window of its record that covers it, so intervals of a record do not overlap.

    Args:
        predictions: The TSV of `findna classify`, one row per window.
        path: The track, with a name that `findna.io.tracks.check_track` accepts.
        column: See `track_column`.
        facts: Facts of the run, for the track.
        genome: FASTA or .2bit, for a bigWig.

    Raises:
        TableError: The TSV has no such column.
        InputError: A record has no coordinates; records of a bigWig overlap or are not sorted.
        OutputError: The track cannot be written.
    """
    contigs = {}
    if genome is not None:
        with Genome(find_genome(genome)) as opened:
            contigs = dict(opened.contigs)
    write_track(path, _places(predictions, column), contigs, facts)


def _places(predictions: Path, column: str) -> Iterator[TrackValue]:
    with ByteStream(predictions, error=TableError) as stream:
        lines = (line.decode().split("\t") for line in stream.lines() if not line.startswith(b"#"))
        names = next(lines, [])
        wanted = ("id", "chrom", "start", "end", column)
        if absent := [name for name in wanted if name not in names]:
            raise TableError(f"column {absent[0]!r} not found", path=predictions)
        index = [names.index(name) for name in wanted]
        rows = ([fields[i] for i in index] for fields in lines)
        for record, windows in groupby(rows, key=lambda row: row[0].rpartition(":")[0]):
            yield from _of_record(record, list(windows))


def _of_record(record: str, windows: list[list[str]]) -> Iterator[TrackValue]:
    """The windows of a record along the genome; the bases of an overlap belong to the first window."""
    found = [(int(start), int(end), float(value), chrom) for _, chrom, start, end, value in windows]
    covered = 0
    for start, end, value, chrom in sorted(found):
        if not chrom:
            raise InputError("has no place on a genome, so it cannot be part of a track", record=record)
        if (start := max(start, covered)) < end:
            yield TrackValue(chrom, start, end, value)
        covered = max(covered, end)
