"""Training windows from FASTA files or sampled from a genome, some of them held out."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from findna import phases
from findna.data.datasets import Corpus, corpus_of, held_by, is_clear, sample_windows
from findna.data.origins import Fetch, fetch_from, load_records
from findna.errors import InputError
from findna.io.cache import cache_dir
from findna.io.check import refuse_pipe
from findna.io.files import sha256
from findna.io.genome import GENOME_ENDINGS, Genome
from findna.io.watch import Watch
from findna.region import Region

HELD_OUT_SHARE = 0.01


class Sources(NamedTuple):
    """Training windows, held-out windows, and what `config.json` records about them."""

    corpus: Corpus
    held_out: Corpus
    summary: dict[str, Any]


def find_genome() -> Path:
    """The default genome to train on: $FINDNA_GENOME, else the first in the cache directory.

    Raises:
        InputError: Neither exists.
    """
    if named := os.environ.get("FINDNA_GENOME"):
        return Path(named)
    folder = cache_dir() / "genomes"
    found = sorted(path for path in folder.glob("*") if path.name.endswith(GENOME_ENDINGS))
    if not found:
        raise InputError(
            "nothing to train on: give a FASTA of windows, or genome=GENOME, or set FINDNA_GENOME, "
            f"or put a genome into {folder}"
        )
    return found[0]


def load_sources(
    inputs: Sequence[str | Path],
    *,
    is_genome: bool,
    holdout: Sequence[str],
    n_windows: int,
    n_held_out: int,
    size: int,
    seed: int,
) -> Sources:
    """Read or sample the windows of a pretraining.

    If all records fit in a window, each record is a window; otherwise windows are sampled. Without `holdout`, one
    record in a hundred is held out, or a hundredth of the bases of longer records.
    A record that fits in a window and has more than 10 % N is skipped; `n_left_out` counts them.

    Args:
        inputs: FASTA files (plain or compressed), or one genome.
        is_genome: Whether it is a genome, which is read by its index.
        holdout: Held-out contigs (a record named `chr8:100-200` belongs to chr8), or held-out files, as named in
            `inputs`.
        n_windows: Windows to sample.
        n_held_out: Maximum number of held-out windows.
        size: Bases in a window.
        seed: Of the sampling.

    Raises:
        InputError: A file cannot be read or has no sequence, or a held-out contig is not found.
    """
    paths = [Path(name) for name in inputs]
    for path in paths:
        refuse_pipe(path)
        if paths.count(path) > 1:
            raise InputError("is named twice", path=path)
    phases.enter("reading the sequences")
    watch = Watch(paths)
    with _genome(paths[0], holdout) if is_genome else nullcontext(_fasta(paths, holdout)) as source:
        training, n_left_out = _without_n(source.training, source.fetch, size=size)
        held_out, n_held_out_left_out = _without_n(source.held_out, source.fetch, size=size)
        if not holdout:
            training, held_out = _split(training, n_held_out=n_held_out, size=size)
        if not training:
            raise InputError(
                "no sequence is left to train on: all are held out, or have more than 10 % N", path=paths[0]
            )
        try:
            corpus = _windows(training, source.fetch, n=n_windows, size=size, seed=seed)
            measured = _held_out_windows(held_out, source.fetch, n=n_held_out, size=size, seed=seed)
        except InputError as error:
            raise InputError(error.reason, path=paths[0]) from error
    summary = {
        "files": {str(path): sha256(path) for path in paths},
        "holdout": list(holdout),
        "n_windows": len(corpus),
        "n_held_out": len(measured),
        "n_left_out": n_left_out + n_held_out_left_out,
        "n_bases": len(corpus.codes),
        "sha256": _digest(corpus, measured),
    }
    watch.check()
    return Sources(corpus, measured, summary)


def _digest(*parts: Corpus) -> str:
    """The sha256 of the windows: another version may make other windows of the same files."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.offsets.tobytes())
        digest.update(part.codes.tobytes())
    return digest.hexdigest()


