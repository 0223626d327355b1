"""A training set: windows drawn from files, filtered, and written with a manifest that says how."""

import dataclasses
import gzip
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from findna import __version__, phases
from findna.data.cutting import cut_out, read_cuts
from findna.data.datasets import corpus_of, cut_region, draw_places
from findna.data.labelled_rows import read_sequences
from findna.data.options import WindowsConfig
from findna.data.origins import Origin, open_origins
from findna.data.overlap import ONE_IN, K, KmerSet, Novelty
from findna.errors import ConfigError, InputError, OutputError
from findna.io.files import replacing, sha256, write_atomic
from findna.io.ids import IdSet
from findna.io.watch import Watch
from findna.region import Region
from findna.sequence import Codes, N, decode, reverse_complement

SCHEMA = "findna-windows/1"

BLOCK = 4096
"""Windows drawn at a time. Part of the recipe: another number gives other windows."""

_DRY_BLOCKS = 8
_DRY_SHARE = 0.02
_LEVEL = 6

REASONS = {
    "n": "with too much N",
    "excluded": "with 31-mers of excluded sequences",
    "repeated": "that were there as they are, on either strand",
    "overlapping": "with most 31-mers in others",
}
"""Why a window is skipped, in the order of the tests."""


class DrawnWindow(NamedTuple):
    """A window and where it is from.

    Args:
        region: Its place on its contig and its strand.
        codes: Its bases, on its own strand.
        origin: Index of its origin.
    """

    region: Region
    codes: Codes
    origin: int


class TrainingSet(NamedTuple):
    """What `make_windows` left.

    Args:
        paths: The files of windows: to train on, and to measure on where something is held out.
        manifest_path: The manifest.
        manifest: What is in it.
    """

    paths: tuple[Path, ...]
    manifest_path: Path
    manifest: dict[str, Any]


def make_windows(
    inputs: Sequence[str | Path],
    out: Path,
    *,
    config: WindowsConfig,
    genome: str | Path | None = None,
    weights: Mapping[str, float] | None = None,
    holdout: Sequence[str] = (),
    exclude: Sequence[str | Path] = (),
    cut: Sequence[str | Path] = (),
    force: bool = False,
    on_draw: Callable[[int], None] = lambda n: None,
) -> TrainingSet:
    """Draw windows from files and write them as FASTA, with a manifest `NAME.json` beside them.

    An origin is drawn as often as it has bases times its weight, a stretch of it as often as it has bases, then a
    length and a place in it uniformly; a stretch that is shorter than that length is a window whole. The same
    files, settings and seed give the same bytes, and a smaller `n` the first of the same windows.

    Args:
        inputs: FASTA, .2bit or BED files, as `path` or `name=path`.
        out: FASTA to write; compressed if its name ends in .gz. What is held out goes to `NAME.held-out.fa[.gz]`.
        config: Which windows.
        genome: FASTA or .2bit that BED files are on.
        weights: Factors by the name of the origin; else 1.
        holdout: Contigs, or names of origins, whose windows are only measured on.
        exclude: Tables, FASTA or BED files of sequences; a window that shares `exclude_words` 31-mers with them, on
            either strand, is skipped.
        cut: Tables or FASTA files of sequences, whose exact places in the sources, on either strand, are cut out; or
            BED files of regions, which are cut by coordinate. A window ends where a cut begins.
        force: Replace existing files.
        on_draw: Told after each block how many windows there are.

    Raises:
        InputError: A file is damaged, or there is not enough sequence for this many windows.
        ConfigError: Names do not fit.
        OutputError: A file exists or cannot be written.
    """
    training_path, held_out_path, manifest_path = output_paths(out)
    paths = [training_path] + ([held_out_path] if holdout else [])
    for path in (*paths, manifest_path):
        if path.exists() and not force:
            raise OutputError(f"{path}: exists; force=True replaces it")
    named = [str(name).rpartition("=")[2] for name in inputs]
    watch = Watch([*inputs, *named, *exclude, *([genome] if genome else [])])
    phases.enter("reading the sources")
    with ExitStack() as stack:
        origins = open_origins(inputs, genome=genome, holdout=holdout, stack=stack)
        cuts, n_cut = read_cuts(cut), []
        for index, origin in enumerate(origins):
            origins[index], n_bases = cut_out(origin, cuts)
            n_cut.append(n_bases)
        factors = _factors(origins, weights or {})
        phases.enter("reading the excluded sequences")
        excluded, exclude_summary = _excluded(exclude, genome)
        novelty, ids = Novelty(config.max_shared), IdSet()
        sifts = [Sift(origins, config, factors, excluded, novelty, is_held_out=i > 0) for i in range(len(paths))]
        with ExitStack() as files:  # all get their names at the end, or none
            writers = [files.enter_context(_fasta(path)) for path in paths]
            for sift, write in zip(sifts, writers, strict=True):
                for n, window in enumerate(sift, start=1):
                    write(ids.unique(window.region.id), origins[window.origin].name, window.codes)
                    if n % BLOCK == 0:
                        on_draw(n)
            watch.check()
        parts = [
            sift.summary() | {"file": path.name, "sha256": sha256(path), "sha256_of_text": write.sha256}
            for sift, path, write in zip(sifts, paths, writers, strict=True)
        ]
        manifest = {
            "schema": SCHEMA,
            "findna": __version__,
            "settings": dataclasses.asdict(config),
            "holdout": list(holdout),
            "word": K,
            "shared_looks_at_one_in": ONE_IN,
            "sources": [
                _summary(origin, factor) | {"n_bases_cut": n}
                for origin, factor, n in zip(origins, factors, n_cut, strict=True)
            ],
            "cut": [{"path": str(path), "sha256": sha256(Path(path))} for path in cut],
            "n_cut_not_found": cuts.sequences.n_not_found,
            "genome": {"path": str(genome), "sha256": sha256(Path(genome))} if genome else None,
            "exclude": exclude_summary,
            "windows": parts[0],
            "held_out": parts[1] if holdout else None,
        }
    write_atomic(manifest_path, json.dumps(manifest, indent=2) + "\n")
    return TrainingSet(tuple(paths), manifest_path, manifest)


