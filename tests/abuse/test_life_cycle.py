"""Estimators under whatever data, parameters and calls: a clear error, or finite predictions."""
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
from life_data import ODD_CELLS, PLAIN, ratings, tables, weights
from life_estimators import MAKE, parameters
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sklrec

PACKAGE, CHECKS = (os.path.dirname(module.__file__) for module in (sklrec, sklearn))
# What scikit-learn raises; NotFittedError is both of the others' first two.
ERRORS = ValueError, TypeError
N_ACTIONS = 5
BOTH = st.integers(0, 1)


def snapshot(value):
    """All that a user could see of an input, to tell whether it was changed."""
    if isinstance(value, pd.DataFrame):
        cells = [value.iloc[:, k].tolist() for k in range(value.shape[1])]
        return repr((value.columns.tolist(), value.index.tolist(), value.dtypes.tolist(), cells))
    if isinstance(value, pd.Series):
        return repr((value.index.tolist(), value.dtype, value.tolist()))
    if isinstance(value, np.ndarray):
        return repr((value.dtype, value.shape, value.strides, value.tolist()))
    return repr(value)


def assert_on_purpose(error):
    """An error must come from a `raise` of this package, or from scikit-learn's own checks."""
    last = ours = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
        if last.tb_frame.f_code.co_filename.startswith((PACKAGE, CHECKS)):
            ours = last
    code = ours.tb_frame.f_code
    if code.co_filename.startswith(PACKAGE):
        instruction = dis.opname[code.co_code[ours.tb_lasti]]
        assert ours is last and instruction == "RAISE_VARARGS", "it was not raised on purpose"
    assert str(error).strip(), "it says nothing"


def some_rows(X, rows):
    """The same table with these rows alone."""
    if isinstance(X, pd.DataFrame):
        return X.iloc[rows]
    return [X[row] for row in rows] if isinstance(X, list) else X[rows]


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_file(estimator):
    with TemporaryDirectory() as folder:
        sklrec.save(estimator, Path(folder, "model"))
        return sklrec.load(Path(folder, "model"))


