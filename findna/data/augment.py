"""The six augmentations (section 3.3 of Yu et al. 2024, arXiv:2405.08538) and the two views made of them.

Every draw comes from a generator that the caller keys by (seed, epoch, sequence index). A view depends on
nothing else. All functions keep the length of the sequence.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.data.batch import Batch, pack
from findna.recipes import PretrainConfig
from findna.sequence import ALPHABET, BLANK, COMPLEMENT, Codes, reverse_complement


def random_bases(length: int, rng: np.random.Generator) -> Codes:
    """Bases drawn uniformly from A, C, G and T, shape (length,)."""
    return rng.integers(0, 4, size=length, dtype=np.uint8)


def delete(codes: Codes, rng: np.random.Generator, *, max_length: int) -> Codes:
    """Delete a segment of 0 to `max_length` bases and append random bases."""
    length = int(rng.integers(0, min(max_length, len(codes)) + 1))
    start = int(rng.integers(0, len(codes) - length + 1))
    return np.concatenate([codes[:start], codes[start + length :], random_bases(length, rng)])


def insert(codes: Codes, rng: np.random.Generator, *, max_length: int) -> Codes:
    """Insert 0 to `max_length` random bases at a random position and crop the end."""
    length = int(rng.integers(0, max_length + 1))
    start = int(rng.integers(0, len(codes) + 1))
    return np.concatenate([codes[:start], random_bases(length, rng), codes[start:]])[: len(codes)]


def translocate(codes: Codes, rng: np.random.Generator) -> Codes:
    """Swap the two parts before and after a breakpoint, uniform over the sequence."""
    start = int(rng.integers(0, len(codes)))
    return np.concatenate([codes[start:], codes[:start]])


def mask(codes: Codes, rng: np.random.Generator, *, fraction: float, mean_span: float = 1.0) -> NDArray[np.bool_]:
    """The mask: a fixed fraction of the positions, rounded; shape (n,).

    Args:
        codes: The sequence.
        rng: Its generator.
        fraction: Fraction of masked positions.
        mean_span: At 1, positions are drawn one by one. Above 1, spans of this mean length are masked. No two spans
            touch, and all numbers of positions per span and all places are equally likely. The bases at the ends
            are masked less often.
    """
    n_masked = round(fraction * len(codes))
    is_masked = np.zeros(len(codes), dtype=np.bool_)
    if mean_span == 1 or n_masked == 0:
        is_masked[rng.permutation(len(codes))[:n_masked]] = True
        return is_masked
    n_seen = len(codes) - n_masked
    n_spans = min(max(1, round(n_masked / mean_span)), n_seen + 1)
    cuts = 1 + np.sort(rng.permutation(n_masked - 1)[: n_spans - 1])
    lengths = np.diff(cuts, prepend=0, append=n_masked)
    places = np.sort(rng.permutation(n_seen + 1)[:n_spans])  # number of unmasked positions before each span
    return np.insert(is_masked[:n_seen], np.repeat(places, lengths), True)


class Views(NamedTuple):
    """The views of student and teacher of one batch, packed in the same way.

    Args:
        student: The student's view, masked.
        targets: The bases of the student's view at the masked positions, before masking; shape (M,).
        masked: Where they are in the packed batch; shape (M,).
        teacher: The teacher's view, in the same rings.
        noise: Gaussian noise of the noisy view, zero on class tokens and masked bases; shape (sum of lengths, 5).
    """

    student: Batch
    targets: Codes
    masked: NDArray[np.int64]
    teacher: Batch
    noise: NDArray[np.float32]


def split_views(views: Views, n_parts: int) -> Iterator[Views]:
    """Split views into parts with about the same number of sequences, in order; no part is empty.

    Args:
        views: Views of at least `n_parts` sequences.
        n_parts: Number of parts.
    """
    rings = views.student.rings
    cuts = [(len(rings) - 1) * part // n_parts for part in range(n_parts + 1)]
    for first, last in itertools.pairwise(cuts):
        span = slice(int(rings[first]), int(rings[last]))
        is_here = (views.masked >= span.start) & (views.masked < span.stop)
        own = rings[first : last + 1] - span.start
        yield Views(
            Batch(views.student.codes[span], own),
            views.targets[is_here],
            views.masked[is_here] - span.start,
            Batch(views.teacher.codes[span], own),
            views.noise[span],
        )


def make_views(sequences: Sequence[Codes], generators: Sequence[np.random.Generator], config: PretrainConfig) -> Views:
    """The two views of each sequence, drawn from its own generator (section 4.1).

    First, bases are moved in the student's view, then in the teacher's. Then come the mask, the noise and the
    reverse complement.
    """
    students, teachers = [], []
    n_class_tokens = config.model.n_class_tokens
    rings = np.cumsum([0, *(len(codes) + n_class_tokens for codes in sequences)])
    is_masked = np.zeros(rings[-1], dtype=np.bool_)
    noise = np.zeros((rings[-1], len(ALPHABET)), dtype=np.float32)
    for codes, rng, start in zip(sequences, generators, rings[:-1].tolist(), strict=True):
        u = _moved(codes, rng, config.student_augment, max_indel=config.max_indel)
        v = _moved(codes, rng, config.teacher_augment, max_indel=config.max_indel)
        own = slice(start, start + len(codes))
        is_masked[own] = mask(u, rng, fraction=config.mask_fraction, mean_span=config.mask_span)
        if "N" in config.student_augment + config.teacher_augment:
            rng.standard_normal(dtype=np.float32, out=noise[own])
        if "R" in config.student_augment and rng.random() < config.reverse_probability:
            u = reverse_complement(u)
            if "N" in config.student_augment:
                _reverse_complement(noise[own])
        if "R" in config.teacher_augment and rng.random() < config.reverse_probability:
            v = reverse_complement(v)
            if "N" in config.teacher_augment:
                _reverse_complement(noise[own])
        students.append(u)
        teachers.append(v)
    noise *= np.float32(config.noise_sd)
    student, masked = pack(students, n_class_tokens=n_class_tokens), np.flatnonzero(is_masked)
    if "N" in config.student_augment:
        noise[masked] = 0
    targets = student.codes[masked]
    student.codes[masked] = BLANK
    return Views(student, targets, masked, pack(teachers, n_class_tokens=n_class_tokens), noise)


def _moved(codes: Codes, rng: np.random.Generator, augment: str, *, max_indel: int) -> Codes:
    """The sequence after the requested ones of deletion, insertion and translocation."""
    if "D" in augment:
        codes = delete(codes, rng, max_length=max_indel)
    if "I" in augment:
        codes = insert(codes, rng, max_length=max_indel)
    return translocate(codes, rng) if "T" in augment else codes


def _reverse_complement(noise: NDArray[np.float32]) -> None:
    """Reverse complement the noise in place."""
    noise[:] = noise[::-1, COMPLEMENT[: len(ALPHABET)]]


def dissimilarity(views: Views, config: PretrainConfig) -> float:
    """Equation 10: divergence of the student's view from the teacher's, averaged over positions, in nats.

    A softmax turns each one-hot row, with its noise, into a distribution; a masked row is zero. The paper
    writes a sum over sequences, but its figures (0.025, 0.175) are means.
    """
    is_base = np.ones(len(views.student.codes), dtype=np.bool_)
    for end in views.student.rings[1:]:
        is_base[end - config.model.n_class_tokens : end] = False
    noises = (views.noise if "N" in config.student_augment else 0, views.noise if "N" in config.teacher_augment else 0)
    student, teacher = (
        _log_softmax(np.eye(BLANK + 1, len(ALPHABET))[batch.codes] + added)[is_base]
        for batch, added in zip((views.student, views.teacher), noises, strict=True)
    )
    return float((np.exp(student) * (student - teacher)).sum(axis=1).mean())


def _log_softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows - np.log(np.exp(rows).sum(axis=1, keepdims=True)))
