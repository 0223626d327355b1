"""The .2bit reader beside Biopython's, and files with wrong counts."""

import os
import random
import struct

import pytest
from Bio.SeqIO.TwoBitIO import TwoBitIterator

from findna.errors import GenomeError
from findna.io.twobit import TwoBit

CODES = {"T": 0, "C": 1, "A": 2, "G": 3, "N": 0}


def to_twobit(contigs, *, order="<", version=0):
    """A .2bit file, from the description of the format."""
    n_offset = 8 if version else 4
    at = 16 + sum(1 + len(name) + n_offset for name in contigs)
    index, records = b"", b""
    for name, text in contigs.items():
        index += (
            bytes([len(name)]) + name.encode() + struct.pack(f"{order}{'Q' if version else 'I'}", at + len(records))
        )
        runs, start = [], None
        for position, letter in enumerate(text + "."):
            if letter == "N" and start is None:
                start = position
            elif letter != "N" and start is not None:
                runs.append((start, position - start))
                start = None
        padded = text + "T" * (-len(text) % 4)
        packed = bytes(
            sum(CODES[letter] << 2 * (3 - place) for place, letter in enumerate(padded[i : i + 4]))
            for i in range(0, len(padded), 4)
        )
        numbers = [len(text), len(runs), *(s for s, _ in runs), *(n for _, n in runs), 1, 0, 1, 0]
        records += struct.pack(f"{order}{len(numbers)}I", *numbers) + packed
    return struct.pack(f"{order}4I", 0x1A412743, version, len(contigs), 0) + index + records


@pytest.fixture
def contigs():
    draw = random.Random(5)
    return {f"chr{n}": "".join(draw.choices("ACGTNN", k=n)) for n in (1, 4, 7, 100, 1001)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [0, 1])
def test_all_stretches_are_those_that_were_written(tmp_path, contigs, order, version):
    path = tmp_path / "g.2bit"
    path.write_bytes(to_twobit(contigs, order=order, version=version))
    genome = TwoBit(path)
    assert genome.contigs == {name: len(text) for name, text in contigs.items()}
    draw = random.Random(6)
    for name, text in contigs.items():
        for _ in range(60):
            start, end = sorted(draw.choices(range(len(text) + 1), k=2))
            assert genome.bases(name, start, end) == text[start:end].encode()
    genome.close()


def test_it_agrees_with_biopython(tmp_path, contigs):
    path = tmp_path / "g.2bit"
    path.write_bytes(to_twobit(contigs))
    genome = TwoBit(path)
    with path.open("rb") as file:
        for record in TwoBitIterator(file):
            assert bytes(record.seq).upper() == genome.bases(record.id, 0, len(record))
    genome.close()


def test_no_count_in_a_file_is_taken_on_trust(tmp_path):
    """Each 32-bit number of a small file, made huge: an error or other bases, never memory or a traceback."""
    content = to_twobit({"a": "ACGTNNACGTNACGTNACG", "b": "ACG"})
    path = tmp_path / "g.2bit"
    for place in range(4, len(content) - 4):
        for value in (2**32 - 1, 2**31, 2**16, 16):
            path.write_bytes(content[:place] + struct.pack("<I", value) + content[place + 4 :])
            try:
                genome = TwoBit(path)
            except GenomeError:
                continue
            for name, length in genome.contigs.items():
                assert length <= 4 * len(content)
                genome.bases(name, 0, length)
            genome.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<4I", 0x1A412743, 0, 2**32 - 1, 0), "4,294,967,295 contigs do not fit into 16 bytes"),
        (struct.pack("<4I", 0x1A412743, 1, 2**32 - 1, 0), "4,294,967,295 contigs do not fit into 16 bytes"),
        (struct.pack("<4I", 0x1A412743, 2, 1, 0), "version 2 of the format is unknown"),
        (struct.pack("<4I", 0x1A412743, 0, 0, 0), "it holds no contigs"),
        (struct.pack("<4I", 0x1A412743, 0, 1, 0) + b"\x01a" + struct.pack("<4I", 22, 2**32 - 1, 0, 0) + b"\0" * 5,
         "record a: not a valid .2bit file: the file is truncated: 4,294,967,295 bases do not fit into it"),
        (struct.pack("<4I", 0x1A412743, 0, 1, 0) + b"\x01a" + struct.pack("<5I", 22, 4, 2**32 - 1, 0, 0) + b"\0",
         "record a: not a valid .2bit file: the file is truncated"),
        (to_twobit({"a": "ACGT"})[:-1], "the file is truncated"),
    ],
)  # fmt: skip
def test_a_file_that_lies_is_refused(tmp_path, monkeypatch, content, message):
    path, pread = tmp_path / "g.2bit", os.pread
    path.write_bytes(content)

    def read(descriptor, n, place):
        assert n <= len(content)  # memory for n bytes is taken before they are read
        return pread(descriptor, n, place)

    monkeypatch.setattr(os, "pread", read)
    with pytest.raises(GenomeError) as error:
        TwoBit(path)
    assert message in str(error.value)


def test_contigs_that_share_bytes_are_refused(tmp_path):
    """Many names for one run of bases: a small file would take any memory."""
    content = bytearray(to_twobit({"a": "ACGT", "b": "ACGT"}))
    content[24:28] = content[18:22]
    path = tmp_path / "g.2bit"
    path.write_bytes(bytes(content))
    with pytest.raises(GenomeError, match="its bytes overlap another contig"):
        TwoBit(path)


def test_runs_of_n_in_disorder_are_refused(tmp_path):
    content = bytearray(to_twobit({"a": "NNANNACG"}))
    starts = content.index(struct.pack("<2I", 0, 3))
    content[starts : starts + 8] = struct.pack("<2I", 3, 0)
    path = tmp_path / "g.2bit"
    path.write_bytes(bytes(content))
    with pytest.raises(GenomeError, match="runs of N overlap or reach past the end"):
        TwoBit(path)
