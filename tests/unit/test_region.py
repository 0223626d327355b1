import pytest

from findna.errors import RegionError
from findna.region import Region, is_region_string, missing_contig, parse_region

CONTIGS = {"chr1": 5000, "HLA-A*01:01": 300, "HLA-A*01": 900, "MT": 50}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1", ("chr1", 0, 5000)),
        ("chr1:1000", ("chr1", 999, 5000)),
        ("chr1:1000-", ("chr1", 999, 5000)),
        ("chr1:-2000", ("chr1", 0, 2000)),
        ("chr1:1,001-2,000", ("chr1", 1000, 2000)),
        ("chr1:7-7", ("chr1", 6, 7)),
        ("{chr1}:1-5", ("chr1", 0, 5)),
        ("{chr1}", ("chr1", 0, 5000)),
        ("HLA-A*01:01", ("HLA-A*01:01", 0, 300)),
        ("{HLA-A*01}:01", ("HLA-A*01", 0, 900)),
        ("HLA-A*01:01:3-5", ("HLA-A*01:01", 2, 5)),
        ("chr1:4000-6000", ("chr1", 3999, 6000)),
    ],
)
def test_a_region_string_is_one_based_and_inclusive(text: str, expected: tuple[str, int, int]) -> None:
    assert parse_region(text, CONTIGS)[:3] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("chr1:0-5", "count from 1"),
        ("chr1:20-10", "start 20 is past its end 10"),
        ("chr1:6000", r"start 6,000 is past the end of chr1 \(5,000 bases\)"),
        ("chr1:a-b", "must look like"),
        ("chr1:", "must look like"),
        ("chr1:-", "must look like"),
        ("chr1:1-2-3", "must look like"),
        ("1:1-5", "did you mean 'chr1'"),
        ("chrM:1-5", "did you mean 'MT'"),
        ("CHR1:1-5", "did you mean 'chr1'"),
        ("chrQ", r"it has chr1, HLA-A\*01:01, HLA-A\*01, MT"),
        ("{chr1:1-5", "is not in"),
        ("", "is not in"),
    ],
)
def test_a_string_that_is_no_region_says_why(text: str, reason: str) -> None:
    with pytest.raises(RegionError, match=reason):
        parse_region(text, CONTIGS)


def test_a_file_name_does_not_look_like_a_region() -> None:
    assert [is_region_string(text) for text in ("peaks.bed", "a:b.fa", "C:", "x:1-5", "{a:b}:7")] == [
        *[False] * 3,
        *[True] * 2,
    ]


def test_a_missing_contig_names_at_most_four_others() -> None:
    assert missing_contig("q", "abcdef").endswith("(it has a, b, c, d, ...)")


def test_a_resized_region_has_its_center_at_half_its_size() -> None:
    assert Region("c", 10, 20).resize(4)[1:3] == (13, 17)
    assert Region("c", 10, 20).resize(5, center=12)[1:3] == (10, 15)
    assert Region("c", 0, 2, blocks=((0, 1),)).resize(10)[1:] == (-4, 6, "", ".", -1, ())


@pytest.mark.parametrize("text", ["chr1:1-" + "9" * 5000, "chr1:" + "9" * 5000, "chr1:" + "9" * 19 + "-5"])
def test_a_position_of_too_many_digits_is_refused_in_one_short_line(text):
    with pytest.raises(RegionError, match=r"position 9{18}\.\.\. is too large") as error:
        parse_region(text, {"chr1": 100})
    assert len(str(error.value)) < 200
