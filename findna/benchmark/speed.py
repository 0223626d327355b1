"""How fast the network runs on this machine: bases per second, and the share of the best matrix products of its shapes.

Every variant is timed in turn, round after round, in one run, and its best round counts: machines are noisy, and a
ratio within one run is not. FLOPs are the model's: 2 x parameters a base forward, 6 x with the backward pass, 8 x for
a step of pretraining (student and teacher); what is computed twice is not counted twice.
"""

import ctypes
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from findna import __version__, phases
from findna.benchmark.options import LENGTHS, SpeedConfig
from findna.config import EmbedConfig
from findna.data.batch import pack
from findna.data.datasets import Corpus, corpus_of
from findna.data.labelled import LabelledSet
from findna.embedding import RecordEmbedder
from findna.io.fasta import read_fasta
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import PRECISIONS, Compute, has_native_bf16
from findna.nn.encoder import initialise
from findna.nn.kernels import choose
from findna.recipes import PRESETS, FinetuneConfig
from findna.sequence import BLANK, decode
from findna.sizes import SIZES, ModelConfig
from findna.train.trainer import Trainer
from findna.train.tuner import Tuner
from findna.train.views import Portion, views_of

SCHEMA = "findna-speed/1"
MIXED = (100, 1000)
BATCHES = 4
"""A forward is timed with so many times the bases of a batch, too, and with one sequence alone."""
PRODUCT_POSITIONS = 8192
"""Positions in one matrix product of the limit."""
EMBED_BATCHES = 4
"""Batches that are embedded: one is packed while another is computed."""
NAIVE_SEQUENCES = 8
"""Sequences that the naive forward takes at a time."""
BERT = "BERT of 12 layers, 768"
BERT_BASES_A_TOKEN = 5
"""Bases in a token of DNABERT-2 (Zhou et al. 2024, arXiv:2306.15006: sequences become about 5 times shorter)."""

Run = Callable[[], object]


@dataclass(frozen=True)
class TimedCase:
    """One thing that is timed.

    Args:
        what: forward, embed, pretraining step, ...
        precision: Its name.
        lengths: Bases of the sequences, as text.
        n_bases: Bases that one run goes through.
        batch: Bases that go through the network at a time.
        flops: Of one run.
        run: Does it once.
    """

    what: str
    precision: str
    lengths: str
    n_bases: int
    batch: int
    flops: float
    run: Run


def measure_speed(config: SpeedConfig, *, device: torch.device) -> dict[str, Any]:
    """Time all variants of all sizes.

    Args:
        config: What is timed.
        device: Where it runs.

    Returns:
        The report: machine, settings, and `rows`, one a variant: size, what, precision, lengths, batch,
        memory_bytes (that a run takes beside weights and inputs; None where the system does not say),
        bases_per_second, gflops (of the model), share (of the best products' rate in that precision; None of
        the limit itself and of other networks), cost (of forward and embed: time a base, that of a forward of
        sequences of 1,000 bases being 1; of embed it is 1 over the share of the time that the network is busy) and
        kernels (what ran our blocks; None of what has none).
    """
    rows: list[dict[str, Any]] = []
    for size in config.sizes:
        rows += _measure_size(size, config, device)
    return {
        "schema": SCHEMA,
        "findna": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "native_bf16": has_native_bf16(device),
        "n_bases": config.n_bases,
        "rounds": config.rounds,
        "rows": rows,
    }


