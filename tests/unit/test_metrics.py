"""Figures of predictions."""

import json

import numpy as np
import pytest

from findna.classification import decide
from findna.metrics import mean_of, metrics_of

pytest.importorskip("sklearn")


def test_four_right_of_five_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    of_one = np.array([0.1, 0.2, 0.6, 0.7, 0.9])
    found = metrics_of(labels, np.column_stack([1 - of_one, of_one]), classes=["a", "b"])
    assert found["confusion"] == [[2, 1], [0, 2]]
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["macro_f1"] == pytest.approx((2 * 2 / (2 + 3) + 2 * 2 / (3 + 2)) / 2)
    assert found["mcc"] == pytest.approx((2 * 2 - 1 * 0) / np.sqrt(3 * 2 * 3 * 2))
    assert found["auroc"] == 1.0
    assert found["n"] == 5


def test_auroc_of_two_classes_is_that_of_the_second() -> None:
    labels = np.array([0, 1, 0, 1])
    of_one = np.array([0.1, 0.2, 0.3, 0.4])  # 3 of the 4 pairs are in order
    found = metrics_of(labels, np.column_stack([1 - of_one, of_one]), classes=["a", "b"])
    assert found["auroc"] == pytest.approx(0.75)


def test_auroc_of_many_classes_is_the_mean_over_those_that_occur() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]])
    found = metrics_of(labels, probabilities, classes=["a", "b", "c"])
    assert found["auroc"] == pytest.approx((0.75 + 0.75) / 2)
    assert np.array(found["confusion"]).shape == (3, 3)


def test_one_class_has_no_auroc() -> None:
    found = metrics_of(np.zeros(3, int), np.full((3, 2), 0.5), classes=["a", "b"])
    assert found["auroc"] is None
    assert json.loads(json.dumps(found)) == found


def test_multilabel_averages_over_labels() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=np.float32)
    probabilities = np.array([[0.9, 0.1], [0.1, 0.2], [0.8, 0.4], [0.7, 0.9]])
    found = metrics_of(labels, probabilities, classes=["a", "b"], objective="multilabel")
    assert found["accuracy"] == pytest.approx((0.75 + 0.75) / 2)
    assert found["auroc"] == pytest.approx((1.0 + 1.0) / 2)
    assert found["confusion"] == [[[1, 1], [0, 2]], [[2, 0], [1, 1]]]


def test_a_label_is_predicted_above_one_half_as_classify_does() -> None:
    found = metrics_of(np.array([[0], [1]]), np.array([[0.5], [0.6]]), classes=["a"], objective="multilabel")
    assert found["accuracy"] == 1
    assert decide(np.array([0.5]), ["a"], objective="multilabel")[0] == ""


def test_regression_on_a_line() -> None:
    labels = np.array([1.0, 2.0, 3.0, 5.0])
    found = metrics_of(labels, (2 * labels)[:, None], objective="regression")
    assert found["pearson"] == pytest.approx(1)
    assert found["spearman"] == pytest.approx(1)
    assert found["mse"] == pytest.approx(np.mean(labels**2))
    assert found["r2"] < 0


def test_a_constant_prediction_has_no_correlation() -> None:
    found = metrics_of(np.array([1.0, 2.0]), np.array([1.0, 1.0]), objective="regression")
    assert found["pearson"] is None
    assert found["spearman"] is None


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "objective"),
    [
        (np.zeros(2, int), np.zeros((3, 2)), ["a", "b"], "classification"),
        (np.zeros(0, int), np.zeros((0, 2)), ["a", "b"], "classification"),
        (np.zeros(3, int), np.zeros((3, 2)), ["a"], "classification"),
        (np.zeros(3, int), np.full((3, 2), np.nan), ["a", "b"], "classification"),
        (np.zeros(3, int), np.zeros((3, 2)), ["a", "b"], "ranking"),
    ],
)
def test_what_does_not_fit_is_refused(labels, probabilities, classes, objective) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"labels, but|of shape|finite|objective"):
        metrics_of(labels, probabilities, classes=classes, objective=objective)


def test_a_mean_leaves_out_what_is_not_defined() -> None:
    assert mean_of([None, 1.0, 2.0]) == 1.5
    assert mean_of([None]) is None
