"""Tracks: values along a genome as bedGraph or bigWig, whole or not at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pysam

from findna.errors import ConfigError, InputError
from findna.extras import need
from findna.io.arrays import require_absent, skipped_lines
from findna.io.files import replacing

_ENDINGS = {".bedgraph": "bedgraph", ".bg": "bedgraph", ".bw": "bigwig", ".bigwig": "bigwig"}


class TrackValue(NamedTuple):
    """A value of the bases [start, end) of a contig."""

    chrom: str
    start: int
    end: int
    value: float


def track_format(name: str) -> str:
    """Of a file's name: bedgraph, bigwig, or "" for another.

    >>> track_format("a.bedGraph.gz"), track_format("a.bw"), track_format("a.bw.gz")
    ('bedgraph', 'bigwig', '')
    """
    kind = _ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower(), "")
    return "" if name.endswith(".gz") and kind != "bedgraph" else kind


def check_track(path: Path, *, has_genome: bool, force: bool) -> None:
    """Raise unless a track of that name can be written, before the work that it shows.

    Raises:
        ConfigError: The name is not that of a track, or a bigWig has no genome.
        OutputError: It exists and must not be replaced.
        MissingExtraError: pybigtools is not installed.
    """
    require_absent(path, force=force)
    kind = track_format(path.name)
    if not kind:
        raise ConfigError(f"{path}: a track is a .bedgraph, .bedgraph.gz or .bw")
    if kind == "bigwig":
        require_pybigtools()
        if not has_genome:
            raise ConfigError("a bigWig needs the genome, for the lengths of its contigs")


def write_track(
    path: Path,
    places: Iterable[TrackValue],
    contigs: Mapping[str, int],
    *,
    skipped: Sequence[InputError] = (),
    temp: Path | None = None,
) -> None:
    """Write values along a genome.

    Args:
        path: A name that `check_track` takes; BGZF if it ends in .gz.
        places: The values; of a bigWig in the order of the contigs and without overlaps.
        contigs: Name and length of every contig, for a bigWig.
        skipped: What a bedGraph lists as skipped; it may grow as long as values come.
        temp: Where it is written until it is whole; None is beside it.

    Raises:
        InputError: Values of a bigWig overlap or are not sorted.
        OutputError: It cannot be written.
    """
    if track_format(path.name) == "bigwig":
        _write_bigwig(path, places, contigs, temp)
        return
    with replacing(path, temp) as whole:
        opened: Any = pysam.BGZFile(str(whole), "wb", None) if path.suffix == ".gz" else whole.open("wb")
        with cast(Any, opened) as file:
            for chrom, start, end, value in places:
                file.write(f"{chrom}\t{start}\t{end}\t{value:.6g}\n".encode())
            file.write(skipped_lines(skipped).encode())


def _write_bigwig(path: Path, places: Iterable[TrackValue], contigs: Mapping[str, int], temp: Path | None) -> None:
    bigtools = require_pybigtools()
    faults: list[BaseException] = []
    values = _sorted(places, contigs)
    first = next(values, None)
    if first is None:
        raise InputError("no base has a value, and a bigWig cannot be empty", path=str(path))

    def checked() -> Iterator[TrackValue]:
        """All of them. pybigtools prints what an iterator raises and writes a short file; the error is raised later."""
        try:
            yield first
            yield from values
        except BaseException as error:
            faults.append(error)

    with replacing(path, temp) as whole:
        name = Path(f"{whole}.bw")
        try:
            file = bigtools.open(str(name), "w")
            file.write(dict(contigs), checked())
            file.close()
            if faults:
                raise faults[0]
            name.replace(whole)
        finally:
            name.unlink(missing_ok=True)


def require_pybigtools(purpose: str = "bigWig") -> Any:
    """The pybigtools package, which the format that is named needs.

    Raises:
        MissingExtraError: It is not installed.
    """
    return need("pybigtools", extra="bigwig", purpose=purpose)


def _sorted(places: Iterable[TrackValue], contigs: Mapping[str, int]) -> Iterator[TrackValue]:
    order = {name: index for index, name in enumerate(contigs)}
    last = (-1, 0)
    for place in places:
        here = order.get(place.chrom, -1)
        if (here, place.start) < last:
            raise InputError(
                "overlaps the record before it or is not sorted; a bigWig needs sorted regions without overlaps "
                "(bedtools sort and merge)",
                record=f"{place.chrom}:{place.start + 1}",
            )
        last = (here, place.end)
        yield place
