"""Counts and bases are those of samtools and bedtools, on the demo files and on the shared inputs."""

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from findna.errors import BamError, InputError
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.record import Record
from findna.region import Region
from findna.sequence import decode

pytestmark = pytest.mark.skipif(
    not (shutil.which("samtools") and shutil.which("bedtools")), reason="needs samtools and bedtools"
)
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "demo"
INPUTS = ROOT.parent / "shared" / "inputs"


class Case(NamedTuple):
    """A genome, and the regions or reads that are on it."""

    genome: Path
    beside: Path


BEDS = {
    "demo": Case(DEMO / "genome.fa.gz", DEMO / "regions.bed"),
    "repeats": Case(DEMO / "genome.fa.gz", DEMO / "repeats/train/repeat.bed"),
    "hg19": Case(
        INPUTS / "triple_hg19_chr20/ucsc.hg19.chr20.unittest.fasta.gz",
        INPUTS / "triple_hg19_chr20/test_nist.b37_chr20_100kbp_at_10mb.bed",
    ),
    "ex1": Case(INPUTS / "triple_ex1/ex1.fa", INPUTS / "triple_ex1/ex1.bed"),
    "minigenome": Case(INPUTS / "triple_minigenome/minigenome.fa", INPUTS / "triple_minigenome/variants.bed"),
}
READS = {
    "demo": Case(DEMO / "genome.fa.gz", DEMO / "reads.bam"),
    "hg19": Case(BEDS["hg19"].genome, INPUTS / "triple_hg19_chr20/NA12878_small.bam"),
    "ex1": Case(BEDS["ex1"].genome, INPUTS / "triple_ex1/ex1.sam.gz"),
    "minigenome": Case(BEDS["minigenome"].genome, INPUTS / "triple_minigenome/alignments.bam"),
}


def tool(*args: object) -> list[str]:
    """The lines that a program prints."""
    return subprocess.run([*map(str, args)], capture_output=True, text=True, check=True).stdout.splitlines()


def fasta(lines: list[str]) -> list[tuple[str, str]]:
    """Names and bases of a FASTA, in capitals."""
    records = "\n".join(lines).split(">")[1:]
    return [(head, body.replace("\n", "").upper()) for head, _, body in (text.partition("\n") for text in records)]


def of(path: Path, **options: object) -> list[Record]:
    """All records of an input, which must all be valid."""
    found = list(read_records([str(path)], InputOptions(**options)))  # type: ignore[arg-type]
    assert not [item for item in found if isinstance(item, InputError)]
    return found  # type: ignore[return-value]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Copies of the files, the genome as plain text, as bedtools wants it."""
    genome, beside = request.param
    if not beside.exists():
        pytest.skip("the shared data is not here")
    plain = tmp_path / "g.fa"
    plain.write_bytes(gzip.decompress(genome.read_bytes()) if genome.suffix == ".gz" else genome.read_bytes())
    copy = Path(shutil.copy(beside, tmp_path))
    if copy.name.endswith(".sam.gz"):
        tool("samtools", "view", "-b", "-T", plain, "-o", tmp_path / "r.bam", copy)
        copy = tmp_path / "r.bam"
    return Case(plain, copy)


@pytest.mark.parametrize("case", BEDS.values(), ids=BEDS, indirect=True)
def test_regions_have_the_ids_and_bases_of_bedtools(case: Case) -> None:
    rows = [line.split("\t") for line in case.beside.read_text().splitlines() if not line.startswith("#")]
    n_columns = 6 if min(map(len, rows)) >= 6 else 3  # bedtools wants the same number in all lines
    even = case.genome.with_name("even.bed")
    even.write_text("".join("\t".join(row[:n_columns]) + "\n" for row in rows))
    expected = fasta(tool("bedtools", "getfasta", "-s", "-fi", case.genome, "-bed", even))
    found = [(record.id, decode(record.codes)) for record in of(case.beside, genome=case.genome)]
    assert len(found) == len(expected) > 0
    assert [bases for _, bases in found] == [bases for _, bases in expected]
    assert len({name for name, _ in found}) == len(found)
    for (name, _), (other, _) in zip(found, expected, strict=True):
        assert name.startswith(other.removesuffix("()").removesuffix("(.)"))


