import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from findna.errors import InputError
from findna.io.compressed import ByteStream
from findna.io.fasta import read_fasta
from findna.io.sniff import sniff

Write = Callable[..., Path]
PEAK = "chr1\t1\t9\tp\t0\t.\t1.5\t-1\t-1\t4\n"
KNOWN = [
    (">a\nAC\n", "fasta"),
    ("\n>a\nAC\n", "fasta"),
    ("@a\nAC\n+\nII\n", "fastq"),
    ("chr1\t1\t2\n", "bed"),
    ("chr1 1 2\n", "bed"),
    ("# x\ntrack name=a\n\nchr1\t1\t2\tx\n", "bed"),
    ("chr1\tx\t2\n", "bed"),
    ("chr1\t5\n", "bed"),
    (PEAK, "narrowpeak"),
    ("track type=narrowPeak\nchr1\t1\t9\n", "narrowpeak"),
    ("chr1\t100\t200\tt\t0\t-\t100\t200\t0\t1\t100\t0\n", "bed"),
]


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
@pytest.mark.parametrize(("text", "kind"), KNOWN)
def test_the_content_decides_whatever_the_name(write: Write, text: str, kind: str, how: str) -> None:
    with ByteStream(write("input.dat", text, how)) as stream:
        assert sniff(stream) == kind


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_stdin_is_sniffed_without_being_consumed(
    pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pack(b">a\nAC\n>b\nGT\n"))))
    stream = ByteStream("-")
    assert sniff(stream) == "fasta"
    assert len(list(read_fasta(stream))) == 2


def test_a_broken_first_row_goes_to_the_reader_that_the_name_suggests(write: Write) -> None:
    for name, kind in (("a.bed", "bed"), ("a.bed.gz", "bed"), ("a.fa", "fasta")):
        with ByteStream(write(name, "broken\n")) as stream:
            assert sniff(stream) == kind


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (b"hello world\n", "in_format must be one of fasta"),
        (b"\nACGTACGT\r\nACGG\r\n", "input: one sequence per line: add the header line `sequence`"),
        (b"@HD\tVN:1.6\n", "samtools view -b"),
        (b"r1\t99\tchr1\t10\t60\t5M\t=\t1\t1\tACGTA\t*\n", "samtools view -b"),
        (b"BCF\2\2", "this is BCF: convert it with bcftools view"),
        (b"\x89HDF\r\n\x1a\n", "this is HDF5"),
        (b"BZh91AY", "bunzip2"),
        (b"PK\x03\x04", "zip archive"),
        (b"\x43\x27\x41\x1a\0\0\0\0", "genome=FILE"),
    ],
)
def test_what_findna_does_not_read_is_named(write: Write, data: bytes, reason: str) -> None:
    with ByteStream(write("input", data)) as stream, pytest.raises(InputError, match=reason):
        sniff(stream)


def test_closed_stdin_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="stdin: is closed"):
        ByteStream("-")


def test_a_directory_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give the files in it"):
        ByteStream(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("##maf version=1\na score=0\n", "this is MAF .multiple"),
        ("Hugo_Symbol\tChromosome\tStart_Position\n", "this is MAF .mutations"),
        ("chr1,1,5\n", "separated by commas"),
        ("chrom\tstart\tend\nchr1\t1\t5\n", "this is a table with a header"),
        ("chr,start,end\nchr1,1,5\n", "separated by commas, and the first line is a header"),
        ("chr1\t1\t5\t+\tpeak\n", "this is an interval_list, whose positions are 1-based"),
        ("@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:9\nchr1\t1\t5\t+\tpeak\n", "line 3: this is an interval_list"),
        ("# made by hand\nchr1,1,5\n", "line 2: columns are separated by commas"),
        ("id;sequence\na;ACGT\n", "line 1: columns are separated by semicolons: save the table with commas or tabs"),
        ('"";"dna"\n"1";"ACGT"\n', "line 1: columns are separated by semicolons"),
        ("chrom;start;end\nchr1;1;5\n", "line 1: columns are separated by semicolons"),
    ],
)
@pytest.mark.parametrize("name", ["input", "a.bed"])
def test_what_only_looks_like_bed_is_named(write: Write, text: str, reason: str, name: str) -> None:
    with ByteStream(write(name, text)) as stream, pytest.raises(InputError, match=reason):
        sniff(stream)


@pytest.mark.parametrize("text", ["chr1,1,5\nchr2,7,9\n", "chr,start,end\nchr1,1,5\nchr2,7,9\n"])
@pytest.mark.parametrize("how", ["plain", "gz"])
def test_the_remedy_for_commas_makes_a_bed_file_as_printed(write: Write, text: str, how: str) -> None:
    path = write("my peaks.bed", text, how)
    with ByteStream(path) as stream, pytest.raises(InputError, match=r"> tab\.bed") as error:
        sniff(stream)
    command = re.search(r"convert it with (.*> tab\.bed)", str(error.value))
    assert command is not None
    subprocess.run(["bash", "-c", command[1]], cwd=path.parent, check=True)
    assert (path.parent / "tab.bed").read_text() == "chr1\t1\t5\nchr2\t7\t9\n"


@pytest.mark.parametrize(
    ("content", "first"), [(b"chr1,1,5\n", ""), (gzip.compress(b"chr1,1,5\n"), "gunzip -c | ")], ids=["plain", "gz"]
)
@pytest.mark.parametrize("is_stdin", [True, False], ids=["stdin", "pipe"])
def test_the_remedy_for_a_pipe_is_a_filter_before_findna(
    content: bytes, first: str, is_stdin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as sink:
        sink.write(content)
    with os.fdopen(read_end, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
        with ByteStream("-" if is_stdin else f"/dev/fd/{read_end}") as stream, pytest.raises(InputError) as error:
            sniff(stream)
    assert f"pipe it through {first}tr ',' '\\t' first" in str(error.value)


@pytest.mark.parametrize("text", [">chr start,10,20 end\nACGT\n", "@chrom start\nAC\n+\nII\n", "chr1\t1\t5\ta,1,2\n"])
def test_what_is_none_of_those_is_read(write: Write, text: str) -> None:
    with ByteStream(write("input", text)) as stream:
        assert sniff(stream) in ("fasta", "fastq", "bed")


@pytest.mark.parametrize("where", [12, -6])
def test_a_gzip_with_a_flipped_bit_is_damaged_and_not_empty(write: Write, where: int) -> None:
    data = bytearray(gzip.compress(b">a\nACGT\n>b\nGGCC\n" * 3))
    data[where] ^= 0x10
    with ByteStream(write("a.fa.gz", bytes(data))) as stream, pytest.raises(InputError, match="damaged after line"):
        [sniff(stream), *stream.lines()]


def test_an_empty_gzip_is_empty(write: Write) -> None:
    with (
        ByteStream(write("a.fa.gz", gzip.compress(b""))) as stream,
        pytest.raises(InputError, match="the file is empty"),
    ):
        sniff(stream)
