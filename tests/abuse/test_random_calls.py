"""Random sequences of calls end in a clear error or in finite predictions."""
# SPDX-License-Identifier: BSD-3-Clause

import dis
import os
import pickle
import warnings
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_data import INVALID_CELLS, VALID, ratings, tables, weights
from random_estimators import MAKE, parameters
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sklrec

OURS, SKLEARN = (os.path.dirname(module.__file__) for module in (sklrec, sklearn))
ERRORS = ValueError, TypeError  # NotFittedError is a ValueError
N_CALLS = 5
BOTH = st.integers(0, 1)


def snapshot(value):
    """Everything that a user can see of an input."""
    if isinstance(value, pd.DataFrame):
        cells = [value.iloc[:, k].tolist() for k in range(value.shape[1])]
        return repr((value.columns.tolist(), value.index.tolist(), value.dtypes.tolist(), cells))
    if isinstance(value, pd.Series):
        return repr((value.index.tolist(), value.dtype, value.tolist()))
    if isinstance(value, np.ndarray):
        return repr((value.dtype, value.shape, value.strides, value.tolist()))
    return repr(value)


def assert_on_purpose(error):
    """Check that an error comes from a `raise` of this package or from scikit-learn's checks."""
    last = ours = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
        if last.tb_frame.f_code.co_filename.startswith((OURS, SKLEARN)):
            ours = last
    code = ours.tb_frame.f_code
    if code.co_filename.startswith(OURS):
        instruction = dis.opname[code.co_code[ours.tb_lasti]]
        assert ours is last and instruction == "RAISE_VARARGS", "it was not raised on purpose"
    assert str(error).strip(), "the message is empty"


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_file(estimator):
    with TemporaryDirectory() as folder:
        sklrec.save(estimator, Path(folder, "model"))
        return sklrec.load(Path(folder, "model"))


