"""Vectors and training steps of a GPU against those of the CPU.

These tests need torch, numpy, h5py, pysam, biopython and pytest: `python -m pytest -o addopts= tests/gpu`.
"""

import numpy as np
import pytest
import torch

from findna.config import EmbedConfig
from findna.data.datasets import corpus_of
from findna.embedding import RecordEmbedder
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import BF16, BF16_STREAM, FP32, Compute
from findna.recipes import PRESETS
from findna.record import Record
from findna.sizes import ModelConfig
from findna.train.trainer import Trainer
from findna.train.views import Portion, views_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PRECISIONS = FP32, BF16, BF16_STREAM

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("default"),  # compilers advise
]


@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
@pytest.mark.parametrize("pool", ["mean", "cls", "max"])
def test_a_gpu_gives_the_vectors_of_a_cpu(way, pool, monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", way)
    network = initialise(ChordMixer(ModelConfig(n_layers=1)), 1)
    rng = np.random.default_rng(0)
    records = [
        Record(str(i), rng.integers(0, 5, size=n, dtype=np.uint8), 0, i, "made")
        for i, n in enumerate((1, 300, 1000, 2500, 77))
    ]
    vectors = [
        np.concatenate([rows.x for rows in embedder.embed(records)])
        for embedder in (
            RecordEmbedder(network, EmbedConfig(pool=pool), compute=Compute(CPU, FP32)),
            RecordEmbedder(network, EmbedConfig(pool=pool), compute=Compute(CUDA, BF16)),
        )
    ]
    norms = np.linalg.norm(vectors[0], axis=1) * np.linalg.norm(vectors[1], axis=1)
    assert ((vectors[0] * vectors[1]).sum(1) / norms).min() >= 0.999


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_a_step_of_pretraining_on_a_gpu_has_the_figures_of_a_cpu(way, precision, monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", way)
    recipe = PRESETS["tiny"]
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 4, size=1000, dtype=np.uint8) for _ in range(4)]
    views = views_of(corpus_of(sequences), range(4), epoch=0, config=recipe)
    n_bases = len(views.student.codes) - 4 * recipe.model.n_class_tokens
    portion = Portion(views, n_sequences=4, n_masked=len(views.targets), n_bases=n_bases)
    found, expected = (
        Trainer(recipe, compute=Compute(device, kind)).update(portion, rate=1e-4, momentum=0.996)
        for device, kind in ((CUDA, precision), (CPU, FP32))
    )
    for figure in ("loss", "mnm_loss", "contrastive_loss", "grad_norm"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4 if precision == FP32 else 0.02), figure
