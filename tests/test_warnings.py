"""Every warning names the line of the user's code that called sklrec."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import warnings
from contextlib import suppress
from functools import cache

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    ModelCheckpoint,
    SequenceRatingRegressor,
    SequenceWindower,
    save,
)
from sklrec.datasets import ChunkedRatings, make_ratings
from sklrec.model_selection import LastInteractionsSplit, UserStratifiedKFold

X, Y = make_ratings(30, 20, 300, random_state=0)
STARS = Y.round().clip(1, 5)
OTHER = X.astype({"user": str})  # users of another kind
UNTIMED = X.rename(columns={"timestamp": "hour"})
TIED = X.assign(timestamp=0)
TWICE = X.iloc[[*range(150), *range(150)]]
HALF = X.astype({"user": object})  # users of another kind in the second half
HALF.loc[150:, "user"] = HALF.loc[150:, "user"].astype(str)
USERS = OTHER["user"][:2].tolist()


class CtrlC(Callback):
    """Ctrl-C at the end of the first epoch or sweep, as a callback of skorch or scikit-learn."""

    max_propagation_depth = None

    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, **kwargs):
        if context.task_name == "sweep":
            raise KeyboardInterrupt


SMALL = {"n_factors": 2, "max_epochs": 1, "random_state": 0}
SWEEPS = {"n_factors": 2, "n_iter": 4, "random_state": 0}
ESTIMATORS = {
    "MF": MFRegressor(**SMALL),
    "Dense": DenseRecRegressor(**SMALL),
    "Sequence": SequenceRatingRegressor(**SMALL, hidden_size=2),
    "Bayesian": BayesianMFRegressor(**SWEEPS),
    "ordinal": BayesianMFRegressor(**SWEEPS, loss="ordinal"),
    "Bias": BiasRegressor(),
    "pipeline": make_pipeline(IDEncoder(), MFRegressor(**SMALL)),
    "encoder": IDEncoder(),
    "windower": SequenceWindower(timestamp=2),
}


def new(name, **parameters):
    return clone(ESTIMATORS[name]).set_params(**parameters)


@cache
def fitted(name):
    return new(name).fit(X, Y.round())


def chunks(X):
    return ChunkedRatings([(X[["user", "item"]], Y)])


def interrupted(name):
    if name == "Bayesian":
        pytest.importorskip("sklearn.callback")  # scikit-learn 1.9
        return new(name).set_callbacks(CtrlC())
    return new(name, callbacks=[CtrlC()])


OTHER_KIND = "fitted on (strings|integers) .* but got (strings|integers)"
CUT_SHORT = "interrupted after"
BOTH_SIDES = "on both sides of a split"
FAR = "The rating 99 is far outside the rating scale so far, .* rating_scale="
CALLS = [
    *[
        (OTHER_KIND, lambda name=name: fitted(name).predict(OTHER))
        for name in ("MF", "Dense", "Sequence", "Bayesian", "Bias", "pipeline")
    ],
    *[
        (OTHER_KIND, lambda name=name: fitted(name).score(OTHER, Y))
        for name in ("MF", "Dense", "Sequence", "Bayesian", "pipeline")
    ],
    *[
        (OTHER_KIND, lambda name=name: fitted(name).recommend(USERS))
        for name in ("MF", "Dense", "Sequence", "Bayesian")
    ],
    *[
        (OTHER_KIND, lambda name=name: new(name).fit(X, Y, X_val=OTHER, y_val=Y))
        for name in ("MF", "Dense", "Sequence", "Bayesian")
    ],
    *[
        (OTHER_KIND, lambda name=name: new(name).fit(X, Y).partial_fit(OTHER, Y))
        for name in ("MF", "Dense", "Sequence", "Bias")
    ],
    *[
        (CUT_SHORT, lambda name=name: interrupted(name).fit(X, Y))
        for name in ("MF", "Dense", "Sequence", "Bayesian")
    ],
    *[
        (CUT_SHORT, lambda name=name: interrupted(name).partial_fit(X, Y))
        for name in ("MF", "Dense", "Sequence")
    ],
    *[
        (FAR, lambda name=name: new(name).fit(X, STARS).partial_fit(X[:2], [3, 99]))
        for name in ("MF", "Dense", "Sequence", "Bias")
    ],
    *[
        (FAR, lambda name=name: new(name, warm_start=True).fit(X, STARS).fit(X[:2], [3, 99]))
        for name in ("MF", "Bayesian")
    ],
    (FAR, lambda: new("MF").fit(ChunkedRatings([(X, STARS), (X[:2], [99, 3])]))),
    (CUT_SHORT, lambda: interrupted("MF").fit(chunks(X))),
    (OTHER_KIND, lambda: new("MF").fit(chunks(X), X_val=chunks(OTHER))),
    (OTHER_KIND, lambda: fitted("Bayesian").predict(OTHER, return_std=True)),
    (OTHER_KIND, lambda: fitted("Bias").predict(OTHER, return_std=True)),
    (OTHER_KIND, lambda: fitted("ordinal").predict_rating_proba(OTHER)),
    (OTHER_KIND, lambda: fitted("Sequence").predict(X, history=(OTHER, Y))),
    (OTHER_KIND, lambda: fitted("Sequence").score(X, Y, history=(OTHER, Y))),
    ("found no column named 'timestamp'", lambda: new("Sequence").fit(UNTIMED, Y)),
    ("found no column named 'timestamp'", lambda: new("Sequence").partial_fit(UNTIMED, Y)),
    (OTHER_KIND, lambda: fitted("encoder").transform(OTHER)),
    (OTHER_KIND, lambda: new("encoder").fit(X).partial_fit(OTHER)),
    (OTHER_KIND, lambda: fitted("windower").transform(OTHER)),
    ("ignores the parameter groups", lambda: list(UserStratifiedKFold(item=None).split(X, Y, Y))),
    (BOTH_SIDES, lambda: list(UserStratifiedKFold().split(TWICE))),
    ("between equal timestamps", lambda: list(LastInteractionsSplit(1).split(TIED))),
    ("another order", lambda: list(LastInteractionsSplit(1, timestamp=None).split(X))),
    (BOTH_SIDES, lambda: cross_val_score(new("MF"), TWICE, Y, cv=UserStratifiedKFold(2))),
    (OTHER_KIND, lambda: cross_val_score(new("MF"), HALF, Y, cv=KFold(2))),
    (OTHER_KIND, lambda: cross_val_score(new("pipeline"), HALF, Y, cv=KFold(2))),
    (
        f"{OTHER_KIND}|strings that read as numbers",  # the last fit reads both halves
        lambda: GridSearchCV(new("MF"), {"n_factors": [2]}, cv=KFold(2)).fit(HALF, Y),
    ),
]


def check_line(call, message):
    """Check that all warnings of a function of one line have a message and name that line."""
    with warnings.catch_warnings(record=True) as caught, suppress(KeyboardInterrupt):
        warnings.simplefilter("always")
        call()
    assert caught
    for warning in caught:
        assert re.search(message, str(warning.message))
        assert (warning.filename, warning.lineno) == (__file__, call.__code__.co_firstlineno)


@pytest.mark.parametrize(("message", "call"), CALLS)
def test_a_warning_names_the_line_that_calls(message, call):
    check_line(call, message)


@pytest.mark.parametrize(
    ("first", "further"),
    [
        ([4, 5], [[1, 2, 3, 4, 5]]),
        ([5, 5], [[1, 5], [0.5]]),
        ([4.5, 5], [[0.5]]),
        ([9, 10], [[1]]),
        ([1, 7, 12], [[1, 40], [90, 300, 900], [5000]]),  # counts
        ([1, 5], [range(101)]),  # percentages after all
        ([1e6 + 1, 1e6 + 2], [[1e6, 1e6 + 5]]),
    ],
)
def test_ordinary_further_ratings_do_not_warn(first, further):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "All ratings are 5")
        model = new("Bias").fit(X[: len(first)], first)
        for ratings in further:
            model.partial_fit(X[: len(ratings)], list(ratings))
    assert model.rating_scale_ == (min(first + [min(r) for r in further]), model.rating_scale_[1])


@pytest.mark.parametrize("further", [[99], [99, 98, 3], [-60], [1, 2, 3, 4, 5, 99, 99]])
def test_far_ratings_warn_whatever_the_first_ones_were(further):
    for first in ([1, 5], [4, 5]):
        model = new("Bias").fit(X[: len(first)], first)
        with pytest.warns(UserWarning, match="far outside the rating scale so far, from"):
            model.partial_fit(X[: len(further)], further)
        model = new("Bias", rating_scale=None).fit(X[: len(first)], first)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.partial_fit(X[: len(further)], further)


def test_a_warning_while_saving_names_the_line_that_saves(tmp_path):
    model = new("MF", callbacks=[CtrlC()])
    with pytest.warns(UserWarning), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    check_line(lambda: save(model, tmp_path / "model.sklrec"), "a model file does not hold: callb")


def test_a_checkpoint_that_cannot_be_written_names_the_line_of_fit(tmp_path):
    class Removal(Callback):
        def on_epoch_begin(self, net, **kwargs):
            with suppress(FileNotFoundError):
                folder.rmdir()

    folder = tmp_path / "missing"
    folder.mkdir()
    checkpoint = ModelCheckpoint(folder / "model.sklrec")
    model = new("MF", callbacks=[Removal(), checkpoint])
    check_line(lambda: model.fit(X, Y), "The model could not be saved to .*missing")
