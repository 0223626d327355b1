"""The parsers as functions of bytes: each must end with a result or a FindnaError, and two readers must agree."""

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path

import pysam
import stored

from findna.data.labelled import read_labelled
from findna.errors import FindnaError, InputError
from findna.io.bam import read_bam
from findna.io.bed import read_bed
from findna.io.compressed import ByteStream
from findna.io.fasta import read_fasta, read_fastq
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.io.scores import Field, Outcome, vcf_line
from findna.io.sniff import sniff
from findna.io.source import REGIONS
from findna.io.structured import parse_json
from findna.io.vcf import VariantReader
from findna.models.manifest import config_text
from findna.models.store import load_model
from findna.models.task import load_task
from findna.record import Record
from findna.region import Region, parse_region
from findna.runs.manifest import read_manifest, split
from findna.runs.shard import Shard
from findna.sizes import ModelConfig

PLACE = Path(tempfile.mkdtemp(prefix="findna-fuzz-"))
os.environ["FINDNA_CACHE"] = str(PLACE / "cache")


def _file(name: str, content: bytes) -> Path:
    path = PLACE / name
    path.write_bytes(content)
    return path


def _bgzf(name: str, content: bytes) -> Path:
    with pysam.BGZFile(str(PLACE / name), "wb") as file:
        file.write(content)
    return PLACE / name


@cache
def _genome() -> str:
    return str(_file("g.fa", b">chr1\n" + b"ACGTTGCAGN\n" * 20 + b">2\nACG\n"))


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


def gzi(content: bytes) -> None:
    """A genome in BGZF with a block table that may lie: the bases are those without it."""
    text, _, table = content.partition(b"\xff")
    path = _file("z.fa.gz", b"")
    with pysam.BGZFile(str(path), "wb") as file:
        for start in range(0, len(text), 40):  # many small blocks
            file.write(text[start : start + 40])
            file.flush()
    _file("z.fa.gz.gzi", table)
    with Genome(path) as genome:
        for record in read_fasta(path):
            if not isinstance(record, InputError) and genome.contigs.get(record.id):
                codes, _ = genome.fetch(Region(record.id, 0, genome.contigs[record.id]))
                assert (codes == record.codes).all(), record.id


def compressed(content: bytes) -> None:
    """Gzip and BGZF: the text is that of Python's gzip, or an error."""
    with ByteStream(_file("x.gz", b"\x1f\x8b" + content)) as stream:
        found = b"".join(stream.chunks())
    try:
        assert found == gzip.decompress(b"\x1f\x8b" + content)
    except (OSError, EOFError, zlib.error) as problem:
        raise AssertionError("read without an error") from problem


def variants(content: bytes) -> None:
    """Records of a VCF or TSV: their columns come back unchanged."""
    with VariantReader(_file("x.vcf", content)) as reader:
        for site in reader:
            assert site.start >= -1
            if reader.kind == "vcf":
                written = vcf_line(site, [Field("llr", "")], [Outcome([0.5])] * max(1, len(site.alts)))
                assert written.split("\t")[:7] == list(site.fields[:7])


def bcf(content: bytes) -> None:
    """Records of a BCF, of which the blocks are whole."""
    with VariantReader(_bgzf("x.bcf", b"BCF\x02\x02" + content)) as reader:
        for site in reader:
            assert site.start >= -1


def bam(content: bytes) -> None:
    """Records of a BAM, of which the blocks are whole."""
    for record in read_bam(_bgzf("x.bam", b"BAM\x01" + content)):
        assert isinstance(record, InputError) or len(record.codes)


def records(content: bytes) -> None:
    """Any input, its kind told from its content: the shards of its plan hold its records, in order."""
    paths = [str(_file("x", content))]
    with ByteStream(paths[0]) as stream:
        genome_path = _genome() if sniff(stream) in REGIONS else None
    options = InputOptions(genome=genome_path)
    whole = [_facts(record) for record in read_records(paths, options)]
    with nullcontext() if genome_path is None else Genome(genome_path) as genome:
        found = split(paths, options, n_shards=3, batch_bases=1, genome=genome, is_fatal=False)
    assert found.n_records == len(whole)
    for part, begin in found.shards:
        shard = read_records(paths, options, wanted=part.records, begin=begin)
        assert [_facts(record) for record in shard] == whole[part.first : part.first + part.n_records]


def _facts(record: Record | InputError) -> tuple[object, ...]:
    if isinstance(record, InputError):
        return (record.record, record.row, str(record))
    return (record.id, record.row, record.codes.tobytes())


def plan(content: bytes) -> None:
    """The plan of a sharded run."""
    found = read_manifest(_file("x.plan", content))
    found.check(InputOptions(), None, batch_bases=1 << 14, is_fatal=True)
    found.of(Shard(1, len(found.shards)))
    found.facts([_genome()])


def model(content: bytes) -> None:
    """A model folder: config.json and weights, which get the right sha256."""
    assert load_model(str(_model("model", content))).network.config.window <= 1 << 20


def task(content: bytes) -> None:
    """A task folder: config.json and the weights of encoder and head, which get the right sha256."""
    load_task(_model("task", content))


def _model(name: str, content: bytes) -> Path:
    folder = PLACE / name
    folder.mkdir(exist_ok=True)
    text, _, rest = content.partition(b"\xff")
    n_encoder = int.from_bytes(rest[:2], "little")
    parts = {"encoder": rest[2 : 2 + n_encoder], "head": rest[2 + n_encoder :]}
    (folder / "model.safetensors").write_bytes(parts["encoder"])
    (folder / "head.safetensors").write_bytes(parts["head"])
    (folder / "metrics.json").write_text("{}")
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        config = parse_json(text)
        config["sha256"] = hashlib.sha256(parts["encoder"]).hexdigest()
        for part, weights in parts.items() if name == "task" else ():
            config[part]["sha256"] = hashlib.sha256(weights).hexdigest()
        text = config_text(config).encode()
    (folder / "config.json").write_bytes(text)
    return folder


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
    parse.__name__: parse
    for parse in (
        *(fasta, fastq, bed, table, region, records, compressed, index, gzi, twobit),
        *(variants, bcf, bam, plan, config, model, task),
    )
} | stored.parsers(_file)


def run(name: str, content: bytes) -> None:
    """Give bytes to a parser; an error of findna is an answer like any other."""
    with suppress(FindnaError):
        PARSERS[name](content)
