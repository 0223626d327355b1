import os
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import pysam
import pytest

from findna.errors import GenomeError, RegionError
from findna.io import indexed
from findna.io.faidx import build_fai
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import decode, encode

Write = Callable[..., Path]


def fasta(contigs: dict[str, str], width: int = 60, end: str = "\n") -> str:
    return "".join(
        f">{name} x{end}" + "".join(text[i : i + width] + end for i in range(0, len(text), width))
        for name, text in contigs.items()
    )


def clean(text: str) -> str:
    return decode(encode(text)[0])


def fetched(genome: Genome, *region: Any) -> str:
    return decode(genome.fetch(Region(*region))[0])


@pytest.mark.parametrize("how", ["plain", "bgzf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_fetch_is_a_slice(write: Write, contigs: dict[str, str], how: str, end: str) -> None:
    with Genome(write("g.fa", fasta(contigs, end=end), how)) as genome:
        assert genome.contigs == {name: len(text) for name, text in contigs.items()}
        for name, text in contigs.items():
            for start, stop in ((0, 1), (0, len(text)), (59, 61), (len(text) - 1, len(text))):
                if stop <= len(text):
                    assert fetched(genome, name, start, stop) == clean(text[start:stop])


def test_the_other_strand_is_reverse_complemented(write: Write) -> None:
    with Genome(write("g.fa", ">c\nAACGN\n")) as genome:
        assert fetched(genome, "c", 0, 4, "", "-") == "CGTT"
        assert fetched(genome, "c", 0, 5, "", ".") == "AACGN"


def test_blocks_are_joined_on_the_strand_of_the_region(write: Write) -> None:
    with Genome(write("g.fa", ">c\nAACGNTTTT\n")) as genome:
        region = Region("c", 0, 9, "", "-", blocks=((0, 3), (8, 9)))
        assert decode(genome.fetch(region)[0]) == "AGTT"


def test_iupac_codes_of_the_genome_are_counted(write: Write) -> None:
    with Genome(write("g.fa", ">c\nARYN\n")) as genome:
        codes, n_iupac = genome.fetch(Region("c", 0, 4))
        assert (decode(codes), n_iupac) == ("ANNN", 2)


def test_many_regions_come_in_the_order_given(genome_path: Path, contigs: dict[str, str]) -> None:
    regions = [Region("chr2", 5, 9), Region("chr1", 3000, 3100), Region("chr2", 0, 4), Region("chr1", 0, 9)]
    with Genome(genome_path) as genome:
        found = [decode(codes) for codes, _ in genome.fetch_many(regions)]
    assert found == [clean(contigs[r.chrom][r.start : r.end]) for r in regions]


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (Region("1", 0, 5), r"contig '1' is not in genome.fa \(did you mean 'chr1'\?\)"),
        (Region("chr2", 50, 62), r"end 62 is past the end of chr2 \(61 bases\)"),
        (Region("chr2", -1, 6), "start -1 is before the first base"),
    ],
)
def test_a_region_that_does_not_fit_is_never_cut(genome_path: Path, region: Region, reason: str) -> None:
    with Genome(genome_path) as genome:
        with pytest.raises(RegionError, match=reason):
            genome.fetch(region)
        with pytest.raises(RegionError, match=reason):
            genome.fetch_many([Region("chr1", 0, 5), region])
        assert genome.check(Region("chr2", 0, 61)) is None


def test_a_region_string_is_read_with_the_contigs_of_the_genome(genome_path: Path) -> None:
    with Genome(genome_path) as genome:
        assert genome.parse("HLA:01")[:3] == ("HLA:01", 0, 60)
        with pytest.raises(RegionError, match=r"'chr9' is not in genome.fa"):
            genome.parse("chr9:1-5")


@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_the_index_is_the_one_that_pyfaidx_and_htslib_make(write: Write, contigs: dict[str, str], how: str) -> None:
    end = ".gz" if how == "bgzf" else ""
    ours, theirs = (write(f"{name}.fa{end}", fasta(contigs), how) for name in "ab")
    Genome(ours).close()
    pysam.faidx(str(theirs))
    for suffix in (".fai", ".gzi") if how == "bgzf" else (".fai",):
        assert Path(f"{ours}{suffix}").read_bytes() == Path(f"{theirs}{suffix}").read_bytes()
    if how == "plain":
        with pyfaidx.Fasta(str(ours), rebuild=False) as found:
            assert str(found["chr1"][100:200]) == contigs["chr1"][100:200]