def _measure_size(size: str, config: SpeedConfig, device: torch.device) -> list[dict[str, Any]]:
    computes = [Compute(device, PRECISIONS[name], config.n_bases) for name in config.precisions]
    timed = [case for compute in computes for case in cases(size, config, compute)]
    timed += _naive(size, config, device)
    for name in config.precisions:
        timed += _bert(config, name, device)
    memory = [_memory(variant.run, device) for variant in phases.track(f"warming up {size}", timed)]
    best = [float("inf")] * len(timed)
    for index in phases.track(f"timing {size}", [*range(len(timed))] * config.rounds):
        best[index] = min(best[index], _seconds(timed[index].run, device))
    rates = [variant.flops / seconds for variant, seconds in zip(timed, best, strict=True)]
    limits, units = (
        {
            name: max(
                rate
                for variant, rate in zip(timed, rates, strict=True)
                if (variant.what, variant.precision, variant.lengths) == (what, name, lengths)
                and variant.batch in (PRODUCT_POSITIONS, config.n_bases)
            )
            for name in config.precisions
        }
        for what, lengths in (("products", ""), ("forward", "1000"))
    )
    return [
        {
            "size": size,
            "what": variant.what,
            "precision": variant.precision,
            "lengths": variant.lengths,
            "batch": variant.batch,
            "memory_bytes": n_bytes,
            "bases_per_second": variant.n_bases / seconds,
            "gflops": rate / 1e9,
            "share": None if variant.what in ("products", BERT) else rate / limits[variant.precision],
            "cost": units[variant.precision] / rate if variant.what in ("forward", "embed") else None,
            "kernels": _kernels(size, variant, device),
        }
        for variant, seconds, rate, n_bytes in zip(timed, best, rates, memory, strict=True)
        if variant.what != "products" or rate == limits[variant.precision]
    ]


def _kernels(size: str, variant: TimedCase, device: torch.device) -> str | None:
    if variant.what in ("products", "naive forward", BERT):
        return None
    is_training = variant.what.endswith("step")
    return choose(SIZES[size], device=device, precision=PRECISIONS[variant.precision], is_training=is_training).name


