import io
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from findna.errors import BedError, ConfigError, FastaError, InputError, RegionError
from findna.io.check import check_inputs
from findna.io.ids import IdFile, IdSet
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.io.source import TooManyN
from findna.record import Record
from findna.sequence import decode, encode

Write = Callable[..., Path]


@pytest.fixture
def options(genome_path: Path) -> Callable[..., InputOptions]:
    def options(**changes: Any) -> InputOptions:
        return InputOptions(genome=genome_path, **changes)

    return options


def run(options: InputOptions, *inputs: Path | str) -> list[Record | InputError]:
    return list(read_records([str(text) for text in inputs], options))


def ids(items: list[Record | InputError]) -> list[str]:
    return [item.id if isinstance(item, Record) else type(item).__name__ for item in items]


def only(items: list[Record | InputError]) -> Record:
    (item,) = items
    assert isinstance(item, Record)
    return item


def test_inputs_of_different_kinds_come_one_after_the_other(
    write: Write, options: Callable[..., InputOptions], contigs: dict[str, str]
) -> None:
    bed = write("a.bed", "chr1\t5\t9\tx\t0\t-\nchr2\t1\t4\n")
    fasta = write("a.fa", ">one\nAC\n>two\nGG\n")
    found = run(options(), fasta, "chr1:1,001-1,003", bed, "HLA:01")
    records = [item for item in found if isinstance(item, Record)]
    assert ids(found) == [
        *("one", "two", "chr1:1000-1003(.)", "chr1:5-9(-)", "chr2:1-4(.)", "HLA:01:0-60(.)"),
    ]
    assert [record.row for record in records] == [0, 1, 0, 0, 1, 0]
    assert [record.source for record in records[1:4]] == [str(fasta), "chr1:1,001-1,003", str(bed)]
    assert decode(records[2].codes) == decode(encode(contigs["chr1"][1000:1003])[0])
    assert records[3][5:10] == ("x", "chr1", 5, 9, "-")


def test_a_repeated_interval_gets_a_number(write: Write, options: Callable[..., InputOptions]) -> None:
    bed = write("a.bed", "chr1\t5\t9\n" * 3)
    assert ids(run(options(), bed, bed))[2:5] == [f"chr1:5-9(.)_{n}" for n in (3, 4, 5)]


def test_a_fasta_id_that_comes_again_in_another_file_is_refused(write: Write) -> None:
    path = write("a.fa", ">a\nAC\n")
    assert ids(run(InputOptions(), path, path)) == ["a", "FastaError"]


def test_records_at_fault_stand_in_their_place(write: Write, options: Callable[..., InputOptions]) -> None:
    bed = write("a.bed", "chr1\t1\t2\n1\t1\t2\nchr1\t9\t2\nchr2\t0\t62\nchr1\t2\t3\n")
    found = run(options(), bed)
    assert ids(found) == ["chr1:1-2(.)", "MissingContig", "BedError", "BedError", "chr1:2-3(.)"]
    assert [item.row for item in found] == [0, 1, 2, 3, 4]
    assert str(found[1]).startswith(
        f"BED file {bed}, line 2: contig '1' is not in genome.fa (did you mean 'chr1'?); `sed "
    )
    assert isinstance(found[3], BedError)
    assert found[3].record == "chr2:0-62(.)"


def test_size_recentres_a_region_and_one_that_leaves_its_contig_is_at_fault(
    write: Write, options: Callable[..., InputOptions]
) -> None:
    bed = write("a.bed", "chr1\t100\t200\nchr1\t0\t20\n")
    assert ids(run(options(size=50), bed)) == ["chr1:125-175(.)", "BedError"]


def test_a_narrowpeak_is_centered_on_its_summit(write: Write, options: Callable[..., InputOptions]) -> None:
    peak = "chr1\t100\t200\tp\t0\t.\t1.5\t-1\t-1\t{}\n"
    path = write("a.np", peak.format(10) + peak.format(-1))
    found = run(options(size=20, center="summit"), path)
    assert ids(found) == ["chr1:100-120(.)", "BedError"]
    assert "no summit" in str(found[1])


def test_split_joins_blocks_and_keeps_the_id_of_the_region(
    write: Write, options: Callable[..., InputOptions], contigs: dict[str, str]
) -> None:
    bed = write("a.bed", "chr1\t100\t200\tt\t0\t+\t100\t200\t0\t2\t10,20,\t0,80,\n")
    record = only(run(options(split=True), bed))
    assert record.id == "chr1:100-200(+)"
    text = contigs["chr1"]
    assert decode(record.codes) == decode(encode(text[100:110] + text[180:200])[0])
    assert check_inputs([str(bed)], options(split=True)).n_bases == 30


@pytest.mark.parametrize(("strand", "kept", "id"), [("bed", "-", "(-)"), ("both", "-", "(-)"), ("+", "+", "(+)")])
def test_a_strand_can_be_chosen(
    write: Write, options: Callable[..., InputOptions], strand: str, kept: str, id: str
) -> None:
    record = only(run(options(strand=strand), write("a.bed", "chr1\t5\t9\tx\t0\t-\n")))
    assert record.strand == kept
    assert record.id == f"chr1:5-9{id}"


