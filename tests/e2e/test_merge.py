"""`findna embed --shard` with `findna merge`, and `--workers`: the content of one run, whatever it was divided into."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
from command import Table, call, embedded, fasta, fork, left_behind, n_lines, read
from test_embed_outputs import rows, same

pytestmark = pytest.mark.early
Write = Callable[..., Path]


def merged(*args: object) -> Table:
    """`findna merge` to all.h5; it must succeed."""
    result = call("merge", *args, "-o", "all.h5", "--force")
    assert result.code == 0, result.err
    return read(Path("all.h5"))


def parts_of(n: int, *flags: object) -> list[Path]:
    for number in range(1, n + 1):
        embedded(*flags, "--shard", f"{number}/{n}")
    return sorted(Path().glob(f"*.part*of{n}.h5"))


@pytest.mark.parametrize("n", [1, 5])
def test_regions_divided_and_merged_are_those_of_one_run(write: Write, genome: Path, model: Path, n: int) -> None:
    text = 2 * rows(240) + "chrN\t50\t120\nchrN\t90\t190\n"
    bed = write("many.bed", text)
    flags = [bed, "-g", genome, "-m", model, "--on-error", "skip", "--max-n", 0.6, "--batch-bases", 512]
    embedded(*flags, "-o", "whole.h5")
    whole = read(Path("whole.h5"))
    assert any(id.endswith("_2") for id in whole.obs["id"])
    assert any("are N" in reason for reason in whole.skipped["reason"])
    parts = parts_of(n, *flags)
    assert len(parts) == n
    same(merged(*reversed(parts)), whole)
    n_bases = [sum(read(part).obs["length"]) for part in parts]
    assert max(n_bases) - min(n_bases) < 2 * (4 * 512 + 90)


def test_parts_of_a_plan_are_those_of_shards_without_one(write: Write, genome: Path, model: Path) -> None:
    bed = write("many.bed", 2 * rows(200))
    flags = [bed, "-g", genome, "--on-error", "skip"]
    result = call("split", *flags, "-n", 2, "--batch-bases", 512, "-o", "plan.json")
    assert (result.code, result.err) == (0, "plan.json: 2 shards, 400 records, " + result.err.rpartition(", ")[2])
    again = call("split", *flags, "-n", 2, "--batch-bases", 512, "-o", "plan.json")
    assert (again.code, again.err) == (0, "plan.json: complete; nothing to do\n")
    other = call("split", *flags, "-n", 2, "--batch-bases", 512, "--max-n", 0.4, "-o", "plan.json")
    assert (other.code, "(--max-n: 0.4 now, 1.0 before)" in other.err) == (1, True), other.err
    run = [*flags, "-m", model, "--batch-bases", 512, "--shard", "2/2"]
    embedded(*run, "-o", "a.h5")
    embedded(*run, "--plan", "plan.json", "-o", "b.h5")
    found, expected = read(Path("b.h5")), read(Path("a.h5"))
    same(found, expected)
    assert any(id.endswith("_2") for id in found.obs["id"])
    assert found.meta["inputs"] == expected.meta["inputs"]
    bed.write_text(bed.read_text().replace("chr", "CHR", 1))
    result = call("embed", *run, "--plan", "plan.json", "-o", "c.h5")
    assert (result.code, "changed since the plan was made: run findna split again" in result.err) == (1, True)
    assert call("split", *flags, "-n", 2, "-o", "plan.json").code == 1  # of other settings


def test_sequences_and_tokens_divided_and_merged_are_those_of_one_run(write: Write, model: Path) -> None:
    texts = [f">s{i}\n{('ACGTTGCA' * 30)[i % 7 : 20 + i % 97 + 100 * (i == 3)]}\n" for i in range(200)]
    one, two = write("a.fa", "".join(texts[:120]), "gz"), write("b.fa", "".join(texts[120:]))
    flags = [one, two, "-m", model, "--pool", "mean,cls,tokens", "--batch-bases", 300]
    embedded(*flags, "-o", "whole.h5")
    parts = [embedded(*flags, "--shard", f"{i}/3", "-o", f"x{i}.h5") and Path(f"x{i}.h5") for i in (1, 2, 3)]
    table, whole = merged(*parts), read(Path("whole.h5"))
    same(table, whole)
    assert table.cls is not None
    assert whole.cls is not None
    assert table.cls.tobytes() == whole.cls.tobytes()
    size = Path("whole.tokens.h5").stat().st_size
    assert Path("all.tokens.h5").stat().st_size == size


def test_reads_divided_and_merged_are_those_of_one_run(write: Write, model: Path) -> None:
    head = "@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:2000\n"
    reads = "".join(f"r{i}\t0\tchr1\t{1 + i}\t60\t30M\t*\t0\t0\t{'ACGTT' * 6}\t*\n" for i in range(150))
    pysam.view("-b", "-o", "r.bam", str(write("r.sam", head + reads)), catch_stdout=False)
    embedded("r.bam", "-m", model, "-o", "whole.h5", "--batch-bases", 512)
    parts = parts_of(4, "r.bam", "-m", model, "--batch-bases", 512)
    assert any(not len(read(part).x) for part in parts)  # fewer cells than shards
    same(merged(*parts), read(Path("whole.h5")))


def test_a_shard_whose_reads_are_all_skipped_has_the_columns_of_reads(write: Write, model: Path) -> None:
    head = "@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:2000\n"
    pysam.view(
        "-b", "-o", "n.bam", str(write("n.sam", f"{head}r\t4\t*\t0\t0\t*\t*\t0\t0\tNNNN\t*\n")), catch_stdout=False
    )
    embedded("n.bam", "-m", model, "-o", "n.h5", "--max-n", 0.5, "--shard", "1/1")
    table = read(Path("n.h5"))
    assert (len(table.x), table.skipped["id"]) == (0, ["r"])
    assert {"flag", "mapq"} <= table.obs.keys()


def test_a_fault_is_found_by_every_shard_as_by_one_run(write: Write, model: Path) -> None:
    fasta = write("a.fa", ">a\nACGT\n>b\nAC\n>a\nACG\n")
    for number in (1, 2):
        result = call("embed", fasta, "-m", model, "--shard", f"{number}/2")
        assert result.code == 1
        assert "FASTA file a.fa, line 5: duplicate id" in result.err
    assert left_behind("a.part") == []


def test_a_shard_is_resumed_only_as_itself(write: Write, model: Path) -> None:
    fasta = write("a.fa", "".join(f">s{i}\nACGTACGTT\n" for i in range(3000)))
    flags = [fasta, "-m", model, "--precision", "fp32", "-t", 1, "-o", "p.h5"]
    process = fork("embed", *flags, "--shard", "2/2", job="often")
    while n_lines(Path("p.h5.partial/journal")) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    other = call("embed", *flags, "--shard", "1/2", "--resume")
    assert other.code == 1
    assert "other settings (--shard: 1/2 now, 2/2 before): give" in other.err
    assert call("merge", "p.h5.partial", "-o", "all.h5").err.count("is an unfinished run") == 1
    assert call("embed", *flags, "--shard", "2/2", "--resume", "--json", "r.json").code == 0
    assert json.loads(Path("r.json").read_text())["n_resumed"] >= 128
    assert "other inputs or settings (--shard: not given now, 2/2 before" in call("embed", *flags).err
    embedded(fasta, "-m", model, "--shard", "1/2", "-o", "q.h5")
    embedded(fasta, "-m", model, "-o", "whole.h5")
    same(merged("p.h5", "q.h5"), read(Path("whole.h5")))


def test_auto_takes_the_shard_from_the_environment_and_puts_it_into_the_name(
    write: Write, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta = write("a.fa", ">a\nACGT\n")
    missing = call("embed", fasta, "-m", model, "--shard", "auto")
    assert missing.code == 2
    assert "--shard auto needs torchrun" in missing.err
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    embedded(fasta, "-m", model, "--shard", "auto", "-o", "x.h5")
    embedded(fasta, "-m", model, "--shard", "auto")
    assert [left_behind("x"), left_behind("a.part")] == [["x.part2of2.h5"], ["a.part2of2.h5"]]


def test_a_dry_run_says_what_a_shard_has(write: Write, model: Path) -> None:
    fasta = write("a.fa", "".join(f">s{i}\nACGTACGTT\n" for i in range(300)))
    result = call("embed", fasta, "-m", model, "--shard", "2/2", "--dry-run", "--json", "r.json")
    assert result.code == 0, result.err
    report = json.loads(Path("r.json").read_text())
    assert (report["n_records"], report["shard"], report["shard_records"], report["shard_bases"]) == (
        300,
        "2/2",
        172,
        172 * 9,
    )
    lines = result.out.splitlines()
    assert lines[0] == "shard     2/2: 172 records, 1,548 bases"
    assert lines[1] == "records   300 in the complete input"
    assert report["uneven_shards"] == ""
    fewer = call("embed", fasta, "-m", model, "--shard", "2/9", "--dry-run").err
    plan = call("split", fasta, "-n", 9, "-o", "plan.json").err
    for text in (fewer, plan, call("embed", fasta, "-m", model, "--shard", "2/9").err):
        assert text.startswith("the shards are uneven: 6 of 9 are empty, and the largest has 43 % of the bases.")


def test_two_processes_give_what_one_gives(write: Write, genome: Path, model: Path) -> None:
    bed = write("many.bed", rows(500))
    flags = [bed, "-g", genome, "-m", model, "--on-error", "skip", "--pool", "mean,cls,tokens"]
    embedded(*flags, "-o", "whole.h5")
    embedded(*flags, "-o", "out.h5", "--workers", 2)
    table, whole = read(Path("out.h5")), read(Path("whole.h5"))
    same(table, whole)
    assert table.meta["provenance"]["processes"] == 2
    assert Path("out.tokens.h5").read_bytes() == Path("whole.tokens.h5").read_bytes()


def workers_of(pid: int) -> list[int]:
    """Processes that make cells for a process: the children of its server of forks."""

    def children(pid: int) -> list[int]:
        path = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in path.read_text().split()] if path.exists() else []

    servers = [child for child in children(pid) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [worker for server in servers for worker in children(server)]


def is_alive(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list processes there")
def test_whoever_is_killed_the_rows_are_kept_and_nobody_stays_behind(write: Write, model: Path) -> None:
    fasta = write("a.fa", "".join(f">s{i}\n{'ACGTACGTT' * 20}\n" for i in range(2000)))
    flags = [fasta, "-m", model, "-o", "out.h5", "--precision", "fp32", "-t", 1, "--resume"]
    journal, n_before = Path("out.h5.partial/journal"), 1
    for what in ("the parent", "Ctrl-C", "a worker"):
        process = fork("embed", *flags, "--workers", 2, job="often", group=True)
        while n_lines(journal) < n_before + 2 and process.poll() is None:
            time.sleep(0.01)
        workers = workers_of(process.pid)
        assert len(workers) == 2
        if what == "a worker":
            os.kill(workers[0], signal.SIGKILL)
        elif what == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        error = process.communicate()[1].decode()
        assert "Traceback" not in error
        if what == "a worker":
            assert process.returncode == 1
            assert f"findna: process {workers[0]} on cpu was ended by signal 9 (too little memory?); " in error
        elif what == "Ctrl-C":
            assert process.returncode == 130
            assert "the run is not complete, and out.h5.partial keeps its finished part; `findna " in error
        ended = time.monotonic() + 20
        while any(map(is_alive, workers)) and time.monotonic() < ended:
            time.sleep(0.01)
        assert not any(map(is_alive, workers))
        assert not Path("out.h5").exists()
        assert n_lines(journal) >= n_before + 2
        n_before = n_lines(journal)
    embedded(*flags, "--json", "r.json")  # with one process: it makes the same cells
    assert json.loads(Path("r.json").read_text())["n_resumed"] >= 6 * 128
    embedded(fasta, "-m", model, "-o", "whole.h5")
    same(read(Path("out.h5")), read(Path("whole.h5")))


def test_more_than_one_process_refuses_stdin_and_gpus_that_are_not_there(write: Write, model: Path) -> None:
    for flags in (["--workers", 2], ["--shard", "1/2"]):
        result = call("embed", "-", "-m", model, "-o", "x.h5", *flags, stdin=b">a\nACGT\n")
        assert result.code == 2
        assert "stdin can be read only once, and" in result.err
    result = call("embed", write("a.fa", ">a\nACGT\n"), "-m", model, "--gpus", 99)
    assert result.code == 2
    assert "--gpus 99: this " in result.err
    assert left_behind("a") == ["a.fa"]


def test_a_missing_shard_has_its_file_and_its_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s.fa").write_text(fasta({f"s{i}": "ACGTTGCA" * 5 for i in range(300)}))
    for shard in ("1/3", "2/3", "3/3"):
        assert call("embed", "s.fa", "-m", model, "--shard", shard, "--threads", 1).code == 0
    names = [f"s.part{number}of3.h5" for number in (1, 2, 3)]
    there = call("merge", names[0], names[2], "-o", "all.h5")
    assert there.err == f"findna: shard 2 of 3 is missing ({names[1]}); add {names[1]} to the command\n"
    Path(names[1]).unlink()
    again = f"`findna embed s.fa -m {model} --shard 2/3 --threads 1`"
    missing = call("merge", names[0], names[2], "-o", "all.h5").err
    assert missing == f"findna: shard 2 of 3 is missing ({names[1]}); {again} makes it\n"
    assert call(*again.strip("`").split()[1:]).code == 0
    assert call("merge", *names, "-o", "all.h5").code == 0
    for variable, value in {"MIN": 1, "MAX": 3, "COUNT": 3, "STEP": 1, "ID": 3}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{variable}", str(value))
    assert call("embed", "s.fa", "-m", model, "--shard", "auto", "-o", "t.h5").code == 0
    missing = call("merge", "t.part3of3.h5", "-o", "a.h5").err  # "auto" would be the shard of another job
    assert missing == "findna: 2 of 3 shards are missing: 1, 2 (t.part1of3.h5, t.part2of3.h5)\n"
    Path(names[0]).rename("one.h5")
    assert call("merge", "one.h5", names[2], "-o", "a.h5").err == "findna: shard 2 of 3 is missing\n"


@pytest.mark.parametrize(
    "args", ["merge a.h5 b.h5 -o c.h5", "plot a.h5", "benchmark speed", "data windows a.fa -o b.fa"]
)
def test_an_interrupted_command_that_keeps_nothing_says_so(args: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def progress(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"findna_cli.{args.split()[0]}.progress", progress)
    result = call(*args.split())
    kept = f"the run is not complete, and nothing of it is kept; `findna {args}` starts from the beginning"
    assert result == (130, "", f"{kept}\nfindna: interrupted\n")
