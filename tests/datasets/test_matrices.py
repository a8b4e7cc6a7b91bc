"""Matrices and wide tables become interactions."""
# SPDX-License-Identifier: BSD-3-Clause

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import interactions_from_matrix, interactions_from_wide, make_ratings
from sklrec.metrics import ndcg_at_k
from sklrec.model_selection import UserStratifiedKFold

USERS, ITEMS = [2**62, 2**62 + 1, 7], ["tea", "rum"]


def log(users, items, ratings):
    X = pd.DataFrame({"user": users, "item": items})
    return X, pd.Series(ratings, name="rating")


def check(found, wanted):
    pd.testing.assert_frame_equal(found[0], wanted[0])
    pd.testing.assert_series_equal(found[1], wanted[1])


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.coo_matrix])
def test_entries_of_a_matrix_are_ratings_also_stored_zeros(kind, format):
    stored = [5, 0, 3] if format in ("csr", "csc", "coo") else [5, 2, 3]
    matrix = kind((stored, ([2, 0, 0], [0, 1, 0])), shape=(3, 2)).asformat(format)
    wanted = [3, stored[1], 5]
    check(interactions_from_matrix(matrix), log([0, 0, 2], [0, 1, 0], wanted))
    named = interactions_from_matrix(matrix, user_ids=USERS, item_ids=pl.Series(ITEMS))
    check(named, log([2**62, 2**62, 7], ["tea", "rum", "tea"], wanted))


def test_a_stored_nan_is_no_rating():
    matrix = sparse.csr_array(np.array([[1.5, np.nan], [np.nan, np.nan], [0, 2]]))
    check(interactions_from_matrix(matrix), log([0, 2], [0, 1], [1.5, 2.0]))


WIDE = pd.DataFrame({"tea": [5, None, 1], "rum": [3.5, 4, None]}, index=USERS)
LONG = log([2**62, 2**62, 2**62 + 1, 7], ["tea", "rum", "rum", "tea"], [5, 3.5, 4, 1])
WITH_USERS = WIDE.rename_axis("user").reset_index()


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (WIDE, {}),
        (WIDE.convert_dtypes(), {}),
        (WITH_USERS, {}),
        (WITH_USERS[["tea", "user", "rum"]], {}),
        (WITH_USERS.rename(columns={"user": "who"}), {"user": "who"}),
        (pl.from_pandas(WITH_USERS), {}),
        (pl.from_pandas(WITH_USERS).rename({"user": "who"}), {"user": "who"}),
        (pa.Table.from_pandas(WITH_USERS), {}),
        (nw.from_native(pl.from_pandas(WITH_USERS)), {}),
    ],
)
def test_cells_of_a_wide_table_are_ratings(table, options):
    check(interactions_from_wide(table, **options), LONG)


def test_an_array_has_numbers_of_rows_and_columns():
    wanted = log([0, 0, 1, 2], [0, 1, 1, 0], LONG[1])
    check(interactions_from_wide(WIDE.to_numpy()), wanted)


def test_a_pivoted_log_is_the_log():
    X, y = make_ratings(30, 20, 200, random_state=0)
    rated = X.assign(rating=y).drop_duplicates(["user", "item"])
    wide = rated.pivot(index="user", columns="item", values="rating")
    found, ratings = interactions_from_wide(wide)
    wanted = rated.sort_values(["user", "item"])
    assert np.array_equal(found, wanted[["user", "item"]])
    assert np.array_equal(ratings, wanted["rating"])
    filled = sparse.csr_array(wide.fillna(0).to_numpy())
    ids = {"user_ids": wide.index, "item_ids": wide.columns}
    assert np.array_equal(interactions_from_matrix(filled, **ids)[0], found)


TWICE = sparse.coo_array(([1, 2], ([0, 0], [1, 1])), shape=(3, 2))
ONE = sparse.csr_array([[0, 1]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: interactions_from_matrix(np.eye(3)), TypeError, "call interactions_from_wide"),
        (lambda: interactions_from_matrix(ONE * 1j), TypeError, "real numbers, got complex128"),
        (lambda: interactions_from_matrix(TWICE), ValueError, "1 entries at .* row 0, column 1"),
        (
            lambda: interactions_from_matrix(sparse.csr_array((3, 2))),
            ValueError,
            "There is no rating. Give a",
        ),
        (lambda: interactions_from_matrix(ONE, item_ids=[1]), ValueError, "hold 2 IDs, got 1"),
        (
            lambda: interactions_from_matrix(ONE, item_ids=[1, 1]),
            ValueError,
            "1 different IDs for",
        ),
        (lambda: interactions_from_matrix(ONE, item_ids=[1, None]), ValueError, "contains NaN"),
        (lambda: interactions_from_wide("a"), TypeError, "got a path instead: 'a'"),
        (lambda: interactions_from_wide(5), ValueError, "a column for each item, got int"),
        (lambda: interactions_from_wide(ONE), TypeError, "interactions_from_matrix"),
        (lambda: interactions_from_wide(WIDE, user="who"), ValueError, "no column 'who' with"),
        (lambda: interactions_from_wide(pl.DataFrame({"tea": [1]})), ValueError, "no column 'us"),
        (lambda: interactions_from_wide(WIDE * np.nan), ValueError, "There is no rating"),
        (
            lambda: interactions_from_wide(WIDE.assign(name="x")),
            ValueError,
            "'name' holds no numbers .*drop other columns",
        ),
    ],
)
def test_other_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


MODELS = [
    BiasRegressor(),
    MFRegressor(),
    DenseRecRegressor(),
    BayesianMFRegressor(),
    SequenceRatingRegressor(),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_name_the_functions_that_convert(model):
    matrix = sparse.csr_array(WIDE.fillna(0).to_numpy())
    for y in (None, [1, 2, 3]):
        with pytest.raises(
            TypeError, match=r"Sparse data was passed.*interactions_from_matrix\(X"
        ):
            model.fit(matrix, y)
    for table in (WIDE, WIDE.to_numpy(), pl.from_pandas(WITH_USERS)):
        for y in (None, WIDE):
            with pytest.raises(ValueError, match=r"interactions_from_wide\(X\) first, which ret"):
                model.fit(table, y)


@pytest.mark.parametrize(
    "call",
    [
        lambda X: IDEncoder().fit(X),
        lambda X: SequenceWindower().fit(X),
        lambda X: next(UserStratifiedKFold().split(X)),
        lambda X: BiasRegressor().fit(*LONG).predict(X),
        lambda X: ndcg_at_k(X, LONG[0].assign(score=1.0)),
    ],
)
def test_other_readers_name_the_function_for_matrices(call):
    with pytest.raises(TypeError, match="interactions_from_matrix"):
        call(ONE)