def cases(size: str, config: SpeedConfig, compute: Compute) -> Iterator[TimedCase]:
    """Yield what is timed of our network, and the matrix products that it is compared with."""
    model = SIZES[size]
    n_flops = 2.0 * model.n_parameters
    network = initialise(ChordMixer(model), 0).for_inference(compute)
    for is_row_major in (True, False):
        run = products(model, compute.precision.products, device=compute.device, is_row_major=is_row_major)
        yield TimedCase(
            "products",
            compute.precision.name,
            "",
            PRODUCT_POSITIONS,
            PRODUCT_POSITIONS,
            n_flops * PRODUCT_POSITIONS,
            run,
        )
    forwards = [(length, config.n_bases) for length in LENGTHS] + [(1000, 1000), (1000, BATCHES * config.n_bases)]
    batches = [(str(length), batch, [length] * (batch // length)) for length, batch in forwards]
    batches.append((f"{MIXED[0]}-{MIXED[1]}", config.n_bases, mixed_lengths(config.n_bases)))
    for name, batch, lengths in batches:
        n_bases = sum(lengths)
        run = _forward(network, lengths, compute)
        yield TimedCase("forward", compute.precision.name, name, n_bases, batch, n_flops * n_bases, run)
    yield _embedding(model, compute)
    if config.with_training:
        yield _pretraining(size, compute, n_sequences=config.n_bases // 1000)
        yield _finetuning(model, compute, n_sequences=config.n_bases // 1000)


def products(model: ModelConfig, dtype: torch.dtype, *, device: torch.device, is_row_major: bool) -> Run:
    """A function that runs the two matrix products of every block over 8,192 positions, and nothing else."""
    n = PRODUCT_POSITIONS
    w1 = torch.randn(model.hidden, model.channels, device=device).to(dtype)
    w2 = torch.randn(model.channels, model.hidden, device=device).to(dtype)
    h, inner = (torch.randn(rows, n, device=device).to(dtype) for rows in (model.channels, model.hidden))
    if is_row_major:
        h, inner = h.T.contiguous(), inner.T.contiguous()

    def run() -> None:
        for _ in range(model.depth):
            if is_row_major:
                F.linear(h, w1)
                F.linear(inner, w2)
            else:
                torch.mm(w1, h)
                torch.mm(w2, inner)

    return run


def naive_forward(network: ChordMixer, codes: Tensor) -> Tensor:
    """Hidden states (B, L, C) of sequences of one length, codes (B, L), as one would write the equations down."""
    config = network.config
    h = network.stem(F.one_hot(codes.long(), BLANK + 1)[..., :BLANK].float())
    for index, block in enumerate(network.blocks):
        z = block.fc2(F.gelu(block.fc1(h)))  # type: ignore[operator]
        shifts, width = config.tracks(index)
        parts = z.split(width, dim=-1)
        turned = [torch.roll(part, -shift, dims=1) for part, shift in zip(parts, shifts, strict=True)]
        h = h + torch.cat(turned, dim=-1)
    return h  # type: ignore[no-any-return]


def mixed_lengths(n_bases: int) -> list[int]:
    """Lengths drawn uniformly from 100 to 1,000 bases, about this many bases in all."""
    lengths = np.random.default_rng(1).integers(MIXED[0], MIXED[1] + 1, size=2 * n_bases // MIXED[0])
    return [int(n) for n in lengths[np.cumsum(lengths) <= n_bases]]


def _naive(size: str, config: SpeedConfig, device: torch.device) -> Iterator[TimedCase]:
    """The naive forward in float32, whose share is of the float32 products; nothing without those."""
    if "fp32" not in config.precisions:
        return
    network = initialise(ChordMixer(SIZES[size]), 0).eval().to(device)
    n_sequences = config.n_bases // 1000
    codes = torch.from_numpy(np.stack(_sequences([1000] * n_sequences))).to(device)

    @torch.inference_mode()
    def run() -> None:
        for part in torch.split(codes, NAIVE_SEQUENCES):
            naive_forward(network, part)

    n_bases = 1000 * n_sequences
    n_flops = 2.0 * SIZES[size].n_parameters * n_bases
    yield TimedCase("naive forward", "fp32", "1000", n_bases, 1000 * NAIVE_SEQUENCES, n_flops, run)


def _bert(config: SpeedConfig, precision: str, device: torch.device) -> Iterator[TimedCase]:
    """A BERT of DNABERT-2's size (12 layers, 768) with random weights, where the package transformers is installed."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        return
    torch.manual_seed(0)
    size = BertConfig(vocab_size=4096, max_position_embeddings=1000 // BERT_BASES_A_TOKEN + 2)
    network = BertModel(size, add_pooling_layer=False).eval().to(device, PRECISIONS[precision].products)
    n_sequences = config.n_bases // 1000
    tokens = torch.randint(5, 4096, (n_sequences, 1000 // BERT_BASES_A_TOKEN), device=device)
    n_parameters = sum(p.numel() for name, p in network.named_parameters() if "embeddings" not in name)

    @torch.inference_mode()
    def run() -> None:
        for part in torch.split(tokens, NAIVE_SEQUENCES):
            network(part)

    n_bases = 1000 * n_sequences
    yield TimedCase(BERT, precision, "1000", n_bases, 1000 * NAIVE_SEQUENCES, 2.0 * n_parameters * tokens.numel(), run)


def _forward(network: ChordMixer, lengths: Sequence[int], compute: Compute) -> Run:
    batch = pack(_sequences(lengths), n_class_tokens=network.config.n_class_tokens)
    codes = torch.from_numpy(batch.codes).to(compute.device)

    @torch.inference_mode()
    def run() -> None:
        network(codes, batch.rings, precision=compute.precision)

    return run


def _embedding(model: ModelConfig, compute: Compute) -> TimedCase:
    """One contig of a plain FASTA file, read, cut into windows of 1,000 bases, packed and embedded."""
    n_bases = EMBED_BATCHES * (compute.batch_bases - compute.batch_bases % 1000)
    embedder = RecordEmbedder(initialise(ChordMixer(model), 0), EmbedConfig(), compute=compute)
    file = NamedTemporaryFile("w", suffix=".fa")  # noqa: SIM115  # it lives as long as what is timed
    file.write(f">contig\n{decode(_sequences([n_bases])[0])}\n")
    file.flush()
    run = partial(_embed_file, embedder, file)
    return TimedCase(
        "embed", compute.precision.name, "1000", n_bases, compute.batch_bases, 2.0 * model.n_parameters * n_bases, run
    )


def _embed_file(embedder: RecordEmbedder, file: IO[str]) -> None:
    for _ in embedder.embed(read_fasta(Path(file.name))):
        pass


def _pretraining(size: str, compute: Compute, *, n_sequences: int) -> TimedCase:
    recipe = replace(PRESETS[size], batch_size=n_sequences, min_length=0)
    trainer = Trainer(recipe, compute=compute)
    views = views_of(_corpus([1000] * n_sequences), range(n_sequences), epoch=0, config=recipe)
    portion = Portion(views, n_sequences=n_sequences, n_masked=len(views.targets), n_bases=1000 * n_sequences)
    n_bases = 1000 * n_sequences
    flops = 8.0 * recipe.model.n_parameters * n_bases
    return TimedCase(
        "pretraining step",
        compute.precision.name,
        "1000",
        n_bases,
        n_bases,
        flops,
        lambda: trainer.update(portion, rate=1e-5, momentum=0.996),
    )


def _finetuning(model: ModelConfig, compute: Compute, *, n_sequences: int) -> TimedCase:
    labels = np.arange(n_sequences) % 2
    ids, lines = tuple(map(str, range(n_sequences))), np.arange(n_sequences)
    data = LabelledSet(_corpus([1000] * n_sequences), labels, ("a", "b"), "classification", ids, lines, {})
    recipe = FinetuneConfig(batch_size=n_sequences)
    teacher = initialise(ChordMixer(model), 0)
    tuner = Tuner(recipe, teacher, train=data, valid=data, compute=compute)
    batch = next(tuner.batches(0, 1))
    n_bases = 1000 * n_sequences
    flops = 6.0 * model.n_parameters * n_bases
    return TimedCase(
        "fine-tuning step",
        compute.precision.name,
        "1000",
        n_bases,
        n_bases,
        flops,
        lambda: tuner.update(batch, step=0, rate=1e-5),
    )


def _sequences(lengths: Sequence[int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 4, size=length, dtype=np.uint8) for length in lengths]


def _corpus(lengths: Sequence[int]) -> Corpus:
    return corpus_of(_sequences(lengths))


def _seconds(run: Run, device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _memory(run: Run, device: torch.device) -> int | None:
    """Bytes that a first run takes at its peak, beside what lay there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc gives back what an earlier run left it
        Path("/proc/self/clear_refs").write_text("5")  # Linux counts the peak from here
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except (OSError, AttributeError, TypeError):  # another system, or another library of its
        run()
        return None


def _status(name: str) -> int:
    """Bytes of this process that Linux tells under that name."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}")
    return 1024 * int(found[1])


def speed_table(report: dict[str, Any]) -> str:
    """The rows of a report in Markdown."""
    lines = [
        f"findna {report['findna']}, torch {report['torch']}, {report['device']} ({report['machine']}), "
        f"{report['threads']} threads, native bf16: {'yes' if report['native_bf16'] else 'no'}; "
        f"best of {report['rounds']} rounds, {report['n_bases']:,} bases per batch",
        "",
        "| size | what | precision | lengths | batch | bases/s | GFLOP/s | share of the products' rate | "
        "time per base | MB |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        share, cost = ("" if row[name] is None else f"{row[name]:.2f}" for name in ("share", "cost"))
        memory = "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:,.0f}"
        lines.append(
            f"| {row['size']} | {row['what']} | {row['precision']} | {row['lengths']} | {row['batch']:,} | "
            f"{row['bases_per_second']:,.0f} | {row['gflops']:,.0f} | {share} | {cost} | {memory} |"
        )
    return "\n".join(lines)
