"""Small files made by code, for the readers."""

import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest

Write = Callable[..., Path]
TEXTS = {"chr1": 3210, "chr2": 61, "HLA:01": 60}


def wrap(text: str, width: int, end: str = "\n") -> str:
    return "".join(text[i : i + width] + end for i in range(0, len(text), width))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text to a new file: plain, as `gz` or as `bgzf`."""

    def write(name: str, text: str | bytes, how: str = "plain") -> Path:
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        if how == "gz":
            data = gzip.compress(data)
        path.write_bytes(data)
        if how == "bgzf":
            plain = path.rename(path.with_name(path.name + ".plain"))
            pysam.tabix_compress(str(plain), str(path), force=True)
            plain.unlink()
        return path

    return write


@pytest.fixture
def contigs() -> dict[str, str]:
    """The bases of a small genome by contig."""
    rng = random.Random(3)
    return {name: "".join(rng.choices("ACGTacgtN", k=n)) for name, n in TEXTS.items()}


@pytest.fixture
def genome_path(write: Write, contigs: dict[str, str]) -> Path:
    """That genome as a FASTA of 60 bases per line."""
    return write("genome.fa", "".join(f">{name} x\n{wrap(text, 60)}" for name, text in contigs.items()))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("FINDNA_CACHE", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache"
