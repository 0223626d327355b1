"""Reads of one opened genome by threads and processes, of unusual files, and after errors."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pysam
import pytest

from findna.errors import GenomeError
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import decode

Write = Callable[..., Path]
BASES = "".join(f"{number:b}".replace("0", "A").replace("1", "CGT"[number % 3]) for number in range(20_000))


@pytest.fixture(params=["plain", "bgzf"])
def path(write: Write, request: pytest.FixtureRequest) -> Path:
    lines = (BASES[start : start + 50] for start in range(0, len(BASES), 50))
    return write("g.fa.gz", ">c\n" + "\n".join(lines) + "\n", request.param)


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def is_right(genome: Genome, start: int) -> bool:
    return decode(genome.fetch(Region("c", start, start + 1000))[0]) == BASES[start : start + 1000]


def test_a_forked_process_and_its_parent_do_not_disturb_each_other(path: Path) -> None:
    with Genome(path) as genome:
        assert is_right(genome, 0)
        if not (child := os.fork()):
            os._exit(0 if is_right(genome, 150_000) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert all(is_right(genome, start) for start in range(0, 200_000, 1000))


def test_a_pickled_genome_opens_its_file_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with Genome(path.name) as genome:
        data = pickle.dumps(genome)
    monkeypatch.chdir("/")
    with pickle.loads(data) as copy:
        assert is_right(copy, 0)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_threads_share_a_genome_of_many_contigs(write: Write, own_cache: Path, how: str) -> None:
    path = write("g.fa", "".join(f">c{i}\nACGT{'ACGTT' * (i % 90)}\n" for i in range(2000)), how)
    for _ in range(2):
        Genome(path).close()
    regions = [Region(f"c{i}", 0, 4 + i % 90 * 5) for i in range(2000)]
    with Genome(path) as genome, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda region: decode(genome.fetch(region)[0]), regions)
        assert list(found) == ["ACGT" + "ACGTT" * (i % 90) for i in range(2000)]
    assert list(own_cache.rglob("*.stamp"))


def test_reading_leaves_the_verbosity_of_pysam_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysam, "set_verbosity", lambda _: pytest.fail("other threads would be silent too"))
    with Genome(path) as genome:
        assert is_right(genome, 5)


def test_a_contig_may_have_more_bases_than_2_to_the_31(tmp_path: Path) -> None:
    path, n_bases = tmp_path / "g.fa", 1 << 31
    with path.open("wb") as file:  # sparse: it takes no space
        file.write(b">c\n")
        file.seek(n_bases)
        file.write(b"A" * 4000 + b"CGTT\n")
    length = n_bases + 4001
    Path(f"{path}.fai").write_text(f"c\t{length}\t3\t{length}\t{length + 1}\n")
    with Genome(path) as genome:
        assert decode(genome.fetch(Region("c", length - 6, length))[0]) == "AACGTT"


@pytest.mark.parametrize("name", ["s3:g.fa", "data:g.fa"])
@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_a_relative_name_with_a_colon_is_a_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    monkeypatch.chdir(write(name, ">c\nACGGT\n", how).parent)
    for _ in range(2):
        with Genome(name) as genome, pysam.FastaFile(str(genome.htslib_fasta())) as other:
            assert decode(genome.fetch(Region("c", 1, 4))[0]) == other.fetch("c", 1, 4) == "CGG"


def test_a_closed_genome_is_not_called_damaged(path: Path) -> None:
    with Genome(path) as genome:
        pass
    with pytest.raises(ValueError, match="closed file"):
        genome.fetch(Region("c", 0, 5))


def test_a_letter_outside_ascii_is_named(write: Write) -> None:
    path = write("g.fa", ">c\nACé\n".encode("latin-1"))
    with Genome(path) as genome, pytest.raises(GenomeError, match="'é' at base 3 is not a nucleotide code"):
        genome.fetch(Region("c", 0, 3))


@pytest.mark.parametrize("how", ["plain", "bgzf"])
def test_an_empty_region_has_no_bases(write: Write, how: str) -> None:
    with Genome(write("g.fa", ">empty\n>c\nAC\nGT\n", how)) as genome:
        for region in (Region("empty", 0, 0), Region("c", 0, 0), Region("c", 4, 4)):
            assert genome.fetch(region)[0].size == 0