class Life:
    """An estimator, what it was fitted to, and the calls that it has to bear."""

    def __init__(self, data, solver, counts):
        self.draw, self.counts = data.draw, counts
        self.kind, self.make = MAKE[solver]
        self.estimator = self.make(**self.draw(parameters(self.kind)))
        self.fitted = None  # the X of the last fit that worked

    def attempt(self, call, *inputs):
        """Give what a call gives, or None if it refused; inputs must stay as they are."""
        before = [snapshot(value) for value in inputs]
        refused = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("error", category=category, module="sklrec")
            try:
                result = call(*inputs)
            except ERRORS as error:
                assert_on_purpose(error)
                refused = True
        self.counts["calls that were refused" if refused else "calls that were answered"] += 1
        assert [snapshot(value) for value in inputs] == before
        return None if refused else result

    def rated(self):
        X = self.draw(tables(self.kind))
        return X, self.draw(ratings(X, self.kind)), self.draw(weights(X))

    # --- learning

    def begin(self):
        """Try it with whatever comes; if that is refused, give it something to live on."""
        self.fit()
        if self.fitted is None:
            self.estimator, (X, y) = self.make(), PLAIN[self.kind]
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
            again = self.predict_fitted()
            assert (predictions is None) == (again is None)
            if again is not None:
                np.testing.assert_array_equal(again, predictions)
        else:
            self.counts["fits"] += 1
            self.fitted = X
            if weight is None and not np.isnan(np.asarray(y, dtype=float)).any():
                assert self.predict(X) is not None, "rows that it was fitted to were refused"
        now = {name: snapshot(value) for name, value in estimator.get_params().items()}
        assert now == params

    def fit_with_validation(self):
        X, y, _ = self.rated()
        X_val, y_val, weight = self.rated()
        if self.attempt(
            lambda *v: self.estimator.fit(
                v[0], v[1], X_val=v[2], y_val=v[3], sample_weight_val=v[4]
            ),
            *(X, y, X_val, y_val, weight),
        ):
            self.fitted = X
            assert np.isfinite(self.estimator.loss_curve_).all()
            assert not np.isnan(self.estimator.validation_curve_).any()

    def fold_in(self):
        fold_in = getattr(self.estimator, "fold_in", None)
        if fold_in is None:
            return
        X, y, weight = self.rated()
        if self.fitted is not None and len(self.fitted) == len(y):
            X = self.newcomers()
        before, predictions = vars(self.estimator).copy(), self.predict_fitted()
        folded = self.attempt(fold_in, X, y, weight)
        assert all(value is before[name] for name, value in vars(self.estimator).items())
        if predictions is not None:
            np.testing.assert_array_equal(self.predict_fitted(), predictions)
        if folded is not None:
            self.counts["folded in"] += 1
            self.estimator, self.fitted = folded, X

    def newcomers(self):
        """New users of known items, or known users of new ones."""
        X = deepcopy(self.fitted)
        new, side = self.draw(st.sampled_from([99, "new", 1.5, ("a", 1)])), self.draw(BOTH)
        if isinstance(X, pd.DataFrame):
            return X.assign(**{X.columns[side]: [new] * len(X)}) if "user" in X else X
        X = X.astype(object) if isinstance(X, np.ndarray) else X
        for row in X:
            row[side % len(row)] = new
        return X

    def set_params(self):
        wanted = self.draw(parameters(self.kind, right=True))
        self.attempt(lambda: self.estimator.set_params(**wanted))

    # --- predicting

    def predict_fitted(self):
        return None if self.fitted is None else self.attempt(self.estimator.predict, self.fitted)

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
        rows = self.draw(st.permutations(range(len(X))))
        moved = self.attempt(self.estimator.predict, some_rows(X, rows))
        size = np.nanmax(np.abs(predictions), initial=1e-30)
        np.testing.assert_allclose(moved, predictions[rows], rtol=1e-4, atol=1e-4 * size)

    def predict_more(self):
        """What only some estimators predict."""
        estimator = self.estimator
        X = self.draw(tables(self.kind)) if self.fitted is None else self.fitted
        if self.kind in ("exact", "mf", "fm"):
            both = self.attempt(lambda X: estimator.predict(X, return_std=True), X)
            if both is not None:
                self.check(both[0], X)
                assert both[1].shape == (len(X),)
                assert np.isfinite(both[1]).all() and (both[1] >= 0).all()
        if self.kind == "fm" and estimator.loss == "ordinal":
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
        except ZeroDivisionError:  # scikit-learn's score of any estimator, by such weights
            assert np.sum(np.asarray(weight, dtype=float)) == 0
            return
        assert score is None or score <= 1 or len(X) < 2 or not np.isfinite(score)

    def check(self, predictions, X):
        shape = (len(X),)
        if self.kind == "sequences" and self.estimator.n_outputs_ > 1:
            predictions = predictions[~np.isnan(predictions)]
        else:
            assert predictions.shape == shape
        assert predictions.dtype == np.float64
        assert np.isfinite(predictions).all()
        if self.estimator.rating_scale_ is not None:
            low, high = self.estimator.rating_scale_
            assert (predictions >= low).all() and (predictions <= high).all()
        self.counts["predictions"] += len(X)

    # --- recommending

    def ids(self, which):
        """Some IDs, known ones for the most part, in whatever holds them."""
        known = getattr(self.estimator, "encoder_", None)
        known = [1, "a"] if known is None else known.categories_[which].tolist()
        some = st.lists(st.sampled_from(known), min_size=1, max_size=4)
        odd = st.sampled_from(
            [None, 1, "a", [], {}, [[1]], 10**30, *([cell] for cell in ODD_CELLS)]
        )
        ids = self.draw(odd if self.draw(st.integers(0, 7)) == 5 else some)
        form = self.draw(st.sampled_from([list, list, tuple, pd.Series, np.array, pd.Index, set]))
        try:
            return form(ids)
        except (ValueError, TypeError):
            return ids

    def recommend(self):
        estimator = self.estimator
        users, candidates = self.ids(0), None
        if self.draw(st.integers(0, 4)) == 2:
            candidates = self.ids(1)
        elif isinstance(users, list | tuple) and self.draw(st.integers(0, 4)) == 2:
            candidates = {}
            for user in users:
                try:
                    candidates[user] = self.ids(1)
                except TypeError:
                    return
        n_items = self.draw(
            st.sampled_from([1, 2, 10**9, np.int8(2), 3, 2, 0, -1, 1.5, "2", None])
        )
        exclude_seen = self.draw(st.booleans())
        found = self.attempt(
            lambda users, n_items, candidates: estimator.recommend(
                users, n_items, exclude_seen=exclude_seen, candidates=candidates
            ),
            *(users, n_items, candidates),
        )
        if found is None:
            return
        self.counts["lists of recommendations"] += 1
        assert list(found) == ["user", "item", "rank", "score"]
        self.check(found["score"].to_numpy(), found)
        assert len(found) <= len(users) * n_items
        assert (found["rank"] >= 1).all()
        goes_on = found["rank"].diff() == 1
        assert (goes_on | (found["rank"] == 1)).all()
        assert (found["score"].diff()[goes_on] <= 0).all()

    def similar(self):
        which = self.draw(BOTH)
        ids = self.ids(which)
        n = self.draw(st.sampled_from([1, 3, 10**9, 0, "x"]))
        metric = self.draw(st.sampled_from(["cosine", "cosine", "dot", "dot", "euclidean", None]))
        find = getattr(self.estimator, "similar_items" if which else "similar_users")
        found = self.attempt(lambda ids: find(ids, n, metric=metric), ids)
        if found is not None:
            self.counts["lists of similar ones"] += 1
            assert np.isfinite(found["score"]).all()
            assert metric == "dot" or found["score"].between(-1, 1).all()

    # --- becoming another

    def become(self):
        make = self.draw(st.sampled_from([clone, deepcopy, by_pickle, by_file]))
        other = self.attempt(make, self.estimator)
        if other is None:
            return
        if make is clone:
            self.fitted = None
            with pytest.raises(NotFittedError):
                other.predict([[1, 2, 3]])
        predictions = self.predict_fitted()
        self.estimator = other
        if predictions is not None:
            np.testing.assert_array_equal(self.predict_fitted(), predictions)


ACTIONS = [
    *(Life.fit, Life.fit, lambda life: life.fit("partial_fit")),
    *(Life.fit_with_validation, Life.fold_in, Life.set_params),
    *(Life.predict_other, Life.predict_other, Life.predict_more, Life.score),
    *(Life.recommend, Life.recommend, Life.similar, Life.become),
]


@pytest.mark.parametrize("solver", MAKE)
def test_a_whole_life(abuse, solver):
    @settings(
        max_examples=-(-abuse.n_lives // len(MAKE)),
        derandomize=not abuse.long,
        database=None,
        deadline=None,
        print_blob=abuse.long,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def live(data):
        abuse.counts["lives"] += 1
        life = Life(data, solver, abuse.counts)
        life.begin()
        for _ in range(data.draw(st.integers(1, N_ACTIONS))):
            data.draw(st.sampled_from(ACTIONS))(life)

    before = abuse.counts["fits"]
    live()
    assert abuse.counts["fits"] > before
