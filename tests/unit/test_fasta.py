import gzip
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from findna.errors import FastaError, InputError
from findna.io.fasta import read_fasta, read_fastq
from findna.io.ids import IdSet
from findna.record import Record
from findna.sequence import decode

Write = Callable[..., Path]
FASTA = ">one first record\nACGT\nacgt\n\n>two\r\nGGNN\r\nRY\n"
FASTQ = "@r1 x\nACGT\n+\nIIII\n@r2\nGG\nCC\n+r2\n@@\n@+\n"


def texts(items: list[Record | FastaError]) -> list[tuple[str, str, str, int]]:
    return [(r.id, r.name, decode(r.codes), r.row) for r in items if isinstance(r, Record)]


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
def test_fasta_records_come_in_order(write: Write, how: str) -> None:
    found = list(read_fasta(write("a.fa", FASTA, how)))
    assert texts(found) == [("one", "first record", "ACGTACGT", 0), ("two", "", "GGNNNN", 1)]
    assert [record.n_iupac for record in found if isinstance(record, Record)] == [0, 2]


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
def test_fastq_records_come_in_order_wrapped_or_not(write: Write, how: str) -> None:
    found = list(read_fastq(write("a.fq", FASTQ, how)))
    assert texts(found) == [("r1", "x", "ACGT", 0), ("r2", "", "GGCC", 1)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_stdin_may_be_compressed(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pack(FASTA.encode()))))
    found = list(read_fasta("-"))
    assert len(texts(found)) == 2
    assert isinstance(found[0], Record)
    assert found[0].source == "-"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (">a\nAC\n>b\n>c\nGG\n", "line 3, record b: no bases"),
        (">a\nAC\n>b\nMKTAYIAKQR\n>c\nGG\n", "line 3, record b: 'I' at base 6 .* protein"),
        (">a\nAC\n>b\nMKTAYRAKHRWSVD\n>c\nGG\n", "line 3, record b: most letters .* protein"),
        (">a\nAC\n>a\nGG\n>c\nGG\n", "line 3, record a: duplicate id"),
        (">a\nAC\n>\nGG\n>c\nGG\n", "line 3: the header has no id"),
    ],
)
def test_a_record_at_fault_is_yielded_and_the_next_one_is_read(write: Write, text: str, reason: str) -> None:
    first, problem, last = read_fasta(write("a.fa", text))
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(problem, FastaError)
    assert problem.row == 1
    with pytest.raises(FastaError, match=f"FASTA file .*a.fa, {reason}"):
        raise problem


def test_a_masked_record_is_no_protein(write: Write) -> None:
    (record,) = read_fasta(write("a.fa", ">a\nACGT" + 20 * "X"))
    assert isinstance(record, Record)
    assert record.n_iupac == 20


def test_ids_must_differ_between_files_read_as_one(write: Write) -> None:
    path, ids = write("a.fa", ">a\nAC\n"), IdSet()
    assert isinstance(next(read_fasta(path, ids=ids)), Record)
    assert isinstance(next(read_fasta(path, ids=ids)), FastaError)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("ACGT\n>a\nAC\n", "line 1: text before"), (">a\nAC\0GT\n", "line 2: a NUL byte")],
)
def test_a_damaged_fasta_file_is_refused(write: Write, text: str, reason: str) -> None:
    with pytest.raises(FastaError, match=reason):
        list(read_fasta(write("a.fa", text)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("@a\nACGT\n+\nIII\n@b\nA\n+\nI\n", "line 1, record a: 3 quality values for 4 bases"),
        ("@a\nACGT\n+\nIIIII\n", "line 1, record a: 5 quality values for 4 bases"),
        ("@a\nACGT\n+\n", "truncated"),
        ("@a\nACGT\n", "truncated"),
        ("@a\nACGT\n@b\nAC\n+\nII\n", "line 3, record a: no '\\+' line"),
        ("@a\nACGT\n+\nIIII\nb\nAC\n", "line 5: a record must begin with '@'"),
    ],
)
def test_a_fastq_that_is_out_of_step_is_refused(write: Write, text: str, reason: str) -> None:
    with pytest.raises(FastaError, match=reason):
        list(read_fastq(write("a.fq", text)))


