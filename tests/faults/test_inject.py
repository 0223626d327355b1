"""System calls that fail at any moment, injected by strace: the right file, or an error and all rows kept."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from outputs import dump, write_all

N = 300
CODE = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}]
from pathlib import Path
import outputs
from findna.errors import OutputError
try:
    outputs.write_all(Path(sys.argv[1]), n_records={N}, full=True, resume=True, every=1000, output_format=sys.argv[2])
except OutputError as error:
    sys.exit(f"refused: {{error}}")
"""
CALLS = {
    "write": "ENOSPC",
    "pwrite64": "ENOSPC",
    "fsync": "EIO",
    "fdatasync": "EIO",
    "rename": "EIO",
    "ftruncate": "EIO",
}
strace = shutil.which("strace")
pytestmark = pytest.mark.skipif(strace is None, reason="needs strace")


def _run(path: Path, fault: str) -> tuple[int, str]:
    """Write an output while a fault is injected into calls on its spool; the exit code and what it said."""
    spool = [f"{path}.partial/{name}" for name in ("main.new", "tokens.new", "x", "obs", "journal", "cls", "tokens")]
    only = [part for name in [*spool, f"{path}.partial", path, path.parent] for part in ("-P", str(name))]
    call = fault.split(":")[0]
    command = [
        str(strace),
        "-f",
        "--seccomp-bpf",
        "-o",
        os.devnull,
        *only,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={fault}",
    ]
    python = [sys.executable, "-c", CODE, str(path), "h5"]
    done = subprocess.run([*command, *python], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def _check(folder: Path, call: str, nth: int, whole: dict[str, str]) -> bool:
    """Inject one fault; whether there was such a call."""
    path = folder / f"{call}{nth}" / "out.h5"
    path.parent.mkdir()
    code, said = _run(path, f"{call}:error={CALLS[call]}:when={nth}")
    what = f"{call} {nth}: exit {code}: {said}"
    if path.exists():
        assert dump(path) == whole, what
    assert path.exists() or code == 1, what
    if code:
        assert said.startswith("refused: "), what
        assert said.count("\n") == 1, what
        write_all(path, n_records=N, full=True, resume=not path.exists(), force=path.exists(), every=1000)
        assert dump(path) == whole, what
    return code != 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The content of the output without a fault."""
    path = tmp_path_factory.mktemp("whole") / "out.h5"
    write_all(path, n_records=N, full=True, every=1000)
    return dump(path)


@pytest.mark.parametrize(("call", "nth"), [("write", 9), ("write", 60), ("fsync", 2), ("rename", 2)])
def test_a_call_that_fails_costs_no_row(tmp_path: Path, whole: dict[str, str], call: str, nth: int) -> None:
    _check(tmp_path, call, nth, whole)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_every_call_that_fails_costs_no_row(tmp_path: Path, whole: dict[str, str], call: str) -> None:
    assert getattr(errno, CALLS[call])
    nth = 1
    while _check(tmp_path, call, nth, whole):
        nth += 1
    print(f"{call}: {nth - 1} faults")
