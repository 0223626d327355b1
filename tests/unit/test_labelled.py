"""Labelled sequences: what is read, every fault with its line, and splits that keep duplicates together."""

from pathlib import Path

import numpy as np
import pytest

from findna.data import labelled, labelled_rows
from findna.data.labelled import read_labelled, split_off
from findna.data.labels import read_class_names
from findna.errors import ConfigError, FastaError, FindnaWarning, InputError, TableError
from findna.recipes import FinetuneConfig
from findna.sequence import decode, encode, reverse_complement
from findna.train.plan import TaskPlan


def texts(labelled):
    return [decode(labelled.corpus[i]) for i in range(len(labelled))]


@pytest.mark.parametrize("how", ["plain", "gz", "bgzf"])
def test_a_table_is_read_in_order(write, how):
    path = write("t.csv.gz", "sequence,label\nACGT,0\n\nggc,1\nTTNU,0\n", how)
    read = read_labelled([path])
    assert texts(read) == ["ACGT", "GGC", "TTNT"]
    assert read.labels.tolist() == [0, 1, 0]
    assert (read.objective, read.classes, read.ids) == ("classification", ("0", "1"), ("2", "4", "5"))
    assert read.lines.tolist() == [2, 4, 5]
    assert list(read.sources) == [str(path)]
    assert len(next(iter(read.sources.values()))) == 64


def test_columns_are_found_by_name_in_any_case_and_order(write):
    path = write("t.tsv", "ID\tClass\tnote\tSeq\nx\tb\t-\tACGT\ny\ta\t-\tCCGT\n")
    read = read_labelled([path])
    assert (read.ids, read.classes, read.labels.tolist()) == (("x", "y"), ("a", "b"), [1, 0])
    named = read_labelled([path], sequence_column="seq", label_column="note", classes=["-", "+"])
    assert named.labels.tolist() == [0, 0]


def test_numbers_are_sorted_as_numbers(write):
    path = write("t.csv", "sequence,label\nA,10\nC,9\nG,1\n")
    assert read_labelled([path]).classes == ("1", "9", "10")


def test_several_labels_make_a_multilabel_task(write):
    path = write("t.csv", "sequence,label\nA,x;y\nC,\nG,y;z;y\n")
    read = read_labelled([path])
    assert (read.objective, read.classes) == ("multilabel", ("x", "y", "z"))
    assert read.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert read.labels.dtype == np.float32


def test_numbers_with_a_fraction_make_a_regression_and_whole_ones_when_asked(write):
    path = write("t.csv", "sequence,target\nA,1.5\nC,-2e1\n")
    read = read_labelled([path])
    assert (read.objective, read.classes, read.labels.tolist()) == ("regression", (), [1.5, -20.0])
    whole = write("w.csv", "sequence,target\nA,1\nC,2\n")
    assert read_labelled([whole]).objective == "classification"
    assert read_labelled([whole], objective="regression").labels.tolist() == [1.0, 2.0]


def test_a_fasta_a_class_and_a_bed_a_class(write, genome_path, contigs):
    pos, neg = write("pos.fa.gz", ">a\nACGT\n>b\nCC\n", "gz"), write("neg.fa", ">a\nTTT\n")
    read = read_labelled([pos, neg])
    assert (read.classes, read.labels.tolist(), read.ids) == (("neg", "pos"), [1, 1, 0], ("a", "b", "a"))
    assert read.lines.tolist() == [1, 2, 1]
    peaks, others = write("peaks.bed", "chr1\t0\t9\n"), write("others.bed", "chr2\t5\t8\t.\t0\t-\n")
    read = read_labelled([peaks, others], genome=genome_path)
    assert read.classes == ("others", "peaks")
    other = reverse_complement(encode(contigs["chr2"][5:8])[0])
    assert texts(read) == [contigs["chr1"][:9].upper(), decode(other)]


def test_class_names_replace_labels(write):
    train = write("t.csv", "sequence,label\nA,0\nC,1\nG,0\n")
    read = read_labelled([train], class_names=["no", "yes"])
    assert read.classes == ("no", "yes")
    table = read_class_names(str(write("names.tsv", "label\tname\tmore\n1\tyes\tx\n0\tno\n")))
    assert table == {"1": "yes", "0": "no"}
    assert read_labelled([train], class_names=table).classes == ("no", "yes")
    valid = write("v.csv", "sequence,label\nA,1\nC,yes\n")
    again = read_labelled([valid], classes=read.classes, class_names=read.names, objective="classification")
    assert again.labels.tolist() == [1, 1]
    with pytest.raises(ConfigError, match="3 class names for 2 labels: 0, 1"):
        read_labelled([train], class_names=["a", "b", "c"])
    with pytest.raises(TableError, match="line 2: '0' is a duplicate"):
        read_class_names(str(write("twice.tsv", "0\ta\n0\tb\n")))
    with pytest.raises(TableError, match="line 2: '0' is a duplicate"):
        read_class_names(str(write("spaces.tsv", "0\ta\n0 \tb\n")))
    with pytest.raises(TableError, match="line 1: no name"):
        read_class_names(str(write("none.tsv", "0\n")))
    with pytest.raises(ConfigError, match="class_names must be a file, or a comma-separated list"):
        read_class_names("one")


