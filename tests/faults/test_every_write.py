"""Every call that changes a file fails, or ends the process: a right file, or one line and nothing lost."""

import ast
import errno
import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pybigtools
import pytest
from injector import Ended, Injector
from outputs import dump

FORMATS = ("out.h5", "out.tsv", "out.npy", "out.parquet")
FAULTS = [("fail", errno.ENOSPC), ("fail on", errno.ENOSPC), ("kill", 0), ("tear", 0)]
STEPS = [29, pytest.param(1, marks=pytest.mark.slow)]
N = 12
WHOLE: dict[str, tuple[int, dict[str, object]]] = {}
"""The calls of each job that no fault ends, and what it leaves; they are made once."""


def content(path: Path) -> object:
    """What a file holds, without the time at which it was made."""
    if path.suffix == ".h5":
        found = {name: value for name, value in dump(path).items() if "provenance" not in name}
        return found | {"/@": [one for one in ast.literal_eval(found["/@"]) if one[0] != "provenance"]}
    if path.suffix == ".json":
        return {name: value for name, value in json.loads(path.read_text()).items() if name != "provenance"}
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        meta = json.loads(table.schema.metadata[b"findna"])
        return table.to_pydict(), {name: value for name, value in meta.items() if name != "provenance"}
    if path.suffix == ".gz":
        return [line for line in gzip.decompress(path.read_bytes()).splitlines() if b"scoreCommand" not in line]
    if path.suffix == ".bw":
        return list(pybigtools.open(str(path)).records("chr1"))
    if path.suffix in (".tsv", ".bedgraph"):
        return [line for line in path.read_bytes().splitlines() if not line.startswith(b"##")]
    if path.suffix == ".tbi":
        return path.exists()  # its offsets depend on the command's length
    return path.read_bytes()


def files(folder: Path) -> dict[str, object]:
    """The finished files of an output."""
    return {path.name: content(path) for path in folder.glob("out*") if path.is_file()}


def told(ended: Ended) -> str:
    """The last line of a failed command, which is never a traceback or an internal error."""
    assert "Traceback" not in ended.said, ended.said
    assert "internal error" not in ended.said, ended.said
    line = ended.said.rstrip("\n").rpartition("\n")[2]
    assert line.startswith("findna: "), ended.said
    return line


