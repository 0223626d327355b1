"""Measurements of a teacher: masked bases of held-out windows beside counting models, and its vectors.

Everything is measured on windows that it was not trained on, and on labelled sequences for the neighbours.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from findna import __version__, phases
from findna.benchmark.baselines import kmer_counts
from findna.benchmark.counting import CONTEXTS, CountingModel, Masked, fit_counting, iter_masked
from findna.benchmark.health import health
from findna.benchmark.near import same_class_of
from findna.benchmark.readout import ReadOut
from findna.data.batch import pack
from findna.data.datasets import Corpus
from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, InputError, TableError
from findna.models.store import Model
from findna.nn.device import BF16, FP32, Compute
from findna.nn.encoder import Encoder, initialise
from findna.nn.mixers import make_encoder
from findna.train.optimizers import effective_rank
from findna.train.sources import Sources

SCHEMA = "findna-teacher/1"
TEACHER = "teacher"

_TRAINING_SEED, _HELD_OUT_SEED, _RANDOM_SEED = 0, 1, 1000
_LIBRARIES = ("torch", "numpy")

OnDone = Callable[[str], None]


@dataclass(frozen=True)
class TeacherConfig:
    """How a teacher is measured.

    Args:
        mask_fraction: Fraction of masked bases.
        n_rounds: How many times each held-out window is masked.
        bin_size: Bases per point in the figure by position.
        n_neighbours: Number of nearest sequences per sequence.
        pool: Pools of a second read-out for the neighbours, as for `ReadOut`; "" with no blocks: the model's own alone.
        blocks: Its blocks.

    Raises:
        ConfigError: A setting is out of range.
    """

    mask_fraction: float = 0.3
    n_rounds: int = 3
    bin_size: int = 20
    n_neighbours: int = 10
    pool: str = ""
    blocks: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.mask_fraction <= 1:
            raise ConfigError(f"mask_fraction {self.mask_fraction} must lie above 0 and be at most 1")
        if min(self.n_rounds, self.bin_size, self.n_neighbours) < 1:
            raise ConfigError("n_rounds, bin_size and n_neighbours must be at least 1")
        ReadOut(self.pool, self.blocks)


class Guesses(NamedTuple):
    """The predictions of a model for masked bases.

    Args:
        is_right: Whether the most probable base is correct; shape (m,).
        nats: Cross-entropy of each; shape (m,).
    """

    is_right: NDArray[np.bool_]
    nats: NDArray[np.float64]


def facts_of(model: Model, sources: Sources, *, config: TeacherConfig, compute: Compute) -> dict[str, Any]:
    """What determines the figures of a teacher, as in the JSON file."""
    return {
        "model": {"name": model.name, "sha256": model.sha256, "parameters": model.config.n_parameters},
        "sources": sources.summary,
        "settings": asdict(config),
        "device": compute.device.type,
        **compute.precision.facts(),
    }


def measure_teacher(
    model: Model,
    sources: Sources,
    *,
    config: TeacherConfig,
    labelled: LabelledSet | None = None,
    log: Sequence[Mapping[str, float]] = (),
    compute: Compute,
    on_done: OnDone = lambda what: None,
) -> dict[str, Any]:
    """All figures of a teacher, as in the JSON file.

    Args:
        model: The teacher.
        sources: Its training windows, on which the counting models are fitted, and held-out windows.
        config: How.
        labelled: Sequences with one class each, for the neighbours.
        log: Rows of its run's log.csv, for the health at the end.
        compute: Where and how it runs.
        on_done: Called with each result, as text.

    Raises:
        InputError: There are no held-out windows, or they are longer than the teacher's window.
        TableError: The labelled sequences do not have one class each.
    """
    if not len(sources.held_out):
        raise InputError("no window is held out: name contigs, or a file, to hold out")
    if int(np.diff(sources.held_out.offsets).max()) > model.config.window:
        raise InputError(f"held-out windows must fit in the teacher's window of {model.config.window} bases")
    network = model.network.for_inference(compute)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        **facts_of(model, sources, config=config, compute=compute),
        "versions": {name: version(name) for name in _LIBRARIES} | {"findna": __version__},
        "machine": platform.machine(),
        "masked_bases": masked_bases(network, sources, config=config, compute=compute),
    }
    on_done("masked bases")
    vectors, tokens = embed(network, sources.held_out, compute=replace(compute, precision=FP32))
    result["effective_rank"] = {"n_windows": len(tokens), "value": effective_rank(torch.from_numpy(tokens))}
    coarse, _ = embed(network, sources.held_out, compute=replace(compute, precision=BF16))
    cosines = F.cosine_similarity(torch.from_numpy(vectors), torch.from_numpy(coarse)).numpy()
    result["bf16"] = {"n_windows": len(cosines), "min": float(cosines.min()), "mean": float(cosines.mean())}
    on_done("vectors")
    if any(not np.isnan(row["effective_rank"]) for row in log):
        result["health"] = health(log)
    if labelled is not None:
        result["neighbours"] = neighbours(model, labelled, config=config, compute=compute)
        on_done("neighbours")
    return result


def masked_bases(network: Encoder, sources: Sources, *, config: TeacherConfig, compute: Compute) -> dict[str, Any]:
    """Masked-base accuracy of the teacher and the counting models, overall and by position in the window.

    All predict the same bases. `standard_error` is that of the accuracy over windows; `ahead` is the accuracy of the
    teacher minus that of a model, paired by window.
    """
    training = iter_masked(sources.corpus, fraction=config.mask_fraction, seed=_TRAINING_SEED)
    models = fit_counting(training, CONTEXTS)
    items = list(
        iter_masked(sources.held_out, fraction=config.mask_fraction, seed=_HELD_OUT_SEED, n_rounds=config.n_rounds)
    )
    guesses = {TEACHER: network_guesses(network, items, compute=compute)}
    guesses |= {name: _counting_guesses(counting, items, name) for name, counting in models.items()}
    windows = np.repeat([item.window for item in items], [len(item.positions) for item in items])
    positions = np.concatenate([item.positions for item in items])
    n_asked = np.bincount(windows, minlength=len(sources.held_out))
    of_window = {
        name: np.bincount(windows, guess.is_right, len(n_asked))[n_asked > 0] / n_asked[n_asked > 0]
        for name, guess in guesses.items()
    }
    figures: dict[str, Any] = {}
    for name, guess in guesses.items():
        figures[name] = {
            "accuracy": float(guess.is_right.mean()),
            "standard_error": _standard_error(of_window[name]),
            "nats": float(guess.nats.mean()),
        }
        if name in models:
            ahead = of_window[TEACHER] - of_window[name]
            figures[name] |= {
                "order": models[name].order,
                "strength": models[name].strength,
                "ahead": float(guesses[TEACHER].is_right.mean() - guess.is_right.mean()),
                "ahead_standard_error": _standard_error(ahead),
            }
    return {
        "n_training_windows": len(sources.corpus),
        "n_windows": len(sources.held_out),
        "n_bases": len(positions),
        "models": figures,
        "by_position": _by_position(positions, guesses, bin_size=config.bin_size),
    }


@torch.inference_mode()
def network_guesses(network: Encoder, items: Sequence[Masked], *, compute: Compute) -> Guesses:
    """The predictions of a network for the masked bases of all items, in order."""
    parts = []
    n_tokens = network.config.n_class_tokens
    size = max(1, compute.batch_bases // network.config.max_len)
    for first in phases.track("masked bases: the model", range(0, len(items), size)):
        some = items[first : first + size]
        batch = pack([item.codes for item in some], n_class_tokens=n_tokens)
        hidden = network(torch.from_numpy(batch.codes).to(compute.device), batch.rings, precision=compute.precision)
        places = np.concatenate([start + item.positions for start, item in zip(batch.rings, some, strict=False)])
        logits = network.nucleotide_logits(hidden[torch.from_numpy(places).to(compute.device)].float())
        bases = F.log_softmax(logits[:, :4], dim=1).cpu().numpy()  # none of them is N
        parts.append(_guesses(np.exp(bases.astype(np.float64)), some))
    return Guesses(*map(np.concatenate, zip(*parts, strict=True)))


def _counting_guesses(counting: CountingModel, items: Sequence[Masked], name: str) -> Guesses:
    tracked = phases.track(f"masked bases: {name.replace('_', ' ')}", items)
    parts = [_guesses(counting.probabilities(CONTEXTS[name](item)), [item]) for item in tracked]
    return Guesses(*map(np.concatenate, zip(*parts, strict=True)))


def _guesses(probabilities: NDArray[np.float64], items: Sequence[Masked]) -> Guesses:
    targets = np.concatenate([item.targets for item in items])
    return Guesses(probabilities.argmax(axis=1) == targets, -np.log(probabilities[np.arange(len(targets)), targets]))


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _by_position(
    positions: NDArray[np.int64], guesses: Mapping[str, Guesses], *, bin_size: int
) -> dict[str, list[float]]:
    bins = positions // bin_size
    n_asked = np.bincount(bins)
    shares = {
        name: np.bincount(bins, guess.is_right)[n_asked > 0] / n_asked[n_asked > 0] for name, guess in guesses.items()
    }
    starts = np.flatnonzero(n_asked) * bin_size
    return {"start": starts.tolist(), "n": n_asked[n_asked > 0].tolist()} | {
        name: np.round(share, 5).tolist() for name, share in shares.items()
    }


def embed(network: Encoder, corpus: Corpus, *, compute: Compute) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean vectors (n, C) and class tokens (n, K, C) of sequences; windows of a long one are joined."""
    size = network.config
    rows = ReadOut("mean,cls", strand="bed").vectors(network, corpus, compute=compute)["bed"]
    return rows[:, : size.channels], rows[:, size.channels :].reshape(len(rows), size.n_class_tokens, size.channels)


