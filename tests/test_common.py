"""Rules for every public estimator and transformer."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
import torch
from numpydoc.docscrape import NumpyDocString
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    RegressorMixin,
    TransformerMixin,
    clone,
)
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

import sklrec
from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings

ESTIMATORS = [
    BiasRegressor(),
    BiasRegressor(user_penalty=5, item_penalty=2.5),
    MFRegressor(),
    MFRegressor(svdpp=True),
    MFRegressor(optimizer=torch.optim.Adam, svdpp=True),
    BayesianMFRegressor(),
    BayesianMFRegressor(svdpp=True),
    BayesianMFRegressor(n_iter=20, svdpp=True, side_features="all"),
    BayesianMFRegressor(n_iter=20, loss="ordinal"),
    DenseRecRegressor(),
    SequenceRatingRegressor(),
    SequenceRatingRegressor(items_only=True),
    IDEncoder(),
    SequencePadder(),
    SequenceWindower(timestamp=2, ratings=True),
]
X, Y = make_ratings(40, 30, 400, random_state=0)

STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": (
        "the solver is stochastic: repeated rows change its start and the order of its batches"
    )
}
TOO_NARROW = dict.fromkeys(
    (
        "check_estimators_fit_returns_self",
        "check_estimators_overwrite_params",
        "check_fit_check_is_fitted",
        "check_fit_idempotent",
        "check_n_features_in",
        "check_readonly_memmap_input",
    ),
    "its X has two columns, but users, items and timestamps are three",
)


def expected_failures(estimator):
    if isinstance(estimator, SequenceWindower):
        return TOO_NARROW
    is_exact = isinstance(estimator, BayesianMFRegressor | BiasRegressor)
    return {} if is_exact or not isinstance(estimator, RegressorMixin) else STOCHASTIC


@pytest.mark.filterwarnings("ignore:timestamp='auto' found no column")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures, xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def public_estimators():
    public = [getattr(sklrec, name) for name in sklrec.__all__]
    return {c for c in public if inspect.isclass(c) and issubclass(c, BaseEstimator)}


def test_all_public_estimators_are_checked():
    assert {type(estimator) for estimator in ESTIMATORS} == public_estimators()


# --- rules of our own


each = pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)


def small(estimator):
    """A fast one that gives the same at each fit."""
    wanted = {"n_factors": 3, "hidden_size": 2, "max_epochs": 2, "random_state": 0}
    return clone(estimator).set_params(
        **{name: value for name, value in wanted.items() if name in estimator.get_params()}
    )


def output_of(estimator):
    method = estimator.predict if hasattr(estimator, "predict") else estimator.transform
    return np.nan_to_num(method(X), nan=-1)  # NaN is not equal to itself


def tags_that_differ(tags, usual, path=""):
    if not hasattr(usual, "__dataclass_fields__"):
        return {path: tags} if tags != usual else {}
    found = {}
    for name in usual.__dataclass_fields__:
        parts = getattr(tags, name), getattr(usual, name)
        found |= tags_that_differ(*parts, f"{path}.{name}".lstrip("."))
    return found


class UsualRegressor(RegressorMixin, BaseEstimator):
    """A regressor that sets no tag."""


class UsualTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A transformer that sets no tag."""


@each
def test_only_the_necessary_tags_are_set(estimator):
    """Some tags make scikit-learn skip checks, so that each has to be accounted for."""
    ids = {"input_tags.categorical": True, "input_tags.string": True}
    if isinstance(estimator, RegressorMixin):
        # IDs carry no order: scikit-learn's check wants a function of numbers to be fitted
        expected = {**ids, "regressor_tags.poor_score": True}
        usual = get_tags(UsualRegressor())
    else:
        expected = {
            IDEncoder: {**ids, "transformer_tags.preserves_dtype": []},
            SequencePadder: {"input_tags.categorical": True},
            SequenceWindower: {
                **ids,
                "input_tags.positive_only": True,
                "transformer_tags.preserves_dtype": [],
                **(
                    {"target_tags.required": True} if estimator.get_params().get("ratings") else {}
                ),
            },
        }[type(estimator)]
        usual = get_tags(UsualTransformer())
    assert tags_that_differ(get_tags(estimator), usual) == expected


@each
def test_parameters_are_stored_unchanged(estimator):
    cls = type(estimator)
    marks = {name: object() for name in estimator.get_params(deep=False)}
    stored = cls(**marks).get_params(deep=False)
    assert all(stored[name] is marks[name] for name in marks)
    assert vars(cls(**marks)) == marks
    other = cls().set_params(**marks).get_params(deep=False)
    assert all(other[name] is marks[name] for name in marks)
    text = f"Invalid parameter 'nonsense' for estimator {cls.__name__}"
    with pytest.raises(ValueError, match=text):
        cls().set_params(nonsense=1)


@each
def test_clones_are_not_fitted(estimator):
    fitted = small(estimator).fit(X, Y)
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(twin)
    assert np.array_equal(output_of(twin.fit(X, Y)), output_of(fitted))


