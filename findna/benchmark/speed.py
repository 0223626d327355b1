"""Speed of the network on this machine: bases per second, and the fraction of the best matrix products of its shapes.

A first round warms up and measures memory. In each further round, every variant is timed once; its best round counts.
The first round counts only if the time limit allows no other. On a CPU, ratios use CPU time, which depends
little on other processes; bases per second use wall time. FLOPs are those of the model: 2 x parameters per base for a
forward pass, 6 x with the backward pass, 8 x for a step of pretraining (student and teacher). Recomputation does not
count.
"""

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from findna import __version__, phases
from findna.benchmark.options import LENGTHS, SpeedConfig
from findna.benchmark.rivals import BERT, bert, naive
from findna.benchmark.timing import Run, TimedCase, memory_of, random_corpus, random_sequences, seconds_of
from findna.config import EmbedConfig
from findna.counts import counted
from findna.data.batch import pack
from findna.data.labelled import LabelledSet
from findna.embedding import RecordEmbedder
from findna.io.fasta import read_fasta
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import PRECISIONS, Compute, has_native_bf16
from findna.nn.encoder import initialise
from findna.nn.kernels import choose
from findna.recipes import PRESETS, FinetuneConfig
from findna.sequence import decode
from findna.sizes import SIZES, ModelConfig
from findna.train.trainer import Trainer
from findna.train.tuner import Tuner
from findna.train.views import Portion, views_of

SCHEMA = "findna-speed/1"
MIXED = (100, 1000)
BATCHES = 4
"""A forward pass is also timed with this multiple of the batch size, and with one sequence."""
PRODUCT_POSITIONS = 8192
"""Positions in one matrix product of the upper limit."""
EMBED_BATCHES = 4
"""Number of batches to embed: one is packed while another is computed."""


def measure_speed(config: SpeedConfig, *, device: torch.device) -> dict[str, Any]:
    """Time all variants of all sizes.

    Args:
        config: What is timed.
        device: Where it runs.

    Returns:
        The report: machine, settings, and `rows`, one per variant: size, what, precision, lengths, batch,
        memory_bytes (of a run, without weights and inputs; None if the system does not report it),
        bases_per_second, gflops (of the model), cpu_gflops (per second of CPU time; on a GPU the same as gflops), share
        (fraction of the cpu_gflops of the best products in that precision; None for the products themselves and for
        other networks), cost (of forward and embed: time per base, relative to a forward pass on sequences of 1,000
        bases; for embed, the inverse is the fraction of time that the network is busy), kernels (the code of our
        blocks; None if there are none) and spread (of the CPU times of all rounds; on a GPU by the clock: the longest
        less the shortest, divided by the shortest; None without a second round). `rounds` is the minimum over the
        sizes; 0: the time limit allowed only the first calls.
    """
    rows: list[dict[str, Any]] = []
    n_rounds, until = config.rounds, time.monotonic() + config.seconds
    for n_done, size in enumerate(config.sizes):
        now = time.monotonic()
        found, n = _measure_size(size, config, device, until=now + (until - now) / (len(config.sizes) - n_done))
        rows, n_rounds = rows + found, min(n_rounds, n)
    return {
        "schema": SCHEMA,
        "findna": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "native_bf16": has_native_bf16(device),
        "n_bases": config.n_bases,
        "rounds": n_rounds,
        "rows": rows,
    }


