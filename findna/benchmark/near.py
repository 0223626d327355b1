"""Whether the nearest neighbours of a sequence have its class, by cosine of standardised vectors."""

import numpy as np
from numpy.typing import NDArray


def same_class_of(vectors: NDArray[np.float32], labels: NDArray[np.int64], *, n_neighbours: int) -> NDArray[np.float64]:
    """The fraction of each sequence's nearest neighbours that have its class, shape (n,)."""
    scaled = standardised(vectors)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    return same_class(scaled @ scaled.T, labels, n_neighbours=n_neighbours)


def standardised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors with mean 0 and sd 1 in every column; shape (n, F)."""
    scaled = vectors - vectors.mean(axis=0)
    scaled /= np.maximum(scaled.std(axis=0), 1e-12)
    return np.asarray(scaled)


def same_class(cosines: NDArray[np.float32], labels: NDArray[np.int64], *, n_neighbours: int) -> NDArray[np.float64]:
    """The fraction of each sequence's nearest neighbours that have its class, shape (n,).

    Args:
        cosines: Of all pairs, shape (n, n); the diagonal is overwritten.
        labels: The class of each sequence, shape (n,).
        n_neighbours: How many are nearest.
    """
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, n_neighbours, axis=1)[:, :n_neighbours]
    return np.asarray((labels[nearest] == labels[:, None]).mean(axis=1))
