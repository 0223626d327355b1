"""Readers of files that findna wrote, as functions of bytes: outputs, runs, plans, logs, tables of labels."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pysam

from findna.benchmark.study_variants import read_variants
from findna.data.labels import read_class_names
from findna.errors import FindnaError
from findna.io.bam_index import is_index_of
from findna.io.spool import Spool
from findna.io.view import describe, iter_rows
from findna.maps import read_labels
from findna.models.convert import read_checkpoint
from findna.recipes import PRESETS
from findna.train.log import read_log
from findna.train.plan import PretrainPlan, TaskPlan
from findna.train.portable import read_portable
from findna.verify import verify

File = Callable[[str, bytes], Path]


def parsers(file: File) -> dict[str, Callable[[bytes], None]]:
    """The parsers by name; `file` writes bytes to a file of a name."""

    def checked(path: Path) -> None:
        found = verify(path, n=0)
        assert all(status in ("ok", "changed", "failed", "not checked") for _, status, _ in found.checks)

    def output(content: bytes) -> None:
        """A table with the metadata that has its checksum, or an array with both."""
        text, _, rest = content.partition(b"\xff\xff")
        beside, _, meta = rest.rpartition(b"\xff\xff")
        name = "x.npy" if text.startswith(b"\x93NUM") else "x.tsv"
        paths = {name: file(name, text), "x.obs.tsv": file("x.obs.tsv", beside)}
        with suppress(ValueError, TypeError, AttributeError, LookupError, RecursionError):
            facts = json.loads(meta)
            facts["checksums"] = {n: hashlib.sha256(paths[n].read_bytes()).hexdigest() for n in facts["checksums"]}
            meta = json.dumps(facts, indent=1).encode()
        file("x.meta.json", meta)
        checked(paths[name])

    def effects(content: bytes) -> None:
        """A table of effects of changes."""
        checked(file("effects.tsv", b"## {" + content))

    def scores(content: bytes) -> None:
        """A scored VCF or table."""
        checked(file("scores.vcf", b"##" + content))

    def hdf5(content: bytes) -> None:
        """An HDF5 file: what `view` shows, and what `verify` says."""
        path = file("x.h5", b"\x89HDF" + content)
        checked(path)
        describe(path)
        list(iter_rows(path, 0, 50))

    def labels(content: bytes) -> None:
        """A table of labels, and one of class names."""
        path = file("labels.tsv", content)
        with suppress(FindnaError):
            read_class_names(str(path))
        read_labels(path)

    def study(content: bytes) -> None:
        """The variants of a study, TOML."""
        read_variants(file("study.toml", content), PRESETS["tiny"])

    def training(content: bytes) -> None:
        """The plans and the log of a run."""
        text = content.decode(errors="replace")
        for plan in (PretrainPlan, TaskPlan):
            with suppress(FindnaError):
                plan.parse(text, Path("plan.json"))
        with suppress(FindnaError):
            read_portable(file("run.safetensors", content))
        read_log(file("log.csv", content))

    def checkpoint(content: bytes) -> None:
        """A checkpoint of other code."""
        read_checkpoint(file("x.pt", content))

    def journal(content: bytes) -> None:
        """A spool with a journal that may be wrong: the rows that it calls certain must exist."""
        folder = file("spool-marker", b"").parent / "spool"
        folder.mkdir(exist_ok=True)
        for name, part in zip(("findna.txt", "x", "journal"), (b"", *content.partition(b"\xff\xff")[::2]), strict=True):
            (folder / name).write_bytes(part)
        with Spool(folder, ["x"], {"a": 1}, resume=True) as spool:
            assert spool.size("x") == (folder / "x").stat().st_size

    def bam_index(content: bytes) -> None:
        """An index beside a BAM file: whether it fits, never more than that."""
        path = file("indexed.bam", b"")
        if not path.stat().st_size:
            header = {"SQ": [{"SN": "chr1", "LN": 100}, {"SN": "2", "LN": 9}]}
            with pysam.AlignmentFile(str(path), "wb", header=header):
                pass
        is_index_of(file("indexed.bam.bai", content), path)

    made = (output, effects, scores, hdf5, labels, study, training, checkpoint, journal, bam_index)
    return {parse.__name__: parse for parse in made}