def _measure_size(
    size: str, config: SpeedConfig, device: torch.device, *, until: float
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a size, and the number of rounds."""
    computes = [Compute(device, PRECISIONS[name], config.n_bases) for name in config.precisions]
    timed = [case for compute in computes for case in cases(size, config, compute)]
    berts = (case for name in config.precisions for case in bert(config, name, device))
    timed += [*naive(size, config, device), *berts]
    memory, seconds, n_rounds = _times(timed, size, config.rounds, device, until=until)
    clock, work = seconds.min(axis=0).T
    spreads = (np.ptp(seconds[:, :, 1], axis=0) / work).tolist()
    rates = [variant.flops / each for variant, each in zip(timed, work.tolist(), strict=True)]
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
    rows = [
        {
            "size": size,
            "what": variant.what,
            "precision": variant.precision,
            "lengths": variant.lengths,
            "batch": variant.batch,
            "memory_bytes": n_bytes,
            "bases_per_second": variant.n_bases / each,
            "gflops": variant.flops / each / 1e9,
            "cpu_gflops": rate / 1e9,
            "share": None if variant.what in ("products", BERT) else rate / limits[variant.precision],
            "cost": units[variant.precision] / rate if variant.what in ("forward", "embed") else None,
            "kernels": _kernels(size, variant, device),
            "spread": spread if n_rounds > 1 else None,
        }
        for variant, each, rate, n_bytes, spread in zip(timed, clock.tolist(), rates, memory, spreads, strict=True)
        if variant.what != "products" or rate == limits[variant.precision]
    ]
    return rows, n_rounds


def _times(
    timed: Sequence[TimedCase], size: str, most: int, device: torch.device, *, until: float
) -> tuple[list[int | None], NDArray[np.float64], int]:
    """Memory of each case; seconds of each round and case, see `seconds_of`; the number of rounds, 0: only first calls.

    No round starts that would end after the limit if it takes as long as the previous one.
    """
    began, first = time.monotonic(), list[tuple[float, float]]()
    memory = [
        memory_of(lambda run=case.run: first.append(seconds_of(run, device)), device)  # type: ignore[misc]
        for case in phases.track(f"warming up {size}", timed)
    ]
    rounds: list[list[tuple[float, float]]] = []
    took = time.monotonic() - began
    while len(rounds) < most and (began := time.monotonic()) + took < until:
        steps = phases.track(f"timing {size}, round {len(rounds) + 1}", timed)
        rounds.append([seconds_of(case.run, device) for case in steps])
        took = time.monotonic() - began
    return memory, np.array(rounds or [first]), len(rounds)


def _kernels(size: str, variant: TimedCase, device: torch.device) -> str | None:
    if variant.what in ("products", "naive forward", BERT):
        return None
    is_training = variant.what.endswith("step")
    return choose(SIZES[size], device=device, precision=PRECISIONS[variant.precision], is_training=is_training).name


def cases(size: str, config: SpeedConfig, compute: Compute) -> Iterator[TimedCase]:
    """Yield the timed cases of our network, and the matrix products for comparison."""
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
    """A function that runs only the two matrix products of every block, over 8,192 positions."""
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


def mixed_lengths(n_bases: int) -> list[int]:
    """Lengths drawn uniformly from 100 to 1,000 bases, about this many bases in all."""
    lengths = np.random.default_rng(1).integers(MIXED[0], MIXED[1] + 1, size=2 * n_bases // MIXED[0])
    return [int(n) for n in lengths[np.cumsum(lengths) <= n_bases]]


def _forward(network: ChordMixer, lengths: Sequence[int], compute: Compute) -> Run:
    batch = pack(random_sequences(lengths), n_class_tokens=network.config.n_class_tokens)
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
    file.write(f">contig\n{decode(random_sequences([n_bases])[0])}\n")
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
    views = views_of(random_corpus([1000] * n_sequences), range(n_sequences), epoch=0, config=recipe)
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
    data = LabelledSet(random_corpus([1000] * n_sequences), labels, ("a", "b"), "classification", ids, lines, {})
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


def speed_table(report: dict[str, Any]) -> str:
    """The rows of a report in Markdown."""
    spreads = [row["spread"] for row in report["rows"] if row["spread"] is not None]
    differ = f", which differ by {np.median(spreads):.0%} (median; at most {max(spreads):.0%})" if spreads else ""
    best = f"best of {counted(report['rounds'], 'round')}" if report["rounds"] else "first calls, which are slower"
    lines = [
        f"findna {report['findna']}, torch {report['torch']}, {report['device']} ({report['machine']}), "
        f"{counted(report['threads'], 'thread')}, native bf16: {'yes' if report['native_bf16'] else 'no'}; "
        f"{best}{differ}; {report['n_bases']:,} bases per batch; "
        "shares by CPU time on a CPU",
        "",
        "| size | measured | precision | lengths | batch | bases/s | GFLOP/s | share of the products' rate | "
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
