"""Jobs in processes of their own, in which one call that changes files fails, or kills the process.

A server preloads `faults/shim.c`, imports what the jobs need, and forks a child per job, so that a fault costs
milliseconds. As a program, this file is that server.
"""

import contextlib
import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

HERE = Path(__file__).resolve().parent
MODES = {"nothing": 0, "fail": 1, "fail on": 2, "kill": 3, "tear": 4}
"""What happens at the nth call: it fails; it and all later ones fail; the process is killed, also within a write."""


class Ended(NamedTuple):
    """How a job ended: exit code (-9 if killed), what it said, and its calls that change files."""

    code: int
    said: str
    n_calls: int


class Injector:
    """Runs jobs with faults; use it as a context manager.

    Args:
        folder: For the compiled library.
        modules: What the jobs import.
    """

    def __init__(self, folder: Path, modules: Sequence[str]) -> None:
        library = folder / "shim.so"
        if not library.exists():
            build = library.with_suffix(f".{os.getpid()}")
            source = HERE / "faults" / "shim.c"
            subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", str(build), str(source)], check=True)
            build.rename(library)
        paths = [str(HERE.parent), str(HERE), str(HERE / "e2e"), os.environ.get("PYTHONPATH", "")]
        environment = {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment |= {"OMP_NUM_THREADS": "1", "FINDNA_CACHE": str(folder / "cache")}
        command = [sys.executable, __file__, *modules]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._server = subprocess.Popen(command, env=os.environ | environment, **pipes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate("")

    def run(
        self, job: str, *args: object, folder: Path, mode: str = "nothing", nth: int = 0, code: int = 0, log: str = ""
    ) -> Ended:
        """Run a job of `JOBS` in a folder, with a fault at its nth call below the folder."""
        asked = {
            "job": job,
            "args": list(map(str, args)),
            "folder": str(folder),
            "fault": [MODES[mode], nth, code, log],
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return Ended(*json.loads(self._server.stdout.readline()))


def compiler() -> str:
    """A C compiler, "" where there is none."""
    return shutil.which("cc") or ""


def write_rows(name: str, n_records: str, is_full: str) -> int:
    """Write the rows of `outputs`, or what is missing of them; it prints their number, and notes each commit."""
    import outputs

    from findna.errors import OutputError
    from findna.io.hdf5 import EmbeddingWriter
    from findna.io.spool import holds_run

    class Noting(EmbeddingWriter):
        def __enter__(self) -> Self:
            sys.stdout.write(f"{self.n_records_done}\n")
            sys.stdout.flush()
            return super().__enter__()

        def commit(self) -> None:
            super().commit()
            ctypes.CDLL(None).fault_mark(ctypes.c_long(self.n_records_done))

    outputs.EmbeddingWriter = Noting  # type: ignore[misc]
    path = Path(name)
    if path.exists() and not holds_run(Path(f"{name}.partial")):
        return 0
    kind = {".h5": "h5", ".tsv": "tsv", ".npy": "npy", ".parquet": "parquet"}[path.suffix]
    try:
        outputs.write_all(path, n_records=int(n_records), full=is_full == "full", resume=True, output_format=kind)
    except OutputError as error:
        sys.stderr.write(f"findna: {error}\n")
        return 1
    return 0


def run_command(*args: str) -> int:
    """The command line, with a commit after every cell."""
    from matplotlib import figure

    from findna.io import record_spool
    from findna.io.hdf5 import EmbeddingWriter
    from findna_cli.app import main

    defaults = EmbeddingWriter.__init__.__kwdefaults__
    assert defaults is not None
    defaults["every"] = record_spool._EVERY = 0.0
    # drawing takes a second
    figure.Figure.savefig = lambda self, path, **how: Path(path).write_text(f"a figure {how.get('metadata')}")
    sys.argv = ["findna", *args]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


JOBS = {"rows": write_rows, "command": run_command}


def serve() -> None:
    """Fork a child for each line of stdin; a line of stdout tells how it ended."""
    from importlib import import_module

    for name in sys.argv[1:]:
        import_module(name)
    gc.freeze()  # else each child looks through all of it, which copies it
    for line in sys.stdin:
        asked = json.loads(line)
        counted, count = os.pipe()
        heard, said = os.pipe()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os._exit(_work(asked, count, said))
            os._exit(99)
        os.close(count)
        os.close(said)
        with os.fdopen(heard, "rb") as file:
            text = file.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(counted, "rb") as file:
            n_calls = int(file.read() or 0)
        sys.stdout.write(json.dumps([code, text, n_calls]) + "\n")
        sys.stdout.flush()


def _work(asked: dict[str, Any], count: int, said: int) -> int:
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(asked["folder"])
    shim = ctypes.CDLL(None)
    mode, nth, error, log = asked["fault"]
    shim.fault_arm(asked["folder"].encode(), mode, ctypes.c_long(nth), error, log.encode())
    try:
        code = JOBS[asked["job"]](*asked["args"])
    except BaseException:
        traceback.print_exc()
        code = 98
    sys.stderr.flush()
    os.write(count, str(shim.fault_count()).encode())
    return code


if __name__ == "__main__":
    serve()
