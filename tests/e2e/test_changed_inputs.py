"""Inputs that change while they are read: the run fails and leaves nothing, whatever changed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import fasta, left_behind, read

from findna.errors import InputError
from findna.io.options import InputOptions
from findna.job import EmbedJob, run

Change = Callable[[Path], object]
N = 400


def _replace(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").replace(path)
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, Change] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "rewritten in place": lambda path: path.write_text(path.read_text().translate(str.maketrans("ACGT", "CATG"))),
    "appended to": lambda path: path.write_text(path.read_text() + ">more\nACGT\n"),
    "deleted": lambda path: path.unlink(),
}


def _run(model: Path, inputs: list[Path], change: Change, changed: Path, **options: Any) -> dict[str, Any]:
    done: list[int] = []

    def on_progress(n_done: int, total: int | None) -> None:
        if not done:
            change(changed)
        done.append(n_done)

    job = EmbedJob(
        [str(path) for path in inputs], Path("out.h5"), model=str(model), precision="fp32", device="cpu", **options
    )
    return run(job, on_progress=on_progress)


@pytest.mark.parametrize("how", CHANGES)
def test_sequences_that_change_end_the_run_and_nothing_is_kept(model: Path, how: str) -> None:
    path = Path("s.fa")
    path.write_text(fasta({f"s{i}": "ACGTTGCA" * (5 + i % 5) for i in range(N)}))
    with pytest.raises(InputError, match=r"s\.fa: changed while it was read"):
        _run(model, [path], CHANGES[how], path)
    assert left_behind() == []


@pytest.mark.parametrize("how", [*CHANGES, "replaced by another file"])
def test_a_genome_that_changes_ends_the_run_and_nothing_is_kept(model: Path, genome: Path, how: str) -> None:
    bed = Path("r.bed")
    bed.write_text("".join(f"chr1\t{i}\t{i + 40}\n" for i in range(N)))
    change = CHANGES.get(how, _replace)
    options = InputOptions(genome=genome)
    with pytest.raises(InputError, match=r"g\.fa: changed while it was read|must be .*: the file is damaged or has"):
        _run(model, [bed], change, genome, options=options)
    assert left_behind() == []


def test_a_file_that_was_only_touched_has_not_changed(model: Path) -> None:
    path = Path("s.fa")
    path.write_text(fasta({f"s{i}": "ACGTTGCA" * 5 for i in range(N)}))
    _run(model, [path], os.utime, path)
    assert len(read(Path("out.h5")).x) == N
