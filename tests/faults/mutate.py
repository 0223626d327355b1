"""Removes one safeguard at a time from a copy of findna; the tests of that safeguard must fail.

python tests/faults/mutate.py            # all; exit code 1 if a mutation survives
python tests/faults/mutate.py NAME ...   # some
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOSS, WRITE = "tests/faults/test_power_loss.py", "tests/faults/test_every_write.py"


class Mutation(NamedTuple):
    """Text of a file that becomes other text, and the tests (arguments of pytest) that must notice."""

    path: str
    old: str
    new: str
    tests: str


MUTATIONS = {
    "rows are not synced before their journal line": Mutation(
        "findna/io/spool.py",
        "_sync(self._files[self._unsynced.pop()].fileno())",
        "self._unsynced.pop()",
        f"{LOSS} tests/unit/test_spool.py",
    ),
    "the journal is not synced": Mutation(
        "findna/io/spool.py",
        "_journal_line(line))\n                _sync(self._files[_JOURNAL].fileno())",
        "_journal_line(line))",
        f"{LOSS} tests/unit/test_spool.py",
    ),
    "the first journal line is not synced": Mutation(
        "findna/io/spool.py",
        "            _sync(self._files[_JOURNAL].fileno())\n            sync_folder(self.folder)\n",
        "            sync_folder(self.folder)\n",
        f"{LOSS} tests/unit/test_spool.py",
    ),
    "the spool's folder is not synced": Mutation(
        "findna/io/spool.py", "            sync_folder(self.folder)\n", "", LOSS
    ),
    "the spool's name is not synced": Mutation(
        "findna/io/spool.py", "            sync_folder(self.folder.parent)\n        return", "        return", LOSS
    ),
    "a finished file is not synced before its rename": Mutation(
        "findna/io/files.py",
        "        os.fsync(file.fileno())\n    temp.replace",
        "        pass\n    temp.replace",
        LOSS,
    ),
    "a final name is not synced": Mutation(
        "findna/io/files.py", "    temp.replace(final)\n    sync_folder(final.parent)", "    temp.replace(final)", LOSS
    ),
    "a file is written in its place": Mutation(
        "findna/io/files.py",
        "    temp.replace(final)\n",
        "    final.write_bytes(temp.read_bytes())\n    temp.unlink()\n",
        f"{LOSS} {WRITE}",
    ),
    "the journal's checksum is not compared": Mutation(
        "findna/io/spool.py",
        ' or line[:9] != b"%08x " % zlib.crc32(line[9:-1])',
        "",
        "tests/unit/test_spool.py",
    ),
    "checksums of rows are not compared": Mutation(
        "findna/io/spool.py", 'if crc != commit["crc"][name]:', "if False:", f"{LOSS} tests/unit/test_spool.py"
    ),
    "what is behind the last commit stays": Mutation(
        "findna/io/spool.py",
        "            file.truncate(length)\n",
        "            pass\n",
        f"{WRITE} tests/unit/test_spool.py",
    ),
    "the fingerprint is not compared": Mutation(
        "findna/io/spool.py",
        "if differing := differences(old, new):",
        "if differing := []:",
        "tests/unit/test_spool.py",
    ),
    "the spool is not locked": Mutation(
        "findna/io/spool.py",
        "stack.enter_context(locked(folder / _LOCK, what=folder))",
        "folder.mkdir(exist_ok=True)",
        "tests/unit/test_spool.py",
    ),
    "the spool goes before its journal": Mutation(
        "findna/io/spool.py",
        "        self.path(_JOURNAL).unlink(missing_ok=True)  # first: without it, the rest of a spool is not a run\n",
        "",
        "tests/unit/test_spool.py",
    ),
    "a failed write of HDF5 is not noticed": Mutation(
        "findna/io/h5ad.py",
        "            raise self._problem\n",
        "            pass\n",
        f"{WRITE} tests/unit/test_readback.py",
    ),
    "the assembled file is not read back": Mutation(
        "findna/io/readback.py",
        "    if _same_bytes(found, expected) if is_array else found == expected:",
        "    if True:",
        "tests/unit/test_readback.py",
    ),
    "records in and out are not counted": Mutation(
        "findna/io/hdf5.py", "if self.n_records_done != n_expected:", "if False:", "tests/unit/test_hdf5.py"
    ),
    "the penalty of a probe is chosen on the test split": Mutation(
        "findna/benchmark/baselines.py",
        'found = scores(valid)\n        loss = mean_loss(found, valid.y, "classification")',
        'found, valid = scores(test), test\n        loss = mean_loss(found, valid.y, "classification")',
        "tests/unit/test_benchmark_baselines.py",
    ),
    "windows weigh alike in the loss": Mutation(
        "findna/train/tuner.py",
        "(losses * share[chosen].to(self.device)).sum() / total",
        "losses.sum() / len(batch.indices)",
        "tests/unit/test_finetune.py::test_a_window_counts_by_the_bases_that_it_owns",
    ),
    "threads are not divided among workers": Mutation(
        "findna/runs/workers.py",
        "max(1, compute.threads // len(loads))",
        "compute.threads",
        "tests/unit/test_workers.py",
    ),
    "a first record that is mostly N tells no columns": Mutation(
        "findna/runs/run.py",
        "        if isinstance(item, TooManyN):\n            return first, item.columns\n",
        "",
        "tests/e2e/test_merge.py::test_a_shard_whose_reads_are_all_skipped_has_the_columns_of_reads",
    ),
}


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests pass with a mutation; the copy is then as it was."""
    path = folder / mutation.path
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times"
    path.write_text(text.replace(mutation.old, mutation.new))
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not finished_by_running",
    ]
    done = subprocess.run(
        [*command, *mutation.tests.split()], cwd=folder, env=environment, capture_output=True, text=True
    )
    path.write_text(text)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return not done.returncode


def main() -> int:
    """Try each mutation; 1 if one survives."""
    survivors = []
    with tempfile.TemporaryDirectory(prefix="findna-mutate-") as place:
        folder = Path(place)
        for name in ("findna", "findna_cli", "tests"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "pyproject.toml", folder)
        for name in sys.argv[1:] or MUTATIONS:
            begin = time.monotonic()
            is_alive = survives(MUTATIONS[name], folder)
            survivors += [name] if is_alive else []
            print(f"{'SURVIVES' if is_alive else 'noticed '}  {time.monotonic() - begin:5.0f} s  {name}", flush=True)
    print(f"{len(survivors)} survive")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
