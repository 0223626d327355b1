from collections.abc import Callable
from pathlib import Path

import pytest

from findna.errors import BedError
from findna.io.bed import read_bed
from findna.region import Region

Write = Callable[..., Path]


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
def test_bed_rows_come_in_order_without_headers(write: Write, how: str) -> None:
    text = (
        "\ufeff# made by hand\nbrowser position chr1:1-9\ntrack name=x\n\nchr1\t1\t5\n"
        "chr1 2 6 two\r\nchr2\t0\t9\ta b\t0\t-\nchr2\t3\t4\t.\t0\t.\textra"
    )
    rows = list(read_bed(write("a.bed", text, how)))
    assert [row.region for row in rows] == [
        Region("chr1", 1, 5),
        Region("chr1", 2, 6, "two"),
        Region("chr2", 0, 9, "a b", "-"),
        Region("chr2", 3, 4),
    ]
    assert [(row.row, row.line) for row in rows] == [(0, 5), (1, 6), (2, 7), (3, 8)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("chr1\t5", "2 columns, but chrom, start and end needs 3"),
        ("chr1\t900\t850", "start 900 and end 850 must satisfy 0 <= start < end"),
        ("chr1\t5\t5", "must satisfy"),
        ("chr1\t-5\t5", "start -5 and end 5 must satisfy"),
        ("chr1\t1e3\t5000", "start '1e3' is not a whole number"),
        ("chr1\t1,000\t5000", "start '1,000' is not a whole number \\(BED has no commas in numbers; remove them"),
        ("chr1\t1_000\t5000", "not a whole number"),
        ("chr1\t\t5000", "start '' is not a whole number"),
        ("chrom\tstart\tend", "a header line must begin with '#'"),
        ("\t1\t2", "contig name is empty"),
        ("chr1\t1\t2\tx\t0\tplus", "strand \\(column 6\\) is 'plus'"),
        ("chr1\t1\t99999999999999999999", "too large"),
    ],
)
def test_a_row_that_is_no_region_has_its_error_and_the_next_is_read(write: Write, text: str, reason: str) -> None:
    bad, good = read_bed(write("a.bed", f"# x\n{text}\nchr1\t1\t2\n"))
    assert good.region == Region("chr1", 1, 2)
    assert isinstance(bad.region, BedError)
    with pytest.raises(BedError, match=f"BED file .*a.bed, line 2: .*{reason}"):
        raise bad.region


def test_a_narrowpeak_summit_is_a_position_on_the_contig(write: Write) -> None:
    text = "chr1\t100\t200\tp\t0\t.\t1.5\t-1\t-1\t{}\n"
    rows = list(read_bed(write("a.np", "".join(text.format(x) for x in (7, -1, 100, "x"))), is_narrowpeak=True))
    found = [row.region for row in rows]
    assert isinstance(found[0], Region)
    assert isinstance(found[1], Region)
    assert [found[0].summit, found[1].summit] == [107, -1]
    assert "outside the 100 bases" in str(found[2])
    assert "not a whole number" in str(found[3])


BED12 = "chr1\t100\t200\tt\t0\t-\t100\t200\t0\t{}\t{}\t{}\n"


def test_bed12_blocks_are_positions_on_the_contig(write: Write) -> None:
    path = write("a.bed", BED12.format(2, "10,20,", "0,80,"))
    (split,) = read_bed(path, with_blocks=True)
    (whole,) = read_bed(path)
    assert isinstance(split.region, Region)
    assert isinstance(whole.region, Region)
    assert split.region.blocks == ((100, 110), (180, 200))
    assert whole.region.blocks == ()


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ((3, "10,20,", "0,80,"), "3 blocks, but 2 sizes and 2 starts"),
        ((2, "10,20", "80,0"), "must follow the one before"),
        ((2, "10,20", "0,5"), "must follow the one before"),
        ((1, "101", "0"), "lie in the region"),
        ((1, "0", "0"), "must follow"),
        ((1, "x", "0"), "block size 'x'"),
    ],
)
def test_blocks_must_be_ascending_and_inside(write: Write, blocks: tuple[int, str, str], reason: str) -> None:
    (row,) = read_bed(write("a.bed", BED12.format(*blocks)), with_blocks=True)
    assert reason in str(row.region)


def test_a_nul_byte_in_a_bed_file_is_refused(write: Write) -> None:
    with pytest.raises(BedError, match="line 2: a NUL byte"):
        list(read_bed(write("a.bed", "chr1\t1\t2\nchr\0\t1\t2\n")))


def test_line_ends_that_are_bare_carriage_returns_lose_no_row(write: Write) -> None:
    path = write("a.bed", "chr1\t1\t5\rchr1\t6\t9\rchr1\t2\t3\r")
    with pytest.raises(BedError, match=r"a.bed, line 1: a carriage return"):
        list(read_bed(path))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("chr1\t1\t5\t-\tpeak", "column 4 is a strand, .* convert an interval_list"),
        ("chr1\t1\t5\t+", "column 4 is a strand"),
        ("chr1\t1\t5\tpeak\t-", "column 5 is a strand, .* add a score before it"),
    ],
)
def test_a_strand_in_another_column_is_never_lost(write: Write, row: str, reason: str) -> None:
    (found,) = read_bed(write("a.bed", f"{row}\n"))
    assert isinstance(found.region, BedError)
    with pytest.raises(BedError, match=reason):
        raise found.region


def test_a_dash_for_a_name_is_no_strand(write: Write) -> None:
    (found,) = read_bed(write("a.bed", "chr1\t1\t5\t-\t0\t+\n"))
    assert isinstance(found.region, Region)
    assert (found.region.name, found.region.strand) == ("-", "+")
