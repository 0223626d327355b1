"""A training set: windows drawn from files, filtered, and written with a manifest of the recipe."""

import dataclasses
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from findna import __version__, phases
from findna.data.cutting import cut_out, read_cuts
from findna.data.datasets import corpus_of
from findna.data.labelled_rows import read_sequences
from findna.data.options import WindowsConfig
from findna.data.origins import Origin, open_origins
from findna.data.overlap import ONE_IN, K, KmerSet, Novelty
from findna.data.sifting import BLOCK, Sift
from findna.errors import ConfigError
from findna.io.files import already_exists, refuse_changed, replacing, sha256, stamps, write_atomic
from findna.io.ids import IdSet
from findna.io.source import kind_of, refuse_unused_genome
from findna.io.spool import changes
from findna.io.structured import read_json
from findna.io.watch import Watch, refuse_inputs
from findna.sequence import Codes, decode

SCHEMA = "findna-windows/1"

_LEVEL = 6

MAX_WEIGHT = 1_000_000


class TrainingSet(NamedTuple):
    """The result of `make_windows`.

    Args:
        paths: The files of training windows and, if any are held out, of held-out windows.
        manifest_path: The manifest.
        manifest: Its content.
        is_new: Whether they were written now.
    """

    paths: tuple[Path, ...]
    manifest_path: Path
    manifest: dict[str, Any]
    is_new: bool = True


