"""The sources of windows: stretches of FASTA, .2bit and BED files, some of them held out."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from findna.data.datasets import held_by
from findna.errors import ConfigError, InputError
from findna.io.bed import read_bed
from findna.io.check import check_inputs, refuse_pipe
from findna.io.compressed import ByteStream
from findna.io.fasta import read_fasta
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.sniff import sniff
from findna.io.tap import GZIP_MAGIC, is_bgzf
from findna.io.twobit import TWOBIT_MAGICS
from findna.region import Region
from findna.sequence import Codes

Fetch = Callable[[Sequence[Region]], list[Codes]]

MOST_IN_MEMORY = 1 << 28
"""A larger FASTA file (in bytes) is read through its index, if it can be indexed."""

_PLACE = re.compile(r"(?P<chrom>.+):(?P<start>[0-9]+)-(?P<end>[0-9]+)(?:\((?P<strand>[+.-])\))?")
_ALTERNATE = re.compile(r".+_(alt|fix|hap[0-9]+)")
_BARE = re.compile(r"(\.(fa|fasta|fna|2bit|bed|narrowpeak))?(\.(gz|bgz))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A contiguous sequence of a file, and its place on the contig.

    Args:
        region: Its region in the origin.
        chrom: Its contig.
        start: 0-based first base on the contig.
        strand: "+", or "-" if it is the contig's other strand.
    """

    region: Region
    chrom: str
    start: int
    strand: str = "+"

    def __len__(self) -> int:
        return self.region.end - self.region.start

    def piece(self, start: int, end: int) -> "Stretch":
        """Its bases [start, end) as a stretch."""
        region = self.region._replace(start=self.region.start + start, end=self.region.start + end)
        first = start if self.strand == "+" else len(self) - end
        return Stretch(region, self.chrom, self.start + first, self.strand)

    def place(self, start: int, end: int, *, strand: str) -> Region:
        """The place of its bases [start, end) on the contig, with its own strand."""
        if self.strand == "-":
            start, end = len(self) - end, len(self) - start
        return Region(self.chrom, self.start + start, self.start + end, strand="+" if strand == self.strand else "-")


@dataclass(frozen=True)
class Origin:
    """A source file of windows.

    Args:
        name: Its name in windows and weights.
        path: The file.
        kind: "fasta", "2bit" or "bed".
        sha256: Of the file.
        training: Stretches to train on.
        held_out: Stretches to measure on.
        n_alternate: Number of contigs that were skipped as alternate versions of other contigs.
        fetch: Returns the bases of such regions, in order.
    """

    name: str
    path: Path
    kind: str
    sha256: str
    training: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]
    n_alternate: int
    fetch: Fetch


def open_origins(
    inputs: Sequence[str | Path], *, genome: str | Path | None, holdout: Sequence[str], stack: ExitStack
) -> list[Origin]:
    """Open the source files of windows.

    Contigs that UCSC names `_alt`, `_fix` or `_hap1` are skipped, because they repeat most of another
    contig. `chr1_..._random` belongs to chr1.

    Args:
        inputs: FASTA, .2bit or BED files, each as `path` or `name=path`; the default name is the file name without
            extensions.
        genome: Genome of the BED files.
        holdout: Contigs, or names of origins, that are held out.
        stack: Closes the opened files.

    Raises:
        InputError: A file is damaged or of another kind, or nothing is held out by a name in `holdout`.
        ConfigError: Two origins have one name, or a BED file has no genome.
    """
    named = [_name(text) for text in inputs]
    names = [name for name, _ in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"two sources are called {twice[0]}: name one of them, for instance {twice[0]}2={named[-1][1]}"
        )
    opened: dict[Path, Genome] = {}

    def open_genome(path: str | Path) -> Genome:
        if Path(path) not in opened:
            opened[Path(path)] = stack.enter_context(Genome(path))
        return opened[Path(path)]

    origins, found = [], set[str]()
    for name, path in named:
        kind, stretches, fetch = _open(path, genome, open_genome)
        kept = [stretch for stretch in stretches if not _ALTERNATE.fullmatch(stretch.chrom)]
        held = [held_by(stretch.chrom, holdout, source=name) for stretch in kept]
        found |= {entry for entry in held if entry}
        origins.append(
            Origin(
                name=name,
                path=path,
                kind=kind,
                sha256=sha256(path),
                training=tuple(stretch for stretch, entry in zip(kept, held, strict=True) if not entry),
                held_out=tuple(stretch for stretch, entry in zip(kept, held, strict=True) if entry),
                n_alternate=len(stretches) - len(kept),
                fetch=fetch,
            )
        )
    if missing := [entry for entry in holdout if entry not in found]:
        raise InputError(f"holdout={','.join(missing)}: no source has such a contig or such a name")
    return origins