@pytest.mark.parametrize("how", ["gz", "bgzf"])
@pytest.mark.parametrize("n_cut", [1, 28, 40, 2000])
def test_a_cut_file_is_refused(write: Write, how: str, n_cut: int) -> None:
    text = "".join(f">{i}\n{i:020b}\n" for i in range(9000)).replace("0", "A").replace("1", "C")
    data = write("a.fa.gz", text, how).read_bytes()
    assert len(data) > 4000
    with pytest.raises(InputError, match="truncated"):
        list(read_fasta(write("cut.fa.gz", data[:-n_cut])))


def test_a_damaged_gzip_is_refused(write: Write) -> None:
    data = bytearray(write("a.fa.gz", FASTA * 200, "gz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FastaError, match=r"damaged|cut"):
        list(read_fasta(write("b.fa.gz", bytes(data))))


def test_a_line_of_any_length_is_read(write: Write) -> None:
    (record,) = read_fasta(write("a.fa", ">a\n" + 500_000 * "ACGT"))
    assert isinstance(record, Record)
    assert len(record.codes) == 2_000_000


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FastaError, match=r"nowhere.fa: no such file"):
        list(read_fasta("nowhere.fa"))


@pytest.mark.parametrize("text", [">a\rACGT\r>b\rGG\r", ">a\nACGT\n>b\rGG\n", ">a\nAC\n>b\nGG\r"])
def test_line_ends_that_are_bare_carriage_returns_lose_no_record(write: Write, text: str) -> None:
    line = 1 + text.partition("\r")[0].count("\n")
    with pytest.raises(FastaError, match=rf"a.fa, line {line}: a carriage return .* cat .*a.fa \| tr '.r' '.n' >"):
        list(read_fasta(write("a.fa", text)))


def test_crlf_may_lie_across_two_pieces_of_a_file(write: Write) -> None:
    text = ">a\r\n" + "A" * ((1 << 17) - 5) + "\r\nCC\r\n>b\r\nGG\r\n"
    assert text[(1 << 17) - 1 : (1 << 17) + 1] == "\r\n"
    assert [item.id for item in read_fasta(write("a.fa", text)) if isinstance(item, Record)] == ["a", "b"]


def test_white_space_holds_no_bases_and_ends_an_id(write: Write) -> None:
    (record,) = read_fasta(write("a.fa", ">a\vb \tc\td\nAC GT \n\tGG\v\n"))
    assert isinstance(record, Record)
    assert (record.id, record.name, decode(record.codes)) == ("a", "b  c d", "ACGTGG")
    (read,) = read_fastq(write("a.fq", "@a\nAC GT \n+\nIIII \n"))
    assert isinstance(read, Record)
    assert decode(read.codes) == "ACGT"


@pytest.mark.parametrize("comment", ["{}:N:0:ATC", "{}:Y:18:", None])
def test_mates_have_ids_of_their_own_and_none_is_lost(write: Write, comment: str | None) -> None:
    def fastq(mate: int) -> str:
        return "".join(f"@r{i} {comment.format(mate) if comment else ''}\nACGT\n+\nIIII\n" for i in range(3))

    ids = IdSet()
    found = [*read_fastq(write("1.fq", fastq(1)), ids=ids), *read_fastq(write("2.fq", fastq(2)), ids=ids)]
    mates = ("/1", "/2") if comment else ("", "_2")
    assert [item.id for item in found if isinstance(item, Record)] == [
        f"r{i}{mate}" for mate in mates for i in range(3)
    ]


@pytest.mark.parametrize("end", ["\x1c", "\x85", "\u2028", "\u2029"])
def test_an_id_with_a_line_separator_is_a_fault(write: Write, end: str) -> None:
    good, problem = read_fasta(write("a.fa", f">a\nAC\n>b{end}c\nAC\n"))
    assert isinstance(good, Record)
    assert isinstance(problem, FastaError)
    assert "contains a line-end character" in str(problem)
