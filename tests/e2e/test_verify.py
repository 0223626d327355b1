"""`findna verify`: a valid file passes; a changed file, another model and another genome fail with their names."""

import gzip
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet
import pytest
from command import call, fasta
from test_classify import make_task
from test_score import META, record

from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

Write = Callable[..., Path]
FAST = ("--precision", "fp32", "--threads", 1)
BED = "chr1\t100\t220\ta\t0\t+\nchr2\t10\t90\tb\t0\t-\nchrN\t20\t150\nchr1\t700\t790\n"
OUTPUTS = {
    "v.h5": ("embed", "in.bed"),
    "v.tsv.gz": ("embed", "in.bed", "--strand", "both"),
    "v.npy": ("embed", "in.bed", "--max-n", "0.5"),
    "v.parquet": ("embed", "in.bed", "--dtype", "float16"),
    "t.h5": ("embed", "in.bed", "--pool", "mean,cls,tokens"),
    "r.h5": ("embed", "in.fa"),
    "b.h5": ("predict-bases", "in.bed"),
    "m.h5": ("mutagenesis", "in.bed"),
    "m.tsv": ("mutagenesis", "in.bed"),
    "p.tsv": ("classify", "in.bed", "--task"),
    "w.tsv": ("classify", "in.bed", "--windows", "--task"),
    "mt.h5": ("mutagenesis", "in.bed", "--label", "beta", "--task"),
    "s.vcf": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.vcf.gz": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.bcf": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.tsv": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
    "s.parquet": ("score", "in.vcf", "--window", "50", "--max-length", "5"),
}