FAULTS = {
    "no header": ("ACGTACGTACGT,0\nCCGTACGTACGT,1\n", "line 1: no header: this line holds a sequence"),
    "no sequence column": (
        "bases,label\nA,0\n",
        "no column sequence or seq or dna; there are bases, label; sequence_column=NAME names another",
    ),
    "no label column": ("sequence,y\nA,0\n", "no column label or labels or class or target; there are sequence, y"),
    "one column": ("sequence\nACGT\n", "line 1: no column label or labels or class or target"),
    "a line end in a label": ('sequence,label\nA,0\nC,"1\n2"\n', "t.csv: the class '1.n2' is not printable text"),
    "semicolons": ("sequence;label\nA;1\n", "line 1: columns are separated by semicolons: save the table with commas"),
    "spaces": ("sequence label\nA 1\n", "line 1: columns are separated by spaces: save the table with commas or tabs"),
    "a list": ("ACGTACGT\nCCGTACGT\n", "line 1: no header: this line holds a sequence"),
    "mixed delimiters": (
        "sequence,label\nA,0\nC\t1\n",
        "line 3: 1 column where the header has 2: this row is separated by tabs, the header is not",
    ),
    "ragged": ("sequence,label\nA,0\nC,1,2\nG\n", r"line 3: 3 columns where the header has 2 \(2 of 3 rows"),
    "empty sequence": ("sequence,label\nA,0\n ,1\n", "line 3: column sequence: the sequence is empty"),
    "no DNA": ("sequence,label\nA,0\nAC!T,1\n", "line 3: column sequence: '!' at base 3 is not a nucleotide code"),
    "protein": ("sequence,label\nA,0\nMKVLAARRGD,1\n", "line 3: column sequence: .*is it protein"),
    "protein of codes": ("sequence,label\nA,0\nMKVSWRDHHK,1\n", "line 3: column sequence: most letters.*is it protein"),
    "one class": ("sequence,label\nA,0\nC,0\n", "the only class is 0: there must be at least 2"),
    "empty label": ("sequence,label\nA,0\nC,1\nG,\n", "line 4: the label is empty"),
    "blank lines first": ("\n \nsequence,label\nA,0\nC,1\nG,\n", "line 6: the label is empty"),
    "no rows": ("sequence,label\n", "a header and no rows"),
    "empty": ("", "the file is empty"),
    "blank": ("\n \n", "the file is empty"),
    "NUL": ("sequence,label\nA,\0\n", "line 2: a NUL byte"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_table_is_refused_with_its_line(write, name):
    text, reason = FAULTS[name]
    with pytest.raises(TableError, match=reason):
        read_labelled([write("t.csv", text)])


def test_all_faults_are_counted_and_the_first_ten_shown(write):
    path = write("t.csv", "sequence,label\nA,0\nC,1\n" + "X!,0\n" * 12)
    with pytest.raises(TableError) as error:
        read_labelled([path])
    lines = str(error.value).splitlines()
    assert "line 4: column sequence: '!' at base 2" in lines[0]
    assert lines[0].endswith("(is it protein? 12 of 14 rows cannot be used)")
    assert lines[1:] == ["  the same in lines 5, 6, 7, 8, 9, 10, 11, 12, 13", "  and 2 more"]


def test_a_cut_gzip_is_an_error(write):
    path = write("t.csv.gz", "sequence,label\n" + "ACGTTGCA,1\nACGTTGCC,0\n" * 500, "gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(TableError, match="truncated"):
        read_labelled([path])


def test_a_regression_takes_finite_numbers_alone(write):
    path = write("t.csv", "sequence,label\nA,0.5\nC,high\nG,nan\n")
    with pytest.raises(TableError, match=r"line 3: label 'high' is not a finite number.*\(2 of 3 rows"):
        read_labelled([path], objective="regression")


@pytest.mark.parametrize("other", ["NA", "nan", ""])
def test_a_word_among_measured_values_does_not_make_them_classes(write, other):
    path = write("t.csv", f"sequence,label\nA,0.5\nC,{other}\nG,0.25\nT,1\n")
    with pytest.raises(TableError, match=rf"line 3: label '{other}' is not a finite number, as a regression needs;"):
        read_labelled([path])
    with pytest.raises(TableError, match=r"line 3: the label is (missing|empty)"):
        read_labelled([path], objective="classification")


def test_a_number_among_names_is_a_class(write):
    path = write("t.csv", "sequence,label\nA,1.5\nC,wild\nG,knockout\n")
    assert read_labelled([path]).classes == ("1.5", "knockout", "wild")


def test_a_class_that_training_lacks_is_an_error_with_its_lines(write):
    path = write("v.csv", "sequence,label\nA,0\nC,2\nG,3\n")
    reason = r"v\.csv, line 3: class 2 is not in the training split, which has 0, 1 \(2 of 3 rows.*\n  line 4: class 3"
    with pytest.raises(TableError, match=reason):
        read_labelled([path], classes=["0", "1"], objective="classification")
    only_one = write("one.csv", "sequence,label\nA,1\n")
    assert read_labelled([only_one], classes=["0", "1"]).labels.tolist() == [1]


def test_faults_of_several_files_name_theirs(write):
    good, bad = write("a.csv", "sequence,label\nA,0\nC,1\n"), write("b.csv", "sequence,label\nA,0\n,1\n")
    assert len(read_labelled([good, good])) == 4
    with pytest.raises(TableError, match=r"b\.csv, line 3: .*\(1 of 2 rows"):
        read_labelled([good, bad])


def test_files_that_do_not_go_together_are_refused(write):
    table, fasta = write("t.csv", "sequence,label\nA,0\nC,1\n"), write("p.fa", ">a\nA\n")
    with pytest.raises(ConfigError, match="not both"):
        read_labelled([table, fasta])
    with pytest.raises(TableError, match="the only class is p"):
        read_labelled([fasta])
    with pytest.raises(ConfigError, match=r"p\.fa is named twice; each file is one class"):
        read_labelled([fasta, fasta])
    with pytest.raises(ConfigError, match="is a classification, not regression"):
        read_labelled([fasta], objective="regression")
    with pytest.raises(ConfigError, match="objective must be one of"):
        read_labelled([table], objective="ranking")
    with pytest.raises(ConfigError, match="give a file"):
        read_labelled([])
    with pytest.raises(FastaError, match=r"no bases \(1 of 2 records cannot be used\)"):
        read_labelled([write("q.fa", ">a\n>b\nA\n"), fasta])


def make(write, n, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = [f"{decode(rng.integers(0, 4, 12, dtype=np.uint8))},{i % n_classes}" for i in range(n)]
    return read_labelled([write("many.csv", "sequence,label\n" + "\n".join(rows) + "\n")])


def test_a_split_is_stratified_and_repeatable(write):
    labelled = make(write, 300, 3)
    train, valid = split_off(labelled, fraction=0.2, seed=1)
    assert len(train) + len(valid) == 300
    assert np.bincount(valid.labels).tolist() == [20, 20, 20]
    assert set(train.lines) | set(valid.lines) == set(labelled.lines)
    assert (np.diff(valid.lines) > 0).all()
    again = split_off(labelled, fraction=0.2, seed=1)[1]
    assert again.lines.tolist() == valid.lines.tolist()
    assert split_off(labelled, fraction=0.2, seed=2)[1].lines.tolist() != valid.lines.tolist()


def test_identical_sequences_and_reverse_complements_stay_on_one_side(write):
    rng = np.random.default_rng(5)
    rows = []
    for i in range(60):
        codes = rng.integers(0, 4, 15, dtype=np.uint8)
        rows += [f"{decode(codes)},{i % 2}", f"{decode(reverse_complement(codes))},{i % 2}", f"{decode(codes)},{i % 2}"]
    train, valid = split_off(
        read_labelled([write("t.csv", "sequence,label\n" + "\n".join(rows) + "\n")]), fraction=0.3, seed=0
    )
    both = set(texts(valid)) | {decode(reverse_complement(encode(text)[0])) for text in texts(valid)}
    assert not both & set(texts(train))
    assert len(valid) in range(48, 61)


def test_too_few_sequences_cannot_be_split(write):
    path = write("t.csv", "sequence,label\nA,0\nT,0\nC,1\nG,1\n")  # A and T, C and G: two different sequences
    with pytest.raises(InputError, match="2 different sequences are too few"):
        split_off(read_labelled([path]), fraction=0.5, seed=0)
    with pytest.raises(ConfigError, match="valid_fraction must lie between 0 and 1, not 1"):
        split_off(read_labelled([path]), fraction=1.0, seed=0)


def test_real_tables_are_read(shared):
    read = read_labelled([shared / "data" / "gue" / "tf" / "0" / "dev.csv.gz"])
    assert (len(read), read.classes, set(np.diff(read.corpus.offsets).tolist())) == (1000, ("0", "1"), {101})


@pytest.mark.parametrize("text", [",,\n", ",,\n,,\n"])
def test_a_table_of_empty_cells_has_no_header(write, text):
    with pytest.raises(TableError, match="no header: every cell is empty"):
        read_labelled([write("a.csv", text)])


def test_a_table_that_changes_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sequence,label\nACGT,a\nACGG,b\n")

    def read_and_change(*args: object) -> object:
        rows = labelled_rows.read_table(*args)  # type: ignore[arg-type]
        path.write_text("sequence,label\nACGT,b\nACGG,a\nAAAA,a\n")
        return rows

    monkeypatch.setattr(labelled, "read_table", read_and_change)
    with pytest.raises(InputError, match=r"t\.csv: changed while it was read \(it had 29 bytes and has 36\)"):
        labelled.read_labelled([path])


def _table(tmp_path: Path, labels: list[str]) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("sequence,label\n" + "".join(f"ACGT{'ACGT' * i},{label}\n" for i, label in enumerate(labels)))
    return path


@pytest.mark.parametrize("missing", ["nan", "NaN", "NA", "null"])
def test_a_missing_label_is_no_class(tmp_path: Path, missing: str) -> None:
    with pytest.raises(TableError, match=rf"line 4: the label is missing \({missing}; 1 of 3 rows"):
        read_labelled([_table(tmp_path, ["a", "b", missing])])


def test_the_name_of_a_file_that_cannot_be_a_class_is_an_error(write):
    paths = [write(f"{name}.fa", ">r\nACGT\n") for name in ("a\tb", "c")]
    with pytest.raises(TableError, match=r"the class 'a.tb' is not printable text"):
        read_labelled(paths)


def test_two_ways_to_write_one_number_are_no_two_classes(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"the labels 0 and 0\.0 are the same number"):
        read_labelled([_table(tmp_path, ["0", "1", "0.0"])])


def test_many_numbers_with_gaps_are_classes_only_if_asked_for(tmp_path: Path) -> None:
    path = _table(tmp_path, [str(7 * i) for i in range(30)])
    with pytest.raises(TableError, match="30 different numbers as labels: name the objective"):
        read_labelled([path])
    assert len(read_labelled([path], objective="classification").classes) == 30
    assert read_labelled([path], objective="regression").objective == "regression"
    assert len(read_labelled([_table(tmp_path, [str(i) for i in range(30)])]).classes) == 30


def test_two_mates_are_no_classes(tmp_path: Path) -> None:
    mates = [tmp_path / f"s_R{i}.fastq" for i in (1, 2)]
    for mate in mates:
        mate.write_text("@r\nACGT\n+\nIIII\n")
    with pytest.raises(ConfigError, match=r"s_R1\.fastq and .*s_R2\.fastq are the mates"):
        read_labelled(mates)


def test_a_split_that_is_the_training_split_too_is_refused(tmp_path: Path) -> None:
    path = _table(tmp_path, ["a", "b", "a", "b"])
    copy = tmp_path / "copy.csv"
    copy.write_bytes(path.read_bytes())
    for splits in ({"valid": (str(copy),)}, {"test": (str(copy),)}):
        with pytest.raises(InputError, match=r"copy\.csv: has the same content as the training file .*t\.csv"):
            TaskPlan(FinetuneConfig(), inputs=(str(path),), **splits).load()


def test_a_sequence_with_two_labels_is_a_warning_with_its_number(write):
    path = write("t.csv", "sequence,label\nACGT,a\nGGCC,b\nacgt,b\nGGCC,b\nTTTT,a\nACGT,a\n")
    with pytest.warns(FindnaWarning, match=r"1 of 3 different sequences .*: a in line 2, b in line 4"):
        assert len(read_labelled([path])) == 6
    assert read_labelled([write("r.csv", "sequence,label\nACGT,1.5\nACGT,2.5\n")]).objective == "regression"


def test_a_sequence_of_two_splits_is_a_warning_with_its_number(write):
    train = write("t.csv", "sequence,label\nACGT,a\nGGCC,b\nTTTT,a\n")
    valid = write("v.csv", "sequence,label\nACGT,a\nGCGC,b\nTTTT,a\n")
    plan = TaskPlan(FinetuneConfig(), inputs=(str(train),), valid=(str(valid),))
    with pytest.warns(FindnaWarning, match=r"v.csv: 2 of 3 sequences are also in the training split"):
        plan.load()
