"""What a pretraining trains on: windows from FASTA files or sampled from a genome, some of them held out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from findna.data.datasets import MAX_N, Corpus, corpus_of, is_held_out, sample_windows
from findna.errors import InputError
from findna.io.cache import cache_dir
from findna.io.fasta import read_fasta
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import Codes, N

HELD_OUT_SHARE = 0.01
_ATTEMPTS = 100


class Sources(NamedTuple):
    """Training windows, held-out windows, and what `config.json` says of them."""

    corpus: Corpus
    held_out: Corpus
    summary: dict[str, Any]


def find_genome() -> Path:
    """The genome to train on where none is named: $FINDNA_GENOME, else the first in the cache directory.

    Raises:
        InputError: There is neither.
    """
    if named := os.environ.get("FINDNA_GENOME"):
        return Path(named)
    folder = cache_dir() / "genomes"
    endings = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz", ".2bit")
    found = sorted(path for path in folder.glob("*") if path.name.endswith(endings))
    if not found:
        raise InputError(
            "nothing to train on: give a FASTA of windows, or --genome GENOME, or set FINDNA_GENOME, "
            f"or put a genome into {folder}"
        )
    return found[0]


def load_sources(
    inputs: Sequence[str],
    genome: Path | None,
    *,
    holdout: Sequence[str],
    n_windows: int,
    n_held_out: int,
    size: int,
    seed: int,
) -> Sources:
    """Read or sample the windows of a pretraining.

    A FASTA whose records all fit in a window is taken record by record; from longer records, as from a
    genome, windows are sampled uniformly. Where `holdout` names nothing, one window in a hundred is held out.

    Args:
        inputs: FASTA files (plain or compressed); used if there are any.
        genome: Indexed genome; used otherwise.
        holdout: Contigs that are only measured on; a record named `chr8:100-200` belongs to chr8.
        n_windows: Windows to sample.
        n_held_out: Windows to measure on, at most.
        size: Bases in a window.
        seed: Of the sampling.

    Raises:
        InputError: A file is damaged, holds no sequence, or a held-out contig is in none of them.
    """
    if inputs:
        training, held_out = _from_fasta(
            inputs, holdout=holdout, n_windows=n_windows, n_held_out=n_held_out, size=size, seed=seed
        )
        paths = [Path(name) for name in inputs]
    else:
        path = genome or find_genome()
        training, held_out = _from_genome(
            path, holdout=holdout, n_windows=n_windows, n_held_out=n_held_out, size=size, seed=seed
        )
        paths = [path]
    if not held_out:
        training, held_out = _split(training, min(n_held_out, max(1, int(HELD_OUT_SHARE * len(training)))))
    if not training:
        raise InputError("no window is left to train on", path=paths[0])
    summary = {
        "files": {path.name: sha256(path) for path in paths},
        "holdout": list(holdout),
        "n_windows": len(training),
        "n_held_out": len(held_out),
        "n_bases": len(training.codes),
    }
    return Sources(training, held_out, summary)


def _from_fasta(
    inputs: Sequence[str], *, holdout: Sequence[str], n_windows: int, n_held_out: int, size: int, seed: int
) -> tuple[Corpus, Corpus]:
    parts: dict[bool, list[Codes]] = {False: [], True: []}
    for path in inputs:
        for item in read_fasta(path):
            if isinstance(item, InputError):
                raise item
            parts[is_held_out(item.id, holdout)].append(item.codes)
    if holdout and not parts[True]:
        raise InputError(f"no record belongs to the held-out {', '.join(holdout)}", path=inputs[0])
    training = sample_windows(parts[False], n=n_windows, size=size, seed=seed)
    if not parts[True]:
        return training, corpus_of([])
    return training, _first(sample_windows(parts[True], n=n_held_out, size=size, seed=seed), n_held_out)


def _from_genome(
    path: Path, *, holdout: Sequence[str], n_windows: int, n_held_out: int, size: int, seed: int
) -> tuple[Corpus, Corpus]:
    with Genome(path) as genome:
        if missing := [name for name in holdout if name not in genome.contigs]:
            raise InputError(f"held-out contigs {', '.join(missing)} are not in the genome", path=path)
        kept = [name for name in genome.contigs if name not in holdout]
        training = _sample_genome(genome, kept, n=n_windows, size=size, seed=seed)
        held_out = _sample_genome(genome, holdout, n=n_held_out if holdout else 0, size=size, seed=seed)
    return training, held_out


def _sample_genome(genome: Genome, contigs: Sequence[str], *, n: int, size: int, seed: int) -> Corpus:
    """Sample windows uniformly over contigs; one with more than 10 % N is drawn again."""
    places = np.array([max(0, genome.contigs[name] - size + 1) for name in contigs], dtype=np.int64)
    ends = np.cumsum(places)
    if n and (not len(ends) or not ends[-1]):
        raise InputError(f"no contig holds a window of {size:,} bases", path=genome.path)
    windows: dict[int, Codes] = {}
    for attempt in range(_ATTEMPTS):
        if len(windows) == n:
            break
        drawn = np.random.default_rng((seed, attempt)).integers(0, ends[-1], size=n)
        wanted = [index for index in range(n) if index not in windows]
        which = np.searchsorted(ends, drawn[wanted], side="right")
        starts = drawn[wanted] - (ends[which] - places[which])
        regions = [
            Region(contigs[c], start, start + size) for c, start in zip(which.tolist(), starts.tolist(), strict=True)
        ]
        for index, (codes, _) in zip(wanted, genome.fetch_many(regions), strict=True):
            if np.mean(codes == N) <= MAX_N:
                windows[index] = codes
    else:
        raise InputError("almost every window of the genome is N", path=genome.path)
    return corpus_of(windows[index] for index in range(n))


def _split(corpus: Corpus, n_held_out: int) -> tuple[Corpus, Corpus]:
    n = len(corpus) - n_held_out
    return corpus_of(corpus[i] for i in range(n)), corpus_of(corpus[i] for i in range(n, len(corpus)))


def _first(corpus: Corpus, n: int) -> Corpus:
    return corpus_of(corpus[i] for i in range(min(n, len(corpus))))
