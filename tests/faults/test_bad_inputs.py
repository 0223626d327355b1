"""Every row of `bad_inputs.tsv`: a small valid file, an edit, and the error message that the command must print.

An edit is one of
    is TEXT             the whole content, with escapes as in Python
    end TEXT            added at the end
    swap OLD NEW        the first OLD becomes NEW (one blank between them; escapes as in Python)
    keep N              the first N bytes; of a negative N all but the last
    set PLACE HEX       bytes from that place on
    json PATH VALUE     sets VALUE in a config.json, by a path with dots; a VALUE of "-" removes it. The digest fits.
    times N TEXT        the whole content: TEXT, N times
    grow OLD N TEXT     the first OLD becomes TEXT, N times
    gz N                compressed with gzip, then as keep
    none                the file is absent
    pipe                the file is a pipe that nobody writes to
"""

import csv
import gzip
import json
import os
import shutil
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysam
import pytest
from command import call
from outputs import write_all

import findna
from findna.models.manifest import config_text
from findna.models.save_task import save_task
from findna.models.store import save_model
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.heads import Head
from findna.sizes import ModelConfig

TABLE = Path(__file__).with_name("bad_inputs.tsv")
SECONDS = 60.0
GENOME = ">chr1 first\n" + "ACGTTGCA\n" * 9 + "ACGT\n>chr2\nGGGGCCCCAA\n"
SIZE = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=1, max_len=23, n_class_tokens=3)
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
OUT = ("-m", "model", "-o", "out.tsv", "-t", "1", "--precision", "fp32")
COMMANDS: dict[str, tuple[str, ...]] = {
    "s.fa": ("embed", "s.fa", *OUT),
    "s.fq": ("embed", "s.fq", *OUT),
    "r.bed": ("embed", "r.bed", "-g", "g.fa", *OUT),
    "r.narrowPeak": ("embed", "r.narrowPeak", "-g", "g.fa", *OUT),
    "r.bam": ("embed", "r.bam", *OUT),
    "r.cram": ("embed", "r.cram", "-g", "g.fa", *OUT),
    "v.vcf": ("score", "v.vcf", "-g", "g.fa", "--window", "20", "--max-length", "2", *OUT),
    "v.bcf.csi": ("score", "v.bcf", "-g", "g.fa", "--window", "20", "--max-length", "2", *OUT),
    "study.toml": ("benchmark", "study", "study.toml", "s.fa", "--data", "."),
    "p.fa": ("pretrain", "p.fa", "--preset", "tiny", "--steps", "1", "-o", "run"),
    "w.fa": ("data", "windows", "w.fa", "--n", "2", "--min-length", "20", "--max-length", "40", "-o", "drawn.fa"),
    "o.h5": ("verify", "o.h5", "-t", "1"),
    "g.fa": ("embed", "chr1:1-20", "-g", "g.fa", *OUT),
    "g.fa.fai": ("embed", "chr1:1-20", "-g", "g.fa", *OUT),
    "g.2bit": ("embed", "chr1:1-20", "-g", "g.2bit", *OUT),
    "t.csv": ("data", "audit", "t.csv"),
    "t.tsv": ("data", "audit", "t.tsv"),
    "model/config.json": ("model", "verify", "model"),
    "model/model.safetensors": ("model", "verify", "model"),
    "model/golden.json": ("model", "verify", "model"),
    "task/config.json": ("classify", "s.fa", "--task", "task", "-o", "out.tsv"),
    "task/head.safetensors": ("classify", "s.fa", "--task", "task", "-o", "out.tsv"),
    "task/metrics.json": ("classify", "s.fa", "--task", "task", "-o", "out.tsv"),
    "x.h5": ("view", "x.h5"),
}


def two_bit() -> bytes:
    """One contig, chr1, of 24 bases, the first four of them N."""
    head = struct.pack("<4I", 0x1A412743, 0, 1, 0) + b"\x04chr1" + struct.pack("<I", 25)
    return head + struct.pack("<6I", 24, 1, 0, 4, 0, 0) + bytes(range(27, 33))


