"""HDF5 files that are damaged or hostile: `findna view` and `findna merge` say so in one line."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import call
from outputs import write_all

import findna
from findna.errors import TableError
from findna.io import foreign

NARROW = np.ones((20, 2), np.float32)
Change = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "x.h5"
    write_all(path, full=True)
    return path


@pytest.fixture
def damaged(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("the words of another file" * 1000)
    for name in ("x.h5", "part.h5", "linked.h5", "chained.h5"):
        shutil.copy(whole, name)
    with h5py.File("foreign.h5", "w") as file:
        file["X"] = np.ones((20, 3), "f4")
    with h5py.File("chained.h5", "r+") as file:
        del file["X"]
        virtual(("part.h5", "X"))(file, "X")
    with h5py.File("linked.h5", "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("foreign.h5", "X")
    return Path("x.h5")


def replaced(name: str, make: Callable[[h5py.Group, str], object]) -> Change:
    def change(file: h5py.File) -> None:
        group, _, last = name.rpartition("/")
        del file[name]
        make(file[group or "/"], last)

    return change


def external(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (20, 3), "<f4", external=[("secret", 0, 240)])


def unallocated(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (10**9,), h5py.string_dtype(), chunks=(1024,))


def virtual(*sources: tuple[str, str], n_rows: int = 20) -> Callable[[h5py.Group, str], None]:
    """X of datasets of other files, `n_rows` of each."""

    def make(group: h5py.Group, name: str) -> None:
        layout = h5py.VirtualLayout((20, 3), "<f4")
        for number, (file, place) in enumerate(sources):
            layout[number * n_rows : (number + 1) * n_rows] = h5py.VirtualSource(file, place, (n_rows, 3), "<f4")
        group.create_virtual_dataset(name, layout)

    return make


def every_second(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((20, 3), "<f4")
    layout[:] = h5py.VirtualSource("part.h5", "X", (40, 3), "<f4")[::2]
    group.create_virtual_dataset(name, layout)


def wide_chunks(group: h5py.Group, name: str) -> None:
    dataset = group.create_dataset(name, (20, 3), "<f4", chunks=(2**25, 3), maxshape=(None, 3), compression="gzip")
    dataset.attrs["encoding-type"] = "array"
    dataset[:] = 1


CHANGES: dict[str, tuple[Change, str]] = {
    "external storage": (replaced("X", external), "X keeps its values in another file, which is not read"),
    "values of a file that is absent": (replaced("X", virtual(("other.h5", "X"))), "its part other.h5 is not found"),
    "values of another program": (replaced("X", virtual(("foreign.h5", "X"))), "is not a finished output of findna"),
    "values of no HDF5 file": (replaced("X", virtual(("secret", "X"))), "is damaged: "),
    "values of a file elsewhere": (replaced("X", virtual(("../part.h5", "X"))), "part ../part.h5 is not in its folder"),
    "values of a file by its path": (replaced("X", virtual(("/etc/part.h5", "X"))), "is not in its folder"),
    "values of itself": (replaced("X", virtual((".", "X"))), "its part . is not in its folder"),
    "values of another virtual file": (replaced("X", virtual(("chained.h5", "X"))), "X points to other files"),
    "values behind a link": (replaced("X", virtual(("linked.h5", "X"))), "linked.h5 has no X"),
    "values of another shape": (replaced("X", virtual(("part.h5", "obs/start"))), "has another shape or type"),
    "fewer values than rows": (replaced("X", virtual(("part.h5", "X"), n_rows=7)), "has 20 rows, and its parts have 7"),
    "the same values twice": (
        replaced("X", virtual(("part.h5", "X"), ("part.h5", "X"), n_rows=10)), "contains the rows of a part twice"),
    "every second value": (replaced("X", every_second), "does not consist of complete datasets in order"),
    "a soft link": (replaced("X", lambda g, n: g.__setitem__(n, h5py.SoftLink("/obs/id"))), "X is a link, which"),
    "an external link": (
        replaced("obs", lambda g, n: g.__setitem__(n, h5py.ExternalLink("other.h5", "/obs"))),
        "obs is a link, which",
    ),
    "10^9 ids without storage": (replaced("obs/id", unallocated), "000 bytes, and the file holds 0"),
    "chunks of 400 MB": (replaced("X", wide_chunks), "X has chunks of 402,653,184 bytes"),
    "X of another width": (replaced("X", lambda g, n: g.create_dataset(n, data=NARROW)), "X is float32"),
    "X of whole numbers": (replaced("X", lambda g, n: g.create_dataset(n, data=np.ones((20, 3), "i4"))), "X is int32"),
    "X as a group": (replaced("X", lambda g, n: g.create_group(n)), "is damaged: "),
    "X absent": (lambda file: file.__delitem__("X"), "is damaged: "),
    "a column of another length": (
        replaced("obs/start", lambda g, n: g.create_dataset(n, data=np.ones(7, "i8"))), "its column start has 7"),
    "a column absent": (lambda file: file.__delitem__("obs/start"), "is damaged: "),
    "no order of the columns": (lambda file: file["obs"].attrs.__delitem__("column-order"), "is damaged: "),
    "an order of numbers": (lambda file: file["obs"].attrs.__setitem__("column-order", [1, 2]), "is damaged: "),
    "no index": (lambda file: file["obs"].attrs.__delitem__("_index"), "is damaged: "),
    "schema as a number": (replaced("uns/findna/schema", lambda g, n: g.__setitem__(n, 3)), "is damaged: "),
    "complete as text": (replaced("uns/findna/n_expected", lambda g, n: g.__setitem__(n, "x")), "is damaged: "),
    "JSON nested deeply": (
        replaced("uns/findna/params", lambda g, n: g.create_dataset(n, data="[" * 10**5, dtype=h5py.string_dtype())),
        "is damaged: ",
    ),
    "JSON that is none": (
        replaced("uns/findna/params", lambda g, n: g.create_dataset(n, data="{", dtype=h5py.string_dtype())),
        "is damaged: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_hostile_file_is_refused_in_one_line(what: str, damaged: Path) -> None:
    change, message = CHANGES[what]
    with h5py.File(damaged, "r+") as file:
        change(file)
    result = call("view", damaged)
    assert (result.code, result.err.count("\n")) == (1, 1), result.err
    assert result.err.startswith("findna: file x.h5: ")
    assert message in result.err
    assert "the words of another file" not in result.out
    merged = call("merge", damaged, "-o", "out.h5")
    assert (merged.code, merged.err.count("\n")) == (1, 1), merged.err
    assert not Path("out.h5").exists()


def test_a_file_that_hdf5_reads_without_end_is_refused(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen zeros in the heap of texts: an object of no size, after which libhdf5 looks for the next one forever."""
    monkeypatch.setattr(foreign, "CPU_SECONDS", 1)
    content = damaged.read_bytes()
    heap = content.index(b"GCOL") + 16
    damaged.write_bytes(content[:heap] + bytes(16) + content[heap + 16 :])
    message = "is damaged: HDF5 loops without end when it reads the file\n"
    for command in ("view x.h5", "merge x.h5 -o out.h5", "plot x.h5 -o out.png"):
        result = call(*command.split())
        assert (result.code, result.err) == (1, f"findna: file x.h5: {message}"), command
    assert message in call("verify", "x.h5").err
    with pytest.raises(TableError, match="loops without end"):
        findna.read_embeddings("x.h5")


