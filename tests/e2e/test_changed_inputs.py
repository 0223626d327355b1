"""Inputs that change while they are read: the run fails and leaves nothing, whatever changed."""

import json
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import call, fasta, left_behind, read
from test_classify import make_task

from findna.config import ComputeConfig
from findna.errors import InputError
from findna.io.hdf5 import EmbeddingWriter
from findna.io.options import InputOptions
from findna.runs.embed import EmbedJob
from findna.runs.run import run

Change = Callable[[Path], object]
N = 400


def _replace(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").replace(path)
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, Change] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "rewritten in place": lambda path: path.write_text(path.read_text().translate(str.maketrans("ACGT", "CATG"))),
    "appended to": lambda path: path.write_text(path.read_text() + ">more\nACGT\n"),
    "deleted": lambda path: path.unlink(),
}


def _run(model: Path, inputs: list[Path], change: Change, changed: Path, **options: Any) -> dict[str, Any]:
    done: list[int] = []

    def on_progress(n_done: int, total: int | None) -> None:
        if not done:
            change(changed)
        done.append(n_done)

    compute = ComputeConfig(precision="fp32", device="cpu")
    job = EmbedJob([str(path) for path in inputs], Path("out.h5"), model=str(model), compute=compute, **options)
    return run(job, on_progress=on_progress)


@pytest.mark.parametrize("how", CHANGES)
def test_sequences_that_change_end_the_run_and_nothing_is_kept(
    model: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EmbeddingWriter.__init__.__kwdefaults__, "every", 0.0)  # a commit after each cell
    path = Path("s.fa")
    path.write_text(fasta({f"s{i}": "ACGTTGCA" * (5 + i % 5) for i in range(N)}))
    with pytest.raises(InputError, match=r"s\.fa: changed while it was read"):
        _run(model, [path], CHANGES[how], path)
    assert left_behind() == []


@pytest.mark.parametrize("how", [*CHANGES, "replaced by another file"])
def test_a_genome_that_changes_ends_the_run_and_nothing_is_kept(model: Path, genome: Path, how: str) -> None:
    bed = Path("r.bed")
    bed.write_text("".join(f"chr1\t{i}\t{i + 40}\n" for i in range(N)))
    change = CHANGES.get(how, _replace)
    options = InputOptions(genome=genome)
    with pytest.raises(InputError, match=r"g\.fa: changed while it was read|must be .*: the file is damaged or has"):
        _run(model, [bed], change, genome, options=options)
    assert left_behind() == []


