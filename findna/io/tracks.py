"""Tracks: values along a genome as bedGraph or bigWig, complete or not written."""

import itertools
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from findna.errors import ConfigError, InputError, OutputError
from findna.extras import need
from findna.io.arrays import require_absent, skipped_lines
from findna.io.files import replacing, sha256
from findna.io.summed import SummedText, open_bgzf

SCHEMA = "findna-track/1"

_MARK = 4
"""Bytes of the mark that begins and ends a bigWig."""

_ENDINGS = {".bedgraph": "bedgraph", ".bg": "bedgraph", ".bw": "bigwig", ".bigwig": "bigwig"}


class TrackValue(NamedTuple):
    """A value of the bases [start, end) of a contig."""

    chrom: str
    start: int
    end: int
    value: float


def track_format(name: str) -> str:
    """The format of a file name: bedgraph, bigwig, or "" for others.

    >>> track_format("a.bedGraph.gz"), track_format("a.bw"), track_format("a.bw.gz")
    ('bedgraph', 'bigwig', '')
    """
    kind = _ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower(), "")
    return "" if name.endswith(".gz") and kind != "bedgraph" else kind


def check_track(path: Path, *, has_genome: bool, force: bool) -> None:
    """Raise if no track can be written to this path. Call it before the computation.

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
    facts: Mapping[str, Any],
    *,
    skipped: Sequence[InputError] = (),
    temp: Path | None = None,
) -> None:
    """Write values along a genome.

    Args:
        path: A path that `check_track` accepts; BGZF if it ends in .gz.
        places: The values; for a bigWig in the order of the contigs and without overlaps.
        contigs: Name and length of every contig, for a bigWig.
        facts: Description of the run: in the first line of a bedGraph, after the last byte of a bigWig.
        skipped: Skipped records, listed in a bedGraph; it may grow while values come.
        temp: Path until it is complete; None: beside the output.

    Raises:
        InputError: Values of a bigWig overlap or are not sorted.
        OutputError: It cannot be written.
    """
    facts = {"schema": SCHEMA, **facts}
    if track_format(path.name) == "bigwig":
        _write_bigwig(path, places, contigs, facts, temp)
        return
    with replacing(path, temp) as whole:
        is_gzip = path.suffix == ".gz"
        with open_bgzf(whole) if is_gzip else whole.open("wb") as file:
            text = SummedText(file, f"## {json.dumps(facts)}\n", has_sum=not is_gzip)
            for chrom, start, end, value in places:
                text.write(f"{chrom}\t{start}\t{end}\t{value:.6g}\n")
            text.write(skipped_lines(skipped))
            text.settle()


def _write_bigwig(
    path: Path, places: Iterable[TrackValue], contigs: Mapping[str, int], facts: Mapping[str, Any], temp: Path | None
) -> None:
    bigtools = require_pybigtools()
    faults: list[BaseException] = []
    n_values, sums = 0, dict.fromkeys(contigs, 0)
    values = _sorted(places, contigs)
    first = next(values, None)
    if first is None:
        raise InputError("no base has a value, and a bigWig cannot be empty", path=str(path))

    def checked() -> Iterator[TrackValue]:
        """Pass values on. pybigtools prints errors of an iterator and writes a short file, so they are raised later."""
        nonlocal n_values
        try:
            for value in itertools.chain([first], values):
                n_values += 1
                sums[value.chrom] = _summed(sums[value.chrom], value.start, value.end, value.value)
                yield value
        except GeneratorExit:  # pybigtools has failed, and says why
            raise
        except BaseException as error:
            faults.append(error)

    with replacing(path, temp) as whole:
        name = Path(f"{whole}.bw")
        try:
            try:
                file = bigtools.open(str(name), "w")
                file.write(dict(contigs), checked())
                file.close()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # of a failed write: a bare Exception, or a panic, which is not even that
                if not faults:
                    raise OutputError(f"{path}: cannot be written (is the disk full?): {error}") from error
            if faults:
                raise faults[0]
            _require_whole(name, path, contigs, sums)
            _sign(name, {**facts, "n_values": n_values, "sha256": sha256(name)})
            name.replace(whole)
        finally:
            name.unlink(missing_ok=True)


def _summed(before: int, start: int, end: int, value: float) -> int:
    return zlib.crc32(struct.pack("<QQf", start, end, value), before)


def _require_whole(written: Path, path: Path, contigs: Iterable[str], sums: Mapping[str, int]) -> None:
    """Read a bigWig back, because pybigtools ignores write errors.

    Raises:
        OutputError: It does not have the values that were written.
    """
    bigtools = require_pybigtools()
    found = dict.fromkeys(contigs, 0)
    try:
        file = bigtools.open(str(written))
        for chrom in file.chroms():
            for record in file.records(chrom):
                found[chrom] = _summed(found[chrom], *record)
    except (bigtools.BBIReadError, OSError, ValueError, KeyError) as error:
        raise OutputError(f"{path}: not written: what was written cannot be read back; is the disk full?") from error
    if found != sums:
        raise OutputError(f"{path}: not written: what was written has other values; is the disk full?")


def _sign(path: Path, facts: Mapping[str, Any]) -> None:
    """Append facts to a bigWig, where its readers do not look: JSON, its length, and the end mark of a bigWig."""
    text = json.dumps(facts).encode()
    with path.open("r+b") as file:
        mark = file.read(_MARK)
        file.seek(0, os.SEEK_END)
        file.write(text + struct.pack("<Q", len(text)) + mark)


def bigwig_facts(path: Path) -> tuple[dict[str, Any], int] | None:
    """The facts at the end of a bigWig, and the number of bytes before them; None if there are none."""
    n_last = struct.calcsize("<Q") + _MARK
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END) - n_last
        file.seek(max(0, end))
        start = end - int.from_bytes(file.read(n_last - _MARK), "little")
        if start < 0:
            return None
        file.seek(start)
        text = file.read(end - start)
    return (json.loads(text), start) if text.startswith(b'{"schema": "findna-track/') else None


def require_pybigtools(purpose: str = "bigWig") -> Any:
    """The pybigtools package, which this format needs.

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
