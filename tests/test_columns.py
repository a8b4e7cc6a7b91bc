"""Roles of columns, and what columns should not hold."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    EASERecommender,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import ChunkedRatings, make_ratings
from sklrec.metrics import make_ranking_scorer, ndcg_at_k, recall_at_k
from sklrec.model_selection import (
    ColdItemKFold,
    ColdItemShuffleSplit,
    ColdUserKFold,
    ColdUserShuffleSplit,
    LastInteractionsSplit,
    UserStratifiedKFold,
)

X, Y = make_ratings(40, 30, 400, random_state=0)
TURNED = X[["item", "timestamp", "user"]]
MODELS = [
    BiasRegressor(),
    MFRegressor(2, max_epochs=1, random_state=0),
    DenseRecRegressor(2, max_epochs=1, random_state=0),
    BayesianMFRegressor(2, n_iter=2, side_features="all", random_state=0),
    SequenceRatingRegressor(2, 2, max_epochs=1, random_state=0),
]
SPLITTERS = [
    UserStratifiedKFold(3),
    ColdUserKFold(3),
    ColdItemKFold(3),
    ColdUserShuffleSplit(2, random_state=0),
    ColdItemShuffleSplit(2, random_state=0),
    LastInteractionsSplit(2, random_state=0),
]
models = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
splitters = pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda each: type(each).__name__)


@models
def test_names_decide_where_users_and_items_are(model):
    wanted = clone(model).fit(X, Y)
    for table in (TURNED, pl.from_pandas(TURNED)):
        found = clone(model).fit(table, Y)
        assert (found.n_users_, found.n_items_) == (40, 30)
        assert found.encoder_.column_indices_ == (2, 0)
        assert np.array_equal(found.predict(table), wanted.predict(X))
        score = make_ranking_scorer(threshold=3)
        assert score(found, table, Y) == score(wanted, X, Y)
    if hasattr(model, "partial_fit"):
        assert np.array_equal(
            found.partial_fit(TURNED, Y).predict(TURNED), wanted.partial_fit(X, Y).predict(X)
        )


@models
def test_without_these_names_positions_decide(model):
    other = X.rename(columns={"user": "reader", "item": "book"})
    model = clone(model).fit(other, Y)
    assert (model.n_users_, model.n_items_) == (40, 30)
    by_name = clone(model).set_params(user="reader", item="book")
    turned = other[["book", "timestamp", "reader"]]
    assert np.array_equal(by_name.fit(turned, Y).predict(turned), model.predict(other))


@pytest.mark.parametrize(
    ("names", "side", "there"),
    [
        (["user", "book", "timestamp"], "item", "user"),
        (["book", "user", "timestamp"], "item", "user"),
        (["reader", "item", "timestamp"], "user", "item"),
    ],
)
def test_one_of_the_two_names_is_not_enough(names, side, there):
    given = X.set_axis(names, axis=1)
    other = next(name for name in names if name in ("book", "reader"))
    message = re.escape(
        f"{side}='auto' looks for the columns 'user' and 'item', and X has only {there!r}: its "
        f"columns are {', '.join(map(repr, names))}. Give {side}= the name of the column of "
        f"{side}s."
    )
    for model in MODELS:
        with pytest.raises(ValueError, match=message):
            clone(model).fit(given, Y)
        assert clone(model).set_params(**{side: other}).fit(given, Y).n_features_in_ == 3
    for reader in (IDEncoder(), SequenceWindower()):
        with pytest.raises(ValueError, match=message):
            reader.fit(given)
    with pytest.raises(ValueError, match=message):
        next(UserStratifiedKFold(3).split(given))
    of_side = ColdUserKFold(3) if side == "user" else ColdItemKFold(3)
    with pytest.raises(ValueError, match=message):
        next(of_side.split(given))
    of_other = ColdItemKFold(3) if side == "user" else ColdUserKFold(3)
    assert len(list(of_other.split(given))) == 3  # the name of its side is there


@splitters
def test_splitters_find_columns_by_name(splitter):
    for (train, test), (wanted, _) in zip(splitter.split(TURNED), splitter.split(X), strict=True):
        assert np.array_equal(train, wanted)
        assert len(train) + len(test) == len(X)


def test_transformers_find_columns_by_name():
    encoder = IDEncoder().fit(TURNED)
    codes = encoder.transform(TURNED)
    assert encoder.column_indices_ == (2, 0)
    assert np.array_equal(codes[X.columns], IDEncoder().fit_transform(X))
    assert np.array_equal(codes["timestamp"], X["timestamp"])
    windows = SequenceWindower(3).fit(codes).transform(codes)
    assert np.array_equal(windows, SequenceWindower(3).fit_transform(codes[X.columns]))


def test_timestamps_are_neither_users_nor_items():
    with pytest.raises(ValueError, match="Columns 0 and 0 are one and the same"):
        SequenceRatingRegressor(timestamp=0).fit(X.to_numpy(), Y)


# --- columns that should not be read


@models
def test_a_column_that_equals_y_is_reported(model):
    log = X.assign(stars=Y)
    reads_all = isinstance(model, DenseRecRegressor | BayesianMFRegressor)
    message = "Column 'stars' of X equals y, so that the model reads .*Drop the column from X"
    for table in (log, pl.from_pandas(log)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clone(model).fit(table, log["stars"])
        assert [bool(re.match(message, str(w.message))) for w in caught] == [True] * reads_all
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "All ratings are 1")
        clone(model).fit(log.assign(stars=1), Y * 0 + 1)  # it says nothing about the ratings
        clone(model).fit(log.assign(stars=Y + 1), Y)


@pytest.mark.parametrize("as_table", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_a_table_with_a_column_for_each_item_is_reported(as_table):
    likes = np.random.default_rng(0).random((30, 12)) < 0.2
    message = "first two columns .* both are 0 .* call sklrec.datasets.interactions_from_wide"
    with pytest.warns(UserWarning, match=message):
        EASERecommender().fit(as_table(likes.astype(int)))
    with pytest.raises(ValueError, match=r"lack an ID.* call sklrec.datasets.interactions_from_w"):
        EASERecommender().fit(as_table(np.where(likes, 1.0, np.nan)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EASERecommender(user=0, item=1).fit(as_table(likes.astype(int)))
        EASERecommender().fit(as_table(likes[:, :2].astype(int)))


def test_columns_without_any_id_are_refused():
    X = pd.DataFrame({name: pd.array([None, None], dtype="Int64") for name in "abc"})
    with pytest.raises(ValueError, match="Input X contains NaN"):
        EASERecommender().fit(X)


@pytest.mark.parametrize(
    "dates",
    [
        ["2020-01-02", "2020-01-03", None, "2020-02-01"],
        ["2020-01-02T10:00:00Z", "2020-01-03 11:00", "2020-1-4", None],
        ["02/01/2020", "13.5.2020", "1-1-2020", None],
    ],
)
def test_dates_as_strings_are_refused(dates):
    log = X.assign(day=np.resize(np.array(dates, dtype=object), len(X)))
    message = "'day' holds dates as strings, such as .* 3 categories.*pandas.to_datetime"
    for model in (MODELS[2], MODELS[3]):
        for table in (log, pl.from_pandas(log), log.to_numpy(dtype=object)):
            with pytest.raises(ValueError, match=message.replace("'day'", "('day'|3)")):
                clone(model).fit(table, Y)
        for given, params in (
            (log, {"categorical_features": ["day"]}),
            (log.astype({"day": "category"}), {}),
            (log.assign(day=log["day"].where(log.index > 0, "today")), {}),
            (log.assign(day=pd.Timestamp("2020-01-02")), {}),
        ):
            assert clone(model).set_params(**params).fit(given, Y).n_features_in_ == 4
    with pytest.raises(TypeError, match="Timestamps are all numbers or all datetimes"):
        SequenceRatingRegressor(timestamp="day").fit(log.assign(day="2020-01-02"), Y)


# --- IDs that are the same for people only


MIXED = X.astype({"user": object})
MIXED.loc[::2, "user"] = MIXED["user"][::2].astype(str)
FORMS = X.assign(user=X["user"].astype(str) + np.where(X.index % 2, ".0", ""))
OF_TYPES = r"'user' holds numbers such as \d+ and strings .* such as '\d+' \(50.0% of 400 rows\)"
OF_FORMS = r"'user' holds '\d+.0' and '\d+', which are different IDs. 37 numbers .* 97.0% of 400 r"


@pytest.mark.parametrize(("table", "message"), [(MIXED, OF_TYPES), (FORMS, OF_FORMS)])
@pytest.mark.parametrize(
    "read",
    [
        lambda X: BiasRegressor().fit(X, Y),
        lambda X: MODELS[1].fit(ChunkedRatings([(X, Y)])),
        lambda X: IDEncoder().fit(X),
        lambda X: IDEncoder().fit_transform(X),
        lambda X: list(UserStratifiedKFold(item=None).split(X)),
        lambda X: list(ColdUserKFold().split(X)),
    ],
)
def test_ids_in_two_types_or_forms_are_reported(read, table, message):
    with pytest.warns(UserWarning, match=message):
        read(table)


def test_ids_of_mixed_types_are_fine_if_no_string_reads_as_a_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        users = [f"guest {user}" if user % 2 else user for user in X["user"]]
        BiasRegressor().fit(X.assign(user=users), Y)
        BiasRegressor().fit(X.assign(user="1.0", item=X["item"].astype(str) + ".0"), Y)


@pytest.mark.parametrize("known", ["", ".0"])
def test_ids_in_another_form_than_in_fit_are_reported(known):
    strings = X["user"].astype(str)
    forms = {"": strings, ".0": strings + ".0"}
    model = BiasRegressor().fit(X.assign(user=forms.pop(known)), Y)
    (other,) = forms.values()
    wanted = r"which is unknown, while '\d+(\.0)?' is known. 100.0% of 400 unknown IDs differ"
    for table in (X.assign(user=other), pl.from_pandas(X.assign(user=other))):
        with pytest.warns(UserWarning, match=wanted):
            model.predict(table)
    with pytest.warns(UserWarning, match="is known. 100.0% of 3 unknown IDs"):
        model.recommend(other[:3].tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X.assign(user="eve"))


TRUTH = pd.DataFrame({"user": ["a", "a", "b"], "item": [1, 2, 3]})
LISTS = TRUTH.assign(rank=[1, 2, 1])


def test_items_of_another_kind_than_in_the_lists_are_refused():
    message = (
        r"Column 'item' holds strings \(such as '1'\) in y_pred but integers \(such as 1\) in y"
    )
    for metric in (recall_at_k, ndcg_at_k):
        assert metric(TRUTH, LISTS) == 1
        with pytest.raises(ValueError, match=message):
            metric(TRUTH, LISTS.astype({"item": str}))
    with pytest.warns(UserWarning, match="'1.0', which is unknown, while '1' is known"):
        floats = LISTS.assign(item=LISTS["item"].astype(float).astype(str))
        assert ndcg_at_k(TRUTH.astype({"item": str}), floats) == 0
    model = BiasRegressor().fit(X, Y)
    with pytest.raises(ValueError, match=r"integers \(such as \d+\) in the lists but strings"):
        make_ranking_scorer(threshold=3)(model, X.astype({"item": str}), Y)


def test_gains_may_be_very_large():
    gains = TRUTH.assign(worth=[1.7e308, 1.7e308, 1.0])
    assert ndcg_at_k(gains, LISTS, gain="worth") == 1