SCORE = ("score", "v.vcf", "-g", "g.fa", "--max-length", "2", "-o", "out.tsv")
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("mutagenesis", "r.bed", "-g", "g.fa", "-o", "out.h5"): ("findna.runs.frame.read_records", "r.bed"),
    ("predict-bases", "r.bed", "-g", "g.fa", "-o", "out.h5"): ("findna.runs.frame.read_records", "g.fa"),
    ("split", "r.bed", "-g", "g.fa", "-n", "2", "-o", "out.json"): ("findna.runs.manifest.check_inputs", "r.bed"),
    ("data", "audit", "n.csv"): ("findna.benchmark.audit.read_table", "n.csv"),
    SCORE: ("findna.variants.VariantScorer.score", "v.vcf"),
    (*SCORE, "-t", "1"): ("findna.variants.VariantScorer.score", "g.fa"),
    ("pretrain", "g.fa", "--preset", "tiny", "--steps", "1", "-o", "out"): ("findna.train.sources._windows", "g.fa"),
    ("data", "windows", "g.fa", "--n", "2", "--min-length", "20", "--max-length", "40", "-o", "out.fa"): (
        "findna.data.recipe.Novelty",
        "g.fa",
    ),
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]}-{len(command)}")
def test_no_command_takes_a_file_that_is_written_to_while_it_reads(
    command: tuple[str, ...], model: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, changed = COMMANDS[command]
    read = pkgutil.resolve_name(where)
    Path("r.bed").write_text("chr1\t0\t9\n")
    Path("n.csv").write_text("sequence,label\nAC,0\nGT,1\n")
    base = genome.read_text().split("\n")[1][40]
    Path("v.vcf").write_text(f"#CHROM\tPOS\tID\tREF\tALT\nchr1\t41\t.\t{base}\t{'A' if base != 'A' else 'C'}\n")

    def change_and_read(*args: Any, **options: Any) -> Any:
        os.utime(changed, ns=(1, 1))
        return read(*args, **options)

    monkeypatch.setattr(where, change_and_read)
    takes_model = command[0] in ("mutagenesis", "predict-bases", "score")
    result = call(*command, *(("-m", model) if takes_model else ()))
    assert (result.code, f"{changed}: changed while it was read (it was written to)" in result.err) == (1, True), result
    assert left_behind() == []


def test_a_file_that_was_only_touched_has_not_changed(model: Path) -> None:
    path = Path("s.fa")
    path.write_text(fasta({f"s{i}": "ACGTTGCA" * 5 for i in range(N)}))
    _run(model, [path], os.utime, path)
    assert len(read(Path("out.h5")).x) == N


@pytest.mark.parametrize("name", ["o.h5", "o.tsv", "o.npy", "o.parquet"])
def test_a_finished_output_needs_no_resume_and_one_of_another_run_is_named(model: Path, name: str) -> None:
    Path("s.fa").write_text(fasta({f"s{i}": "ACGTTGCA" * 5 for i in range(5)}))
    args = ("embed", "s.fa", "--model", model, "-o", name, "--precision", "fp32", "--device", "cpu")
    assert call(*args).code == 0
    before = Path(name).read_bytes()
    Path(f"{name}.partial").mkdir()  # a power loss while the rows were removed leaves so much
    Path(f"{name}.partial", "findna.txt").touch()
    again = call(*args, "--resume", "--json", "r.json")
    assert (again.code, Path(name).read_bytes()) == (0, before), again.err
    other = call(*args, "--strand", "both", "--resume")
    assert other.code == 1
    assert 'settings (--strand: "both" now, "bed" before' in other.err
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize("line", ["embed r.bed", "predict-bases r.bed", "mutagenesis r.bed", "score v.tsv --window 20"])
def test_a_finished_output_of_other_bases_is_of_another_run(model: Path, line: str) -> None:
    Path("g.fa").write_text(f">chr1\n{'ACGTTGCA' * 5}\n")
    Path("r.bed").write_text("chr1\t0\t9\n")
    Path("v.tsv").write_text("chrom\tpos\tref\talt\nchr1\t20\tT\tC\n")
    small = ("--max-length", 2) if line.startswith("score") else ()
    args = (*line.split(), *small, "-g", "g.fa", "-m", model, "-t", 1, "-o", "o.tsv" if small else "o.h5")
    assert [call(*args).err.rpartition(":")[2] for _ in range(2)][1] == " complete; nothing to do\n"
    Path("g.fa").write_text(f">chr1\n{'ACGTTGCC' * 5}\n")
    other = call(*args)
    assert (other.code, "settings (the file g.fa has changed)" in other.err) == (1, True), other.err


@pytest.mark.parametrize(
    "line", ["embed r.bed", "classify r.bed", "predict-bases r.bed", "mutagenesis r.bed", "score v.tsv"]
)
def test_the_report_of_a_repeated_run_has_no_count_that_the_first_contradicts(model: Path, line: str) -> None:
    Path("g.fa").write_text(f">chr1\n{'ACGTTGCA' * 25}{'N' * 200}\n")
    Path("r.bed").write_text("chr1\t0\t60\nchr1\t250\t300\nchr1\t90\t95\nchr1\t390\t900\n")
    Path("v.tsv").write_text("chrom\tpos\tref\talt\nchr1\t20\tT\tC\nchr1\t21\tT\t<DEL>\n")
    more = {
        "score": ("--max-length", 2, "--window", 20, "-o", "o.tsv"),
        "classify": ("-o", "o.tsv", "--task", make_task(Path("greek"), model)),
    }.get(line.split()[0], ("-o", "o.h5"))
    of_model = () if line.startswith("classify") else ("-m", model)
    args = (*line.split(), "-g", "g.fa", *of_model, *more, "-t", 1, "--on-error", "skip", "--json", "j.json")
    first, again = ([call(*args), json.loads(Path("j.json").read_text())][1] for _ in range(2))
    assert (first.get("nothing_to_do"), again["nothing_to_do"], "seconds" in first) == (None, True, True)
    assert first["n_skipped"] == 1
    counts = {name: count for name, count in again.items() if name.startswith("n_") or name == "skipped"}
    assert counts.pop("n_resumed") > 0
    assert counts == {name: first.get(name) for name in counts}


def test_what_is_ignored_or_gives_nothing_is_an_error(model: Path, genome: Path) -> None:
    Path("n.fa").write_text(">a\nNNNN\n>b\nNN\n")
    every = call("embed", "n.fa", "--model", model, "-o", "n.h5", "--max-n", "0.1")
    assert (every.code, left_behind("n.h5")) == (1, [])
    assert "no record is left: 2 records skipped; the first: " in every.err
    unused = call("embed", "n.fa", "-g", genome, "--model", model, "-o", "n.h5")
    assert unused.code == 2
    assert "is not used: no input has regions" in unused.err
    assert call("embed", "n.fa", "-m", "", "-o", "n.h5").code == 2
    Path("n.csv").write_text("sequence,label\nAC,0\nGT,1\n")
    unused = call("finetune", "n.csv", "-g", genome, "--model", model, "-o", "n")
    assert (unused.code, "is not used: no input has regions" in unused.err) == (2, True)
    missing = call("finetune", "missing.bed", "-g", genome, "--model", model, "-o", "n")
    assert (missing.code, "missing.bed: no such file" in missing.err) == (1, True), missing.err


def test_a_report_replaces_no_input_and_an_input_may_be_named_in_any_way(model: Path) -> None:
    Path("s.fa").write_text(">a\nACGTACGT\n")
    flags = ("-m", model, "--precision", "fp32", "--device", "cpu", "-o")
    assert call("embed", "./s.fa", *flags, "a.tsv", "--json", "r.json").code == 0
    assert call("embed", f"{Path.cwd()}//s.fa", *flags, "b.tsv", "--json", "r.json").code == 0  # an earlier report
    before = {name: Path(name).read_bytes() for name in ("s.fa", "b.meta.json", f"{model}/config.json")}
    for name in before:  # before any work; without it, as the run makes the file
        refused = call("embed", "s.fa", *flags, "c.tsv", "--json", name)
        assert (refused.code, f"{name}: exists and is not a report" in refused.err) == (1, True)
    assert not Path("c.tsv").exists()
    for name in ("no/r.json", "."):
        assert call("embed", "s.fa", *flags, "c.tsv", "--json", name).code == 1
    refused = call("embed", "s.fa", *flags, "d.tsv", "--json", "d.meta.json")
    assert (refused.code, "d.meta.json is also a file of --out" in refused.err) == (2, True)
    assert not Path("d.tsv").exists()
    assert {name: Path(name).read_bytes() for name in before} == before
