"""Rules for every public estimator and transformer."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import functools
import inspect
import pickle
import random
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from networks import Described, FactorsWithVectors, Layers, Remembering, SparseFactors
from numpydoc.docscrape import NumpyDocString
from packaging.version import Version
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    RegressorMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_fit_idempotent, parametrize_with_checks
from skorch.callbacks import EarlyStopping, EpochTimer
from torch_settings import other_settings, settings_of_torch

import sklrec
from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    EASERecommender,
    IDEncoder,
    ImplicitMFRecommender,
    MFRegressor,
    ModuleRecRegressor,
    PopularityRecommender,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings
from sklrec.export import EXPORTED, onnx_inputs
from sklrec.model_selection import ColdItemShuffleSplit, ColdUserShuffleSplit

OF_USERS = Described, FactorsWithVectors, Layers, Remembering, SparseFactors
# The defaults except for the length of the training, and other ways of reading X and y.
ESTIMATORS = [
    BiasRegressor(),
    MFRegressor(max_epochs=2),
    BayesianMFRegressor(n_iter=4),
    BayesianMFRegressor(loss="ordinal", n_iter=2, svdpp=True, side_features="all"),
    DenseRecRegressor(max_epochs=2),
    ModuleRecRegressor(FactorsWithVectors, max_epochs=1),
    SequenceRatingRegressor(max_epochs=1),
    PopularityRecommender(),
    EASERecommender(),
    ImplicitMFRecommender(),
    IDEncoder(),
    IDEncoder(min_frequency=2),
    SequencePadder(),
    SequenceWindower(),
    SequenceWindower(ratings=True),
]
# These read X and y like one of those above, so that scikit-learn's checks do the same to them.
VARIANTS = [
    MFRegressor(svdpp=True),
    MFRegressor(biased=False),
    MFRegressor(optimizer=torch.optim.Adam, svdpp=True),
    MFRegressor(loss="quantile", quantile=0.9),
    DenseRecRegressor(loss="huber", max_epochs=2),
    ModuleRecRegressor(SparseFactors, output="standardized", max_epochs=2),
    ModuleRecRegressor(Layers, output="residual", max_epochs=2),
    ModuleRecRegressor(Described, output="residual", max_epochs=2),
    ModuleRecRegressor(Remembering, output="residual", max_epochs=2, max_len=5),
    SequenceRatingRegressor(loss="absolute_error", max_epochs=1),
    SequenceRatingRegressor(items_only=True),
]
X, Y = make_ratings(40, 30, 400, random_state=0)

STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": (
        "the solver is stochastic: repeated rows change its start and the order of its batches"
    )
}
ONE_POSITIVE = {"check_sample_weight_equivalence_on_dense_data": "a repeated pair is one positive"}
RECOMMENDERS = EASERecommender, ImplicitMFRecommender, PopularityRecommender
# scikit-learn 1.7 subtracts a float from its integers, which numpy refuses.
BROKEN = {"check_positive_only_tag_during_fit": "an error of the check in scikit-learn 1.7"}
if Version(sklearn.__version__) >= Version("1.8"):
    BROKEN = {}


def expected_failures(estimator):
    if isinstance(estimator, ImplicitMFRecommender | PopularityRecommender):
        return ONE_POSITIVE | BROKEN
    is_exact = isinstance(estimator, BayesianMFRegressor | BiasRegressor)
    is_stochastic = isinstance(estimator, RegressorMixin) and not is_exact
    return STOCHASTIC | BROKEN if is_stochastic else BROKEN


@pytest.mark.filterwarnings("ignore:timestamp='auto' found no column")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:timestamp='auto' found no column")
@pytest.mark.parametrize(
    "cls", [BayesianMFRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor]
)
def test_the_defaults_pass_a_check_too(cls):
    check_fit_idempotent(cls.__name__, cls())


def public_estimators():
    public = [getattr(sklrec, name) for name in sklrec.__all__]
    return {c for c in public if inspect.isclass(c) and issubclass(c, BaseEstimator)}


def test_all_public_estimators_are_checked():
    assert {type(estimator) for estimator in ESTIMATORS} == public_estimators()
    regressors = {cls for cls in public_estimators() if issubclass(cls, RegressorMixin)}
    assert {type(estimator) for estimator, _ in REGRESSORS.values()} == regressors


# --- rules of our own


each = pytest.mark.parametrize("estimator", ESTIMATORS + VARIANTS, ids=repr)


def small(estimator):
    """A fast one that gives the same at each fit."""
    wanted = {"n_factors": 3, "hidden_size": 2, "max_epochs": 2, "random_state": 0}
    return clone(estimator).set_params(
        **{name: value for name, value in wanted.items() if name in estimator.get_params()}
    )


@functools.cache
def small_fitted(estimator):
    """A small fitted one that no test may change."""
    return small(estimator).fit(X, Y)


def output_of(estimator):
    names = "predict", "transform", "decision_function"
    method = next(getattr(estimator, name) for name in names if hasattr(estimator, name))
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
    elif isinstance(estimator, RECOMMENDERS):
        expected, usual = ids, get_tags(BaseEstimator())
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
def test_each_parameter_is_checked(estimator):
    for name in estimator.get_params():
        text = f"The '{name}' parameter of {type(estimator).__name__} must be"
        changed = clone(estimator).set_params(**{name: object()})
        with pytest.raises(ValueError, match=text):
            changed.fit(X, Y)
        if hasattr(changed, "partial_fit"):
            with pytest.raises(ValueError, match=text):
                changed.partial_fit(X, Y)


COPIES = copy.copy, copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))


@each
def test_copies_give_the_same_output(estimator):
    for original in (small(estimator), small_fitted(estimator)):
        for other in [copied(original) for copied in COPIES]:
            assert type(other) is type(original)
            assert other.get_params() == original.get_params()
            assert vars(original).keys() - vars(other).keys() <= {"net_"}
            if original is small_fitted(estimator):
                assert np.array_equal(output_of(other), output_of(original))


@each
def test_counts_may_be_integers_of_numpy(estimator):
    # as np.arange gives them to a search; int8 overflows where they are multiplied
    usual = small(estimator)
    counts = {
        name: np.int8(value) if value < 128 else np.int64(value)
        for name, value in usual.get_params().items()
        if type(value) is int and value > 0
    }
    other = clone(usual).set_params(**counts)
    assert np.array_equal(output_of(other.fit(X, Y)), output_of(small_fitted(estimator)))


@each
def test_fitting_a_copy_does_not_change_the_original(estimator):
    original = small_fitted(estimator)
    before = output_of(original)
    twin = copy.copy(original)
    getattr(twin, "partial_fit", twin.fit)(X.assign(user=X["user"] + 20), Y)
    assert np.array_equal(output_of(original), before)


@each
def test_reprs_show_parameters_and_fitted_sizes(estimator):
    name = type(estimator).__name__
    if isinstance(estimator, ModuleRecRegressor):
        module = estimator.module
        assert repr(ModuleRecRegressor(module)) == f"{name}(module={module!r})"
    else:
        assert repr(type(estimator)()) == f"{name}()"
    plain, fitted = small(estimator), small_fitted(estimator)
    for shown in (plain, fitted):
        assert name in shown._repr_html_()
        assert repr(shown).startswith(f"{name}(")
    if isinstance(estimator, RegressorMixin):
        n_pairs = len(X[["user", "item"]].drop_duplicates())
        sizes = {"n_users_": 40, "n_items_": 30, "n_ratings_": n_pairs}
        assert {size: getattr(fitted, size) for size in sizes} == sizes
        assert not any(hasattr(plain, size) for size in [*sizes, "n_iter_"])
        if Version(sklearn.__version__) >= Version("1.9"):  # shows fitted attributes
            sizes["n_iter_"] = fitted.n_iter_
            html = re.sub(r"(\s|<[^>]*>)+", " ", fitted._repr_html_())
            assert all(f"{size} int {value}" in html for size, value in sizes.items())


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
    validation = {"X_val": X, "y_val": Y} if isinstance(estimator, RegressorMixin) else {}
    fitted = small(estimator).fit(X, Y, **validation)
    learned = {name for name in vars(fitted) if name.endswith("_")}
    learned |= {
        name
        for name, value in inspect.getmembers(type(fitted), lambda v: isinstance(v, property))
        if name.endswith("_") and not name.startswith("_") and hasattr(fitted, name)
    }
    sections = NumpyDocString(inspect.getdoc(type(fitted)))
    documented = {a.name: " ".join(a.desc) for a in sections["Attributes"]}
    assert learned <= set(documented)
    assert all("Only" in documented[name] for name in set(documented) - learned)
    for name in set(documented) - learned:
        with pytest.raises(AttributeError, match=name):
            getattr(fitted, name)


@pytest.mark.parametrize(
    "estimator",
    [e for e in ESTIMATORS + VARIANTS if "callbacks" in e.get_params()],
    ids=repr,
)
def test_parameters_of_callbacks_are_set_by_name(estimator):
    given = [("stop", EarlyStopping(patience=7)), EpochTimer, EpochTimer()]
    model = small(estimator).set_params(callbacks=given)
    shown = model.get_params()
    assert model.get_params(deep=False).keys() == estimator.get_params().keys()
    assert shown["callbacks"] is given and shown["callbacks__stop"] is given[0][1]
    assert shown["callbacks__stop__patience"] == 7
    assert shown["callbacks__EpochTimer_1"] is EpochTimer
    searched = clone(model).set_params(callbacks__stop__patience=1, callbacks__EpochTimer_2=None)
    assert given[0][1].patience == 7  # a search does not change the original
    assert searched.callbacks[0][1].patience == 1
    searched.fit(X, Y, X_val=X, y_val=Y)
    assert [name for name, _ in searched.net_.callbacks_].count("EpochTimer_1") == 1
    model.set_params(callbacks__stop=EarlyStopping(), callbacks__stop__patience=2, max_epochs=3)
    assert model.callbacks[0][1].patience == 2 and model.max_epochs == 3
    assert given[0][1].patience == 7
    model.set_params(callbacks=[EarlyStopping], callbacks__EarlyStopping__patience=4)
    assert model.callbacks[0][1].patience == 4
    name = type(estimator).__name__
    with pytest.raises(
        ValueError,
        match=f"'callbacks__rate__lr' for estimator {name}: the names in callbacks are .'EarlySt",
    ):
        model.set_params(callbacks__rate__lr=1)
    with pytest.raises(ValueError, match="Invalid parameter 'lr' for estimator <skorch"):
        model.set_params(callbacks__EarlyStopping__lr=1)


@pytest.mark.parametrize(
    "estimator",
    # without biases, a rating is the product of factors and has no mean
    [
        e
        for e in ESTIMATORS + VARIANTS
        if isinstance(e, RegressorMixin) and getattr(e, "biased", True)
    ],
    ids=repr,
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
    loaded = sklrec.load(tmp_path / "model", custom_objects=CUSTOM)
    for copied in (loaded, pickle.loads(pickle.dumps(model))):
        assert np.array_equal(copied.predict(X), model.predict(X))


# --- promises of all regressors


def with_sides(X):
    """Add side features of users, items and single ratings, with missing values."""
    rng = np.random.default_rng(0)
    genres = [["drama", "war"], ("comedy",), [], {"war"}]
    n_tags = rng.integers(0, 4, len(X))
    return X.assign(
        age=np.where(X["user"] % 7 == 0, np.nan, 20.0 + X["user"] % 50),
        job=np.array(["nurse", "pilot", "cook"])[X["user"] % 3],
        genres=[genres[item % 4] for item in X["item"]],
        shelf=[[f"s{item % 3}", f"s{item % 5}"] for item in X["item"]],
        tags=[rng.choice(list("abcdef"), n, replace=False).tolist() for n in n_tags],
    )


SIDE = with_sides(X)
STARS = Y.round()
IDS = X[["user", "item"]]
NET = {"n_factors": 4, "max_epochs": 2, "batch_size": 100, "random_state": 0}
WIDE = {**NET, "n_factors": 100}
OWN = {"max_epochs": 2, "batch_size": 100, "random_state": 0, "module__n_factors": 4}
OWN["output"] = "residual"
SWEEPS = {"n_factors": 4, "n_iter": 4, "random_state": 0}
# An estimator, and the table that it is fitted to.
REGRESSORS = {
    "bias": (BiasRegressor(), IDS),
    "mf": (MFRegressor(**NET), X),
    "mf adam": (MFRegressor(**WIDE, optimizer=torch.optim.Adam), X),
    "mf svdpp": (MFRegressor(**NET, svdpp=True), X),
    "bayesian": (BayesianMFRegressor(**SWEEPS), X),
    "ordinal": (
        BayesianMFRegressor(**SWEEPS, svdpp=True, side_features="all", loss="ordinal"),
        SIDE,
    ),
    "dense": (DenseRecRegressor(**NET, hidden_layer_sizes=(33, 8), dropout=0.1), SIDE),
    "dense of ids": (DenseRecRegressor(**NET, products=False), IDS),
    "factors": (ModuleRecRegressor(FactorsWithVectors, **OWN), X),
    "sparse": (ModuleRecRegressor(SparseFactors, **OWN).set_params(output="standardized"), X),
    "layers": (
        ModuleRecRegressor(Layers, **OWN, module__dropout=0.1).set_params(output="auto"),
        X,
    ),
    "described": (ModuleRecRegressor(Described, **OWN), SIDE),
    "remembering": (ModuleRecRegressor(Remembering, **OWN, max_len=7), X),
    "sequence": (SequenceRatingRegressor(**NET, hidden_size=3), X),
    "lstm": (SequenceRatingRegressor(**NET, hidden_size=3, alpha=1.0, bidirectional=True), X),
}
READ_ALL = ["ordinal", "dense", "dense of ids", "described"]
CUSTOM = {cls.__name__: cls for cls in OF_USERS}
EXACT = ["bias", "bayesian", "ordinal"]
every = pytest.mark.parametrize("name", REGRESSORS)
sided = pytest.mark.parametrize("name", [n for n in REGRESSORS if REGRESSORS[n][1] is SIDE])
exact = pytest.mark.parametrize("name", EXACT)


def fit(name, X=None, y=STARS, *args, validation=(), **params):
    """Fit a new regressor to its own table, or to another one."""
    estimator, own = REGRESSORS[name]
    known = estimator.get_params()
    params = {name: value for name, value in params.items() if name in known}
    X_val, y_val = validation or (None, None)
    model = clone(estimator).set_params(**params)
    return model.fit(own if X is None else X, y, *args, X_val=X_val, y_val=y_val)


@functools.cache
def fitted(name):
    """A fitted regressor that no test may change."""
    return fit(name)


def outputs(model, X):
    """Predictions, standard deviations and probabilities, a row for each."""
    if "return_std" not in inspect.signature(model.predict).parameters:
        return model.predict(X)[np.newaxis]
    chances = model.predict_rating_proba(X).T if hasattr(model, "predict_rating_proba") else []
    return np.stack([*model.predict(X, return_std=True), *chances])


@every
def test_a_prediction_depends_only_on_its_row(name):
    model, rng = fitted(name), np.random.default_rng(0)
    rows = REGRESSORS[name][1]
    rows = rows.assign(user=rows["user"].where(np.arange(len(rows)) % 5 > 0, -1))
    whole = outputs(model, rows)
    assert whole.shape[1] == len(rows) and whole.dtype == np.float64
    for size in (1, 2, 7, 50, 128, 400, 20_000):  # the last are more than one block
        some = rng.choice(len(rows), size)
        found = outputs(model, rows.iloc[some])
        if isinstance(model, ModuleRecRegressor):  # torch's float32 depends on the size
            assert np.allclose(found, whole[:, some], atol=1e-5)
        else:
            assert np.array_equal(found, whole[:, some])


@every
def test_the_seed_decides_and_global_random_states_stay(name):
    numpys = np.random.mtrand._rand

    def states():
        return (
            random.getstate(),
            repr(numpys.get_state(legacy=False)),
            torch.get_rng_state().tolist(),
        )

    before = states()
    first, same, other = (
        outputs(fit(name, random_state=seed, early_stopping=0.2), REGRESSORS[name][1])
        for seed in (0, 0, 1)
    )
    fitted(name).recommend([1])
    assert states() == before
    assert np.array_equal(first, same)
    assert np.array_equal(first, other) == (name == "bias")


def results_of_all_methods(name, path):
    model, rows = fit(name), REGRESSORS[name][1]
    sklrec.save(model, path)
    models = [model, sklrec.load(path, custom_objects=CUSTOM), pickle.loads(pickle.dumps(model))]
    further = copy.copy(model)
    models.append(getattr(further, "partial_fit", further.fit)(rows, STARS))
    if hasattr(model, "fold_in") and model.loss != "ordinal":
        models.append(model.fold_in(rows[:9].assign(user=-1), STARS[:9]))
    found = [outputs(m, rows) for m in models]
    for m in models:
        found.append(m.recommend([1, 2], n_items=3)["score"].to_numpy())
        for side in m._sides_with_factors:
            found.append(getattr(m, f"similar_{side}s")([1], 3)["score"].to_numpy())
    if isinstance(model, EXPORTED):
        found += onnx_inputs(model, rows).values()
    return found


@every
def test_settings_of_torch_change_nothing_and_stay(name, tmp_path):
    wanted = results_of_all_methods(name, tmp_path / "model")
    usual = settings_of_torch()
    with other_settings():
        before = settings_of_torch()
        found = results_of_all_methods(name, tmp_path / "model")
        assert settings_of_torch() == before
        assert all(now != then for now, then in zip(before, usual, strict=True))
    for values, expected in zip(found, wanted, strict=True):
        assert np.array_equal(values, expected, equal_nan=True)


@exact
def test_standard_deviations_are_asked_for_by_keyword_and_with_a_boolean(name):
    model, rows = fitted(name), REGRESSORS[name][1]
    with pytest.raises(TypeError, match="positional argument"):
        model.predict(rows, True)
    with pytest.raises(ValueError, match="return_std must be True or False, got 'no'"):
        model.predict(rows, return_std="no")
    with pytest.raises(ValueError, match="exclude_seen must be True or False, got 'no'"):
        model.recommend([1], exclude_seen="no")


@exact
def test_the_order_of_rows_and_the_names_of_ids_do_not_matter(name):
    rng, rows = np.random.default_rng(0), REGRESSORS[name][1]
    order, codes = rng.permutation(len(rows)), rng.permutation(1000)
    wanted = outputs(fitted(name), rows)
    moved = fit(name, rows.iloc[order], STARS.iloc[order])
    assert np.allclose(outputs(moved, rows), wanted, atol=1e-6)
    renamed = rows.assign(user=[f"u{codes[user]}" for user in rows["user"]])
    renamed = renamed.assign(item=codes[renamed["item"]])
    assert np.allclose(outputs(fit(name, renamed), renamed), wanted, atol=1e-6)


@exact
def test_weights_equal_repeated_rows(name):
    rows = REGRESSORS[name][1]
    weight = np.random.RandomState(0).randint(0, 4, len(rows))
    repeated = np.repeat(np.arange(len(rows)), weight)
    one = fit(name, None, STARS, weight)
    other = fit(name, rows.iloc[repeated], STARS.iloc[repeated])
    assert np.allclose(outputs(one, rows), outputs(other, rows), atol=1e-6)
    assert not np.allclose(outputs(one, rows), outputs(fitted(name), rows), rtol=1e-3)


# SVD++ terms describe users by all that they rated, with any weight but 0.
@pytest.mark.parametrize("name", ["bias", "bayesian"])
def test_a_weight_near_0_equals_the_weight_0(name):
    rows = REGRESSORS[name][1]
    nothing, little = np.ones(len(rows)), np.ones(len(rows))
    nothing[::3], little[::3] = 0, 1e-30
    found = [outputs(fit(name, None, STARS, weight), rows) for weight in (nothing, little)]
    assert np.allclose(*found, atol=1e-6)


@pytest.mark.parametrize(
    "estimator",
    [BiasRegressor(), BayesianMFRegressor(**SWEEPS), BayesianMFRegressor(**SWEEPS, svdpp=True)],
    ids=repr,
)
@pytest.mark.parametrize("split", [ColdUserShuffleSplit, ColdItemShuffleSplit])
def test_standard_deviations_of_unknown_ids_are_as_large_as_the_errors(estimator, split):
    ratings, y = make_ratings(300, 200, 12_000, random_state=0)
    train, test = next(split(1, test_size=0.2, random_state=0).split(ratings))
    model = clone(estimator).fit(ratings.iloc[train], y.iloc[train])
    mean, std = model.predict(ratings.iloc[test], return_std=True)
    sizes = (np.sqrt(np.mean(values**2)) for values in (y.iloc[test] - mean, std))
    assert next(sizes) == pytest.approx(next(sizes), rel=0.12)


@exact
def test_unknown_users_and_items_have_larger_standard_deviations(name):
    model, rows = fitted(name), REGRESSORS[name][1]
    known = model.predict(rows, return_std=True)[1]
    user, item = {"user": -1}, {"item": -1}
    stds = [model.predict(rows.assign(**u), return_std=True)[1] for u in (user, item, user | item)]
    assert all((std > known).mean() > 0.8 for std in stds)
    assert stds[2].mean() > max(stds[0].mean(), stds[1].mean(), known.mean())


@every
def test_columns_may_come_in_any_order_and_from_an_array(name):
    rows = REGRESSORS[name][1]
    turned = rows[rows.columns[::-1]]
    sides = [side for side in ("user", "item", "timestamp") if side in turned]
    by_name = fit(name, turned, **{side: side for side in sides}).predict(turned)
    places = {side: list(turned).index(side) for side in sides}
    array = turned.to_numpy(dtype=object)
    assert np.array_equal(fit(name, array, **places).predict(array), by_name)
    if rows is not SIDE:  # the order of side features decides their random start
        assert np.array_equal(by_name, fitted(name).predict(rows))


@pytest.mark.parametrize("name", [name for name in REGRESSORS if name not in READ_ALL])
def test_further_columns_are_not_used(name):
    rows = REGRESSORS[name][1]
    odd = rows.assign(junk=[object()] * len(X), none=None, huge=np.inf)
    model = fit(name, odd)
    assert np.array_equal(model.predict(odd.assign(huge="c")), fitted(name).predict(rows))


@every
def test_validation_data_are_measured_and_change_nothing(name):
    rows = REGRESSORS[name][1]
    options = {"rating_scale": None, "early_stopping": False}
    plain = fit(name, rows[:300], STARS[:300], **options)
    valid = rows[300:], STARS[300:]
    model = fit(name, rows[:300], STARS[:300], validation=valid, **options)
    assert np.array_equal(model.predict(rows), plain.predict(rows))
    assert not hasattr(plain, "validation_curve_")
    assert len(model.validation_curve_) == len(model.loss_curve_) == model.n_iter_
    error = np.mean((valid[1] - model.predict(valid[0])) ** 2)
    assert model.validation_curve_[-1] == pytest.approx(error, rel=1e-5)


@every
def test_normal_use_prints_and_warns_of_nothing(name, capsys):
    rows = REGRESSORS[name][1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(name, validation=(rows, STARS))
        model.predict(rows.assign(user=-1))
        model.predict(rows[:1].assign(user=-1, item=-1))
        model.recommend([rows["user"].iloc[0]])
        getattr(model, "partial_fit", model.fit)(rows, STARS)
    assert capsys.readouterr() == ("", "")


DESCRIBED = {"ordinal", "dense", "described"}


@every
@pytest.mark.filterwarnings("error::UserWarning")
def test_rows_without_any_known_id_are_warned_of(name):
    model, rows = fitted(name), REGRESSORS[name][1]
    unknown = rows.assign(user=rows["user"] + 1000, item=rows["item"] + 1000)
    if name in DESCRIBED:  # their side features tell the rows apart
        model.predict(unknown)
        return
    with pytest.warns(
        UserWarning,
        match="No row has a user or an item that fit saw: all 400 rows .* Check that the column "
        r"'user', with 1\d\d\d in row 0, holds users such as \d+, and that the column 'item'",
    ) as caught:
        model.predict(unknown)
    assert len(caught) == 1


# Sequence models rate at a later time: tests/estimators/test_sequence.py.
@pytest.mark.parametrize("name", list(REGRESSORS)[:-3])
def test_recommended_scores_are_the_highest_predictions(name):
    model, rows = fitted(name), REGRESSORS[name][1]
    user = rows["user"].iloc[0]
    # Side features of single ratings are missing, and so are those of unknown users.
    items = rows.drop_duplicates("item").assign(user=user, tags=[[]] * rows["item"].nunique())
    of_user = rows[rows["user"] == user].iloc[0]
    for asked, age, job in ((user, of_user.get("age"), of_user.get("job")), (-1, None, None)):
        given = items.assign(user=asked, age=age, job=job, timestamp=np.nan).astype({"age": float})
        scores = model.predict(given.reindex(columns=rows.columns))
        found = model.recommend([asked], n_items=5, exclude_seen=False)
        wanted = pd.Series(scores, items["item"]).loc[found["item"]]
        assert np.allclose(found["score"], wanted, atol=1e-4)
        assert found["score"].iloc[4] >= np.sort(scores)[-5] - 1e-4


@every
def test_lists_of_all_users_of_tables_and_with_the_fitted_names(name):
    model, rows = fitted(name), REGRESSORS[name][1]
    everyone = model.encoder_.categories_[0]
    wanted = model.recommend(everyone, n_items=4)
    pd.testing.assert_frame_equal(model.recommend(n_items=4), wanted)
    best = wanted[wanted["rank"] == 1]
    rest = model.recommend(n_items=3, exclude=best).merge(wanted, on=["user", "item"])
    assert (rest["rank_y"] == rest["rank_x"] + 1).all()
    pd.testing.assert_frame_equal(
        model.recommend(everyone, n_items=4, candidates=wanted), wanted, atol=1e-5
    )
    common = best["item"].iloc[:2]
    assert not model.recommend(n_items=4, exclude=common)["item"].isin(common).any()
    renamed = rows.rename(columns={"user": "customer", "item": "sku"})
    columns = {"user": "customer", "item": "sku", "max_epochs": 1, "n_iter": 1}
    assert list(fit(name, renamed, **columns).recommend([1]))[:2] == ["customer", "sku"]


def of_items(name, rows):
    """Give the items of some rows with the side features of items."""
    columns = [c for c in ("item", "genres", "shelf") if c in rows]
    return rows.drop_duplicates("item")[columns]


@pytest.mark.parametrize("name", ["ordinal", "dense", "described"])
def test_items_may_be_described_by_their_side_features(name):
    model, rows = fitted(name), SIDE
    items = of_items(name, rows)
    user, wanted = rows["user"].iloc[0], model.recommend([1, -1], 40)
    found = model.recommend([1, -1], 40, candidates=items)
    key = ["user", "item"]
    pd.testing.assert_series_equal(
        found.set_index(key)["score"],
        wanted.set_index(key)["score"].loc[pd.MultiIndex.from_frame(found[key])],
        atol=1e-5,
    )
    new = items[:7].assign(item=[f"new {k}" for k in range(7)])
    new["item"] = np.arange(7) + 5000
    both = pd.concat([items, new]).sample(frac=1, random_state=0)
    found = model.recommend([user], 40, candidates=both, exclude=[5003], exclude_seen=False)
    assert set(found["item"]) == set(both["item"]) - {5003}
    of_user = rows[rows["user"] == user].iloc[0]
    asked = both.set_index("item").loc[found["item"]].reset_index()
    asked = asked.assign(user=user, age=of_user["age"], job=of_user["job"], timestamp=np.nan)
    asked["tags"] = [[]] * len(asked)
    scores = model.predict(asked[list(rows)])
    assert np.allclose(found["score"], scores, atol=1e-4)
    with pytest.raises(ValueError, match=r"it lacks the side feature 'shelf'\. Give it the"):
        model.recommend([1], candidates=items.drop(columns="shelf"))
    with pytest.raises(ValueError, match=r"candidates describes the item .* more than once"):
        model.recommend([1], candidates=pd.concat([items, items[:1]]))


@pytest.mark.parametrize("name", [n for n in REGRESSORS if n not in READ_ALL])
def test_other_models_do_not_take_described_items(name):
    with pytest.raises(ValueError, match=r"reads no side features of items\. Pass a list of item"):
        fitted(name).recommend([1], candidates=of_items(name, SIDE))


# Without two that read and train as others do.
hard = pytest.mark.parametrize(
    "name", [name for name in REGRESSORS if name not in ("dense of ids", "factors")]
)

# Ratings far from 0 have a test of their own.
HARD_RATINGS = {
    "constant": lambda y: y * 0 + 3.7,
    "zero": lambda y: y * 0,
    "two": lambda y: (y > 3) * 1.0,
    "uneven": lambda y: np.array([0, 1, 2, 5, 11, 12])[y.astype(int)],
    "tiny": lambda y: y * 1e-6,
    "negative and skewed": lambda y: -np.exp(2 * y),
}


@hard
@pytest.mark.parametrize("kind", HARD_RATINGS)
def test_unusual_ratings_are_predicted(name, kind):
    rows, y = REGRESSORS[name][1], HARD_RATINGS[kind](STARS.to_numpy())
    model = fit(name, None, y)
    results = outputs(model, rows)
    found = results[0]
    # Two epochs are few, but never much worse than the mean.
    limit = 0.97 if name in EXACT else 1.05 if name == "remembering" else 1.01
    assert np.std(found - y) <= limit * np.std(y) + 1e-9
    assert y.min() <= found.min() and found.max() <= y.max()
    assert np.isfinite(results).all()
    assert np.isfinite(outputs(model, rows[:1].assign(user=-1, item=-1))).all()


HARD_TABLES = {
    "one user": lambda X: X.assign(user=1),
    "one item": lambda X: X.assign(item=1),
    "one user and one item": lambda X: X.assign(user=1, item=1),
    "one rating a user": lambda X: X.assign(user=np.arange(len(X))),
    "one rating a user and an item": lambda X: X.assign(
        user=np.arange(len(X)), item=np.arange(len(X))
    ),
    "two rows": lambda X: X[:2],
    "five rows": lambda X: X[:5].assign(user=[1, 2, 3, 1, 2], item=[7, 7, 7, 8, 9]),
    "each thrice": lambda X: pd.concat([X, X, X]),
}


@hard
@pytest.mark.parametrize("kind", HARD_TABLES)
def test_unusual_tables_are_fitted(name, kind):
    rows = HARD_TABLES[kind](REGRESSORS[name][1][:50])
    y = np.resize(STARS, len(rows))
    model = fit(name, rows, y, n_factors=20)
    results = outputs(model, rows)
    assert np.sqrt(np.mean((results[0] - y) ** 2)) <= 1.1 * np.std(y) + 1e-2
    assert np.isfinite(results).all()
    assert np.isfinite(outputs(model, rows.assign(user=-1))).all()
    if hasattr(model, "partial_fit"):
        assert np.isfinite(model.partial_fit(rows, y).predict(rows)).all()


@hard
@pytest.mark.parametrize(
    "weight",
    [np.where(STARS == 2, 1e-12, np.where(np.arange(len(Y)) < 3, 1e6, 1)), 1e8, 1e-5],
    ids=["uneven", "all huge", "all tiny"],
)
def test_extreme_weights_give_finite_predictions(name, weight):
    model = fit(name, None, STARS, weight * np.ones(len(Y)))
    assert np.isfinite(outputs(model, REGRESSORS[name][1])).all()


@every
@pytest.mark.parametrize(
    "bad_call",
    [
        lambda model, X: model.set_params(rating_scale=5).fit(X, STARS),
        lambda model, X: model.fit(X, STARS.where(STARS.index > 3)),
        lambda model, X: model.fit(X.assign(user="new", item=None), STARS),
        lambda model, X: model.set_params(user="nobody").fit(X, STARS),
        lambda model, X: getattr(model, "partial_fit", model.fit)(X.assign(user=None), STARS),
    ],
)
def test_an_error_leaves_what_was_learned(name, bad_call):
    model, rows = copy.copy(fitted(name)), REGRESSORS[name][1]
    unfitted = clone(model)
    with pytest.raises(ValueError):
        bad_call(unfitted, rows)
    assert not [name for name in vars(unfitted) if name.endswith("_")]
    learned = {name: value for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(ValueError):
        bad_call(model, rows)
    after = {name: value for name, value in vars(model).items() if name.endswith("_")}
    assert after.keys() == learned.keys()
    assert all(after[name] is learned[name] for name in learned)
    assert np.array_equal(model.predict(rows), fitted(name).predict(rows))


@every
def test_each_fit_starts_anew(name):
    rows = REGRESSORS[name][1]
    model = fit(name, rows[:100].assign(user=rows["user"] + 7), STARS[:100] + 3)
    assert np.array_equal(model.fit(rows, STARS).predict(rows), fitted(name).predict(rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "old"}, r"'age' held numbers in fit but now holds strings, such as 'old' in ro"),
        (
            {"genres": "war"},
            "'genres' held lists in fit but now holds strings, such as 'war' in r",
        ),
        ({"age": np.inf}, r"(?s)contains infinity.*Column 'age' holds inf in row 0. In all, 400"),
    ],
)
@sided
def test_side_features_of_another_type_are_refused(name, change, message):
    changed, model = SIDE.assign(**change), copy.copy(fitted(name))
    for call in (
        lambda: model.predict(changed),
        lambda: fit(name, validation=(changed, STARS)),
        lambda: model.partial_fit(changed, STARS),
    )[: 2 + hasattr(model, "partial_fit")]:
        with pytest.raises(ValueError, match=message):
            call()
    assert np.array_equal(model.predict(SIDE), fitted(name).predict(SIDE))


@sided
def test_the_type_and_order_of_lists_do_not_matter(name):
    wanted = fitted(name).predict(SIDE)
    for convert in (list, tuple, set, lambda cell: [*list(cell)[::-1], np.nan]):
        lists = {column: SIDE[column].map(convert) for column in ("genres", "shelf", "tags")}
        assert np.allclose(fitted(name).predict(SIDE.assign(**lists)), wanted, atol=1e-6)
    split = SIDE.assign(shelf=SIDE["shelf"].map("|".join).astype("str").str.split("|"))
    assert np.array_equal(fit(name, split).predict(split), wanted)


@sided
def test_unseen_values_count_as_missing(name):
    n, model = len(SIDE), fitted(name)
    unseen = model.predict(
        SIDE.assign(job="astronaut", genres=[["western"]] * n, tags=[["z"]] * n)
    )
    assert not np.allclose(unseen, model.predict(SIDE))
    for nothing in ([[]] * n, None, np.nan, [[np.nan]] * n):
        missing = SIDE.assign(job=None, genres=nothing, tags=nothing)
        assert np.array_equal(model.predict(missing), unseen)