def test_many_blocks_have_the_table_that_bgzip_writes(write: Write) -> None:
    text = fasta({"c": "ACGGTCA" * 60_000, "d": "TTGA" * 50_000})
    ours, theirs = write("a.fa.gz", text, "bgzf"), write("b.fa.gz", text, "bgzf")
    Genome(ours).close()
    pysam.faidx(str(theirs))
    assert Path(f"{ours}.gzi").read_bytes() == Path(f"{theirs}.gzi").read_bytes()


@pytest.mark.parametrize("how", ["plain", "bgzf"])
@pytest.mark.parametrize(
    "change",
    [
        lambda c: {**c, "chr1": c["chr1"][1:]},
        lambda c: {"new": "ACGT", **c},
        lambda c: {**c, "new": "ACGT"},
        lambda c: dict(reversed(c.items())),
        lambda c: {name: text for name, text in c.items() if name != "chr2"},
        lambda c: {name.replace("chr1", "chr7"): text for name, text in c.items()},
    ],
)
def test_an_index_of_other_content_is_made_again_whatever_its_date(
    write: Write, contigs: dict[str, str], how: str, change: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    path = write("g.fa.gz", fasta(contigs), how)
    Genome(path).close()
    index = path.with_name("g.fa.gz.fai")
    changed = change(contigs)
    write("g.fa.gz", fasta(changed), how)
    os.utime(index, (4e9, 4e9))
    with Genome(path) as genome:
        assert genome.contigs == {name: len(text) for name, text in changed.items()}
        for name, text in changed.items():
            assert fetched(genome, name, 0, len(text)) == clean(text)


def test_a_genome_that_was_wrapped_anew_has_its_index_made_again(write: Write, contigs: dict[str, str]) -> None:
    path = write("g.fa", fasta(contigs, 60))
    Genome(path).close()
    write("g.fa", fasta(contigs, 59))
    with Genome(path) as genome:
        assert fetched(genome, "chr1", 700, 800) == clean(contigs["chr1"][700:800])


def test_an_index_that_fits_is_left_alone_though_it_is_older(genome_path: Path) -> None:
    Genome(genome_path).close()
    index = Path(f"{genome_path}.fai")
    os.utime(index, (1, 1))
    Genome(genome_path).close()
    assert index.stat().st_mtime == 1


@pytest.mark.parametrize("data", [b"", b"chr1\t5\n", b"chr1\tx\t1\t1\t1\n", b"\xff\xfe", b"chr1\t5\t6\t0\t0\n"])
def test_a_damaged_index_is_made_again(genome_path: Path, data: bytes) -> None:
    Path(f"{genome_path}.fai").write_bytes(data)
    with Genome(genome_path) as genome:
        assert genome.contigs["chr1"] == 3210


@pytest.mark.parametrize("row", [(1 << 63, 65280), (1 << 20, 65280), (20_000, 1 << 40), (20_000, 65280)])
def test_a_table_of_blocks_that_lies_is_made_again(write: Write, row: tuple[int, int], own_cache: Path) -> None:
    path = write("g.fa.gz", fasta({"c": "ACGGTCA" * 20_000}), "bgzf")
    Genome(path).close()
    table = Path(f"{path}.gzi")
    table.write_bytes(table.read_bytes()[:8] + struct.pack("<QQ", *row) + table.read_bytes()[24:])
    with Genome(path) as genome:
        assert fetched(genome, "c", 70_000, 70_007) == "ACGGTCA"
        assert own_cache in genome.htslib_fasta().parents


def test_the_index_goes_to_the_cache_where_the_folder_is_read_only(
    write: Write, own_cache: Path, contigs: dict[str, str], tmp_path: Path
) -> None:
    for how in ("plain", "bgzf"):
        folder = tmp_path / how
        folder.mkdir()
        path = folder / "g.fa.gz"
        write("g.fa.gz", fasta(contigs), how).rename(path)
        folder.chmod(0o555)
        try:
            with Genome(path) as genome:
                assert fetched(genome, "chr1", 3, 9) == clean(contigs["chr1"][3:9])
                linked = genome.htslib_fasta()
            assert [file.name for file in folder.iterdir()] == ["g.fa.gz"]
            assert own_cache in linked.parents
            with pysam.FastaFile(str(linked)) as found:
                assert found.fetch("chr1", 3, 9) == contigs["chr1"][3:9]
            before = Path(f"{linked}.fai").stat().st_ino
            Genome(path).close()
            assert Path(f"{linked}.fai").stat().st_ino == before
        finally:
            folder.chmod(0o755)


@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_a_genome_is_read_though_no_index_can_be_kept(
    write: Write, monkeypatch: pytest.MonkeyPatch, contigs: dict[str, str], how: str, tmp_path: Path
) -> None:
    path, is_full, write_bytes = write("g.fa", fasta(contigs), how), [tmp_path], Path.write_bytes

    def refuse(self: Path, data: bytes) -> int:
        if any(folder in self.parents for folder in is_full):
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with Genome(path) as genome:
        assert fetched(genome, "chr1", 3, 9) == clean(contigs["chr1"][3:9])
        with pysam.FastaFile(str(genome.htslib_fasta())) as found:
            assert found.fetch("chr1", 3, 9) == contigs["chr1"][3:9]
    assert [file.name for file in tmp_path.iterdir() if "fai" in file.name] == []
    is_full.append(Path(tempfile.gettempdir()))
    with Genome(path) as genome:
        assert fetched(genome, "chr1", 3, 9) == clean(contigs["chr1"][3:9])
        with pytest.raises(GenomeError, match="cache directory"):
            genome.htslib_fasta()


@pytest.mark.parametrize(
    ("text", "how", "reason"),
    [
        (">c\nACGT\n", "gz", r"cannot be indexed: gunzip g.fa && bgzip g.fa"),
        ("", "plain", "the file is empty"),
        ("ACGT\n>c\nAC\n", "plain", "line 1: text before"),
        (">c\nACGT\nAC\nACGT\n", "plain", "line 4, record c: lines of different lengths"),
        (">c\nAC\nACGT\n", "plain", "line 3, record c: lines of different lengths"),
        (">c\nACGT\n\nACGT\n", "plain", "line 4, record c: lines of different lengths"),
        (">c\nAC\n>c\nAC\n", "plain", "line 3, record c: duplicate contig"),
        (">\nAC\n", "plain", "line 1: a contig without a name"),
        (">c\nAC\0T\n", "plain", "line 2: a NUL byte"),
        (">c\u2028d\nAC\n", "plain", r"the contig name 'c\\u2028d' contains a line-end character"),
    ],
)
def test_what_is_no_genome_is_refused(write: Write, text: str, how: str, reason: str) -> None:
    with pytest.raises(GenomeError, match=reason):
        Genome(write("g.fa", text, how))


def test_a_missing_genome_is_named() -> None:
    with pytest.raises(GenomeError, match=r"genome nowhere.fa: no such file"):
        Genome("nowhere.fa")


def test_a_protein_in_a_genome_is_an_error_when_it_is_read(write: Write) -> None:
    with Genome(write("g.fa", ">c\nMKLE\n")) as genome, pytest.raises(GenomeError, match=r"'L' at base 3"):
        genome.fetch(Region("c", 0, 4))


@pytest.mark.parametrize("n_cut", [1, 28, 200])
def test_a_cut_bgzip_genome_is_refused_with_and_without_an_index(write: Write, n_cut: int) -> None:
    path = write("g.fa.gz", fasta({"c": "ACGGTCAA" * 20_000}), "bgzf")
    data = path.read_bytes()
    path.write_bytes(data[:-n_cut])
    with pytest.raises(GenomeError, match="cut"):
        Genome(path)
    path.write_bytes(data)
    Genome(path).close()
    path.write_bytes(data[:-n_cut])
    with pytest.raises(GenomeError, match="cut"):
        Genome(path)


def test_a_damaged_block_of_a_bgzip_genome_is_refused(write: Write) -> None:
    path = write("g.fa.gz", fasta({"c": "ACGGTCAA" * 40_000}), "bgzf")
    Genome(path).close()  # makes the index, which reads all
    data = bytearray(path.read_bytes())
    second = int.from_bytes(data[16:18], "little") + 1  # the first block's size, less 1, is in its header
    data[second + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    with Genome(path) as genome:
        for _ in range(2):
            with pytest.raises(GenomeError, match="is damaged at c:70001-120000"):
                genome.fetch(Region("c", 70_000, 120_000))
            assert fetched(genome, "c", 0, 8) == fetched(genome, "c", 200_000, 200_008) == "ACGGTCAA"


def test_blank_lines_after_a_contig_and_a_missing_last_newline_are_allowed(write: Write) -> None:
    path = write("g.fa", ">a\nACGT\nAC\n\n>b\nGG\n>c\nTTTT\nTT")
    for _ in range(2):
        with Genome(path) as genome:
            assert genome.contigs == {"a": 6, "b": 2, "c": 6}
            assert fetched(genome, "c", 3, 6) == "TTT"
    assert Path(f"{path}.fai").read_text().splitlines()[0] == "a\t6\t3\t4\t5"


def test_the_digest_is_of_names_and_lengths_not_of_their_order(write: Write) -> None:
    a = write("a.fa", ">x\nAC\n>y\nA\n")
    b = write("b.fa", ">y\nT\n>x\nG\nG\n")
    c = write("c.fa", ">x\nA\n>y\nAC\n")
    digests = []
    for path in (a, b, c):
        with Genome(path) as genome:
            digests.append(genome.digest)
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def twobit(n_bases: int = 8) -> bytes:
    header = np.array([0x1A412743, 0, 1, 0], dtype="<u4").tobytes()
    index = b"\1c" + (16 + 6).to_bytes(4, "little")
    # One run of N at 2, no masked run; T is 0, C 1, A 2, G 3.
    record = np.array([n_bases, 1, 2, 1, 0, 0], dtype="<u4").tobytes()
    return header + index + record + bytes([0b10_01_11_00, 0b10_01_11_00])


def test_a_twobit_genome_is_read(write: Write) -> None:
    with Genome(write("g.2bit", twobit())) as genome:
        assert genome.contigs == {"c": 8}
        assert [fetched(genome, "c", 0, 8), fetched(genome, "c", 3, 7, "", "-")] == ["ACNTACGT", "CGTA"]
        with pytest.raises(GenomeError, match=r"not \.2bit"):
            genome.htslib_fasta()


@pytest.mark.parametrize("data", [twobit()[:-1], twobit(99), twobit()[:30], twobit()[:5], b"\x43\x27\x41\x1a"])
def test_a_cut_twobit_genome_is_refused(write: Write, data: bytes) -> None:
    with pytest.raises(GenomeError, match=r"not a valid \.2bit file: (the file is truncated|.* do not fit)"):
        Genome(write("g.2bit", data))


@pytest.mark.shared
def test_a_shipped_index_of_a_real_genome_fits_and_its_bases_are_those_of_htslib(shared: Path) -> None:
    path = shared / "inputs/triple_hg19_chr20/ucsc.hg19.chr20.unittest.fasta.gz"
    with Genome(path) as genome, pysam.FastaFile(str(path)) as expected:
        assert genome.htslib_fasta() == path
        for start in range(9_994_500, 11_095_000, 97_001):
            assert fetched(genome, "chr20", start, start + 1000) == clean(expected.fetch("chr20", start, start + 1000))


@pytest.mark.parametrize("blank", [" ", "\t", " \t ", "\v"])
@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_blanks_at_line_ends_hold_no_bases(write: Write, blank: str, how: str) -> None:
    path = write("g.fa", f">c\nAAAAACCCCC{blank}\nGGGGGTTTTT{blank}\n", how)
    pysam.faidx(str(path))
    index = Path(f"{path}.fai").read_bytes()
    for _ in range(2):
        with Genome(path) as genome, pysam.FastaFile(str(path)) as expected:
            assert genome.contigs == {"c": 20}
            assert fetched(genome, "c", 12, 16) == expected.fetch("c", 12, 16) == "GGGT"
    assert Path(f"{path}.fai").read_bytes() == index
    Path(f"{path}.fai").unlink()
    with Genome(path) as genome:
        assert fetched(genome, "c", 12, 16) == "GGGT"
    assert Path(f"{path}.fai").read_bytes() == index
    width = 10 + len(blank)
    Path(f"{path}.fai").write_text(f"c\t{2 * width}\t3\t{width}\t{width + 1}\n")  # blanks as bases
    with Genome(path) as genome:
        assert fetched(genome, "c", 12, 16) == "GGGT"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (">c\nAC GT\nACGT\n", "line 2, record c: white space before or between bases"),
        (">c\nACGT\n ACGT\n", "line 3, record c: white space before or between bases"),
        (">c\nACGT \nACGT\nAC\n", "line 4, record c: lines of different lengths"),
        (">c\rACGT\rACGT\r", "line 1: a carriage return"),
        (">c\nACGT\rACGT\n", "line 2: a carriage return"),
        (">c\r\r\nACGT\r\r\n", "line 1: a carriage return"),
        (">c\nACGT\nACGT\r", "line 3: a carriage return"),
    ],
)
def test_white_space_that_an_index_cannot_express_is_refused(write: Write, text: str, reason: str) -> None:
    with pytest.raises(GenomeError, match=reason):
        Genome(write("g.fa", text))