def make_place(folder: Path) -> None:
    """The good files, each of them tiny."""
    texts = {
        "s.fa": ">a first\nACGTACGTAC\nGGTT\n>b\nTTTTNNACGT\n",
        "s.fq": "@a\nACGTAC\n+\nIIIIII\n@b\nGGTT\n+\nIIII\n",
        "r.bed": "chr1\t0\t20\tone\t0\t+\nchr1\t8\t30\ttwo\t0\t-\nchr2\t0\t10\n",
        "r.narrowPeak": "chr1\t5\t25\tp\t9\t.\t1.5\t2\t3\t10\n",
        "g.fa": GENOME,
        "p.fa": GENOME,
        "w.fa": GENOME,
        "g.fa.fai": "chr1\t76\t12\t8\t9\nchr2\t10\t104\t10\t11\n",
        "v.vcf": f"{VCF}chr1\t20\t.\tT\tA\t.\t.\t.\nchr1\t40\t.\tA\tC\t.\t.\t.\n",
        "study.toml": "[base]\nsteps = 1\n",
        "t.csv": "sequence,label\nACGTACGTAC,0\nGGGTTTAAAC,1\nCCCCCAAAAA,0\n",
        "t.tsv": "id\tsequence\tlabel\nx\tACGTACGTAC\tno\ny\tGGGTTTAAAC\tyes\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "g.2bit").write_bytes(two_bit())
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": 76}]}
    with pysam.AlignmentFile(str(folder / "r.bam"), "wb", header=header) as file:
        for number in range(3):
            read = pysam.AlignedSegment(file.header)
            read.query_name, read.query_sequence, read.flag = f"r{number}", "ACGTACGT", 4
            file.write(read)
    reference = str(folder / "g.fa")
    with pysam.AlignmentFile(str(folder / "r.cram"), "wc", header=header, reference_filename=reference) as file:
        for number in range(3):
            read = pysam.AlignedSegment(file.header)
            read.query_name, read.query_sequence, read.reference_id = f"r{number}", "ACGTTGCA", 0
            read.reference_start, read.cigarstring, read.mapping_quality = 8 * number, "8M", 60
            file.write(read)
    network = initialise(ChordMixer(SIZE), 3)
    save_model(folder / "model", network, name="little", training={}, card="# little\n")
    with pysam.VariantFile(str(folder / "v.vcf")) as text, pysam.VariantFile(str(folder / "v.bcf"), "wb") as file:
        text.header.contigs.add("chr1", 76)
        file.header.contigs.add("chr1", 76)
        for site in text:
            file.write(site)
    pysam.tabix_index(str(folder / "v.bcf"), preset="bcf", force=True)
    settings = TaskSettings("classification", ("no", "yes"), ("mean",), 3, 20, 20)
    facts: dict[str, Any] = {"teacher": {"name": "little", "sha256": "0"}, "metrics": {}, "training": {}, "card": ""}
    save_task(folder / "task", network, Head(6, 2), name="t", settings=settings, **facts)
    write_all(folder / "x.h5")
    findna.embed_file(folder / "s.fa", folder / "o.h5", model=str(folder / "model"))


def edited(content: bytes, edit: str) -> bytes | None:
    """The content after an edit; None removes the file."""
    verb, _, rest = edit.partition(" ")
    if verb == "is":
        return raw(rest)
    if verb == "times":
        number, _, text = rest.partition(" ")
        return raw(text) * int(number)
    if verb == "grow":
        old, number, text = rest.split(" ")
        assert raw(old) in content, edit
        return content.replace(raw(old), raw(text) * int(number), 1)
    if verb == "end":
        return content + raw(rest)
    if verb == "swap":
        old, _, new = rest.partition(" ")
        assert raw(old) in content, edit
        return content.replace(raw(old), raw(new), 1)
    if verb in ("keep", "gz"):
        return (gzip.compress(content, mtime=0) if verb == "gz" else content)[: int(rest)]
    if verb == "set":
        place, digits = rest.split(" ")
        new = bytes.fromhex(digits)
        return content[: int(place)] + new + content[int(place) + len(new) :]
    if verb == "json":
        path, _, value = rest.partition(" ")
        *parents, last = path.split(".")
        whole = part = json.loads(content)
        for name in parents:
            part = part[name]
        if value == "-":
            del part[last]
        else:
            part[last] = json.loads(value)
        return config_text(whole).encode()
    assert edit == "none"
    return None


def raw(text: str) -> bytes:
    """Bytes of a text with Python's escapes."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """An error in place of a hang."""

    def ring(number: int, frame: object) -> None:
        raise AssertionError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_table() -> list[dict[str, str]]:
    """The rows: file, edit, flags (more of the command line), code, says."""
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good files."""
    folder = tmp_path_factory.mktemp("good")
    make_place(folder)
    return folder


ROWS = read_table() if TABLE.exists() else []


def test_the_table_has_at_least_200_different_rows() -> None:
    assert len({(row["file"], row["edit"], row["flags"]) for row in ROWS}) == len(ROWS) >= 200


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("study.toml", "p.fa")])  # trainings
def test_the_good_files_are_good(name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path / "cache"))
    shutil.copytree(good, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    result = call(*COMMANDS[name])
    assert result.code == 0, result.err


@pytest.mark.parametrize("row", ROWS, ids=[f"{i + 2}-{row['file']}" for i, row in enumerate(ROWS)])
def test_a_bad_input_is_told(row: dict[str, str], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path / "cache"))
    shutil.copytree(good, tmp_path / "work", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "work")
    path = Path(row["file"])
    is_pipe = row["edit"] == "pipe"
    content = None if is_pipe else edited(path.read_bytes(), row["edit"])
    path.unlink()  # the good file itself stays as it is
    if is_pipe:
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    with alarm(SECONDS):
        result = call(*COMMANDS[row["file"]], *row["flags"].split())
    assert result.code == int(row["code"]), result.err
    assert row["says"] in result.err + result.out
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    if result.code:
        assert result.err.startswith("findna: ") or "FAIL" in result.out
        assert not Path("out.tsv").exists()
