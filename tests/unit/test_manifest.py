"""A plan: its shards hold the records that shards without a plan hold, and a run that does not fit it is refused."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import pysam
import pytest

from findna.errors import ConfigError, InputError
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.runs.manifest import read_manifest, split
from findna.runs.shard import Shard

BASES = 200
"""In a batch: a cell ends after 128 records or 800 bases."""

CHR1 = "ACGTTGCAGA" * 9


def facts(records):
    """What is known of each record, its bases among it; of a fault its text."""
    return [
        str(each)
        if isinstance(each, Exception)
        else (each.id, each.codes.tobytes(), each.row, each.source, each.strand)
        for each in records
    ]


def bed(n, *, every=10**9):
    """Rows with a header, of which each `every`-th repeats the first interval."""
    rows = [(i * 7, i * 7 + 5 + i % 20) if i % every else (7, 20) for i in range(n)]
    return "track name=x\n# comment\n" + "".join(f"chr1\t{start}\t{end}\tr{i}\n" for i, (start, end) in enumerate(rows))


def fasta(n, width=9):
    texts = [("ACGT" * (5 + i % 7))[: 17 + i % 11] for i in range(n)]
    return "".join(
        f">s{i} about\n" + "".join(f"{t[j : j + width]}\n" for j in range(0, len(t), width))
        for i, t in enumerate(texts)
    )


def fastq(n, n_ids=10**9):
    return "".join(f"@q{i % n_ids}\n{'ACGTN' * (3 + i % 3)}\n+\n{'IIIII' * (3 + i % 3)}\n" for i in range(n))


@pytest.fixture
def inputs(write):
    files = {
        "bed": write("a.bed", bed(300)),
        "repeats": write("r.bed", bed(300, every=9).replace("\n", "\r\n")),
        "fasta": write("a.fa", fasta(150)),
        "bom": write("b.fa", b"\xef\xbb\xbf" + fasta(90).encode()),
        "gz": write("a.fa.gz", fasta(150), "gz"),
        "bgzf": write("b.fa.gz", "".join(f">b{i}\n{'ACGTA' * 8000}\n" for i in range(9)), "bgzf"),  # of 6 blocks
        "fastq": write("a.fq", fastq(100)),
        "again": write("b.fq", fastq(200, n_ids=3) + 2 * "@q1_9\nACGT\n+\nIIII\n"),
        "twice": write("c.fa", fasta(90) + fasta(60)),
    }
    return {name: str(path) for name, path in files.items()}


@pytest.mark.parametrize(
    "names",
    [
        ["bed"],
        ["repeats"],
        ["fasta"],
        ["bom"],
        ["gz"],
        ["bgzf"],
        ["fastq"],
        ["again", "fastq", "again"],
        ["twice"],
        ["bed", "fasta", "repeats", "fastq"],
    ],
    ids="+".join,
)
@pytest.mark.parametrize("n_shards", [1, 3, 7])
def test_shards_of_a_plan_hold_the_records_of_shards_without_one(inputs, names, n_shards, genome_path, tmp_path):
    has_regions = any("bed" in Path(inputs[name]).name for name in names)
    paths, options = [inputs[name] for name in names], InputOptions(genome=genome_path if has_regions else None)
    with Genome(genome_path) as genome:
        settings = {"n_shards": n_shards, "batch_bases": BASES, "is_fatal": "twice" not in names}
        split(paths, options, genome=genome, **settings).write(tmp_path / "plan.json")
        manifest = read_manifest(tmp_path / "plan.json")
        whole = facts(read_records(paths, options, genome=genome))
        found = []
        for number in range(1, n_shards + 1):
            part, begin = manifest.of(Shard(number, n_shards))
            assert begin is not None or not part.n_records
            records = facts(read_records(paths, options, genome=genome, wanted=part.records, begin=begin))
            assert records == whole[part.first : part.first + part.n_records]
            found += records
    assert found == whole
    assert len(whole) == manifest.n_records


def write_bam(path, n):
    """Reads of several BGZF blocks; every fifth is secondary, and names repeat."""
    draw = random.Random(0)
    header = pysam.AlignmentHeader.from_references(["chr1"], [len(CHR1)])
    with pysam.AlignmentFile(path, "wb", header=header) as file:
        for i in range(n):
            read = pysam.AlignedSegment(header)
            read.query_name, read.flag, read.mapping_quality = f"q{i % 97}", 0x100 if i % 5 == 2 else 0, 60
            read.query_sequence = "".join(draw.choices("ACGT", k=150))
            read.query_qualities = pysam.qualitystring_to_array("".join(draw.choices("ABCDEFGHI", k=150)))
            read.reference_id, read.reference_start, read.cigartuples = 0, i % 40, [(4, 130), (0, 20)]
            file.write(read)
    return str(path)


@pytest.mark.parametrize("reference_bases", [False, True])
def test_a_shard_of_reads_begins_at_its_own_read(tmp_path, write, reference_bases):
    paths = [write_bam(tmp_path / "a.bam", 900), write_bam(tmp_path / "b.bam", 400)]
    genome_path = write("own.fa", f">chr1\n{CHR1}\n")
    options = InputOptions(genome=genome_path if reference_bases else None, reference_bases=reference_bases)
    with Genome(genome_path) as genome:
        known = genome if reference_bases else None
        manifest = split(paths, options, n_shards=4, batch_bases=BASES, genome=known)
        whole = facts(read_records(paths, options, genome=known))
        for number in range(1, 5):
            part, begin = manifest.of(Shard(number, 4))
            assert (begin.source, begin.mark.row) > (0, 0) or number == 1
            records = facts(read_records(paths, options, genome=known, wanted=part.records, begin=begin))
            assert records == whole[part.first : part.first + part.n_records]


def test_a_faulty_row_keeps_its_line_in_a_shard(write, genome_path, tmp_path):
    path = write("a.bed", bed(200) + "chr1\t9\t3\n" + bed(50))
    options = InputOptions(genome=genome_path)
    with Genome(genome_path) as genome:
        with pytest.raises(InputError, match="line 203: start 9 and end 3"):
            split([str(path)], options, n_shards=4, batch_bases=BASES, genome=genome)
        manifest = split([str(path)], options, n_shards=4, batch_bases=BASES, genome=genome, is_fatal=False)
        part, begin = manifest.of(Shard(4, 4))
        records = facts(read_records([str(path)], options, genome=genome, wanted=part.records, begin=begin))
        assert manifest.n_problems == 1
        whole = facts(read_records([str(path)], options, genome=genome))
        assert records == whole[part.first :]


def test_an_id_that_an_earlier_shard_has_is_refused_in_a_later_one(write, tmp_path):
    text = fasta(100) + ">s3\nACGT\n>empty\n" + fasta(40).replace(">s", ">t") + ">empty\nACGT\n"
    path, options = str(write("a.fa", text)), InputOptions()
    manifest = split([path], options, n_shards=5, batch_bases=BASES, is_fatal=False)
    whole, found = facts(read_records([path], options)), []
    for number in range(1, 6):
        part, begin = manifest.of(Shard(number, 5))
        found += facts(read_records([path], options, wanted=part.records, begin=begin))
    assert found == whole
    assert sum("duplicate id" in each for each in whole if isinstance(each, str)) == 2


def test_a_run_that_does_not_fit_its_plan_is_refused(write, tmp_path):
    path, options = write("a.fa", fasta(60)), InputOptions()
    manifest = split([str(path)], options, n_shards=2, batch_bases=BASES)
    manifest.check(options, None, batch_bases=BASES, is_fatal=True)
    with pytest.raises(
        ConfigError, match=r"the run and its plan differ in max_n, batch_bases \(300, in the plan 200\)"
    ):
        manifest.check(dataclasses.replace(options, max_n=0.5), None, batch_bases=300, is_fatal=True)
    with pytest.raises(ConfigError, match="shard 1/3: the plan has 2 shards"):
        manifest.of(Shard(1, 3))
    facts = manifest.facts([str(path)])
    assert facts[0].keys() == {"path", "bytes", "sha256"}
    path.write_text(path.read_text())  # the same bytes at another time
    assert manifest.facts([str(path)]) == facts
    path.write_text(fasta(61))
    with pytest.raises(InputError, match="changed since the plan was made: run findna split again"):
        manifest.facts([str(path)])
    with pytest.raises(ConfigError, match="has 1 input, and this run has 2"):
        manifest.facts([str(path), str(path)])


def test_a_plan_that_was_edited_is_refused(write, tmp_path):
    split([str(write("a.fa", fasta(60)))], InputOptions(), n_shards=2, batch_bases=BASES).write(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    (tmp_path / "p.json").write_text(text.replace('"n_records": 60', '"n_records": 61'))
    with pytest.raises(InputError, match="damaged or was edited: run findna split again"):
        read_manifest(tmp_path / "p.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "findna-plan/1"}', '{"schema": "other"}', pytest.param("[" * 10**5, id="deep")]
)
def test_a_file_that_is_not_a_plan_is_named(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match=r"p\.json: not a plan"):
        read_manifest(tmp_path / "p.json")
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "q.json")


def test_a_plan_and_a_merge_need_no_torch():
    script = "import sys, findna.runs.manifest, findna.runs.merge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