def test_a_fasta_record_can_be_reversed(write: Write) -> None:
    record = only(run(InputOptions(strand="-"), write("a.fa", ">a\nAACG\n")))
    assert (decode(record.codes), record.strand, record.id) == ("CGTT", "-", "a")


def test_a_record_with_too_many_n_is_left_out_by_name(write: Write) -> None:
    found = run(InputOptions(max_n=0.5), write("a.fa", ">a\nNNAC\n>b\nNNNC\n>c\nRYAA\n"))
    assert ids(found) == ["a", "TooManyN", "c"]
    assert isinstance(found[1], TooManyN)
    assert not found[1].is_fatal
    assert found[1].reason == "75.0% of the bases are N, more than 50.0%"


def test_a_file_is_read_though_its_name_looks_like_a_region(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("chr1:1-5", ">a\nAC\n")
    monkeypatch.chdir(tmp_path)
    assert ids(run(InputOptions(), "chr1:1-5")) == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "error", "reason"),
    [
        ("a.bed", "# nothing\n", BedError, "it holds no records"),
        ("a.bed", "", InputError, "the file is empty"),
        ("a.fa", "ACGT\n", FastaError, "text before the first"),
    ],
)
def test_a_file_without_records_is_refused(
    write: Write,
    options: Callable[..., InputOptions],
    name: str,
    text: str,
    error: type[InputError],
    reason: str,
) -> None:
    path = write(name, text)
    with pytest.raises(error, match=reason):
        run(options(), path)


def test_a_missing_input_is_named(options: Callable[..., InputOptions]) -> None:
    with pytest.raises(InputError, match=r"input nowhere.bed: no such file"):
        run(options(), "nowhere.bed")
    with pytest.raises(InputError, match="no such file"):
        check_inputs(["nowhere.bed"], options())


def test_a_region_string_that_does_not_fit_is_that_records_fault(
    options: Callable[..., InputOptions],
) -> None:
    found = run(options(), "chr1:3000-4000", "chr9:1-5", "chr1:5-1")
    assert [type(item) for item in found] == 3 * [RegionError]
    assert str(found[0]) == "region chr1:3000-4000: end 4,000 is past the end of chr1 (3,210 bases)"
    assert check_inputs(["chr1:3000-4000", "chr1:1-5"], options()).n_problems == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": 5, "split": True},
        {"center": "summit"},
        {"center": "left", "size": 5},
        {"max_n": 1.5},
        {"strand": "x"},
        {"in_format": "sam"},
    ],
)
def test_options_that_contradict_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InputOptions(**changes)


def test_options_that_do_not_apply_are_refused(write: Write, options: Callable[..., InputOptions]) -> None:
    fasta, bed = write("a.fa", ">a\nAC\n"), write("a.bed", "chr1\t1\t2\n")
    for changes, path in (({"size": 5}, fasta), ({"region": "chr1"}, bed), ({"min_mapq": 5}, bed)):
        with pytest.raises(ConfigError):
            run(options(**changes), path)
    with pytest.raises(ConfigError, match="regions need a genome"):
        run(InputOptions(), bed)


def test_an_id_of_a_table_with_a_tab_or_a_line_end_is_a_fault(write: Write) -> None:
    path = write("a.csv", 'id,sequence\na,AC\n"b\nc",AC\nd\x85e,AC\n"f\tg",AC\nh,"A\nC"\n')
    found = run(InputOptions(), path)
    assert ids(found) == ["a", "TableError", "TableError", "TableError", "h"]
    assert str(found[1]).endswith("a.csv, line 4: the id 'b\\nc' contains a tab or a line-end character")
    assert isinstance(found[4], Record)
    assert decode(found[4].codes) == "AC"


def test_a_format_can_be_forced(write: Write, options: Callable[..., InputOptions]) -> None:
    path = write("a.txt", "chr1\t1\n")
    assert "needs 3" in str(run(options(in_format="bed"), path)[0])
    with pytest.raises(FastaError, match="text before"):
        run(options(in_format="fasta"), path)
    with pytest.raises(InputError, match="neither BAM nor CRAM"):
        run(options(in_format="bam"), path)
    assert ids(run(options(in_format="region"), "chr2")) == ["chr2:0-61(.)"]
    with pytest.raises(ConfigError, match=r"stdin .* may be a BED file"):
        run(options(in_format="region"), "-")


def test_stdin_is_read_once_and_never_beforehand(
    options: Callable[..., InputOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"chr1\t1\t2\nchr7\t1\t2\n")))
    assert check_inputs(["-"], options()).unchecked == ["-"]
    found = run(options(), "-")
    assert ids(found) == ["chr1:1-2(.)", "MissingContig"]
    assert str(found[1]).startswith("BED file stdin, line 2: contig 'chr7'")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"chr1\t1\t2\n")))
    with pytest.raises(ConfigError, match="only once"):
        run(options(), "-", "-")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b">a\nAC\n")))
    with pytest.raises(ConfigError, match=r"the genome .*genome\.fa is not used: no input has regions"):
        run(options(), "-")


