"""Figures are whole PNG files that show what they are given."""

from pathlib import Path

import numpy as np
import pytest

from findna import plots, split_plots
from findna.benchmark.stored import refuse_foreign

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of three classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    scores = np.exp(rng.normal(size=(200, 3)) + np.eye(3)[labels])
    return labels, scores / scores.sum(1, keepdims=True)


def test_every_figure_is_a_png(tmp_path: Path, predictions: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = predictions
    rows = [{"epoch": 1, "loss": 2.0, "valid_loss": 1.0}, {"epoch": 2, "loss": 1.0, "valid_loss": ""}]
    plots.training_curve(rows, tmp_path / "curve.png")
    split_plots.confusion_matrix([[3, 1], [0, 2]], tmp_path / "confusion.png", classes=["a", "b"])
    split_plots.roc(labels, probabilities, tmp_path / "roc.png", classes=["a", "b", "c"])
    split_plots.calibration(labels, probabilities, tmp_path / "calibration.png")
    split_plots.precision_recall(labels, probabilities, tmp_path / "pr.png", classes=["a", "b", "c"])
    for path in tmp_path.iterdir():
        image = pixels(path)
        assert min(image.shape[:2]) > 200, path
        assert image.std() > 0.01, path
    assert len(list(tmp_path.iterdir())) == 5
    refuse_foreign(*tmp_path.iterdir())  # each has our mark


def test_another_matrix_is_another_picture(tmp_path: Path) -> None:
    for name, matrix in (("one", [[5, 0], [0, 5]]), ("two", [[0, 5], [5, 0]])):
        split_plots.confusion_matrix(matrix, tmp_path / f"{name}.png", classes=["a", "b"])
    one, two = (pixels(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert one.shape == two.shape
    assert not np.array_equal(one, two)


def test_the_curves_of_many_classes_have_no_names_and_no_warning(tmp_path: Path) -> None:
    labels = np.arange(48) % 12
    split_plots.roc(labels, np.eye(12)[labels], tmp_path / "roc.png", classes=list("abcdefghijkl"))
    assert pixels(tmp_path / "roc.png").size


def test_labels_of_one_class_have_no_curves_but_the_other_figures(tmp_path: Path) -> None:
    labels, probabilities = np.zeros(5, int), np.full((5, 2), 0.5)
    made = split_plots.split_figures(labels, probabilities, tmp_path / "a", classes=["a", "b"], title="five")
    assert [path.name for path in made] == ["a.confusion.png", "a.calibration.png"]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert all(pixels(path).size for path in made)
