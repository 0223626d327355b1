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
        "findna/io/hdf5_file.py",
        "            raise self._problem\n",
        "            pass\n",
        f"{WRITE} tests/unit/test_readback.py",
    ),
    "the assembled file is not read back": Mutation(
        "findna/io/readback.py",
        "    if repr(found) != repr(expected):",
        "    if False:",
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
    "an input that changes while it is read is not noticed": Mutation(
        "findna/io/watch.py",
        "        if (change := self.change(digests)) is not None:\n            raise change\n",
        "        self.change(digests)\n",
        "tests/unit/test_labelled.py::test_a_table_that_changes_while_it_is_read_is_an_error",
    ),
    "a link is replaced by an output": Mutation(
        "findna/io/files.py",
        "    if stat.S_ISLNK(mode):",
        "    if False:",
        "tests/unit/test_files.py tests/unit/test_hdf5.py",
    ),
    "an index of the user is replaced": Mutation(
        "findna/io/indexed.py",
        "self._places[is_read_only or is_taken :]",
        "self._places[is_read_only:]",
        "tests/unit/test_genome.py::test_a_users_index_is_never_replaced",
    ),
    "the digest of a config is not compared": Mutation(
        "findna/models/manifest.py",
        "    if DIGEST in config and",
        "    if False and",
        "tests/unit/test_store.py",
    ),
    "an index of another BAM file is taken": Mutation(
        "findna/io/bam.py",
        "return bool(indexes) and all(is_index_of(index, path) for index in indexes)",
        "return bool(indexes)",
        "tests/unit/test_bam.py",
    ),
    "a bare carriage return is a line end": Mutation(
        "findna/io/compressed.py",
        'if b"\\r" in chunk and (bare',
        "if False and (bare",
        "tests/unit/test_fasta.py tests/unit/test_bed.py",
    ),
    "a record that is mostly N gets a label": Mutation(
        "findna/classification.py",
        "is_n = [share > MOSTLY_N for",
        "is_n = [False for",
        "tests/e2e/test_classify.py::test_a_record_that_is_mostly_n_is_unknown_and_counted",
    ),
    "a missing label is a class": Mutation(
        "findna/data/labels.py",
        "if any(label.lower() in _MISSING for label in labels):",
        "if False:",
        "tests/unit/test_labelled.py::test_a_missing_label_is_no_class",
    ),
    "a text that only looks like BED is read": Mutation(
        "findna/io/sniff.py",
        "    if foreign := _foreign_text(text):",
        "    if foreign := None:",
        "tests/unit/test_sniff.py",
    ),
    "mates have the same id": Mutation(
        "findna/io/fasta.py",
        "        mate = _MATE.match(description)",
        "        mate = None",
        "tests/unit/test_fasta.py",
    ),
    "a count in a .2bit file is taken on trust": Mutation(
        "findna/io/twobit.py",
        "if n_contigs * (2 + n_offset) > self._size:",
        "if False:",
        "tests/unit/test_twobit.py",
    ),
    "values in another file are read": Mutation(
        "findna/io/foreign.py",
        "    if made.get_external_count():",
        "    if False:",
        "tests/faults/test_hostile_hdf5.py",
    ),
    "what a terminal would obey is printed": Mutation(
        "findna_cli/console.py",
        "    if text.isprintable():",
        "    if True:",
        "tests/faults/test_boundary.py",
    ),
    "an internal fault is a traceback": Mutation(
        "findna_cli/app.py",
        "        code = _fail(_said(error), 1)",
        "        raise",
        "tests/faults/test_boundary.py",
    ),
    "a file system without locks is an error": Mutation(
        "findna/io/files.py",
        "_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)",
        "_NO_LOCKS = ()",
        "tests/unit/test_files.py",
    ),
    "the quota of a control group is ignored": Mutation(
        "findna/cpus.py",
        "return min((quota for quota in quotas if quota > 0), default=None)",
        "return None",
        "tests/unit/test_cpus.py",
    ),
    "damaged gzip is an empty file": Mutation(
        "findna/io/sniff.py",
        "        for _ in stream.chunks():  # damaged and truncated files raise their own error\n            pass\n",
        "",
        "tests/unit/test_sniff.py",
    ),
    "the checksums of a part are not compared": Mutation(
        "findna/runs/merge.py",
        "found.hex().items() if (stored or {})",
        "() if (stored or {})",
        "tests/unit/test_merge.py",
    ),
}


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests pass with a mutation; the copy is then as it was."""
    path = folder / mutation.path
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times"
    path.write_text(text.replace(mutation.old, mutation.new))
    environment = os.environ | {"PYTHONPATH": str(folder)}  # bytecode of a file of another second or size is not used
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
        [*command, *mutation.tests.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    path.write_text(text)
    if done.returncode > 1:  # below 0: without its guard, a C library crashes
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