def output_paths(out: Path) -> tuple[Path, Path, Path]:
    """The names of the windows to train on, of those that are held out, and of the manifest.

    >>> [path.name for path in output_paths(Path("w.fa.gz"))]
    ['w.fa.gz', 'w.held-out.fa.gz', 'w.json']
    """
    match = re.fullmatch(r"(?P<stem>.+?)(?P<ending>\.(fa|fasta|fna)(\.gz)?)", out.name)
    if match is None:
        raise ConfigError(f"{out}: must end in .fa or .fa.gz: windows are written as FASTA")
    stem, ending = match["stem"], match["ending"]
    return out, out.with_name(f"{stem}.held-out{ending}"), out.with_name(f"{stem}.json")


class Sift:
    """An iterator over the windows that are kept, which counts those that are not.

    Args:
        origins: Where windows are cut from.
        config: Which windows.
        factors: Weight of each origin.
        excluded: Words that no window may have.
        novelty: What was kept before.
        is_held_out: Draw from what is held out, and take fewer where there is not enough.

    Attributes:
        n_drawn: Windows drawn so far.
        left_out: How many of them were skipped, by reason.
        kept: How many were kept, by origin.

    Raises:
        InputError: There is nothing to draw from, or when it runs dry.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        config: WindowsConfig,
        factors: Sequence[float],
        excluded: KmerSet,
        novelty: Novelty,
        *,
        is_held_out: bool,
    ) -> None:
        self.n_drawn, self.n_bases = 0, 0
        self.left_out, self.kept = Counter[str](), Counter[str]()
        self._origins, self._config, self._excluded, self._novelty = origins, config, excluded, novelty
        self._is_held_out = is_held_out
        self._pool = _Pool(origins, factors, min_length=config.min_length, is_held_out=is_held_out)
        self._n = config.n_held_out if is_held_out else config.n
        if not self._pool.shares.sum():
            what = "held out" if is_held_out else "left to train on"
            raise InputError(f"no stretch of at least {config.min_length} bases is {what}")

    def __iter__(self) -> Iterator[DrawnWindow]:
        n = 0
        recent = [BLOCK] * _DRY_BLOCKS
        for block in self._pool.draw(self._config, is_held_out=self._is_held_out):
            n_before = n
            for window, reason in self._judge(block, most=self._n - n):
                self.n_drawn += 1
                if reason:
                    self.left_out[reason] += 1
                    continue
                n += 1
                self.n_bases += len(window.codes)
                self.kept[self._origins[window.origin].name] += 1
                yield window
                if n == self._n:
                    return
            recent = [*recent[1:], n - n_before]
            if sum(recent) < _DRY_SHARE * _DRY_BLOCKS * BLOCK:
                if self._is_held_out and n:
                    return
                left_out = ", ".join(f"{self.left_out[reason]:,} {text}" for reason, text in REASONS.items())
                raise InputError(
                    f"only {n:,} of {self._n:,} windows can be drawn: of {self.n_drawn:,} drawn were skipped "
                    f"{left_out}; ask for fewer windows, or allow a larger max_shared"
                )

    def summary(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {
            "n_windows": sum(self.kept.values()),
            "n_bases": self.n_bases,
            "n_drawn": self.n_drawn,
            "n_left_out": {reason: self.left_out[reason] for reason in REASONS},
            "by_source": {origin.name: self.kept[origin.name] for origin in self._origins},
        }

    def _judge(self, block: Sequence[DrawnWindow], *, most: int) -> Iterator[tuple[DrawnWindow, str]]:
        """Each window with the reason why it is skipped, or ""; up to the last of `most` that are kept."""
        is_n = np.array([np.mean(window.codes == N) > self._config.max_n for window in block])
        n_excluded = self._excluded.count_in(corpus_of(window.codes for window in block))
        is_excluded = n_excluded >= self._config.exclude_words
        is_fit = ~is_n & ~is_excluded
        fit = [window.codes for window, fits in zip(block, is_fit, strict=True) if fits]
        verdicts = iter(self._novelty.sift(fit, most=most))
        for index, window in enumerate(block):
            yield window, "n" if is_n[index] else "excluded" if is_excluded[index] else next(verdicts)


class _Pool:
    """All stretches to draw from, and how likely each is."""

    def __init__(
        self, origins: Sequence[Origin], factors: Sequence[float], *, min_length: int, is_held_out: bool
    ) -> None:
        own = [
            (index, stretch)
            for index, origin in enumerate(origins)
            for stretch in (origin.held_out if is_held_out else origin.training)
            if len(stretch) >= min_length
        ]
        self.stretches = [stretch for _, stretch in own]
        self._origins, self._fetch = [index for index, _ in own], [origin.fetch for origin in origins]
        self.lengths = np.array([len(stretch) for stretch in self.stretches], dtype=np.int64)
        self.shares = np.array([len(stretch) * factors[index] for index, stretch in own])

    def draw(self, config: WindowsConfig, *, is_held_out: bool) -> Iterator[list[DrawnWindow]]:
        """Yield blocks of windows without end; block b depends on (seed, b) and the stretches alone."""
        for number in itertools.count():
            draws = np.random.default_rng((config.seed, int(is_held_out), number)).random((BLOCK, 4))
            wanted = config.min_length + (draws[:, 1] * (config.max_length - config.min_length + 1)).astype(np.int64)
            places = draw_places(draws[:, (0, 2)], self.lengths, shares=self.shares, wanted=wanted)
            is_reverse = (draws[:, 3] < 0.5) & (config.strand == "both")
            yield self._cut(places, is_reverse.tolist())

    def _cut(self, places: Sequence[tuple[int, int, int]], is_reverse: Sequence[bool]) -> list[DrawnWindow]:
        windows: dict[int, DrawnWindow] = {}
        for origin, fetch in enumerate(self._fetch):
            own = [index for index, (which, _, _) in enumerate(places) if self._origins[which] == origin]
            regions = [cut_region(self.stretches[places[i][0]].region, *places[i][1:]) for i in own]
            for index, codes in zip(own, fetch(regions), strict=True):
                which, start, end = places[index]
                place = self.stretches[which].place(start, end, strand="-" if is_reverse[index] else "+")
                windows[index] = DrawnWindow(place, reverse_complement(codes) if is_reverse[index] else codes, origin)
        return [windows[index] for index in range(len(places))]


class _FastaWriter:
    """Writes records and keeps the sha256 of the text, which does not depend on who compresses it."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def __call__(self, id: str, description: str, codes: Codes) -> None:
        text = f">{id} {description}\n{decode(codes)}\n".encode()
        self._hash.update(text)
        self._file.write(text)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def _fasta(path: Path) -> Iterator[_FastaWriter]:
    """A FASTA file that gets its name when it is whole."""
    with replacing(path) as temp, temp.open("wb") as raw, ExitStack() as stack:
        is_gzip = path.name.endswith(".gz")
        packed = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) if is_gzip else None
        yield _FastaWriter(stack.enter_context(packed) if packed else raw)