@each
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_give_the_same_output(estimator, copied):
    for original in (small(estimator), small(estimator).fit(X, Y)):
        other = copied(original)
        assert type(other) is type(original)
        assert other.get_params() == original.get_params()
        assert vars(original).keys() - vars(other).keys() <= {"net_"}
    assert np.array_equal(output_of(other), output_of(original))


@each
@pytest.mark.parametrize("kind", [np.int64, np.int8])
def test_counts_may_be_integers_of_numpy(estimator, kind):
    # as np.arange gives them to a search; int8 overflows where they are multiplied
    usual = small(estimator)
    counts = {
        name: kind(value)
        for name, value in usual.get_params().items()
        if type(value) is int and 0 < value <= np.iinfo(kind).max
    }
    other = clone(usual).set_params(**counts)
    assert np.array_equal(output_of(other.fit(X, Y)), output_of(usual.fit(X, Y)))


@each
def test_fitting_a_copy_does_not_change_the_original(estimator):
    original = small(estimator).fit(X, Y)
    before = output_of(original)
    twin = copy.copy(original)
    getattr(twin, "partial_fit", twin.fit)(X.assign(user=X["user"] + 20), Y)
    assert np.array_equal(output_of(original), before)


@each
def test_reprs_show_parameters_and_fitted_sizes(estimator):
    name = type(estimator).__name__
    assert repr(type(estimator)()) == f"{name}()"
    plain, fitted = small(estimator), small(estimator).fit(X, Y)
    for shown in (plain, fitted):
        assert name in shown._repr_html_()
        assert repr(shown).startswith(f"{name}(")
    if isinstance(estimator, RegressorMixin):
        n_pairs = len(X[["user", "item"]].drop_duplicates())
        n_iter = fitted.n_iter_
        sizes = {"n_users_": 40, "n_items_": 30, "n_ratings_": n_pairs, "n_iter_": n_iter}
        html = re.sub(r"(\s|<[^>]*>)+", " ", fitted._repr_html_())
        assert all(f"{size} int {value}" in html for size, value in sizes.items())
        assert not any(hasattr(plain, size) for size in sizes)


@each
def test_fit_returns_the_estimator_and_sets_only_attributes_that_end_in_an_underscore(estimator):
    fitted = small(estimator)
    given = set(vars(fitted))
    assert fitted.fit(X, Y) is fitted
    assert getattr(fitted, "partial_fit", fitted.fit)(X, Y) is fitted
    learned = set(vars(fitted)) - given
    assert learned
    assert all(name.endswith("_") and not name.startswith("_") for name in learned)
    assert {"n_features_in_", "feature_names_in_"} <= learned


@each
def test_fitted_attributes_are_documented(estimator):
    fitted = small(estimator).fit(X, Y)
    if isinstance(fitted, RegressorMixin):
        fitted.fit(X, Y, X_val=X, y_val=Y)
    learned = {name for name in vars(fitted) if name.endswith("_")}
    learned |= {
        name
        for name, value in inspect.getmembers(type(fitted), lambda v: isinstance(v, property))
        if name.endswith("_") and not name.startswith("_")
    }
    sections = NumpyDocString(inspect.getdoc(type(fitted)))
    documented = {a.name: " ".join(a.desc) for a in sections["Attributes"]}
    assert learned <= set(documented)
    assert all("Only" in documented[name] for name in set(documented) - learned)


@pytest.mark.parametrize(
    "estimator", [e for e in ESTIMATORS if isinstance(e, RegressorMixin)], ids=repr
)
def test_ratings_far_from_0_are_as_precise_as_those_near_0(estimator, tmp_path):
    is_ordinal = estimator.get_params().get("loss") == "ordinal"
    far, y = (1e7, Y.round()) if is_ordinal else (1e9, Y)  # float32 has steps of 64 at 1e9

    def results_of(model, offset):
        predictions = model.predict(X) - offset
        found = model.recommend([1, 2], candidates=[1, 2, 3])
        return [
            np.sqrt(np.mean((predictions - y) ** 2)),
            np.mean(found["score"]) - offset,
            1 - model.score(X, y + offset),
            *model.loss_curve_,
            *getattr(model, "validation_curve_", []),
        ]

    near_and_far = []
    for offset in (0, far):
        model = small(estimator).fit(X, y + offset, X_val=X, y_val=y + offset)
        results = results_of(model, offset)
        if "warm_start" in model.get_params():
            model.set_params(warm_start=True)
            model.fit(X[:300], y[:300] + offset, X_val=X, y_val=y + offset)
        if hasattr(model, "partial_fit"):
            model.partial_fit(X[:100], y[:100] + offset)
        near_and_far.append(results + results_of(model, offset))
    assert near_and_far[1] == pytest.approx(near_and_far[0], rel=1e-2)
    sklrec.save(model, tmp_path / "model")
    for copied in (sklrec.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(copied.predict(X), model.predict(X))
