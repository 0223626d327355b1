"""The recipes of docs/recipes run as they stand: by Slurm and Snakemake where they are, and line by line where not."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from command import embedded, read
from test_embed_outputs import rows, same

Write = Callable[..., Path]
RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes"
FLAGS = ["--batch-bases", "512", "--precision", "fp32", "--on-error", "skip"]

# What Slurm does with the two jobs of embed_slurm.sh, at once and one after the other.
SBATCH = """\
import os, subprocess, sys
flags = {}
words = sys.argv[1:]
while words and words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    flags[name] = value
print(41 if "--array" in flags else 42)
if "--wrap" in flags:
    assert flags["--dependency"] == "afterok:41"
    sys.exit(subprocess.call(["sh", "-c", flags["--wrap"]], stdout=sys.stderr))
first, last = map(int, flags["--array"].split("-"))
every, *more = flags["--export"].split(",")
assert every == "ALL"
for task in range(first, last + 1):
    environment = os.environ | dict(one.split("=") for one in more) | {"SLURM_ARRAY_TASK_ID": str(task)}
    subprocess.run(["bash", *words], env=environment, check=True, stdout=sys.stderr)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """With `findna` on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(
        folder / "findna",
        "from findna_cli.app import main\n\nmain()\n",
    )
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
    bed = write("many.bed", rows(700))
    embedded(bed, "-g", genome, "-m", model, *FLAGS, "-o", "whole.h5")
    return bed


def test_the_slurm_recipe_divides_and_merges(
    bed: Path, genome: Path, model: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    script(tmp_path / "bin" / "sbatch", SBATCH)
    line = ["bash", RECIPES / "embed_slurm.sh", 2, "my out.h5", bed, "--genome", genome, "-m", model, *FLAGS]
    environment = {**environment, "SBATCH_FLAGS": "--cpus-per-task=1 --time=10"}
    assert run(*line, environment=environment) == "42\n"
    same(read(Path("my out.h5")), read(Path("whole.h5")))
    Path("my out.h5").unlink()
    Path("my out.part2of2.h5").unlink()
    before = Path("my out.part1of2.h5").stat().st_mtime_ns
    run(*line, environment=environment)  # as after a task that failed
    assert Path("my out.part1of2.h5").stat().st_mtime_ns == before
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
    flags = f"flags=-m {model} {' '.join(FLAGS)}"
    config = [f"regions={bed}", f"genome={genome}", "out=out.h5", "shards=3", flags]
    run(snakemake, "-s", RECIPES / "Snakefile", "--cores", 2, "--config", *config, environment=environment)
    same(read(Path("out.h5")), read(Path("whole.h5")))
    assert not list(Path().glob("out.part*"))
