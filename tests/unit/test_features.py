"""GTF, GFF3, VCF and bigBed as regions, tables as records, and regions past the end of a contig."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from findna.errors import ConfigError, FindnaWarning, InputError
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.record import Record
from findna.region import Region
from findna.sequence import decode

Write = Callable[..., Path]
GENOME = ">chr1\nAACCGGTTAACCGGTTACGTACGT\n>chrM\nACGTTGCA\n"
GTF = (
    "#!genome-build x\n"
    'chr1\tX\tgene\t3\t12\t.\t-\t.\tgene_id "G1"; gene_name "ONE";\n'
    'chr1\tX\ttranscript\t3\t12\t.\t-\t.\tgene_id "G1"; transcript_id "T1";\n'
    'chr1\tX\texon\t3\t6\t.\t-\t.\tgene_id "G1"; transcript_id "T1";\n'
    'chr1\tX\tgene\t15\t20\t.\t+\t.\tgene_id "G2";\n'
)
GFF = (
    "##gff-version 3\nchr1\tX\tgene\t3\t12\t.\t+\t.\tID=gene1;Name=ONE\n"
    "chr1\tX\tmRNA\t3\t12\t.\t+\t.\tID=rna1;Parent=gene1\n##FASTA\n>chr1\nACGT\n"
)
VCF = (
    "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    "chr1\t5\trs1\tG\tA\t.\t.\t.\nchr1\t9\t.\tAA\tA\t.\t.\t.\n"
)


@pytest.fixture
def genome(write: Write) -> Path:
    return write("g.fa", GENOME)


def records(path: object, **options: object) -> list[Record]:
    found = list(read_records([str(path)], InputOptions(**options)))  # type: ignore[arg-type]
    assert all(isinstance(record, Record) for record in found), found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (GTF, {}, [("ONE", 2, 12, "-"), ("G2", 14, 20, "+")]),
        (GTF, {"feature": "transcript"}, [("T1", 2, 12, "-")]),
        (GTF, {"feature": "exon"}, [("T1", 2, 6, "-")]),
        (GTF, {"feature": "tss", "size": 4}, [("T1", 9, 13, "-")]),  # around base 11, the last of T1
        (GFF, {}, [("ONE", 2, 12, "+")]),
        (GFF, {"feature": "tss", "size": 2}, [("rna1", 1, 3, "+")]),
        (VCF, {"size": 3}, [("rs1", 3, 6, "."), ("chr1:9:AA:A", 8, 11, ".")]),
    ],
)
def test_features_and_variants_are_regions(
    text: str, options: dict[str, object], expected: list[tuple[str, int, int, str]], write: Write, genome: Path
) -> None:
    found = records(write("input.txt", text), genome=genome, **options)
    assert [(record.name, record.start, record.end, record.strand) for record in found] == expected
    bases = GENOME.split("\n")[1]
    pairs = str.maketrans("ACGT", "TGCA")
    for record in found:
        own = bases[record.start : record.end]
        assert decode(record.codes) == (own.translate(pairs)[::-1] if record.strand == "-" else own)


def test_a_bigbed_is_the_rows_of_its_contigs(tmp_path: Path, genome: Path) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    path = tmp_path / "a.bb"
    rows = [("chr1", 2, 5, "a\t0\t-"), ("chrM", 0, 4, "b")]
    pybigtools.open(str(path), "w").write({"chr1": 24, "chrM": 8}, iter(rows))
    found = records(path, genome=genome)
    assert [(r.id, r.name) for r in found] == [("chr1:2-5(-)", "a"), ("chrM:0-4(.)", "b")]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"annotation file .*a.bb: truncated or damaged"):
        records(path, genome=genome)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (GTF, {"feature": "snoRNA"}, "no snoRNA lines. It has: gene, transcript, exon. Choose one with feature=gene"),
        (GTF, {"feature": "tss"}, "a transcription start site needs a size"),
        (VCF, {}, "each variant of a VCF needs a size"),
        ("chr1\t1\t5\n", {"feature": "gene"}, "feature=gene is for GTF and GFF"),
    ],
)
def test_what_is_missing_is_named(text: str, options: dict[str, object], said: str, write: Write, genome: Path) -> None:
    with pytest.raises((ConfigError, InputError), match=said):
        records(write("input.txt", text), genome=genome, **options)


@pytest.mark.parametrize(
    "row", ["chr1\tX\tgene\t9\t3\t.\t+\t.\tID=a\n", "chr1\tX\tgene\tx\t3\t.\t+\t.\tID=a\n", "chr1 X\n"]
)
def test_a_bad_row_is_an_error_with_its_line(row: str, write: Write, genome: Path) -> None:
    path = write("a.gff", "##gff-version 3\n" + row)
    (fault,) = read_records([str(path)], InputOptions(genome=genome))
    assert isinstance(fault, InputError)
    assert str(fault).startswith(f"annotation file {path}, line 2: ")


def test_past_the_ends_of_a_contig_are_n_or_the_other_end(write: Write, genome: Path) -> None:
    bed = write("a.bed", "chrM\t0\t2\t.\t0\t+\nchrM\t6\t8\t.\t0\t-\nchr1\t0\t2\n")
    padded = records(bed, genome=genome, size=6, pad=True)
    assert [decode(r.codes) for r in padded] == ["NNACGT", "NNTGCA", "NNAACC"]
    assert [(r.start, r.end) for r in padded] == [(-2, 4), (4, 10), (-2, 4)]
    around = records(bed, genome=genome, size=6, pad=True, circular=("chrM",))
    assert [decode(r.codes) for r in around] == ["CAACGT", "GTTGCA", "NNAACC"]
    with pytest.raises(ConfigError, match=r"circular=chrMT: contig 'chrMT' is not in .*did you mean 'chrM'"):
        records(bed, genome=genome, circular=("chrMT",))
    first = next(read_records([str(bed)], InputOptions(genome=genome, size=6)))
    assert str(first).endswith("start -2 is before the first base of chrM; the region is 0-2 before size=6")
    outside = write("b.bed", "chr1\t30\t40\n")
    (fault,) = read_records([str(outside)], InputOptions(genome=genome, pad=True))
    assert re.search(r"past the end of chr1 .*; no base of it is in the contig, so pad=True does not help", str(fault))


def test_a_table_is_a_record_per_row(write: Write) -> None:
    path = write("a.csv", "ID,sequence,label\nx,ACGT,1\ny,acgu,0\n")
    assert [(r.id, decode(r.codes)) for r in records(path)] == [("x", "ACGT"), ("y", "ACGT")]
    assert [r.strand for r in records(path, strand="-")] == ["-", "-"]
    named = write("b.tsv", "probe\tother\nACGTA\tx\n")
    said = "no column id or name: the ids are line numbers; columns not read: other; id_column=NAME takes the ids from"
    with pytest.warns(FindnaWarning, match=said):
        assert [(r.id, decode(r.codes)) for r in records(named, sequence_column="probe")] == [("2", "ACGTA")]
    with pytest.raises(InputError, match="no column 'dna5'; there are probe, other"):
        records(named, sequence_column="dna5")
    assert [r.id for r in records(named, sequence_column="probe", id_column="OTHER")] == ["x"]
    with pytest.raises(
        InputError, match=r"b.tsv, line 1: no column 'gene'; there are probe, other; choose another with id_column"
    ):
        records(named, sequence_column="probe", id_column="gene")


def test_a_table_may_have_the_sequence_alone(write: Write) -> None:
    for text in ("sequence\nACGT\n\nCCGG\n", '"sequence"\n"ACGT"\n\n"CCGG"\n'):
        found = records(write("a.csv", text))
        assert [(r.id, decode(r.codes)) for r in found] == [("2", "ACGT"), ("4", "CCGG")]
    for text, said in {
        "ACGTACGT\nCCGGCCGG\n": "a.csv, line 1: one sequence per line: add the header line `sequence`",
        "x,ACGTACGT\ny,CCGGCCGG\n": "a.csv, line 1: no header: this line holds a sequence; add one such as id,sequence",
        "id;probe\nx;ACGT\n": "a.csv, line 1: columns are separated by semicolons",
    }.items():
        with pytest.raises(InputError, match=said):
            records(write("a.csv", text), sequence_column="probe")


def test_a_bad_row_of_a_table_is_an_error_with_its_line(write: Write) -> None:
    path = write("a.csv", "id,sequence\nx,ACGT\nx,ACGT\ny,AC-T\nz\nw,ACGT\n")
    found = list(read_records([str(path)], InputOptions()))
    assert [str(item) for item in found if isinstance(item, InputError)] == [
        f"file {path}, line 3: duplicate id 'x'; ids must be unique",
        f"file {path}, line 4: '-' at base 3 is an alignment gap: remove gaps with seqkit seq -g",
        f"file {path}, line 5: 1 column where the header has 2",
    ]
    assert [item.id for item in found if isinstance(item, Record)] == ["x", "w"]


def test_a_sequence_is_not_a_file() -> None:
    with pytest.raises(ConfigError, match="ACGTACGTN is a sequence, not a file"):
        records("ACGTACGTN")


def test_a_genome_has_a_name_once_it_is_downloaded(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match="genome hg38: no such file or downloaded genome: run `findna data fetch hg38`"
    ):
        InputOptions(genome="hg38")
    (tmp_path / "genomes").mkdir()
    (tmp_path / "genomes/hg38.fa").write_text(GENOME)
    assert InputOptions(genome="hg38").genome == tmp_path / "genomes/hg38.fa"
    assert records(write("a.bed", "chr1\t1\t5\n"), genome="hg38")[0].end == 5


def test_another_build_is_named(tmp_path: Path, genome: Path) -> None:
    from findna.io.builds import BUILDS, build_of, builds_with

    hg38 = {f"chr{name}": length for name, length in BUILDS["hg38"].items()}
    assert build_of(hg38) == "hg38"
    assert builds_with("chr20", 63_000_000, {"chr20": BUILDS["mm10"]["1"]}) == []
    assert "hg19" in builds_with("chr2", 243_000_000, hg38)
    assert "mm10" not in builds_with("chr2", 100_000_000, hg38)
    with Genome(genome) as opened:
        opened.contigs = hg38
        said = opened.check(Region("chr2", 242_999_000, 243_000_000)) or ""
    assert said.startswith(
        "end 243,000,000 is past the end of chr2 (242,193,529 bases). The genome is hg38: are these "
    )
    assert said.endswith("?")
