"""A small genome, its regions and reads, and a small model: all that the command needs."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import command
import pysam
import pytest
from command import Oracle, fasta
from forks import Forks

from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

Write = Callable[..., Path]
LENGTHS = {"chr1": 2000, "chr2": 300, "chrN": 200}


@pytest.fixture(scope="session")
def bases() -> dict[str, str]:
    """The bases of the genome by contig; chrN is half N, and chr1 has a stretch in lower case."""
    draws = random.Random(7)
    texts = {name: "".join(draws.choices("ACGT", k=n)) for name, n in LENGTHS.items()}
    texts["chr1"] = texts["chr1"][:100] + texts["chr1"][100:160].lower() + texts["chr1"][160:]
    texts["chrN"] = "N" * 100 + texts["chrN"][100:]
    return texts


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: windows of 50 bases, 12 channels, 2 layers of 6 blocks, random weights."""
    folder = tmp_path_factory.mktemp("model") / "little"
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=53, n_class_tokens=3)
    save_model(folder, initialise(ChordMixer(size), 5), name="little", training={}, card="# little\n\nFor tests.\n")
    return folder


@pytest.fixture(scope="session")
def oracle(model: Path) -> Oracle:
    """The same network without the package."""
    return Oracle(model)


@pytest.fixture(scope="session", autouse=True)
def forked(forks: Forks) -> None:
    """`command.fork` has its server."""
    command.FORKS.append(forks)


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a directory of its own, with a cache of its own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FINDNA_GENOME", raising=False)
    monkeypatch.setattr("findna.runs.dry_run.CALIBRATION_SECONDS", 0.05)


@pytest.fixture
def write() -> Write:
    """Write a file into the working directory: plain, as `gz` or as `bgzf`; its name."""

    def write(name: str, text: str | bytes, how: str = "plain") -> Path:
        path = Path(name)
        content = text.encode() if isinstance(text, str) else text
        if how == "bgzf":
            with pysam.BGZFile(name, "wb") as file:
                file.write(content)
        else:
            path.write_bytes(gzip.compress(content) if how == "gz" else content)
        return path

    return write


@pytest.fixture
def genome(write: Write, bases: dict[str, str]) -> Path:
    """The genome as plain FASTA, `g.fa`."""
    return write("g.fa", fasta(bases))