def reserve(stretches: Sequence[Region], *, size: int) -> tuple[list[Region], list[Region]]:
    """Split stretches into those to train on, and held-out ones: a window and a hundredth of all bases.

    Each stretch gives a hundredth of its bases, at its end. Short stretches are given as a whole, some of them. What a
    stretch cannot give, the next ones give. No base is in both parts.

    >>> [list(map(str, part)) for part in reserve([Region("a", 0, 20_000), Region("b", 0, 900)], size=1000)]
    [['a:1-18,800', 'b:1-900'], ['a:18,801-20,000']]
    """
    kept, reserved = [], []
    due = float(size)
    for index, stretch in enumerate(stretches):
        length = _length(stretch)
        due += HELD_OUT_SHARE * length
        if length < 2 * size:
            n = length if due >= length and index < len(stretches) - 1 else 0
        else:
            n = min(int(due), length - size) if due >= size else 0
        due -= n
        cut = stretch.end - n
        kept += [stretch._replace(end=cut)] if n < length else []
        reserved += [stretch._replace(start=cut)] if n else []
    return kept, reserved


class _Source(NamedTuple):
    """Records or contigs to train on, held-out ones, and the function that reads their bases."""

    training: list[Region]
    held_out: list[Region]
    fetch: Fetch


def _fasta(paths: Sequence[Path], holdout: Sequence[str]) -> _Source:
    parts: dict[bool, list[Region]] = {False: [], True: []}
    records, fetch = load_records(paths)
    files = {Path(name) for name in holdout}
    for path, name, region in records:
        parts[path in files or bool(held_by(name, holdout))].append(region)
    if holdout and not parts[True]:
        raise InputError(f"no record belongs to the held-out {', '.join(holdout)}", path=paths[0])
    return _Source(parts[False], parts[True], fetch)


@contextmanager
def _genome(path: Path, holdout: Sequence[str]) -> Iterator[_Source]:
    with Genome(path) as genome:
        if missing := [name for name in holdout if name not in genome.contigs]:
            raise InputError(f"held-out contigs {', '.join(missing)} are not in the genome", path=path)
        whole = [Region(name, 0, length) for name, length in genome.contigs.items()]
        parts: dict[bool, list[Region]] = {False: [], True: []}
        for region in whole:
            parts[bool(held_by(region.chrom, holdout))].append(region)
        yield _Source(parts[False], parts[True], fetch_from(genome))


def _length(stretch: Region) -> int:
    return stretch.end - stretch.start


def _all_fit(stretches: Sequence[Region], size: int) -> bool:
    return all(_length(stretch) <= size for stretch in stretches)


def _without_n(stretches: list[Region], fetch: Fetch, *, size: int) -> tuple[list[Region], int]:
    """The stretches without those of at most a window with more than 10 % N, and the number of the latter."""
    short = [stretch for stretch in stretches if _length(stretch) <= size]
    bad = {stretch for stretch, codes in zip(short, fetch(short), strict=True) if not is_clear(codes)}
    return [stretch for stretch in stretches if stretch not in bad], len(bad)


def _split(stretches: list[Region], *, n_held_out: int, size: int) -> tuple[list[Region], list[Region]]:
    if not _all_fit(stretches, size):
        return reserve(stretches, size=size)
    n = len(stretches) - min(n_held_out, max(1, int(HELD_OUT_SHARE * len(stretches))))
    return stretches[:n], stretches[n:]


def _windows(stretches: Sequence[Region], fetch: Fetch, *, n: int, size: int, seed: int) -> Corpus:
    if _all_fit(stretches, size):
        return corpus_of(fetch(stretches))
    return sample_windows(stretches, fetch, n=n, size=size, seed=seed)


def _held_out_windows(stretches: Sequence[Region], fetch: Fetch, *, n: int, size: int, seed: int) -> Corpus:
    """Held-out windows, no more than fit side by side: near copies of each other would look like a collapse."""
    if _all_fit(stretches, size):
        return corpus_of(fetch(stretches[:n]))
    n = min(n, max(1, sum(map(_length, stretches)) // size))
    return sample_windows(stretches, fetch, n=n, size=size, seed=seed)
