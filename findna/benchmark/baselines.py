"""Baselines for a teacher: 6-mer counts and a small CNN from scratch; and the probe on vectors."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from findna.data.datasets import Corpus, iter_steps
from findna.data.kmers import iter_kmers
from findna.data.labelled import LabelledSet
from findna.extras import need_sklearn
from findna.metrics import metrics_of
from findna.models.task import log_scores
from findna.nn.heads import Head
from findna.sequence import COMPLEMENT, N
from findna.train.objectives import mean_loss, quality, ranking
from findna.train.probe import PENALTIES, Fit, fit_probe

K = 6
KMER_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
_MOST_ITERATIONS = 300

Probabilities = NDArray[np.float64]


class Prediction(NamedTuple):
    """The output of a fitted classifier.

    Args:
        valid: Probabilities of the validation split, shape (n, n_classes).
        test: Of the test split.
        chosen: What was chosen on the validation split.
    """

    valid: Probabilities
    test: Probabilities
    chosen: dict[str, Any]


class Data(NamedTuple):
    """Vectors and labels of a split.

    Args:
        x: Shape (n, F).
        y: Class of each, shape (n,).
    """

    x: NDArray[np.floating[Any]]
    y: NDArray[np.int64]


def fit_strands(strands: Mapping[str, tuple[Data, Data, Data]], *, n_classes: int) -> Prediction:
    """The probe of `findna.train.probe` on the vectors of each strand.

    Strand and penalty (in `chosen`) are those with the best AUROC on the validation split.
    """
    fits = {strand: _fit_vectors(*data, n_classes=n_classes) for strand, data in strands.items()}
    strand = max(fits, key=lambda name: quality(fits[name][0]._asdict(), "auroc")[0])
    best, found = fits[strand]
    return found._replace(chosen={"penalty": best.penalty, "strand": strand})


def _fit_vectors(train: Data, valid: Data, test: Data, *, n_classes: int) -> tuple[Fit, Prediction]:
    """The best fit on the vectors of one strand, and its predictions."""
    features = torch.as_tensor(train.x, dtype=torch.float32)
    head = Head(features.shape[1], n_classes)
    head.standardise(features)

    @torch.no_grad()
    def scores(split: Data) -> NDArray[np.float64]:
        return log_scores(head(torch.as_tensor(split.x, dtype=torch.float32)), "classification").double().numpy()

    def measure(head: Head) -> dict[str, float]:
        found = scores(valid)
        loss = mean_loss(found, valid.y, "classification")
        return {"valid_loss": loss, "valid_auroc": ranking(found, valid.y, "classification")}

    fits = fit_probe(
        head,
        features,
        torch.from_numpy(train.y),
        weights=torch.ones(len(features)),
        objective="classification",
        measure=measure,
        select="auroc",
    )
    best = max(fits, key=lambda fit: quality(fit._asdict(), "auroc"))
    return best, Prediction(np.exp(scores(valid)), np.exp(scores(test)), {})


def fit_kmers(train: LabelledSet, valid: LabelledSet, test: LabelledSet, *, n_classes: int) -> Prediction:
    """Logistic regression on 6-mer counts of both strands, each divided by its maximum in the training split.

    liblinear for two classes, lbfgs for more; C is the one with the best AUROC on the validation split.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    need_sklearn("a benchmark")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MaxAbsScaler

    scaler = MaxAbsScaler().fit(kmer_counts(train.corpus))
    x_train, x_valid, x_test = (scaler.transform(kmer_counts(split.corpus)) for split in (train, valid, test))
    if n_classes == 2:
        model = LogisticRegression(solver="liblinear", random_state=0)
    else:
        model = LogisticRegression(warm_start=True, max_iter=_MOST_ITERATIONS, tol=1e-3)

    def predict(model: Any, x: Any) -> Probabilities:
        filled = np.zeros((x.shape[0], n_classes))  # a class that the training rows lack has a column of zeros
        filled[:, model.classes_] = model.predict_proba(x)
        return filled

    fits = []
    for penalty in KMER_PENALTIES:
        with warnings.catch_warnings():  # the validation split also judges a fit that has not converged
            warnings.filterwarnings("ignore", category=ConvergenceWarning)
            model.set_params(C=penalty).fit(x_train, train.labels)
        auroc = metrics_of(valid.labels, predict(model, x_valid), classes=[str(k) for k in range(n_classes)])["auroc"]
        fits.append((auroc or 0.0, penalty, copy.deepcopy(model)))
    _, penalty, best = max(fits, key=lambda fit: fit[0])
    return Prediction(predict(best, x_valid), predict(best, x_test), {"C": penalty})


def kmer_counts(corpus: Corpus) -> Any:
    """Counts of the 6-mers of both strands, shape (n, 4096), sparse, float32; k-mers with an N are skipped."""
    from scipy.sparse import csr_matrix

    rows, columns = [], []
    for owners, kmers in iter_kmers(corpus, K):
        rows.append(owners.astype(np.int32))
        columns.append(kmers.astype(np.int32))
    row, column = (np.concatenate(parts) if parts else np.empty(0, np.int32) for parts in (rows, columns))
    ones = np.ones(len(row), np.float32)
    one_strand = csr_matrix((ones, (row, column)), shape=(len(corpus), 4**K))
    # The count of a k-mer is added to its reverse complement, so the penalty is that of counts on both strands.
    mates = 4**K - 1 - np.arange(4**K).reshape([4] * K).transpose().ravel()
    return (one_strand + one_strand[:, mates]).tocsr()