def neighbours(model: Model, labelled: LabelledSet, *, config: TeacherConfig, compute: Compute) -> dict[str, Any]:
    """How often the nearest neighbours of a sequence have its class, for vectors of the teacher and of baselines.

    Vectors are the teacher's own read-out, averaged over both strands and standardised; similarity is the cosine.
    The baselines are the same network with random weights, and 6-mer counts. With a second read-out, teacher and random
    weights are measured with it as well, as `teacher_2` and `random_2`. `chance` is the value for random neighbours.

    Raises:
        TableError: The sequences do not have one class each, or are fewer than the neighbours.
    """
    if labelled.objective != "classification" or len(labelled) <= config.n_neighbours:
        raise TableError(f"neighbours need one class per sequence, and more than {config.n_neighbours} sequences")
    random = initialise(make_encoder(model.config), _RANDOM_SEED)
    read_outs = {"": ReadOut("").of_model(model.readout)}
    if config.pool or config.blocks:
        read_outs["_2"] = ReadOut(config.pool, config.blocks)
    spaces = {
        name + suffix: _both_strands(network, read_out, labelled.corpus, compute=compute)
        for suffix, read_out in read_outs.items()
        for name, network in ((TEACHER, model.network), ("random", random))
    }
    spaces["kmer"] = np.asarray(kmer_counts(labelled.corpus).toarray(), dtype=np.float32)
    counts = np.bincount(labelled.labels, minlength=len(labelled.classes))
    of_class = {
        name: same_class_of(vectors, labelled.labels, n_neighbours=config.n_neighbours)
        for name, vectors in spaces.items()
    }
    return {
        "n": dict(zip(labelled.classes, counts.tolist(), strict=True)),
        "sources": dict(labelled.sources),
        "chance": dict(zip(labelled.classes, ((counts - 1) / (len(labelled) - 1)).tolist(), strict=True)),
        "same_class": {
            name: {klass: float(same[labelled.labels == k].mean()) for k, klass in enumerate(labelled.classes)}
            for name, same in of_class.items()
        },
    }


def _both_strands(network: Encoder, read_out: ReadOut, corpus: Corpus, *, compute: Compute) -> NDArray[np.float32]:
    encoder = network.for_inference(compute)
    return read_out.vectors(encoder, corpus, compute=compute)["both"]
