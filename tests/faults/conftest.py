"""Servers that run jobs with faults, and the inputs of the commands that they run."""

import pkgutil
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from injector import Injector, compiler

import findna

LIGHT = ("outputs", "pyarrow.parquet", "findna_cli.app", "typer._adapters", "matplotlib.figure")
OURS = tuple(m.name for m in pkgutil.walk_packages(findna.__path__, "findna.") if m.name != "findna.nn.fused")
OF_TRAINING = (
    *("torch._dynamo", "torch.utils.tensorboard"),
    *("sklearn.metrics", "matplotlib.backends.backend_agg", "matplotlib.pyplot"),
)
"""What takes seconds to import, and only the slow tests need."""


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Injector]:
    """Runs jobs that write outputs, without a network."""
    if sys.platform != "linux" or not compiler():
        pytest.skip("needs Linux and a C compiler")
    with Injector(tmp_path_factory.mktemp("writer"), ["outputs", "pyarrow.parquet"]) as injector:
        yield injector


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Injector]:
    """Runs the command line."""
    if sys.platform != "linux" or not compiler():
        pytest.skip("needs Linux and a C compiler")
    are_slow = any(item.get_closest_marker("slow") for item in request.session.items)
    modules = [*LIGHT, *OURS, *(OF_TRAINING if are_slow else ())]
    with Injector(tmp_path_factory.mktemp("commands"), modules) as injector:
        yield injector


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, sequences, labelled sequences and windows to train on."""
    from findna.models.store import save_model
    from findna.nn.chordmixer import ChordMixer, initialise
    from findna.sizes import ModelConfig

    folder, draws = tmp_path_factory.mktemp("inputs"), random.Random(5)
    size = ModelConfig(channels=4, hidden=3, track_width=2, n_layers=1, max_len=24, n_class_tokens=2)
    save_model(folder / "model", initialise(ChordMixer(size), 5), name="model", training={}, card="# model\n")
    texts = ["".join(draws.choices("ACGT", k=20)) for _ in range(300)]
    for name, n in (("s.fa", 3), ("train.fa", 60)):
        (folder / name).write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts[:n])))
    (folder / "g.fa").write_text(f">chr1\n{''.join(texts)}\n")
    lines = "".join(
        f"chr1\t{start + 1}\t.\t{base}\t{'<DEL>' if start % 50 else 'ACGT'.replace(base, '')[:1]}\t.\t.\t.\n"
        for start, base in enumerate("".join(texts)[:600])
    )
    (folder / "in.vcf").write_text(f"##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{lines}")
    (folder / "in.bed").write_text("".join(f"chr1\t{start}\t{start + 20}\n" for start in (0, 50, 200)))
    for name, first in (("train", 0), ("valid", 40)):
        rows = "".join(f"{'AT'[i % 2] * 6}{texts[first + i]},{'ab'[i % 2]}\n" for i in range(12))
        (folder / f"{name}.csv").write_text(f"sequence,label\n{rows}")
    return folder