CNN_EPOCHS = 8
CNN_PATIENCE = 2
CNN_BATCH = 64
CNN_RATE = 2e-3
_WIDTH = 64
_MOTIF = 12
_POOL = 4
_SHARE_DROPPED = 0.2
_SCORED_BASES = 1 << 18

RECIPES: dict[str, list[float]] = {
    "probe": [*PENALTIES],
    "random": [*PENALTIES],
    "kmer": [K, *KMER_PENALTIES],
    "cnn": [CNN_EPOCHS, CNN_PATIENCE, CNN_BATCH, CNN_RATE, _WIDTH, _MOTIF, _POOL, _SHARE_DROPPED],
}
"""The settings that determine the figures of each mode; results of other settings are not reused."""


class Cnn(nn.Module):
    """A small CNN: two convolutions (motifs and their pairs), a maximum over positions, a linear layer."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, _WIDTH, _MOTIF, padding=_MOTIF // 2)
        self.pairs = nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2)
        self.drop = nn.Dropout(_SHARE_DROPPED)
        self.out = nn.Linear(2 * _WIDTH, n_classes)

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, n_classes) of padded codes (B, L) of sequences of these lengths (B,), without padding."""
        x = F.one_hot(codes.long(), N + 1)[..., :4].float().transpose(1, 2)  # (B, 4, L)
        # Padding is zero, which is the minimum of a ReLU, so it never changes a maximum.
        motifs = F.relu(self.motifs(x))  # (B, width, L + 1)
        motifs = F.max_pool1d(motifs * _is_within(motifs, lengths + 1), _POOL, ceil_mode=True)
        pairs = F.relu(self.pairs(motifs))
        pairs = pairs * _is_within(pairs, (lengths + _POOL) // _POOL)
        scores: Tensor = self.out(self.drop(torch.cat([motifs.amax(2), pairs.amax(2)], dim=1)))
        return scores


def _is_within(values: Tensor, lengths: Tensor) -> Tensor:
    """1 at positions within the length of their row, shape (B, 1, L)."""
    return (torch.arange(values.shape[2], device=values.device) < lengths[:, None]).to(values.dtype)[:, None]


def fit_cnn(
    train: LabelledSet, valid: LabelledSet, test: LabelledSet, *, n_classes: int, seed: int, device: torch.device
) -> Prediction:
    """A small CNN trained from scratch; the epoch with the smallest validation loss is kept.

    AdamW, cosine schedule; half of the sequences are reverse complemented; predictions are means over both strands.
    """
    torch.manual_seed(seed)
    model = Cnn(n_classes).to(device)
    n_steps = max(1, len(train) // min(CNN_BATCH, len(train)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=CNN_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=CNN_EPOCHS * n_steps)
    best, n_worse, best_epoch = (float("inf"), copy.deepcopy(model.state_dict())), 0, 0
    steps = iter_steps(len(train), CNN_BATCH, seed=seed)
    rng = np.random.default_rng(seed)
    for epoch in range(CNN_EPOCHS):
        model.train()
        for _ in range(n_steps):
            _, indices = next(steps)
            codes, lengths = _padded(train.corpus, indices, is_turned=rng.random(len(indices)) < 0.5)
            scores = model(codes.to(device), lengths.to(device))
            loss = F.cross_entropy(scores, torch.from_numpy(train.labels[indices]).to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        probabilities = _predict(model, valid.corpus, device)
        right = probabilities[np.arange(len(valid)), valid.labels]
        valid_loss = float(-np.log(np.maximum(right, 1e-12)).mean())
        if valid_loss < best[0]:
            best, n_worse, best_epoch = (valid_loss, copy.deepcopy(model.state_dict())), 0, epoch
        else:
            n_worse += 1
            if n_worse > CNN_PATIENCE:
                break
    model.load_state_dict(best[1])
    chosen = {"epoch": best_epoch + 1, "n_parameters": sum(p.numel() for p in model.parameters())}
    return Prediction(_predict(model, valid.corpus, device), _predict(model, test.corpus, device), chosen)


def _padded(corpus: Corpus, indices: NDArray[np.int64], *, is_turned: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Codes (B, L), padded with N, and lengths (B,)."""
    sequences = [corpus[index] for index in indices.tolist()]
    length = max(_MOTIF, max(map(len, sequences)))
    padded = np.full((len(sequences), length), N, np.uint8)
    for row, (sequence, turned) in enumerate(zip(sequences, is_turned.tolist(), strict=True)):
        padded[row, : len(sequence)] = COMPLEMENT[sequence[::-1]] if turned else sequence
    return torch.from_numpy(padded), torch.tensor([len(sequence) for sequence in sequences])


@torch.inference_mode()
def _predict(model: Cnn, corpus: Corpus, device: torch.device) -> Probabilities:
    model.eval()
    found = np.zeros((len(corpus), model.out.out_features))
    for indices in _by_length(corpus):
        for is_turned in (False, True):
            codes, lengths = _padded(corpus, indices, is_turned=np.full(len(indices), is_turned))
            scores = model(codes.to(device), lengths.to(device))
            found[indices] += scores.softmax(1).double().cpu().numpy() / 2
    return found


def _by_length(corpus: Corpus) -> Iterator[NDArray[np.int64]]:
    """Indices in batches of similar lengths, which limits padding and memory."""
    lengths = np.diff(corpus.offsets)
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        n = max(1, _SCORED_BASES // max(1, int(lengths[order[min(first + 1024, len(order)) - 1]])))
        yield order[first : first + min(n, 1024)]
        first += min(n, 1024)
