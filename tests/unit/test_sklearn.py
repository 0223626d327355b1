"""findna.sklearn.Embedder is a transformer like scikit-learn's own."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

import findna
from findna.sklearn import Embedder

RNG = np.random.default_rng(0)
SEQUENCES = ["".join(RNG.choice(list(letters), 60)) for letters in ["ACGT"] * 8 + ["GC"] * 8]
LABELS = ["mixed"] * 8 + ["gc"] * 8


def test_a_pipeline_is_cross_validated_and_its_settings_searched():
    pipeline = Pipeline([("dna", Embedder(device="cpu")), ("lr", LogisticRegression(C=100, max_iter=1000))])
    assert cross_val_score(pipeline, SEQUENCES, LABELS, cv=2).mean() > 0.9
    search = GridSearchCV(pipeline, {"dna__strand": ["bed", "both"]}, cv=2).fit(SEQUENCES, LABELS)
    assert search.best_score_ > 0.9
    assert search.predict(["GC" * 30]).tolist() == ["gc"]


def test_it_gives_the_vectors_of_embed_before_and_after_fit_clone_and_pickle():
    x = findna.embed(SEQUENCES[:3], strand="both", pool="mean,sd", device="cpu")
    embedder = Embedder(strand="both", pool="mean,sd", device="cpu")
    np.testing.assert_array_equal(embedder.transform(SEQUENCES[:3]), x)
    np.testing.assert_array_equal(embedder.fit(SEQUENCES).transform(SEQUENCES[:3]), x)
    np.testing.assert_array_equal(clone(embedder).fit_transform(SEQUENCES[:3]), x)
    content = pickle.dumps(embedder)
    assert len(content) < 10_000  # without the model
    np.testing.assert_array_equal(pickle.loads(content).transform(SEQUENCES[:3]), x)


def test_features_have_names_and_pandas_output_uses_them():
    pytest.importorskip("pandas")
    embedder = Embedder(pool="mean,sd", device="cpu")
    names = embedder.get_feature_names_out()
    table = embedder.set_output(transform="pandas").fit_transform(SEQUENCES[:2])
    assert table.columns.tolist() == names.tolist()
    assert len(set(names)) == table.shape[1]


def test_a_wrong_setting_is_refused_at_fit():
    with pytest.raises(findna.ModelError):
        Embedder(model="no-such-model").fit(SEQUENCES)
    with pytest.raises(findna.ConfigError):
        Embedder(pool="median").fit(SEQUENCES)
