"""Removes one safeguard at a time from a copy of findna; the tests of that safeguard must fail.

python tests/faults/mutate.py            # all; exit code 1 if a mutation survives
python tests/faults/mutate.py NAME ...   # some
"""

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("mutations.toml")
MOST_MEMORY = 8 << 30
"""Bytes of a run of tests, in which a limit on memory may be the safeguard that is gone."""

PYTEST = (sys.executable, *shlex.split("-m pytest -n 0 -x -q -p no:cacheprovider -k 'not finished_by_running'"))


class Mutation(NamedTuple):
    """Text of a file that becomes other text, and the tests (arguments of pytest) that must notice."""

    path: str
    old: str
    new: str
    tests: str


MUTATIONS = {name: Mutation(**fields) for name, fields in tomllib.loads(TABLE.read_text()).items()}


def noticed_by(mutation: Mutation, folder: Path) -> str:
    """The test that fails with a mutation; "" if all pass. The copy is then as it was."""
    path = folder / mutation.path
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times"
    changed = text.replace(mutation.old, mutation.new)
    compile(changed, mutation.path, "exec")  # a file that cannot be read fails any test
    path.write_text(changed)
    environment = os.environ | {"PYTHONPATH": str(folder)}  # bytecode of a file of another second or size is not used
    done = subprocess.run(
        [*PYTEST, *shlex.split(mutation.tests)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    path.write_text(text)
    if done.returncode > 1:  # below 0: without its guard, a C library crashes
        raise RuntimeError(done.stdout + done.stderr)
    failed = re.findall(r"^(?:FAILED|ERROR) (?:\S*/)?(.*)", done.stdout, re.MULTILINE)
    return "; ".join(failed) or f"exit code {done.returncode}" if done.returncode else ""


def main() -> int:
    """Try each mutation; 1 if one survives."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    survivors = []
    with tempfile.TemporaryDirectory(prefix="findna-mutate-") as place:
        folder = Path(place)
        for name in ("findna", "findna_cli", "tests"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "pyproject.toml", folder)
        for name in sys.argv[1:] or MUTATIONS:
            begin = time.monotonic()
            test = noticed_by(MUTATIONS[name], folder)
            survivors += [] if test else [name]
            seconds = time.monotonic() - begin
            print(f"{'noticed ' if test else 'SURVIVES'}  {seconds:5.0f} s  {name}: {test}", flush=True)
    print(f"{len(survivors)} survive")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
