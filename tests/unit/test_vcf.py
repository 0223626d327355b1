"""VCF, BCF and TSV records as sites, and the same records with scores."""

import gzip
from pathlib import Path

import pysam
import pytest

from findna.errors import VariantError
from findna.io.genome import Genome
from findna.io.scores import Field, Outcome, vcf_header, vcf_line
from findna.io.vcf import Site, VariantReader, assembly_of
from findna.region import Region
from findna.sequence import decode

META = (
    "##fileformat=VCFv4.2\n##reference=file:///data/hg19.fa\n##contig=<ID=chr1,length=3210>\n"
    '##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
)
OLD = '##INFO=<ID=FINDNA_OLD,Number=A,Type=Float,Description="of an earlier run">\n'
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
FIELDS = [Field("llr", "ratio"), Field("dp_a b", "difference")]


def read(path):
    with VariantReader(path) as reader:
        return reader, list(reader)


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
def test_a_vcf_is_read_record_by_record_with_its_lines(how, write):
    reader, sites = read(
        write(
            "a.vcf", f"{META}{COLUMNS}chr1\t7\trs1\ta\tC,<DEL>\t30.00\tPASS\tAF=0.50\nchr1\t9\t.\tG\t.\t.\t.\t.\n", how
        )
    )
    assert (reader.kind, len(reader.header), assembly_of(reader)) == ("vcf", 4, "/data/hg19.fa")
    assert [site[:6] for site in sites] == [("chr1", 6, "a", ("C", "<DEL>"), 0, 6), ("chr1", 8, "G", (), 1, 7)]


@pytest.fixture
def bcf(write, tmp_path):
    path = write("a.vcf", f"{META}{COLUMNS}chr1\t7\trs1\tA\tC\t30\tPASS\tAF=0.5\n")
    out = tmp_path / "a.bcf"
    with pysam.VariantFile(str(path)) as source, pysam.VariantFile(str(out), "wb", header=source.header) as file:
        for record in source:
            file.write(record)
    return out


def test_a_bcf_is_read_through_pysam(bcf):
    reader, (site,) = read(bcf)
    assert reader.kind == "vcf"
    assert site[:5] == ("chr1", 6, "A", ("C",), 0)
    assert "\t".join(site.fields) == "chr1\t7\trs1\tA\tC\t30\tPASS\tAF=0.5"


def test_a_truncated_bcf_is_an_error(bcf):
    bcf.write_bytes(bcf.read_bytes()[:-28])
    with pytest.raises(VariantError, match="truncated after 1 record: BGZF EOF marker missing"):
        read(bcf)


def test_a_tsv_may_have_other_columns_in_any_order(write):
    reader, sites = read(
        write("a.tsv", "##x\n#label\tPOS\tchrom\tref\talt\nLOF\t7\tchr1\tA\tC\n\nFUNC\t9\tchr1\tG\tT,A\n")
    )
    assert (reader.kind, reader.columns) == ("tsv", ["label", "POS", "chrom", "ref", "alt"])
    assert [site[:6] for site in sites] == [("chr1", 6, "A", ("C",), 0, 3), ("chr1", 8, "G", ("T", "A"), 1, 5)]


