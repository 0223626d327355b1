"""Properties for all genomes, regions and sequences."""

import random
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pysam
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.errors import FastaError, GenomeError
from findna.io.fasta import read_fasta
from findna.io.genome import Genome
from findna.record import Record
from findna.region import Region, parse_region
from findna.sequence import decode, encode, reverse_complement

BASES = st.text("ACGTNacgtn", min_size=1, max_size=400)
# A .2bit file keeps case and N apart from the bases; a contig name is one byte long or more.
CONTIGS = st.dictionaries(st.from_regex(r"[A-Za-z0-9_.:|*-]{1,12}", fullmatch=True), BASES, min_size=1, max_size=4)


@given(BASES)
def test_reverse_complement_twice_is_the_identity(text: str) -> None:
    codes, _ = encode(text)
    assert np.array_equal(reverse_complement(reverse_complement(codes)), codes)


@given(
    st.from_regex(r"[A-Za-z0-9_.:|*-]{1,20}", fullmatch=True),
    st.integers(0, 10**9),
    st.integers(1, 10**9),
)
def test_a_region_survives_its_text(chrom: str, start: int, length: int) -> None:
    region = Region(chrom, start, start + length)
    assert parse_region(str(region), {chrom: 10**10}) == region
    assert parse_region(f"{{{chrom}}}:{start + 1}-{start + length}", {chrom: 5, f"{chrom}:1": 9}) == region


@settings(max_examples=40)
@given(CONTIGS, st.integers(1, 90), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(0, 2**32))
def test_a_fetch_is_a_slice_for_any_line_width(
    contigs: dict[str, str], width: int, end: str, is_last_line_open: bool, seed: int
) -> None:
    text = "".join(
        f">{name} x{end}" + "".join(bases[i : i + width] + end for i in range(0, len(bases), width))
        for name, bases in contigs.items()
    )
    if is_last_line_open:
        text = text.removesuffix(end)
    with tempfile.TemporaryDirectory() as folder:
        plain, bgzf, twobit = (Path(folder, name) for name in ("g.fa", "g.fa.gz", "g.2bit"))
        plain.write_bytes(text.encode())
        pysam.tabix_compress(str(plain), str(bgzf))
        twobit.write_bytes(to_twobit(contigs))
        for path in (plain, bgzf, bgzf, twobit):
            check_slices(path, contigs, random.Random(seed))


LINE = st.tuples(
    st.sampled_from(["ACGTACGT", "acgtnnGG", "ACG", "AC GT", " ACG", "", "N"]),
    st.sampled_from(["", "", "", " ", "\t ", "\v"]),
    st.sampled_from(["\n"] * 8 + ["\r\n", "\r", "\r\r\n", "\n\n"]),
)


@settings(max_examples=300)
@given(st.lists(st.lists(LINE, min_size=1, max_size=6), min_size=1, max_size=3), st.booleans(), st.data())
def test_all_parsers_of_fasta_read_the_same_bases_or_refuse(
    records: list[list[tuple[str, str, str]]], is_regular: bool, data: st.DataObject
) -> None:
    text = ""
    for number, lines in enumerate(records):
        every = [lines[0]] * len(lines) if is_regular else lines
        text += f">c{number} x{every[0][2]}" + "".join(map("".join, every))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "g.fa")
        path.write_bytes(text.encode())
        expected = {name: "".join(c for c in bases if c.isalpha()).upper() for name, bases in _by_split(text).items()}
        with suppress(FastaError) if "\r" in text.replace("\r\n", "\n") else nullcontext():
            found = {record.id: decode(record.codes) for record in read_fasta(path) if isinstance(record, Record)}
            assert found == {name: bases for name, bases in expected.items() if bases}
        try:
            genome = Genome(path)
        except GenomeError:  # such lines have no index
            return
        with genome, pysam.FastaFile(str(path)) as samtools:
            assert genome.contigs == {name: len(bases) for name, bases in expected.items()}
            for name, bases in expected.items():
                if not bases:
                    continue
                start = data.draw(st.integers(0, len(bases) - 1))
                end = data.draw(st.integers(start + 1, len(bases)))
                piece = decode(genome.fetch(Region(name, start, end))[0])
                assert piece == bases[start:end] == samtools.fetch(name, start, end).upper()


def _by_split(text: str) -> dict[str, str]:
    parts = (part.partition("\n") for part in text.split(">")[1:])
    return {header.split()[0]: bases for header, _, bases in parts}


def check_slices(path: Path, contigs: dict[str, str], rng: random.Random) -> None:
    regions = []
    for name, bases in contigs.items():
        start = rng.randrange(len(bases))
        regions.append(Region(name, start, rng.randint(start + 1, len(bases)), strand=rng.choice("+-.")))
    with Genome(path) as genome:
        assert genome.contigs == {name: len(bases) for name, bases in contigs.items()}
        for region, (codes, _) in zip(regions, genome.fetch_many(regions), strict=True):
            expected = encode(contigs[region.chrom][region.start : region.end])[0]
            expected = reverse_complement(expected) if region.strand == "-" else expected
            assert decode(codes) == decode(expected)


def to_twobit(contigs: dict[str, str]) -> bytes:
    """A .2bit file, from the description of the format: header, index, then N blocks, mask and bases."""

    def blocks(text: str, letters: str) -> bytes:
        runs: list[list[int]] = []
        for i, letter in enumerate(text):
            if letter in letters and runs and sum(runs[-1]) == i:
                runs[-1][1] += 1
            elif letter in letters:
                runs.append([i, 1])
        return np.array([len(runs), *(r[0] for r in runs), *(r[1] for r in runs)], dtype="<u4").tobytes()

    bodies = []
    for text in contigs.values():
        values = ["TCAG".find(letter) if letter in "TCAG" else 0 for letter in text.upper()]
        values += [0] * (-len(values) % 4)
        packed = bytes(
            a << 6 | b << 4 | c << 2 | d
            for a, b, c, d in zip(values[::4], values[1::4], values[2::4], values[3::4], strict=True)
        )
        masked = blocks(text, "acgtn")
        bodies.append(len(text).to_bytes(4, "little") + blocks(text, "Nn") + masked + bytes(4) + packed)
    offset = 16 + sum(1 + len(name) + 4 for name in contigs)
    index = b""
    for name, body in zip(contigs, bodies, strict=True):
        index += bytes([len(name)]) + name.encode() + offset.to_bytes(4, "little")
        offset += len(body)
    header = np.array([0x1A412743, 0, len(contigs), 0], dtype="<u4").tobytes()
    return header + index + b"".join(bodies)