def test_a_limit_on_memory_of_the_shell_does_not_turn_the_check_off(damaged: Path) -> None:
    content = damaged.read_bytes()
    heap = content.index(b"GCOL") + 16
    damaged.write_bytes(content[:heap] + bytes(16) + content[heap + 16 :])
    code = (
        "import resource, findna.io.foreign as f, pathlib; f.CPU_SECONDS = 1; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32)); f.open_foreign(pathlib.Path('x.h5'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "HDF5 loops without end when it reads the file" in done.stderr


def test_a_parent_that_ignores_the_end_of_processes_does_not_turn_the_check_off(damaged: Path) -> None:
    ignore = partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
    whole = damaged.read_bytes()
    run = partial(subprocess.run, capture_output=True, text=True, timeout=60, preexec_fn=ignore)
    short = "import findna.io.foreign as f; f.CPU_SECONDS = 1; from findna_cli.app import main; main()"
    command = [sys.executable, "-c", short, "view", "x.h5"]
    assert run(command).returncode == 0
    library = "import pathlib; from findna.io.foreign import open_foreign; open_foreign(pathlib.Path('x.h5'))"
    assert "cannot be checked: this program ignores SIGCHLD" in run([sys.executable, "-c", library]).stderr
    heap = whole.index(b"GCOL") + 16
    damaged.write_bytes(whole[:heap] + bytes(16) + whole[heap + 16 :])
    assert "HDF5 loops without end when it reads the file" in run(command).stderr


def test_a_text_that_claims_to_be_huge_is_refused_before_memory_is_taken(damaged: Path) -> None:
    with h5py.File(damaged) as file:
        place = file["uns/findna/schema"].id.get_offset()  # length, address and number in the heap
    with damaged.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff\xff\xff\x7f")
    result = call("view", damaged)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "file x.h5: is damaged: HDF5 takes far more memory than its size" in result.err


@pytest.mark.parametrize("seed", range(12))
def test_a_corrupted_file_is_never_a_traceback(seed: int, damaged: Path) -> None:
    draw = random.Random(seed)
    content = bytearray(damaged.read_bytes())
    used = [place for place in range(0, len(content), 64) if any(content[place : place + 64])]
    for _ in range(5):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 4, 64))):
            changed[min(draw.choice(used) + draw.randrange(64), len(content) - 1)] = draw.randrange(256)
        damaged.write_bytes(changed[: draw.choice((len(content), len(content) // 2))])
        for command in (("view",), ("merge", "-o", "out.h5", "--force")):
            result = call(command[0], damaged, *command[1:])
            assert result.code in (0, 1)
            assert "Traceback" not in result.err
            assert "internal error" not in result.err
            assert result.err.count("\n") <= 1


@pytest.mark.parametrize(
    "shard",
    [3, [], {}, {"number": 1}, {"number": "1", "n": 2, "first": 0, "n_records": 23, "n_total": 46},
     {"number": 1, "n": 2**60, "first": 0, "n_records": 23, "n_total": 46},
     {"number": 5, "n": 2, "first": 0, "n_records": 23, "n_total": 46},
     {"number": 1, "n": 1, "first": -1, "n_records": 23, "n_total": 23}],
)  # fmt: skip
def test_merge_believes_no_part_of_itself(shard: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(Path("whole.h5"))
    with h5py.File("whole.h5", "r+") as file:
        group = file["uns/findna"]
        group.create_dataset("shard", data=json.dumps(shard), dtype=h5py.string_dtype())
        for name in ("provenance", "inputs", "genome"):
            group.create_dataset(name, data="{}", dtype=h5py.string_dtype())
    result = call("merge", "whole.h5", "-o", "out.h5")
    is_large = isinstance(shard, dict) and shard.get("n") == 2**60
    said = f"file whole.h5: is damaged: {'' if is_large else 'its shard is '}"
    assert (result.code, result.err.count("\n"), said in result.err) == (1, 1, True), result.err
    assert not Path("out.h5").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("x.h5")
    assert call("view", "x.h5").err == "findna: file x.h5: is not a regular file\n"


def test_ids_of_a_file_cannot_steer_the_terminal(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        ids = file["obs/id"]
        ids[0] = "\x1b]0;owned\x07\x1b[31m"
    result = call("view", damaged)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "\\x1b[31m" in result.out