@pytest.mark.parametrize("case", BEDS.values(), ids=BEDS, indirect=True)
def test_regions_at_random_have_the_bases_of_samtools(case: Case) -> None:
    rng = np.random.default_rng(0)
    with Genome(case.genome) as genome:
        spans = [
            (name, *sorted(rng.choice(length + 1, 2, replace=False).tolist()))
            for name, length in genome.contigs.items()
            for _ in range(20)
        ]
        spans = [(name, start, min(end, start + 5000)) for name, start, end in spans]
        found = [decode(codes) for codes, _ in genome.fetch_many([Region(*span) for span in spans])]
    names = [f"{name}:{start + 1}-{end}" for name, start, end in spans]
    expected = fasta(tool("samtools", "faidx", case.genome, *names))
    assert found == [bases for _, bases in expected]


@pytest.mark.parametrize("kind", ["bam", "cram"])
@pytest.mark.parametrize("case", READS.values(), ids=READS, indirect=True)
def test_reads_have_the_count_names_and_bases_of_samtools(case: Case, kind: str, tmp_path: Path) -> None:
    path, options = case.beside, {}
    if kind == "cram":
        path, options = tmp_path / "r.cram", {"genome": case.genome}
        tool("samtools", "view", "-C", "-T", case.genome, "-o", path, case.beside)
    tool("samtools", "index", path)
    for flags, mapq in ((0x900, 0), (0x904, 30), (0, 0)):
        expected = int(tool("samtools", "view", "-c", "-F", flags, "-q", mapq, path)[0])
        assert n_of(path, exclude_flags=flags, min_mapq=mapq, **options) == expected
    rows = [line.split("\t") for line in tool("samtools", "view", "-F", 0x900, path)]
    placed = [(row[2], int(row[3])) for row in rows if row[2] != "*"]
    for chrom, start in (placed[0], placed[len(placed) // 2]):
        region = f"{chrom}:{start}-{start + 200}"
        expected = int(tool("samtools", "view", "-c", "-F", 0x904, path, region)[0])
        assert n_of(path, region=region, exclude_flags=0x904, **options) == expected > 0
    found = of(path, **options)
    for record, (name, flag, _, _, _, _, _, _, _, bases, *_) in zip(found, rows, strict=True):
        is_mate = {0x40: "/1", 0x80: "/2"}.get(int(flag) & 0xC0, "") if int(flag) & 1 else ""
        assert record.id.startswith(name + is_mate)
        assert decode(record.codes) == (complement(bases) if int(flag) & 0x10 else bases)


def n_of(path: Path, **options: object) -> int:
    """How many records an input has; findna refuses an input without any."""
    try:
        return len(of(path, **options))
    except BamError as error:
        return 0 if "none that pass the filters" in str(error) else -1


def complement(bases: str) -> str:
    """The other strand."""
    return bases.translate(str.maketrans("ACGT", "TGCA"))[::-1]


@pytest.mark.parametrize("name", ["promoters.fa.gz", "sars-cov-2.fa.gz"])
def test_sequences_have_the_count_and_bases_of_samtools(name: str, tmp_path: Path) -> None:
    plain = tmp_path / "s.fa"
    plain.write_bytes(gzip.decompress((DEMO / name).read_bytes()))
    tool("samtools", "faidx", plain)
    names = [line.split("\t")[0] for line in Path(f"{plain}.fai").read_text().splitlines()]
    found = of(DEMO / name)
    assert [record.id for record in found] == names
    expected = fasta(tool("samtools", "faidx", plain, "-r", _list(tmp_path, names[::7])))
    assert [decode(record.codes) for record in found[::7]] == [
        "".join(base if base in "ACGTN" else "N" for base in bases) for _, bases in expected
    ]


def _list(folder: Path, names: list[str]) -> Path:
    path = folder / "names"
    path.write_text("\n".join(names) + "\n")
    return path
