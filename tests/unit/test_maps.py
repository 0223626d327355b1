"""Maps: principal components, labels and colours."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from findna import maps
from findna.errors import TableError


def test_principal_components_are_those_of_scikit_learn() -> None:
    x = np.random.default_rng(0).normal(1000, 1, (9000, 6)).astype(np.float32) * [9, 7, 5, 3, 2, 1]
    rows = np.arange(0, 9000, 2)  # several blocks
    scores, shares = maps.principal_components(x, rows, 3)
    expected = PCA(3).fit(x)
    of_sklearn = expected.transform(x[rows])
    np.testing.assert_allclose(np.abs(scores), np.abs(of_sklearn), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_, rtol=1e-9)


def test_equal_vectors_have_a_map() -> None:
    scores, shares = maps.principal_components(np.ones((5, 3), np.float32), np.arange(5), 2)
    assert not scores.any()
    assert not shares.any()


def test_labels_have_a_header_or_two_columns(tmp_path: Path) -> None:
    (tmp_path / "bare.tsv").write_text("a\tx\nb\ty\n")
    (tmp_path / "headed.csv").write_text("class,id,score\nx,a,1\ny,b,2\n")
    assert maps.read_labels(tmp_path / "bare.tsv") == {"label": {"a": "x", "b": "y"}}
    assert maps.read_labels(tmp_path / "headed.csv") == {"class": {"a": "x", "b": "y"}, "score": {"a": "1", "b": "2"}}


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "": "the file is empty",
        "a\n": "expected two columns",
        "a\tx\na\ty\n": "row 2: duplicate id 'a'",
        "id\tlabel\tlabel\na\tx\ty\n": "line 1: 2 columns are named 'label'",
        "a\tx\nb\n": "row 2 has 1 column, the first row has 2",
    }.items(),
)
def test_labels_that_cannot_be_read_name_their_row(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text(text)
    with pytest.raises(TableError, match=said):
        maps.read_labels(tmp_path / "l.tsv")


def test_rows_are_matched_by_id_else_by_name(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("p1\tx\np2\ty\n")
    columns = {"id": np.array(["1", "2", "3"], object), "name": np.array(["p2", "", "p1"], object)}
    assert maps.match_labels(columns, tmp_path / "l.tsv")["label"].tolist() == ["y", maps.NO_LABEL, "x"]
    with pytest.raises(
        TableError, match=r"none of its ids is .*: its first id is 'p1', that of the embedding file is '1'"
    ):
        maps.match_labels({"id": columns["id"]}, tmp_path / "l.tsv")


def test_many_numbers_are_a_scale_and_few_are_classes(tmp_path: Path) -> None:
    ids = [f"i{k}" for k in range(30)]
    (tmp_path / "l.tsv").write_text(
        "id\tscore\tclass\n" + "".join(f"{id}\t{k / 7}\t{k % 2}\n" for k, id in enumerate(ids))
    )
    found = maps.match_labels({"id": np.array([*ids, "other"], object)}, tmp_path / "l.tsv")
    assert maps.is_numeric(found["score"])
    assert np.isnan(found["score"][-1])
    assert set(found["class"].tolist()) == {"0", "1", maps.NO_LABEL}


def test_rare_classes_and_missing_labels_are_grey() -> None:
    names = [f"c{k:02d}" for k in range(14) for _ in range(20 - k)] + [maps.NO_LABEL] * 50
    colours = maps.class_colours(np.array(names, object))
    coloured = [name for name, colour in colours.items() if colour != maps.OTHER]
    assert coloured == [f"c{k:02d}" for k in range(11)]
    assert [*colours][-1] == maps.NO_LABEL
