"""A writer killed at any moment, a full disk, two writers at once: never a wrong file, never a lost commit."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from outputs import dump, write_all

from findna.errors import OutputError

N = 1200
WRITE = f"""
import sys, time
sys.path[:0] = [{str(Path(__file__).parents[1])!r}]
from pathlib import Path
import outputs
from findna.errors import OutputError
print("begin", flush=True)
"""
RUN = "outputs.write_all(Path(sys.argv[1]), n_records={n}, full=True, resume=True)\n"


def _start(path: Path, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE + code, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def _n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow  # test_every_write.py kills at calls
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    write_all(tmp_path / "whole.h5", n_records=N, full=True, every=1000)
    path, draws = tmp_path / "out.h5", random.Random(3)
    journal = Path(f"{path}.partial", "journal")
    for _ in range(6):
        enough = _n_lines(journal) + draws.randint(1, 30)
        process = _start(path, RUN.format(n=N))
        while _n_lines(journal) < enough and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draws.uniform(0, 0.005))
        process.kill()
        assert process.wait() == -9, process.communicate()[1]
        process.communicate()
        assert not path.exists()
        assert _n_lines(journal) >= enough  # no commit is lost, and the next run resumes from it
    write_all(path, n_records=N, full=True, resume=True, every=1000)
    assert dump(path) == dump(tmp_path / "whole.h5")
    assert dump(tmp_path / "out.tokens.h5") == dump(tmp_path / "whole.tokens.h5")
    assert not Path(f"{path}.partial").exists()


def test_a_disk_that_is_full_leaves_no_file_and_a_spool_to_resume(tmp_path: Path) -> None:
    limit = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    outputs.write_all(Path(sys.argv[1]), n_records=1200, full=True)\n"
        "except OutputError as error:\n    sys.exit(str(error))\n"
    )
    path = tmp_path / "out.h5"
    process = _start(path, limit)
    message = process.communicate()[1]
    assert process.returncode == 1
    assert message.count("\n") == 1
    assert "no space left" in message
    assert "resume=True continues from there" in message
    assert [file.name for file in tmp_path.iterdir()] == ["out.h5.partial"]
    write_all(path, n_records=N, full=True, resume=True, every=1000)
    write_all(tmp_path / "whole.h5", n_records=N, full=True, every=1000)
    assert dump(path) == dump(tmp_path / "whole.h5")


def test_two_writers_at_once_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    hold = (
        "from findna.io.hdf5 import EmbeddingWriter\n"
        "with EmbeddingWriter(Path(sys.argv[1]), features=['a'], fingerprint={}):\n"
        "    print('holding', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", WRITE + hold, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert [holder.stdout.readline(), holder.stdout.readline()] == ["begin\n", "holding\n"]
        for options in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(OutputError, match="in use, another process is writing it"):
                write_all(path, **options)
        holder.kill()
    write_all(path, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["out.h5"]