def test_a_check_counts_all_problems_and_shows_the_first_ten(
    write: Write, options: Callable[..., InputOptions]
) -> None:
    bed = write("a.bed", "chr1\t1\t2\n" + "2\t1\t2\n" * 20 + "chr2\t60\t70\nchr1\tx\t2\nchr1\t5\t105\n")
    summary = check_inputs([str(bed)], options(), n_windows=lambda n: -(-n // 10))
    assert (summary.n_records, summary.n_bases, summary.n_windows, summary.n_problems) == (24, 101, 11, 22)
    assert summary.missing_contigs == {"2": 20}
    assert summary.problems == {"contig is not in the genome": 20, "does not fit": 1, "cannot be used": 1}
    lines = str(summary.error()).splitlines()
    assert lines[0].startswith(
        f"BED file {bed}, line 2: contig '2' is not in genome.fa (did you mean 'chr2'?); `sed -E "
    )
    assert lines[0].endswith(" adds chr (20 of 24 records affected)")
    assert lines[1:] == ["  the same in lines 3, 4, 5, 6, 7, 8, 9, 10, 11", "  and 12 more"]


@pytest.mark.parametrize(
    ("name", "bad", "n_bad", "is_hinted"),
    [
        ("a.bed", "chr1\t5\t4\n", 1, True),
        ("a.bed", "chr1\t5\t4\n", 2, False),
        ("a.bed", "2\t1\t2\n", 2, False),
        ("a.fa", ">one\nGG\n", 1, True),
        ("a.fa", ">one\nGG\n", 9, False),
        ("a.fa", ">p{n}\nMKLWE\n", 9, False),
        ("a.csv", "one,GG\n", 9, False),
        ("a.csv", "p{n},MKLWE\n", 9, False),
    ],
)
def test_skipping_is_a_hint_only_where_few_records_have_the_fault(
    write: Write, options: Callable[..., InputOptions], name: str, bad: str, n_bad: int, is_hinted: bool
) -> None:
    head, good = {
        "a.bed": ("", "chr1\t{n}\t30\n"),
        "a.fa": (">one\nGG\n", ">{n}\nAC\n"),
        "a.csv": ("id,sequence\none,GG\n", "{n},AC\n"),
    }[name]
    text = head + "".join(good.format(n=n) for n in range(9)) + "".join(bad.format(n=n) for n in range(n_bad))
    chosen = options() if name == "a.bed" else InputOptions()
    wrong = check_inputs([str(write(name, text))], chosen, is_full=True).error()
    assert wrong is not None
    assert ("on_error=skip" in str(wrong)) == is_hinted


def test_a_check_without_problems_has_no_error(write: Write, options: Callable[..., InputOptions]) -> None:
    bed, fasta = write("a.bed", "chr1\t1\t2\n"), write("a.fa", ">a\nACG\n>b\n\n")
    summary = check_inputs([str(bed), str(fasta)], options())
    assert summary.error() is None
    assert summary.unchecked == [str(fasta)]
    full = check_inputs([str(bed), str(fasta)], options(), is_full=True)
    assert (full.n_records, full.n_bases, full.n_problems, full.unchecked) == (3, 4, 1, [])


def test_a_check_does_not_use_up_ids(write: Write, options: Callable[..., InputOptions]) -> None:
    bed = write("a.bed", "chr1\t1\t2\n")
    check_inputs([str(bed)], options())
    assert ids(run(options(), bed)) == ["chr1:1-2(.)"]


def test_ids_stay_unique_among_many_and_take_few_bytes() -> None:
    used = IdSet()
    made = [used.unique(f"id{i % 40_000}") for i in range(100_000)]
    assert len(set(made)) == 100_000
    assert made[40_000:40_002] == ["id0_2", "id1_2"]
    assert made[80_001] == "id1_3"
    assert len(pickle.dumps(used)) < 16 * 100_000


def test_a_number_that_a_real_id_already_has_is_passed_over() -> None:
    used = IdSet()
    assert [used.unique(id) for id in ("a_2", "a", "a", "a", "a_2")] == ["a_2", "a", "a_3", "a_4", "a_2_2"]


def test_memory_does_not_grow_with_rows_but_for_16_bytes_each(
    write: Write, options: Callable[..., InputOptions]
) -> None:
    peaks = []
    for n_rows in (10_000, 30_000):
        rows = (f"chr1\t{i % 3000}\t{i % 3000 + 1 + i // 3000}\n" for i in range(n_rows))
        bed = write("a.bed", "".join(rows))
        tracemalloc.start()
        for _ in read_records([str(bed)], options()):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 20_000 * 16


def test_a_file_of_ids_tells_which_repeat_across_its_runs():
    with IdFile(n_sorted=8) as file:
        for id in (*map(str, range(100)), "3", "50", "3"):
            file.add(id)
        assert file.repeated() == {hash("3"), hash("50")}
