import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, UnknownMetricError, alignment_matrices, list_metrics

#: Of the metrics whose distances are made in float32; the others agree with float64.
TOLERANCES = {"distance_correlation": {"abs": 1e-7}, "intrinsic_dimension_correlation": {"rel": 1e-5}}
PAIR_METRICS = [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]


def test_matrices_hold_the_scores_of_all_pairs(pair):
    embeddings = {"a": pair[0], "b": pair[1], "c": pair[0][:, :3]}
    found = alignment_matrices(embeddings)
    assert found.names == ("a", "b", "c")
    assert set(found.matrices) == set(PAIR_METRICS)
    for name in PAIR_METRICS:
        function = list_metrics()[name].function
        for first, x in embeddings.items():
            for second, y in embeddings.items():
                expected = function(x, y)
                expected = expected[0] if isinstance(expected, tuple) else expected
                tolerance = TOLERANCES.get(name, {"rel": 1e-9})
                assert found.score(name, first, second) == pytest.approx(expected, **tolerance)


def test_neighbours(pair):
    embeddings = dict(zip("ab", pair, strict=True))
    found = alignment_matrices(embeddings, metrics=["cknna", "mutual_knn"], k=3, neighbors={"mutual_knn": 20})
    functions = {name: entry.function for name, entry in list_metrics().items()}
    assert found["cknna"][0, 1] == pytest.approx(functions["cknna"](*pair, k=3))
    assert found["mutual_knn"][0, 1] == functions["mutual_knn"](*pair, k=20)


def test_one_degenerate_embedding_does_not_stop_the_others(pair):
    embeddings = {"a": pair[0], "flat": np.ones((60, 2)), "b": pair[1]}
    with pytest.warns(DegenerateInputWarning, match=r"embeddings\['flat'\]"):
        found = alignment_matrices(embeddings)
    for matrix in found.matrices.values():
        assert np.isnan(matrix[1]).all()
        assert np.isnan(matrix[:, 1]).all()
        assert np.isfinite(matrix[np.ix_([0, 2], [0, 2])]).all()


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match="embeddings: expected at least one"):
        alignment_matrices({})
    with pytest.raises(ValueError, match=r"embeddings\['b'\]: found 1 NaN"):
        alignment_matrices({"a": x, "b": np.where(np.arange(60)[:, None] == 3, np.nan, 1.0)})
    with pytest.raises(ValueError, match="found 60 and 59 rows"):
        alignment_matrices({"a": x, "b": y[1:]})
    with pytest.raises(ValueError, match="k of cknna: 60 neighbours"):
        alignment_matrices({"a": x, "b": y}, k=60)
    with pytest.raises(ValueError, match="expected one of 'cknna', 'cknna:platonic-rep', found 'cknna:plato'"):
        alignment_matrices({"a": x}, metrics=["cknna:plato"])
    with pytest.raises(UnknownMetricError):
        alignment_matrices({"a": x}, metrics=["cknnna"])