def make_windows(
    inputs: Sequence[str | Path],
    out: str | Path,
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

    The probability of an origin is proportional to its number of bases times its weight, that of a stretch to its
    number of bases. Length and place of a window are uniform; a stretch shorter than the length is one window. The
    same files, settings and seed give the same bytes; a smaller `n` gives the first of the same windows.

    Args:
        inputs: FASTA, .2bit or BED files, as `path` or `name=path`.
        out: FASTA to write; compressed if its name ends in .gz. Held-out windows go to `NAME.held-out.fa[.gz]`.
        config: The settings of the windows.
        genome: FASTA or .2bit of the BED files.
        weights: Factors by the name of the origin; else 1.
        holdout: Contigs, or names of origins, whose windows are held out.
        exclude: Tables, FASTA or BED files of sequences; a window that shares `exclude_kmers` 31-mers with them, on
            either strand, is skipped.
        cut: Tables or FASTA files of sequences, whose exact occurrences in the sources, on either strand, are removed;
            or BED files of regions, which are removed by coordinate. A window never spans a removed place.
        force: Replace existing files. Without it, complete files of the same windows are kept.
        on_draw: Called after each block with the number of windows.

    Raises:
        InputError: A file is damaged, or there is not enough sequence for this many windows.
        ConfigError: Names do not fit.
        OutputError: A file exists and has other windows, or cannot be written.
    """
    out = Path(out)
    training_path, held_out_path, manifest_path = output_paths(out)
    paths = (training_path, held_out_path) if holdout else (training_path,)
    named = [str(name).rpartition("=")[2] for name in inputs]
    sources = [*inputs, *named, *exclude, *holdout, *cut, *([genome] if genome else [])]
    refuse_inputs([*paths, manifest_path], sources)
    existing = {} if force else _existing((*paths, manifest_path))
    watch = Watch(sources)
    phases.enter("reading the sources")
    with ExitStack() as stack:
        origins = open_origins(inputs, genome=genome, holdout=holdout, stack=stack)
        cuts, n_cut = read_cuts(cut), []
        for index, origin in enumerate(origins):
            origins[index], n_bases = cut_out(origin, cuts)
            n_cut.append(n_bases)
        factors = _factors(origins, weights or {})
        if exclude:
            phases.enter("reading the excluded sequences")
        excluded, exclude_summary = _excluded(exclude, genome)
        refuse_unused_genome(genome, [*(origin.kind for origin in origins), *map(kind_of, exclude)])
        facts: dict[str, Any] = {
            "schema": SCHEMA,
            "findna": __version__,
            "settings": dataclasses.asdict(config),
            "holdout": list(holdout),
            "k": K,
            "shared_looks_at_one_in": ONE_IN,
            "sources": [
                _summary(origin, factor) | {"n_bases_cut": n}
                for origin, factor, n in zip(origins, factors, n_cut, strict=True)
            ],
            "cut": [{"path": str(path), "sha256": sha256(Path(path))} for path in cut],
            "n_cut_not_found": cuts.sequences.n_not_found,
            "genome": {"path": str(genome), "sha256": sha256(Path(genome))} if genome else None,
            "exclude": exclude_summary,
        }
        if existing:
            _require_same(out if out.exists() else manifest_path, existing, facts)
            if all(path.exists() for path in paths):
                return TrainingSet(paths, manifest_path, existing, is_new=False)
        novelty = Novelty(config.max_shared)
        sifts = [Sift(origins, config, factors, excluded, novelty, is_held_out=i > 0) for i in range(len(paths))]
        temps = [stack.enter_context(replacing(path)) for path in paths]  # they get their names at the end
        before = stamps(*paths)
        parts = _write(temps, paths, sifts, [origin.name for origin in origins], on_draw)
        watch.check()
        refuse_changed(paths, before)
        manifest = {**facts, "windows": parts[0], "held_out": parts[1] if holdout else None}
        write_atomic(manifest_path, json.dumps(manifest, indent=2) + "\n")  # first: it tells that the windows are ours
        return TrainingSet(paths, manifest_path, manifest)


def _existing(paths: Sequence[Path]) -> dict[str, Any]:
    """The manifest of existing windows, which a killed run may have left without them; {} if no file exists.

    Args:
        paths: The files of windows, then the manifest.

    Raises:
        OutputError: A file exists, and they are not complete.
    """
    existing = [path for path in paths if path.exists()]
    if not existing:
        return {}
    try:
        manifest: dict[str, Any] = read_json(paths[-1])
        is_whole = manifest["schema"] == SCHEMA and all(
            manifest[name]["sha256"] == sha256(path)
            for name, path in zip(("windows", "held_out"), paths[:-1], strict=False)
            if path in existing
        )
    except (OSError, ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise already_exists(existing[0])
    return manifest


def _require_same(path: Path, manifest: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise an OutputError if the manifest of existing windows has other facts."""
    own = json.loads(json.dumps({name: value for name, value in facts.items() if name != "findna"}))
    stored = {name: manifest.get(name) for name in own}
    if isinstance(stored["settings"], dict):  # a setting that is newer than the manifest had its default
        stored["settings"] = dataclasses.asdict(WindowsConfig()) | stored["settings"]
    if differing := changes(stored, own):
        raise already_exists(path, f"exists already, with other windows ({differing})")


def _write(
    temps: Sequence[Path],
    paths: Sequence[Path],
    sifts: Sequence[Sift],
    names: Sequence[str],
    on_draw: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Write the files of windows under temporary names, and return what the manifest says of each."""
    ids = IdSet()
    on_draw(0)
    with ExitStack() as files:
        writers = [files.enter_context(_fasta(temp, path)) for temp, path in zip(temps, paths, strict=True)]
        for sift, write in zip(sifts, writers, strict=True):
            for n, window in enumerate(sift, start=1):
                write(ids.unique(window.region.id), names[window.origin], window.codes)
                if n % BLOCK == 0:
                    on_draw(n)
    return [
        sift.summary() | {"file": path.name, "sha256": sha256(temp), "sha256_of_text": write.sha256}
        for sift, temp, path, write in zip(sifts, temps, paths, writers, strict=True)
    ]


def output_paths(out: Path) -> tuple[Path, Path, Path]:
    """The paths of the training windows, the held-out windows and the manifest.

    >>> [path.name for path in output_paths(Path("w.fa.gz"))]
    ['w.fa.gz', 'w.held-out.fa.gz', 'w.json']
    """
    match = re.fullmatch(r"(?P<stem>.+?)(?P<ending>\.(fa|fasta|fna)(\.gz)?)", out.name)
    if match is None:
        raise ConfigError(f"{out}: must end in .fa or .fa.gz: windows are written as FASTA")
    stem, ending = match["stem"], match["ending"]
    return out, out.with_name(f"{stem}.held-out{ending}"), out.with_name(f"{stem}.json")


class _FastaWriter:
    """Writes records and computes the sha256 of the text, which does not depend on the compression."""

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
def _fasta(temp: Path, path: Path) -> Iterator[_FastaWriter]:
    """The temporary file of a FASTA file."""
    with temp.open("wb") as raw, ExitStack() as stack:
        is_gzip = path.name.endswith(".gz")
        packed = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) if is_gzip else None
        yield _FastaWriter(stack.enter_context(packed) if packed else raw)


def _factors(origins: Sequence[Origin], weights: Mapping[str, float]) -> list[float]:
    names = [origin.name for origin in origins]
    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(f"weight of {unknown[0]}: no such source; there are {', '.join(names)}")
    if bad := [name for name, weight in weights.items() if not 0 <= weight <= MAX_WEIGHT]:
        raise ConfigError(f"weight of {bad[0]}: {weights[bad[0]]:g} must be a number from 0 to {MAX_WEIGHT:,}")
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