@pytest.fixture
def make(write: Write, genome: Path, model: Path, bases: dict[str, str], tmp_path: Path) -> Callable[[str], Path]:
    """Makes an output by its name."""
    write("in.bed", BED)
    write("in.fa", ">x one\nACGTTGCA\n>y\nGGGCCCATATTTACG\n")
    others = {base: "ACGT".replace(base.upper(), "")[0] for base in "ACGTacgt"}
    lines = [record(bases, "chr1", pos, others[bases["chr1"][pos - 1]]) for pos in (300, 301, 650, 900)]
    lines.append(record(bases, "chr1", 1000, ",".join("ACGT".replace(bases["chr1"][999], "")) + ",<DEL>"))
    write("in.vcf", META + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n" + "".join(lines))

    def make(name: str) -> Path:
        command, *flags = OUTPUTS[name]
        place = [] if name == "r.h5" else ["-g", genome]
        made_by = make_task(tmp_path / "greek", model) if flags[-1] == "--task" else "-m"
        result = call(
            command,
            *flags,
            *([made_by] if flags[-1] == "--task" else [made_by, model]),
            *place,
            "-o",
            name,
            *FAST,
        )
        assert result.code == 0, result.err
        return Path(name)

    return make


def verified(*args: object, code: int = 0) -> dict[str, list[str]]:
    """Runs it; status and detail of each check."""
    result = call("verify", *args, "--threads", 1, "--json", "v.json")
    assert result.code == code, result.out + result.err
    report = json.loads(Path("v.json").read_text())
    assert report["is_valid"] == (code == 0)
    failed = [name for name, status, _ in report["checks"] if status == "failed"]
    assert all(f"{name}: " in result.err for name in failed)
    assert bool(failed) == bool(code)
    return {name: [status, detail] for name, status, detail in report["checks"]} | {"report": report}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_as_it_was_written_is_valid(
    make: Callable[[str], Path], model: Path, tmp_path: Path, name: str
) -> None:
    found = verified(make(name), "-m", tmp_path / "greek" if "--task" in OUTPUTS[name] else model)
    assert {found[check][0] for check in ("content", "model", "genome", "inputs", "rows") if name != "r.h5"} <= {"ok"}
    assert found["report"]["n_computed"] > 0
    assert found["report"]["max_difference"] < (1e-3 if name == "v.parquet" else 1e-5)  # it holds float16


def test_parts_and_what_is_merged_of_them_are_valid(make: Callable[[str], Path], genome: Path, model: Path) -> None:
    make("v.h5")
    for part in ("1/2", "2/2"):
        result = call("embed", "in.bed", "-g", genome, "-m", model, "--shard", part, "--batch-bases", 50, *FAST)
        assert result.code == 0, result.err
    parts = sorted(Path().glob("in.part*.h5"))
    assert call("merge", *parts, "-o", "all.h5").code == 0
    for path in (*parts, "all.h5"):
        assert verified(path, "-m", model)["rows"][0] == "ok"
    score = ("score", "in.vcf", "-g", genome, "-m", model, "--window", 50, "--max-length", 5, *FAST)
    result = call(*score, "-o", "part2.tsv", "--shard", "2/2", "--embeddings", "alleles.h5")
    assert result.code == 0, result.err
    assert verified("part2.tsv", "-m", model)["rows"][0] == "ok"
    found = verified("alleles.h5", "-m", model)
    assert [found[check][0] for check in ("content", "inputs", "rows")] == ["ok", "ok", "not checked"]
    shutil.move("in.bed", "gone.bed")
    found = verified("all.h5", "-m", model)
    assert [found[check][0] for check in ("content", "inputs", "rows")] == ["ok", "not checked", "not checked"]


@pytest.mark.parametrize(
    "name",
    ["v.h5", "v.tsv.gz", "v.npy", "v.parquet", "t.h5", "b.h5", "m.h5", "m.tsv", "p.tsv", "s.vcf", "s.vcf.gz"],
)
def test_a_flipped_bit_is_found(make: Callable[[str], Path], model: Path, name: str) -> None:
    path = make(name).with_name({"t.h5": "t.tokens.h5"}.get(name, name))
    data = bytearray(path.read_bytes())
    is_text = name in ("m.tsv", "s.vcf")
    place = max(data.rfind(digit) for digit in b"0123456789") if is_text else len(data) // 2
    place = _place_of_values(path) if path.suffix in (".h5", ".parquet") else place
    data[place] ^= 1
    path.write_bytes(data)
    status, detail = verified(path, "--n", 0, code=1)["content"]
    assert status == "failed"
    assert any(word in detail for word in ("checksum", "damaged", "sha256 differs", "CRC")), detail


def test_damage_in_the_header_of_scores_is_said_to_be_damage(make: Callable[[str], Path]) -> None:
    path = make("s.vcf.gz")
    text = gzip.decompress(path.read_bytes())
    packed = bytearray(gzip.compress(text.replace(b"Model=", b"Modem=")))
    packed[-8:-4] = zlib.crc32(text).to_bytes(4, "little")
    path.write_bytes(packed)
    status, detail = verified(path, "--n", 0, code=1)["content"]
    assert (status, "CRC" in detail) == ("failed", True), detail


def _place_of_values(path: Path) -> int:
    """A byte of the values in an HDF5 or Parquet file."""
    if path.suffix == ".parquet":
        group = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
        column = group.column(group.num_columns - 1)
        return int(column.data_page_offset + column.total_compressed_size // 2)
    with h5py.File(path) as file:
        values = file.get("X", file.get("probabilities", file.get("effects")))
        begin = values.id.get_chunk_info(0).byte_offset if values.chunks else values.id.get_offset()
        return int(begin) + 9


@pytest.mark.parametrize(
    "name", ["v.h5", "v.tsv.gz", "v.npy", "v.parquet", "b.h5", "m.h5", "p.tsv", "s.vcf", "s.vcf.gz", "s.parquet"]
)
def test_a_truncated_file_is_found(make: Callable[[str], Path], name: str) -> None:
    path = make(name)
    data = path.read_bytes()
    n_bytes = data[:-1].rfind(b"\n") + 1 if name == "s.vcf" else len(data) * 2 // 3  # without its last record
    path.write_bytes(data[:n_bytes])
    status, detail = verified(path, "--n", 0, code=1)["content"]
    assert status == "failed"
    assert any(word in detail for word in ("truncated", "damaged", "checksum", "not an HDF5", "differs")), detail


def test_swapped_rows_are_found_even_where_no_checksum_tells(make: Callable[[str], Path], model: Path) -> None:
    path = make("v.h5")
    with h5py.File(path, "r+") as file:
        file["X"][:2] = file["X"][:2][::-1]
    assert "checksum of X differs" in verified(path, code=1)["content"][1]
    with h5py.File(path, "r+") as file:
        del file["uns/findna/checksums"]
    assert "computed again, its values differ by" in verified(path, "-m", model, code=1)["rows"][1]
    path = make("s.vcf")
    lines = path.read_text().splitlines(keepends=True)
    assert lines.pop(1).startswith("##findna_sha256=")
    path.write_text("".join([*lines[:-3], lines[-2], lines[-3], lines[-1]]))
    _, detail = verified(path, "-m", model, code=1)["rows"]
    assert "the record there of the inputs is chr1:650" in detail


def test_another_model_genome_or_input_is_named(
    make: Callable[[str], Path], bases: dict[str, str], model: Path
) -> None:
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=53, n_class_tokens=3)
    save_model(Path("other"), initialise(ChordMixer(size), 6), name="other", training={}, card="# other\n")
    Path("other.fa").write_text(fasta({**bases, "chr2": bases["chr2"] + "A"}))
    for name in ("v.h5", "b.h5", "m.tsv", "s.vcf"):
        path = make(name)
        status, detail = verified(path, "-m", "other", code=1)["model"]
        assert (status, "was made by little, sha256" in detail) == ("failed", True)
        status, detail = verified(path, "-m", model, "-g", "other.fa", code=1)["genome"]
        assert (status, "is of genome g.fa, digest" in detail) == ("failed", True)
        source = Path("in.vcf" if name == "s.vcf" else "in.bed")
        text = source.read_text()
        source.write_text(text.replace("chr1", "chr1 ", 1))
        assert "its sha256 differs" in verified(path, "-m", model, code=1)["inputs"][1]
        source.write_text(text)


def test_a_genome_with_other_bases_is_found_by_computing_rows(
    make: Callable[[str], Path], bases: dict[str, str], model: Path
) -> None:
    Path("other.fa").write_text(fasta({name: text[::-1] for name, text in bases.items()}))
    assert (
        "computed again, its values differ" in verified(make("v.h5"), "-m", model, "-g", "other.fa", code=1)["rows"][1]
    )
    assert "has other bases than its record" in verified(make("b.h5"), "-m", model, "-g", "other.fa", code=1)["rows"][1]


def test_a_genome_with_the_same_contigs_that_is_another_file_has_changed(
    make: Callable[[str], Path], genome: Path, model: Path
) -> None:
    for k, name in enumerate(("v.h5", "b.h5", "s.vcf")):
        path = make(name)
        assert " of names and lengths of contigs" in verified(path, "-m", model)["genome"][1]
        os.utime(genome, ns=(1, 10**9 * k))
        detail = "g.fa: size or date differ from those of the run; names and lengths of contigs are the same"
        assert verified(path, "-m", model)["genome"] == ["changed", detail]
        assert call("verify", path, "-m", model).err.endswith(f"{name}: valid; changed: genome\n")
        assert verified(path, "-m", model, "-g", genome)["genome"][0] == "ok"


def test_what_is_not_there_is_not_checked(make: Callable[[str], Path], model: Path) -> None:
    path = make("v.tsv.gz")
    found = verified(path)
    assert found["model"] == ["not checked", found["model"][1]]
    assert "give its folder: --model FOLDER" in found["model"][1]
    shutil.move("in.bed", "moved.bed")
    found = verified(path, "-m", model)
    assert (found["inputs"], found["rows"][0]) == (["not checked", "in.bed not found"], "not checked")
    Path("v.meta.json").unlink()
    assert "meta.json is missing" in verified(path, code=1)["content"][1]


@pytest.mark.parametrize("name", ["no.h5", "in.bed", "in.vcf", "g.fa", "g.fa.fai"])
def test_what_findna_did_not_make_is_an_error(make: Callable[[str], Path], name: str) -> None:
    assert verified(name, code=1)["content"][0] == "failed"


def test_values_within_the_tolerance_are_reported_and_not_refused(make: Callable[[str], Path], model: Path) -> None:
    path = make("v.h5")
    with h5py.File(path, "r+") as file:
        file["X"][...] = file["X"][...] + np.float32(1e-4)
        del file["uns/findna/checksums"]
    report = verified(path, "-m", model)["report"]
    assert 1e-5 < report["max_difference"] < 2e-4
    assert report["tolerance"] == 1e-3