def _factors(origins: Sequence[Origin], weights: Mapping[str, float]) -> list[float]:
    names = [origin.name for origin in origins]
    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(f"weight of {unknown[0]}: no such source; there are {', '.join(names)}")
    if bad := [name for name, weight in weights.items() if not 0 <= weight < float("inf")]:
        raise ConfigError(f"weight of {bad[0]}: {weights[bad[0]]:g} must be a number from 0 on")
    return [weights.get(name, 1.0) for name in names]


def _excluded(paths: Sequence[str | Path], genome: str | Path | None) -> tuple[KmerSet, list[dict[str, Any]]]:
    corpora, summary = [], []
    for path in paths:
        corpus = corpus_of(read_sequences(path, genome=genome))
        corpora.append(corpus)
        n_short = int(np.count_nonzero(np.diff(corpus.offsets) < K))
        summary.append(
            {"path": str(path), "sha256": sha256(Path(path)), "n_sequences": len(corpus), "n_too_short": n_short}
        )
    return KmerSet(corpora), summary


def _summary(origin: Origin, factor: float) -> dict[str, Any]:
    return {
        "name": origin.name,
        "path": str(origin.path),
        "kind": origin.kind,
        "sha256": origin.sha256,
        "weight": factor,
        "n_stretches": len(origin.training),
        "n_bases": sum(map(len, origin.training)),
        "n_stretches_held_out": len(origin.held_out),
        "n_bases_held_out": sum(map(len, origin.held_out)),
        "n_alternate_contigs": origin.n_alternate,
    }