BAD = {
    "": "the file is empty",
    "chr1\t7\t.\tA\tC\t.\t.\t.\n": "line 1: column 'chrom' not found: a VCF begins with ##fileformat=VCF",
    COLUMNS: "line 1: a VCF without its header: its first line must be ##fileformat=VCF",
    "chrom\tpos\tref\n": "line 1: column 'alt' not found: a TSV of variants has a line with the columns",
    "chrom\tpos\tref\talt\nchr1\t7\tA\n": "line 2: 3 columns where at least 4 must be",
    f"{META}chr1\t7\n": "line 5: the #CHROM line must follow",
    META: "the #CHROM line is missing",
    f"{META}{COLUMNS}chr1\t-7\t.\tA\tC\t.\t.\t.\n": "line 6: POS '-7' is not a positive whole number",
    f"{META}{COLUMNS}chr1\tx\t.\tA\tC\t.\t.\t.\n": "line 6: POS 'x' is not",
    f"{META}{COLUMNS}chr1\t7\t.\tA\tC\n": "line 6: 5 columns, but the header has 8",
    f"{META}{COLUMNS}chr1\t7\t.\tA\tC\t.\t.\t.\t\n": "line 6: 9 columns, but the header has 8",
    f"{META}{COLUMNS[:-1]}\tFORMAT\tS1\nchr1\t7\t.\tA\tC\t.\t.\t.\n": "line 6: 8 columns, but the header has 10",
    "chrom\tpos\tref\talt\nchr1\t7\tA\tC\tx\n": "line 2: 5 columns, but the header has 4",
    f"{META}{COLUMNS}chr1\t7\t.\t\tC\t.\t.\t.\n": "line 6: CHROM or REF is empty",
    f"{META}{COLUMNS[:-1]}\tFORMAT\tS1\tS2\nchr1\t7\t.\tA\tC\t.\t.\t.\tGT\t0\n": "line 6: 10 columns, but the",
    f"{META}{COLUMNS}chr1\t{10**20}\t.\tA\tC\t.\t.\t.\n": "line 6: not a valid VCF record",
    f"{META}{COLUMNS}chr\udce9\t7\t.\tA\tC\t.\t.\t.\n": "line 6: not a valid VCF record",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_not_a_variant_is_an_error_with_its_line(text, write):
    path = write("bad.txt", text.encode(errors="surrogateescape"))
    with pytest.raises(VariantError) as caught:
        read(path)
    assert str(caught.value).startswith(f"variant file {path}")
    assert BAD[text] in str(caught.value)


@pytest.mark.parametrize("how", ["gz", "bgzf"])
def test_the_lines_before_a_truncation_are_counted(how, write):
    line = "chr1\t7\t.\tA\tC\t.\t.\t.\n"
    path = write("a.vcf.gz", f"{META}{COLUMNS}" + line * 900, how)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(VariantError, match=r"ends after line [3-9]\d\d$"):
        read(path)


def test_a_truncated_file_is_an_error(write):
    path = write("a.vcf.gz", f"{META}{COLUMNS}" + "chr1\t7\t.\tA\tC\t.\t.\t.\n" * 500, "bgzf")
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(VariantError, match=r"EOF"):
        read(path)


def test_a_scored_record_differs_in_its_info_alone(write):
    reader, (site,) = read(
        write(
            "a.vcf", f"{META}{OLD}{COLUMNS}chr1\t7\trs1\ta\tC,<DEL>\t30.00\tq10\tAF=0.50,.;FINDNA_LLR=9;FINDNA_OLD=1\n"
        )
    )
    line = vcf_line(site, FIELDS, [Outcome([0.5, -2.25]), Outcome(None, "symbolic")])
    assert line == (
        "chr1\t7\trs1\ta\tC,<DEL>\t30.00\tq10\tAF=0.50,.;FINDNA_LLR=0.5,.;FINDNA_DP_A_B=-2.25,.;FINDNA_SKIPPED=.,symbolic\n"
    )
    header = vcf_header(reader, FIELDS, {"Command": "findna\nscore", "Input": " a  b.vcf"}, {"chr2": 5})
    assert header.startswith(META)
    assert header.endswith("##findna_scoreCommand=findna score\n##findna_scoreInput= a  b.vcf\n" + COLUMNS)
    assert ("chr2" in header, "FINDNA_OLD" in header) == (False, False)
    assert '##INFO=<ID=FINDNA_DP_A_B,Number=A,Type=Float,Description="difference">' in header


def test_a_record_of_a_tsv_becomes_one_of_a_vcf(write):
    reader, (site,) = read(write("a.tsv", "label\tchrom\tpos\tref\talt\nLOF\tchr1\t7\tA\tC\n"))
    assert vcf_line(site, FIELDS[:1], [Outcome([1.0])], kind=reader.kind) == "chr1\t7\t.\tA\tC\t.\t.\tFINDNA_LLR=1\n"
    assert "##contig=<ID=chr2,length=5>\n" in vcf_header(reader, FIELDS, {}, {"chr2": 5})


@pytest.mark.parametrize("info", ["", "."])
def test_a_record_without_scores_has_no_empty_info(info):
    site = Site("chr1", 6, "A", (), fields=["chr1", "7", ".", "A", ".", ".", ".", info])
    assert vcf_line(site, FIELDS, [Outcome(None, "no_alt")]).endswith("\tFINDNA_SKIPPED=no_alt\n")


@pytest.mark.parametrize(
    "text", ["chrom\tpose\tref\talt\n", "chrom\tpos\tref\talt\nchr1\tx\tA\tC\n", "chrom\tpos\tref\talt\nchr1\t1\n"]
)
def test_damage_of_the_compression_is_named_before_what_it_garbles(text, tmp_path):
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text.encode())[:-8])
    with pytest.raises(VariantError, match="truncated: the gzip stream ends"):
        read(tmp_path / "a.tsv.gz")


def test_the_demo_variants_are_on_the_demo_genome():
    demo = Path(__file__).parents[2] / "docs" / "demo"
    _, sites = read(demo / "na12878.vcf")
    with Genome(demo / "genome.fa.gz") as genome:
        found = genome.fetch_many([Region(site.chrom, site.start, site.start + len(site.ref)) for site in sites])
    assert len(sites) == 15
    assert [decode(codes) for codes, _ in found] == [site.ref.upper() for site in sites]
