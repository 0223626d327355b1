"""The recipes of docs/recipes run as they stand: by Slurm and Snakemake where they are, and line by line where not."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from command import embedded, read
from forks import Forks
from test_embed_outputs import rows, same

Write = Callable[..., Path]
HERE = Path(__file__).resolve().parent
RECIPES = HERE.parents[1] / "docs" / "recipes"
SHAPE = ["--batch-bases", "512", "--on-error", "skip"]
FLAGS = [*SHAPE, "--precision", "fp32"]

# What Slurm does with the two jobs of embed_slurm.sh, at once and one after the other; its arrays have two tasks.
SBATCH = """\
import os, subprocess, sys
words = sys.argv[1:]
flags = {}
while words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    flags[name] = value
assert flags["--export"] == "ALL"
if "--array" not in flags:
    assert flags["--dependency"] == "afterok:41"
    print(42)
    sys.exit(subprocess.call(["bash", *words], stdout=sys.stderr))
print("41;cluster")
assert flags["--array"] == "1-2"
for task in ("1", "2"):
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": task}
    subprocess.run(["bash", *words], env=environment, check=True, stdout=sys.stderr)
"""
FINDNA = f"""\
import sys
sys.path.insert(0, {str(HERE.parent)!r})
from forks import ask_as_program
sys.exit(ask_as_program({{address!r}}, *sys.argv[1:]))
"""
SCONTROL = "print('MaxArraySize            = 3')"


@pytest.fixture
def environment(tmp_path: Path, forks: Forks) -> Mapping[str, str]:
    """With `findna` on the PATH."""
    forks.begin()
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "findna", FINDNA.format(address=str(forks.address)))
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def script(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


def run(*command: object, environment: Mapping[str, str]) -> str:
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def bed(write: Write, genome: Path, model: Path) -> Path:
    """Regions, and whole.h5 of them."""
    bed = write("many.bed", rows(240))
    embedded(bed, "-g", genome, "-m", model, *FLAGS, "-o", "whole.h5")
    return bed


def test_the_slurm_recipe_divides_and_merges(
    bed: Path, genome: Path, model: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    script(tmp_path / "bin" / "sbatch", SBATCH)
    script(tmp_path / "bin" / "scontrol", SCONTROL)
    run("findna", "split", bed, "-g", genome, "-n", 3, *SHAPE, "-o", "plan.json", environment=environment)
    line = ["bash", RECIPES / "embed_slurm.sh", 3, "my out.h5", bed, "-g", genome, "-m", model, *FLAGS]
    line += ["--plan", "plan.json"]
    environment = {**environment, "SBATCH_FLAGS": "--cpus-per-task=1 --time=10"}
    assert run(*line, environment=environment) == "42\n"
    same(read(Path("my out.h5")), read(Path("whole.h5")))
    Path("my out.h5").unlink()
    Path("my out.part3of3.h5").unlink()
    before = Path("my out.part1of3.h5").stat().st_mtime_ns
    run(*line, environment=environment)  # as after a task that failed
    assert Path("my out.part1of3.h5").stat().st_mtime_ns == before
    same(read(Path("my out.h5")), read(Path("whole.h5")))


def has_slurm() -> bool:
    return (
        shutil.which("sinfo") is not None
        and "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False).stdout
    )


def test_the_slurm_recipe_runs_on_slurm(bed: Path, genome: Path, model: Path, environment: Mapping[str, str]) -> None:
    if not has_slurm():
        pytest.skip("there is no Slurm here")
    line = ["bash", RECIPES / "embed_slurm.sh", 3, "out.h5", bed, "--genome", genome, "-m", model, *FLAGS]
    job = run(*line, environment=environment).strip()
    ended = time.monotonic() + 300
    while run("squeue", "-h", "-j", job, "-o", "%T", environment=environment) and time.monotonic() < ended:
        time.sleep(0.5)
    logs = "".join(path.read_text() for path in Path().glob("findna-*.log"))
    assert Path("out.h5").exists(), logs
    same(read(Path("out.h5")), read(Path("whole.h5")))


def test_the_snakemake_recipe_divides_and_merges(
    bed: Path, genome: Path, model: Path, environment: Mapping[str, str]
) -> None:
    snakemake = os.environ.get("FINDNA_TEST_SNAKEMAKE") or shutil.which("snakemake")
    if snakemake is None:
        pytest.skip("there is no Snakemake here")
    flags = [f"input_flags={' '.join(SHAPE)}", f"flags=-m {model} --precision fp32"]
    config = [f"regions={bed}", f"genome={genome}", "out=out.h5", "shards=3", *flags]
    run(snakemake, "-s", RECIPES / "Snakefile", "--cores", 2, "--config", *config, environment=environment)
    same(read(Path("out.h5")), read(Path("whole.h5")))
    assert not list(Path().glob("out.part*"))


def test_the_nextflow_recipe_divides_and_merges(
    bed: Path, genome: Path, model: Path, environment: Mapping[str, str]
) -> None:
    nextflow = shutil.which("nextflow")
    if nextflow is None:
        pytest.skip("there is no Nextflow here")
    Path("more.config").write_text(
        f"process {{ withName: FINDNA_SPLIT {{ ext.args = '{' '.join(SHAPE)}' }}\n"
        f"withName: FINDNA_EMBED {{ ext.args = '-m {model} {' '.join(FLAGS)}' }} }}\n"
    )
    params = ["--regions", bed, "--genome", genome, "--shards", 3, "--outdir", "results"]
    run(nextflow, "run", RECIPES / "nextflow" / "main.nf", "-c", "more.config", *params, environment=environment)
    same(read(Path("results/many.h5")), read(Path("whole.h5")))


def test_the_commands_of_the_nextflow_modules_divide_and_merge(
    bed: Path, genome: Path, model: Path, environment: Mapping[str, str]
) -> None:
    """Runs the `script:` block of each module in bash, with its variables filled in as Nextflow does."""
    shared = {"inputs": bed, "reference": f"--genome {genome}", "prefix": "out", "shards": 2}
    task = {"task.process": "FINDNA", "task.cpus": 1}

    def run_module(name: str, **values: object) -> None:
        text = (RECIPES / "nextflow" / "modules" / "findna" / name / "main.nf").read_text()
        block = text.split('"""')[1].replace("\\\\\n", "\\\n")
        for variable, value in {**shared, **task, **values}.items():
            block = block.replace(f"${{{variable}}}", str(value))
        assert "${" not in block
        run("bash", "-euc", textwrap.dedent(block.replace("\\$", "$")), environment=environment)

    run_module("split", args=" ".join(SHAPE))
    for shard in (1, 2):
        run_module("embed", plan="out.plan.json", shard=shard, args=f"-m {model} {' '.join(FLAGS)}")
    run_module("merge", parts="out.part2of2.h5 out.part1of2.h5", args="")
    same(read(Path("out.h5")), read(Path("whole.h5")))
    assert "findna: 0." in Path("versions.yml").read_text()