_Opened = tuple[str, list[Stretch], Fetch]


def _name(text: str | Path) -> tuple[str, Path]:
    """
    >>> _name("data/hg38.fa.gz"), _name("mouse=mm10.2bit")
    (('hg38', PosixPath('data/hg38.fa.gz')), ('mouse', PosixPath('mm10.2bit')))
    """
    name, equals, path = str(text).partition("=")
    if not equals or Path(text).exists():
        return _BARE.sub("", Path(text).name), Path(text)
    return name, Path(path)


def _open(path: Path, genome: str | Path | None, open_genome: Callable[[str | Path], Genome]) -> _Opened:
    refuse_pipe(path)
    with ByteStream(path) as stream:
        head = stream.raw_head
        is_twobit = head[:4] in TWOBIT_MAGICS
        kind = "2bit" if is_twobit else sniff(stream)
    if kind in ("bed", "narrowpeak"):
        return _open_bed(path, genome, open_genome)
    if kind not in ("2bit", "fasta"):
        raise InputError(f"windows are cut from FASTA, .2bit or BED files, not {kind}", path=path)
    can_be_indexed = is_twobit or is_bgzf(head) or head[:2] != GZIP_MAGIC
    if is_twobit or (can_be_indexed and path.stat().st_size > MOST_IN_MEMORY):
        contigs = open_genome(path)
        whole = [_stretch(name, Region(name, 0, length)) for name, length in contigs.contigs.items() if length]
        return kind, whole, fetch_from(contigs)
    records, fetch = load_records([path])
    if not records:
        raise InputError("it holds no records", path=path)
    return "fasta", [_stretch(name, region) for _, name, region in records], fetch


def load_records(paths: Iterable[Path]) -> tuple[list[tuple[Path, str, Region]], Fetch]:
    """(file, id, region) of all records of FASTA files, and a function that fetches their bases from memory.

    Raises:
        InputError: A file is damaged.
    """
    codes: list[Codes] = []
    records = []
    for path in paths:
        for item in read_fasta(path):
            if isinstance(item, InputError):
                raise item
            records.append(
                (path, item.id, Region(str(len(codes)), 0, len(item.codes)))
            )  # two files may have the same id
            codes.append(item.codes)
    return records, lambda regions: [codes[int(r.chrom)][r.start : r.end] for r in regions]


def _open_bed(path: Path, genome: str | Path | None, open_genome: Callable[[str | Path], Genome]) -> _Opened:
    if genome is None:
        raise ConfigError(f"{path}: the regions of a BED file need a genome: genome=FILE")
    contigs = open_genome(genome)
    if error := check_inputs([str(path)], InputOptions(genome=genome), genome=contigs).error():
        raise error
    regions = [row.region for row in read_bed(path) if isinstance(row.region, Region)]
    stretches = [Stretch(region, region.chrom, region.start) for region in _merged(regions)]
    return "bed", stretches, fetch_from(contigs)


def fetch_from(genome: Genome) -> Fetch:
    """A reader of regions of a genome."""
    return lambda regions: [codes for codes, _ in genome.fetch_many(regions)]


def _merged(regions: Sequence[Region]) -> list[Region]:
    """Overlapping or touching regions merged, on any strand, sorted by contig and position."""
    merged: list[Region] = []
    for region in sorted(Region(region.chrom, region.start, region.end) for region in regions):
        if merged and merged[-1].chrom == region.chrom and region.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, region.end))
        else:
            merged.append(region)
    return merged


def _stretch(name: str, region: Region) -> Stretch:
    """A record or contig; a record named `chr1:100-200` with 100 bases has this place."""
    match = _PLACE.fullmatch(name)
    if match is None or int(match["end"]) - int(match["start"]) != region.end - region.start:
        return Stretch(region, name, 0)
    return Stretch(region, match["chrom"], int(match["start"]), "-" if match["strand"] == "-" else "+")
