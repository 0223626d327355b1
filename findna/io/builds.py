"""Contig lengths of common genome builds, to recognise the build of a genome or region."""

from collections.abc import Mapping

_CONTIGS = {"human": [*map(str, range(1, 23)), "X", "Y"], "mouse": [*map(str, range(1, 20)), "X", "Y"]}
_LENGTHS = {
    ("human", "hg19"): """249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 141213431
        135534747 135006516 133851895 115169878 107349540 102531392 90354753 81195210 78077248 59128983 63025520
        48129895 51304566 155270560 59373566""",
    ("human", "hg38"): """248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 138394717
        133797422 135086622 133275309 114364328 107043718 101991189 90338345 83257441 80373285 58617616 64444167
        46709983 50818468 156040895 57227415""",
    ("human", "T2T-CHM13"): """248387328 242696752 201105948 193574945 182045439 172126628 160567428 146259331 150617247
        134758134 135127769 133324548 113566686 101161492 99753195 96330374 84276897 80542538 61707364 66210255
        45090682 51324926 154259566 62460029""",
    ("mouse", "mm10"): """195471971 182113224 160039680 156508116 151834684 149736546 145441459 129401213 124595110
        130694993 122082543 120129022 120421639 124902244 104043685 98207768 94987271 90702639 61431566 171031299
        91744698""",
    ("mouse", "mm39"): """195154279 181755017 159745316 156860686 151758149 149588044 144995196 130127694 124359700
        130530862 121973369 120092757 120883175 125139656 104073951 98008968 95294699 90720763 61420004 169476592
        91455967""",
}  # fmt: skip
BUILDS: Mapping[str, Mapping[str, int]] = {
    build: dict(zip(_CONTIGS[species], map(int, lengths.split()), strict=True))
    for (species, build), lengths in _LENGTHS.items()
}
"""Lengths by build and contig, without "chr"."""


def build_of(contigs: Mapping[str, int]) -> str:
    """The build that shares the most contigs (name and length); "" if there is none.

    >>> build_of({"chr20": 63025520}), build_of({"20": 64444167, "x": 5}), build_of({"chr20": 5})
    ('hg19', 'hg38', '')
    """
    bare = {name.removeprefix("chr"): length for name, length in contigs.items()}
    shared = {build: sum(bare.get(name) == n for name, n in known.items()) for build, known in BUILDS.items()}
    best = max(shared, key=lambda build: shared[build])
    return best if shared[best] else ""


def builds_with(chrom: str, end: int, contigs: Mapping[str, int]) -> list[str]:
    """Builds of the same species that contain a region which ends past its contig.

    >>> builds_with("chr1", 249_000_000, {"chr1": 248_956_422})
    ['hg19']
    """
    build, name = build_of(contigs), chrom.removeprefix("chr")
    if not build:
        return []
    same = [other for other in BUILDS if BUILDS[other].keys() == BUILDS[build].keys() and other != build]
    return [other for other in same if BUILDS[other].get(name, 0) >= end]