def state(folder: Path) -> str:
    """A digest of all that lies in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(repr((str(path.relative_to(folder)), path.is_file() and path.read_bytes())).encode())
    return found.hexdigest()


def faults(step: int, n_calls: int) -> Iterator[int]:
    """Which calls fail: every `step`-th, and the last one."""
    yield from range(min(step, n_calls), n_calls + 1, step)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("mode", "code"), FAULTS)
def test_a_fault_costs_no_row_and_leaves_no_damaged_file(
    writer: Injector, tmp_path: Path, name: str, step: int, mode: str, code: int
) -> None:
    job: tuple[Any, ...] = ("rows", name, N, "full" if name == "out.h5" else "")
    if name not in WHOLE:
        (tmp_path / "whole").mkdir()
        n_calls = writer.run(*job, folder=tmp_path / "whole").n_calls
        WHOLE[name] = n_calls, files(tmp_path / "whole")
    n_calls, expected = WHOLE[name]
    assert n_calls > 50
    resumed: set[str] = set()
    for nth in faults(step, n_calls):
        folder = tmp_path / str(nth)
        folder.mkdir()
        ended = writer.run(*job, folder=folder, mode=mode, nth=nth, code=code)
        what = f"call {nth}: {ended}"
        if mode in ("kill", "tear"):
            assert ended.code == -9, what
        else:
            assert ended.code == 1 or files(folder) == expected, what
            assert ended.code == 0 or told(ended), what
        assert files(folder).items() <= expected.items(), f"{what}: a damaged file has its name"
        if (left := state(folder)) not in resumed:
            resumed.add(left)
            assert writer.run(*job, folder=folder).code == 0, what
            assert files(folder) == expected, f"{what}: rows were lost"
        shutil.rmtree(folder)
    print(f"{name}, {mode} {errno.errorcode.get(code, '')}: {len(list(faults(step, n_calls)))} faults")


class Command:
    """A command, what it needs to be run again, and the files that it must leave."""

    def __init__(self, flags: str, outputs: str, *, again: str = "--resume") -> None:
        self.flags, self.outputs, self.again = flags.split(), outputs.split(), again.split()


EMBED = "embed s.fa -m model --precision fp32 -t 1 -o"
SCORE = "score in.vcf -g g.fa -m model --max-length 1 --precision fp32 -t 1"
TRAIN = "--precision fp32 -t 1 --batch-size 4 -o run"
SLOW = (
    "class track",
    "classify",
    "finetune",
    "merge npy",
    "merge scores",
    "plot",
    "predict-bases",
    "pretrain",
    "score tsv",
    "split",
    "track",
    "windows",
)
COMMANDS = {
    "embed h5": Command(f"{EMBED} out.h5 --pool mean,tokens", "out.h5 out.tokens.h5"),
    "embed tsv": Command(f"{EMBED} out.tsv", "out.tsv out.meta.json"),
    "embed npy": Command(f"{EMBED} out.npy", "out.npy out.obs.tsv out.meta.json"),
    "embed parquet": Command(f"{EMBED} out.parquet", "out.parquet"),
    "merge": Command("merge part1.h5 part2.h5 -o merged.h5", "merged.h5", again=""),
    "merge npy": Command(
        "merge part1.h5 part2.h5 -o merged.npy", "merged.npy merged.obs.tsv merged.meta.json", again=""
    ),
    "finetune": Command(
        f"finetune train.csv --valid valid.csv -m model --epochs 1 {TRAIN}",
        "run/model.safetensors run/head.safetensors run/metrics.json",
    ),
    "score": Command(f"{SCORE} --embeddings out.h5 -o out.vcf.gz", "out.vcf.gz out.vcf.gz.tbi out.h5"),
    "mutagenesis": Command("mutagenesis s.fa -m model --precision fp32 -t 1 --pairs -o out.h5", "out.h5"),
    "predict-bases": Command("predict-bases s.fa -m model --precision fp32 -t 1 --passes 2 -o out.h5", "out.h5"),
    "track": Command("predict-bases in.bed -g g.fa -m model --precision fp32 -t 1 -o out.bw", "out.bw"),
    "class track": Command(
        "classify in.bed -g g.fa --windows --task task --precision fp32 -t 1 -o out.tsv --track out.bedgraph",
        "out.tsv out.meta.json out.bedgraph",
    ),
    "merge scores": Command("merge part1.vcf.gz part2.vcf.gz -o all.vcf.gz", "all.vcf.gz all.vcf.gz.tbi", again=""),
    "score tsv": Command(f"{SCORE} -o out.tsv", "out.tsv"),
    "windows": Command(
        "data windows g.fa s.fa --min-length 10 --max-length 20 --n 20 --holdout s1 -o w.fa.gz",
        "w.fa.gz w.held-out.fa.gz w.json",
        again="",
    ),
    "split": Command("split in.bed -g g.fa -n 2 -o plan.json", "plan.json", again=""),
    "plot": Command("plot part2.h5 -o map.png --html map.html", "map.png map.html", again=""),
    "classify": Command("classify s.fa --task task --precision fp32 -t 1 -o out.tsv", "out.tsv out.meta.json"),
    "pretrain": Command(
        f"pretrain train.fa --preset tiny --min-length 10 --steps 2 --n-reports 1 --checkpoint-every 0.001 {TRAIN}",
        "run/model.safetensors run/golden.json",
    ),
}


@pytest.fixture(scope="session")
def place(commands: Injector, inputs: Path) -> Path:
    """The inputs, a task and two parts of an output."""
    for flags in (
        "finetune train.csv --valid valid.csv -m model --frozen -t 1 -o task",
        *(f"{EMBED} part{i}.h5 --shard {i}/2" for i in (1, 2)),
        *(f"{SCORE} -o part{i}.vcf.gz --shard {i}/2" for i in (1, 2)),
    ):
        ended = commands.run("command", *flags.split(), folder=inputs)
        assert ended.code == 0, ended.said
    return inputs


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in COMMANDS])
@pytest.mark.parametrize("n_draws", [2, pytest.param(10**6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["fail", "kill"])
def test_a_command_that_a_fault_ended_is_finished_by_running_it_again(
    commands: Injector, place: Path, tmp_path: Path, name: str, n_draws: int, mode: str
) -> None:
    command = COMMANDS[name]
    if name not in WHOLE:
        shutil.copytree(place, tmp_path / "whole")
        whole = commands.run("command", *command.flags, folder=tmp_path / "whole")
        assert whole.code == 0, whole.said
        WHOLE[name] = whole.n_calls, {output: content(tmp_path / "whole" / output) for output in command.outputs}
    n_calls, expected = WHOLE[name]
    finished: set[str] = set()
    problems, nths = [], list(faults(max(1, n_calls // n_draws), n_calls))
    for nth in nths:
        folder = tmp_path / str(nth)
        shutil.copytree(place, folder)
        ended = commands.run("command", *command.flags, folder=folder, mode=mode, nth=nth, code=errno.ENOSPC)
        try:
            assert ended.code in ((-9,) if mode == "kill" else (0, 1))
            assert ended.code <= 0 or told(ended)
            if (left := state(folder)) not in finished:
                finished.add(left)
                finish(commands, command, folder)
                assert "finetune" in name or not list(folder.glob(".*")), "a temporary file is left"
                assert {output: content(folder / output) for output in command.outputs} == expected, "another result"
        except (AssertionError, OSError) as problem:
            problems.append(f"call {nth} of {name}: {ended}: {problem}")
        shutil.rmtree(folder)
    print(f"{name}, {mode}: {len(nths)} faults, {len(finished)} different states after them, {len(problems)} problems")
    assert not problems, "\n\n".join(problems)


def finish(commands: Injector, command: Command, folder: Path) -> None:
    """Run a command again where it ended, as the user is told to: resumed, or anew where nothing is to be resumed."""
    if "run" not in command.flags and all((folder / output).exists() for output in command.outputs):
        return
    again = commands.run("command", *command.flags, *command.again, folder=folder)
    if "nothing to resume: no " in again.said:
        again = commands.run("command", *command.flags, folder=folder)
    assert again.code == 0, again