@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_a_users_index_is_never_replaced(write: Write, how: str, own_cache: Path) -> None:
    path = write("g.fa", ">c\nACGTAC\nGT\n", how)
    mine = {path.with_name(f"g.fa{suffix}"): b"mine" for suffix in (".fai", ".gzi")}
    for index, data in mine.items():
        index.write_bytes(data)
    for _ in range(2):
        with Genome(path) as genome:
            assert fetched(genome, "c", 4, 8) == "ACGT"
            assert own_cache in genome.htslib_fasta().parents
    assert {index: index.read_bytes() for index in mine} == mine


@pytest.mark.parametrize("end", ["\n", "\r\n", "", " \n"])
@pytest.mark.parametrize("others", ["", ">b\nACG\nACG\nA\n"])
def test_one_line_of_any_length_is_counted_in_pieces(end: str, others: str) -> None:
    if others and not end:
        end = "\n"
    text = f">a one line\n{'ACGT' * 700_000}{end}{others}".encode()
    tracemalloc.start()
    index = build_fai((text[i : i + 100_001] for i in range(0, len(text), 100_001)), path="g.fa")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # some pieces, not the line
    assert index["a"] == (2_800_000, 12, 2_800_000, 2_800_000 + max(1, len(end)))
    assert not others or index["b"] == (7, 12 + 2_800_000 + len(end) + 3, 3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\n" + "ACGT" * 400_000 + " A\n", "line 2, record a: white space before or between bases"),
        (">a\nACGT\n" + "ACGT" * 400_000, "line 3, record a: lines of different lengths"),
        ("ACGT" * 400_000, "line 1: text before the first '>' header"),
        (">" + "a" * 1_600_000, "line 1: a header of more than 1 MiB"),
    ],
)
def test_one_line_of_any_length_is_checked_like_any_other(text: str, message: str) -> None:
    content = text.encode()
    with pytest.raises(GenomeError) as error:
        build_fai((content[i : i + 100_001] for i in range(0, len(content), 100_001)), path="g.fa")
    assert message in str(error.value)


@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_of_many_contigs_only_those_used_are_checked_again(
    write: Write, how: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = fasta({f"c{i}": "ACGT" * 5 for i in range(1000)})
    path = write("g.fa", text, how)
    for _ in range(2):
        with Genome(path) as genome:
            assert fetched(genome, "c999", 2, 6) == "GTAC"
    (stamp,) = own_cache.rglob("*.stamp")
    with monkeypatch.context() as patch:
        patch.setattr(indexed, "is_index_of", lambda *_: pytest.fail("all contigs are checked again"))
        with Genome(path) as genome:
            assert fetched(genome, "c7", 2, 6) == "GTAC"
    before = path.stat()
    write("g.fa", text.replace(">c7 x\nACGT", ">cX x\nTTTT"), how)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    stamp.write_text(stamp.read_text().replace(f"size={before.st_size}", f"size={path.stat().st_size}"))
    stamp.write_text(stamp.read_text().replace(f"inode={before.st_ino}", f"inode={path.stat().st_ino}"))
    with Genome(path) as genome, pytest.raises(GenomeError, match=r"record c7: the index does not match: the"):
        fetched(genome, "c7", 2, 6)
    assert not stamp.exists()
    with Genome(path) as genome:
        assert "c7" not in genome.contigs