class Calls:
    """An estimator and random calls of it."""

    def __init__(self, data, kind, counts):
        self.draw, self.counts, self.kind = data.draw, counts, kind
        self.estimator = MAKE[kind](**self.draw(parameters(kind)))
        self.fitted = None  # the X of the last fit that worked

    def attempt(self, call, *inputs):
        """Return the result of a call, or None if it raised; inputs must not change."""
        before = [snapshot(value) for value in inputs]
        result, outcome = None, "calls that returned"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("error", category=category, module="sklrec")
            try:
                result = call(*inputs)
            except ERRORS as error:
                assert_on_purpose(error)
                outcome = "calls that raised"
        self.counts[outcome] += 1
        assert [snapshot(value) for value in inputs] == before
        return result

    def rated(self):
        X = self.draw(tables(self.kind))
        return X, self.draw(ratings(X, self.kind)), self.draw(weights(X))

    def first_fit(self):
        """Fit to random data, or to valid data if that is refused."""
        self.fit()
        if self.fitted is None:
            self.estimator, (X, y) = MAKE[self.kind](), VALID[self.kind]
            self.attempt(self.estimator.fit, X, y)
            self.fitted = X
            assert self.predict(X) is not None

    def fit(self, method="fit"):
        estimator = self.estimator
        learn = getattr(estimator, method, None)
        if learn is None:
            return
        X, y, weight = self.rated()
        before = vars(estimator).copy()
        params = {name: snapshot(value) for name, value in estimator.get_params().items()}
        predictions = self.predict_fitted()
        if self.attempt(learn, X, y, weight) is None:
            assert list(vars(estimator)) == list(before)
            assert all(value is before[name] for name, value in vars(estimator).items())
            self.assert_predicts(predictions)
        else:
            self.counts["fits"] += 1
            self.fitted = X
            if weight is None and not np.isnan(np.asarray(y, dtype=float)).any():
                assert self.predict(X) is not None, "the rows of the fit were refused"
        now = {name: snapshot(value) for name, value in estimator.get_params().items()}
        assert now == params

    def partial_fit(self):
        self.fit("partial_fit")

    def fit_with_validation(self):
        X, y, _ = self.rated()
        X_val, y_val, weight = self.rated()

        def fit(X, y, X_val, y_val, weight):
            return self.estimator.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)

        if self.attempt(fit, X, y, X_val, y_val, weight):
            self.fitted = X
            assert np.isfinite(self.estimator.loss_curve_).all()
            assert not np.isnan(self.estimator.validation_curve_).any()

    def set_params(self):
        params = self.draw(parameters(self.kind, are_valid=True))
        self.attempt(lambda: self.estimator.set_params(**params))

    def predict_fitted(self):
        return None if self.fitted is None else self.attempt(self.estimator.predict, self.fitted)

    def assert_predicts(self, predictions):
        found = self.predict_fitted()
        assert (found is None) == (predictions is None)
        if found is not None:
            np.testing.assert_array_equal(found, predictions)

    def predict(self, X):
        predictions = self.attempt(self.estimator.predict, X)
        if predictions is not None:
            self.check(predictions, X)
        return predictions

    def predict_other(self):
        X = self.draw(tables(self.kind))
        predictions = self.predict(X)
        assert predictions is None or self.fitted is not None
        if predictions is None or len(X) < 2:
            return
        reverse = X.iloc[::-1] if isinstance(X, pd.DataFrame) else X[::-1]
        moved = self.attempt(self.estimator.predict, reverse)
        size = np.nanmax(np.abs(predictions), initial=1e-30)
        np.testing.assert_allclose(moved, predictions[::-1], rtol=1e-4, atol=1e-4 * size)

    def predict_more(self):
        """Call the methods and options that only some estimators have."""
        estimator = self.estimator
        X = self.draw(tables(self.kind)) if self.fitted is None else self.fitted
        if self.kind in ("bayesian", "bias"):
            both = self.attempt(lambda X: estimator.predict(X, return_std=True), X)
            if both is not None:
                self.check(both[0], X)
                assert both[1].shape == (len(X),)
                assert np.isfinite(both[1]).all() and (both[1] >= 0).all()
            if getattr(estimator, "loss", None) == "ordinal":
                chances = self.attempt(estimator.predict_rating_proba, X)
                if chances is not None:
                    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
                    assert (chances >= 0).all()
        if self.kind == "lstm":
            X_past, y_past, _ = self.rated()
            predictions = self.attempt(
                lambda X, *past: estimator.predict(X, history=past), X, X_past, y_past
            )
            if predictions is not None:
                self.check(predictions, X)

    def score(self):
        X, y, weight = self.rated()
        try:
            score = self.attempt(self.estimator.score, X, y, weight)
        except ZeroDivisionError:  # scikit-learn's score of any estimator, if all weights are 0
            assert np.sum(np.asarray(weight, dtype=float)) == 0
            return
        assert score is None or score <= 1 or len(X) < 2 or not np.isfinite(score)

    def check(self, predictions, X):
        if self.kind == "padded" and self.estimator.n_outputs_ > 1:
            predictions = predictions[~np.isnan(predictions)]
        else:
            assert predictions.shape == (len(X),)
        assert predictions.dtype == np.float64
        assert np.isfinite(predictions).all()
        if self.estimator.rating_scale_ is not None:
            low, high = self.estimator.rating_scale_
            assert (predictions >= low).all() and (predictions <= high).all()
        self.counts["predictions"] += len(X)

    def ids(self, which):
        """Some IDs, mostly known ones, in a container of any type."""
        known = getattr(self.estimator, "encoder_", None)
        known = [1, "a"] if known is None else known.categories_[which].tolist()
        some = st.lists(st.sampled_from(known), min_size=1, max_size=4)
        cells = [[cell] for cell in INVALID_CELLS]
        odd = st.sampled_from([None, 1, "a", [], {}, [[1]], 10**30, *cells])
        ids = self.draw(odd if self.draw(st.integers(0, 7)) == 5 else some)
        container = self.draw(
            st.sampled_from([list, list, tuple, pd.Series, np.array, pd.Index, set])
        )
        try:
            return container(ids)
        except ERRORS:
            return ids

    def recommend(self):
        users, candidates = self.ids(0), None
        if self.draw(st.integers(0, 4)) == 2:
            candidates = self.ids(1)
        elif isinstance(users, list | tuple) and self.draw(st.integers(0, 4)) == 2:
            try:
                candidates = {user: self.ids(1) for user in users}
            except TypeError:
                return
        n_items = self.draw(
            st.sampled_from([1, 2, 10**9, np.int8(2), 3, 2, 0, -1, 1.5, "2", None])
        )
        options = {"exclude_seen": self.draw(st.booleans())}

        def recommend(users, n_items, candidates):
            return self.estimator.recommend(users, n_items, candidates=candidates, **options)

        found = self.attempt(recommend, users, n_items, candidates)
        if found is None:
            return
        self.counts["lists of recommendations"] += 1
        assert list(found) == ["user", "item", "rank", "score"]
        self.check(found["score"].to_numpy(), found)
        n_users = self.estimator.n_users_ if users is None else len(users)
        assert len(found) <= n_users * n_items
        assert (found["rank"] >= 1).all()
        follows = found["rank"].diff() == 1
        assert (follows | (found["rank"] == 1)).all()
        assert (found["score"].diff()[follows] <= 0).all()

    def similar(self):
        which = self.draw(BOTH)
        ids = self.ids(which)
        n = self.draw(st.sampled_from([1, 3, 10**9, 0, "x"]))
        metric = self.draw(st.sampled_from(["cosine", "cosine", "dot", "dot", "euclidean", None]))
        find = getattr(self.estimator, "similar_items" if which else "similar_users", None)
        if find is None:
            return
        found = self.attempt(lambda ids: find(ids, n, metric=metric), ids)
        if found is not None:
            self.counts["lists of similar IDs"] += 1
            assert np.isfinite(found["score"]).all()
            assert metric == "dot" or found["score"].between(-1, 1).all()

    def copy(self):
        """Continue with a copy, which must predict the same; a clone must be unfitted."""
        make = self.draw(st.sampled_from([clone, deepcopy, by_pickle, by_file]))
        predictions, other = self.predict_fitted(), self.attempt(make, self.estimator)
        if other is None:
            return
        self.estimator = other
        if make is clone:
            self.fitted = None
            with pytest.raises(NotFittedError):
                other.predict([[1, 2, 3]])
        elif predictions is not None:
            self.assert_predicts(predictions)


CALLS = [
    *(Calls.fit, Calls.fit, Calls.partial_fit, Calls.fit_with_validation, Calls.set_params),
    *(Calls.predict_other, Calls.predict_other, Calls.predict_more, Calls.score),
    *(Calls.recommend, Calls.recommend, Calls.similar, Calls.copy),
]


@pytest.mark.parametrize("kind", MAKE)
def test_random_sequences_of_calls(abuse, kind):
    @settings(
        max_examples=-(-abuse.n_sequences // len(MAKE)),
        derandomize=not abuse.is_long,
        database=None,
        deadline=None,
        print_blob=abuse.is_long,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        abuse.counts["sequences of calls"] += 1
        calls = Calls(data, kind, abuse.counts)
        calls.first_fit()
        for _ in range(data.draw(st.integers(1, N_CALLS))):
            data.draw(st.sampled_from(CALLS))(calls)

    before = abuse.counts["fits"]
    run()
    assert abuse.counts["fits"] > before
