"""The parsers as functions of bytes: each must end with a result or a FindnaError, and two readers must agree."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from findna.config import ModelConfig
from findna.data.labelled import read_labelled
from findna.errors import FindnaError, InputError
from findna.io.bed import read_bed
from findna.io.fasta import read_fasta, read_fastq
from findna.io.genome import Genome
from findna.io.structured import parse_json
from findna.region import Region, parse_region

PLACE = Path(tempfile.mkdtemp(prefix="findna-fuzz-"))
os.environ["FINDNA_CACHE"] = str(PLACE / "cache")


def _file(name: str, content: bytes) -> Path:
    path = PLACE / name
    path.write_bytes(content)
    return path


def fasta(content: bytes) -> None:
    """Records of the stream, and the same bases by the index where both can be read."""
    path = _file("x.fa", content)
    records = list(read_fasta(path))
    try:
        genome = Genome(path)
    except FindnaError:
        return
    with genome:
        for record in records:
            if isinstance(record, InputError) or genome.contigs.get(record.id) != len(record.codes):
                continue
            codes, _ = genome.fetch(Region(record.id, 0, len(record.codes)))
            assert (codes == record.codes).all(), record.id


def index(content: bytes) -> None:
    """A FASTA file with an index that may lie: the bases are those without it."""
    text, _, fai = content.partition(b"\xff")
    path = _file("y.fa", text)
    _file("y.fa.fai", fai)
    with Genome(path) as genome:
        records = {r.id: r for r in read_fasta(path) if not isinstance(r, InputError)}
        for name, length in genome.contigs.items():
            if length and name in records:
                codes, _ = genome.fetch(Region(name, 0, length))
                assert (codes == records[name].codes).all(), name


def twobit(content: bytes) -> None:
    """Contigs of a .2bit file, no longer than four bases a byte."""
    with Genome(_file("x.2bit", b"\x43\x27\x41\x1a" + content)) as genome:
        assert sum(genome.contigs.values()) <= 4 * len(content)
        for name, length in genome.contigs.items():
            if length:
                genome.fetch(Region(name, 0, length))


def fastq(content: bytes) -> None:
    """Records of a FASTQ file."""
    list(read_fastq(_file("x.fq", content)))


def bed(content: bytes) -> None:
    """Rows of a BED file, of all its kinds."""
    path = _file("x.bed", content)
    for row in read_bed(path, with_blocks=True):
        assert isinstance(row.region, InputError) or 0 <= row.region.start < row.region.end
    list(read_bed(path, is_narrowpeak=True))


def table(content: bytes) -> None:
    """A table of labelled sequences."""
    read_labelled([_file("x.csv", content)])


def region(content: bytes) -> None:
    """A region string."""
    found = parse_region(content.decode(errors="replace"), {"chr1": 100, "HLA:01": 9})
    assert 0 <= found.start < found.end


def config(content: bytes) -> None:
    """The size of a network in JSON: what is accepted is small."""
    try:
        size = ModelConfig.from_dict(parse_json(content))
    except ValueError:
        return
    assert size.window <= 1 << 20
    assert size.depth <= 4096


PARSERS: dict[str, Callable[[bytes], None]] = {
    parse.__name__: parse for parse in (fasta, index, twobit, fastq, bed, table, region, config)
}


def run(name: str, content: bytes) -> None:
    """Give bytes to a parser; an error of findna is an answer like any other."""
    with suppress(FindnaError):
        PARSERS[name](content)
