"""Tables of every kind give equal results: pandas, polars, pyarrow, narwhals and arrays."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import functools
import warnings
from decimal import Decimal
from fractions import Fraction

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

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
from sklrec.metrics import (
    coverage_at_k,
    make_ranking_scorer,
    masked_root_mean_squared_error,
    ndcg_at_k,
    novelty_at_k,
)
from sklrec.model_selection import (
    ColdItemKFold,
    GlobalTimeSplit,
    LastInteractionsSplit,
    UserStratifiedKFold,
)

# Converters of a DataFrame. Series are converted by the same function through one column.
TABLES = {
    "arrow dtypes": lambda X: X.convert_dtypes(dtype_backend="pyarrow"),
    "nullable dtypes": lambda X: X.convert_dtypes(dtype_backend="numpy_nullable"),
    "polars": pl.from_pandas,
    "polars categories": lambda X: pl.from_pandas(X).with_columns(
        pl.col(pl.String).cast(pl.Categorical)
    ),
    "pyarrow": lambda X: pa.Table.from_pandas(X, preserve_index=False),
    "record batch": lambda X: pa.RecordBatch.from_pandas(X, preserve_index=False),
    "narwhals": lambda X: nw.from_native(pl.from_pandas(X)),
    "narwhals of pandas": nw.from_native,
    "objects": lambda X: X.astype(object).to_numpy(),
}
SERIES = {
    "polars": pl.from_pandas,
    "pyarrow": lambda y: pa.chunked_array([pa.Array.from_pandas(y)]),
    "pyarrow array": pa.Array.from_pandas,
    "narwhals": lambda y: nw.from_native(pl.from_pandas(y), series_only=True),
}
table = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))

X, Y = make_ratings(40, 30, 400, random_state=0)
# IDs that floats cannot tell apart, beside a column of floats.
X = X.assign(user=X["user"] + 2**62, item="item " + X["item"].astype(str), price=0.5)
X = X[["user", "item", "timestamp", "price"]]
MODELS = [
    BiasRegressor(),
    MFRegressor(3, max_epochs=2, random_state=0),
    DenseRecRegressor(3, max_epochs=2, random_state=0),
    BayesianMFRegressor(3, n_iter=5, side_features="all", random_state=0),
    SequenceRatingRegressor(3, 2, max_epochs=1, random_state=0, timestamp=2),
]


def value(dtype):
    """Values of a column of IDs or of side features."""
    return {
        "int64": st.integers(-(2**63), 2**63 - 1),
        "uint64": st.integers(0, 2**64 - 1),
        "str": st.sampled_from(["ann", "Bob", "", "ü", "7", "x" * 20]),
    }[dtype]


@st.composite
def logs(draw):
    """A log with IDs of one dtype for each side, and its ratings."""
    n = draw(st.integers(2, 12))
    columns = {}
    for side in ("user", "item"):
        dtype = draw(st.sampled_from(["int64", "uint64", "str"]))
        few = draw(st.lists(value(dtype), min_size=1, max_size=4))
        near = [v + 1 for v in few if dtype != "str" and v + 1 < 2**63]  # as floats, the same
        ids = draw(st.lists(st.sampled_from(few + near), min_size=n, max_size=n))
        columns[side] = pd.Series(ids, dtype=dtype)
    columns["price"] = pd.Series(
        draw(st.lists(st.sampled_from([0.5, np.nan]), min_size=n, max_size=n))
    )
    columns["stock"] = pd.Series(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    return pd.DataFrame(columns), np.linspace(1, 5, n)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@settings(max_examples=5, deadline=None)
@given(logs())
def test_a_log_gives_equal_results_as_a_table_of_any_kind(log):
    X, y = log
    model = BiasRegressor(user_penalty=1, item_penalty=1).fit(X, y)
    wanted, ids = model.predict(X), [list(ids) for ids in model.encoder_.categories_]
    assert [len(known) for known in ids] == [X[side].nunique() for side in ("user", "item")]
    codes = IDEncoder().fit_transform(X)
    folds = [test.tolist() for _, test in UserStratifiedKFold(2, item=None).split(X)]
    for kind, convert in TABLES.items():
        other = convert(X)
        fitted = BiasRegressor(user_penalty=1, item_penalty=1).fit(other, y)
        assert [list(ids) for ids in fitted.encoder_.categories_] == ids, kind
        assert np.array_equal(fitted.predict(other), wanted), kind
        assert np.array_equal(model.predict(other), wanted), kind
        found = IDEncoder().fit_transform(other)
        found = found if isinstance(found, np.ndarray) else nw.from_native(found).to_numpy()
        assert np.array_equal(found[:, :2].astype(int), codes[["user", "item"]]), kind
        assert [t.tolist() for _, t in UserStratifiedKFold(2, item=None).split(other)] == folds


ROUNDED = Y.round()
WEIGHT = pd.Series(np.linspace(0.5, 1.5, len(X)))


@functools.cache
def fitted_to_pandas(model):
    """A model of 300 rows and, if it has partial_fit, a copy that has learned the others too."""
    first = clone(model).fit(
        X[:300], ROUNDED[:300], WEIGHT[:300], X_val=X[300:], y_val=ROUNDED[300:]
    )
    if not hasattr(first, "partial_fit"):
        return first, None
    return first, copy.copy(first).partial_fit(X[300:], ROUNDED[300:])


@pytest.mark.parametrize("kind", ["arrow dtypes", "polars categories", "pyarrow", "objects"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_read_tables_and_series(model, kind):
    table, convert = TABLES[kind], SERIES["polars"]
    wanted, continued = fitted_to_pandas(model)
    train, valid = (table(rows.reset_index(drop=True)) for rows in (X[:300], X[300:]))
    y, y_valid, weight = convert(ROUNDED[:300]), convert(ROUNDED[300:]), convert(WEIGHT[:300])
    found = clone(model).fit(train, y, weight, X_val=valid, y_val=y_valid)
    assert np.array_equal(found.predict(valid), wanted.predict(X[300:]))
    assert found.validation_curve_ == wanted.validation_curve_
    assert found.score(valid, y_valid) == wanted.score(X[300:], ROUNDED[300:])
    if not isinstance(train, np.ndarray):
        assert found.feature_names_in_.tolist() == list(X.columns)
    if continued is not None:
        found.partial_fit(valid, y_valid)
        assert np.array_equal(found.predict(train), continued.predict(X[:300]))


@table
def test_histories_and_transformers_read_tables(table):
    lstm = clone(MODELS[-1]).fit(X[:200], Y[:200])
    wanted = lstm.predict(X[300:], history=(X[:300], Y[:300]))
    past, later = table(X[:300]), table(X[300:].reset_index(drop=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        assert np.array_equal(lstm.predict(later, history=(past, pl.Series(Y[:300]))), wanted)
        none = lstm.predict(later, history=(table(X[:0]), []))
        assert np.array_equal(none, lstm.predict(X[300:], history=(X[:0], [])))
        windower = make_pipeline(IDEncoder(), SequenceWindower(3, timestamp=2)).fit(X[:300])
        assert np.array_equal(windower.transform(later), windower.transform(X[300:]))
    named = make_pipeline(IDEncoder(), BiasRegressor()).fit(past, Y[:300])
    if not isinstance(past, np.ndarray):
        assert named[-1].feature_names_in_.tolist() == list(X.columns)
    assert len(named.predict(later)) == 100


@pytest.mark.parametrize("convert", SERIES.values(), ids=list(SERIES))
def test_lists_of_ids_and_sequences_may_be_series(convert):
    mf = clone(MODELS[1]).fit(X, Y)
    users, items = X["user"][:3].drop_duplicates(), X["item"][:9].drop_duplicates()
    wanted = mf.recommend(users, 3, candidates=items)
    pd.testing.assert_frame_equal(
        mf.recommend(convert(users), 3, candidates=convert(items)), wanted
    )
    by_user = {user: convert(items) for user in users}
    pd.testing.assert_frame_equal(mf.recommend(convert(users), 3, candidates=by_user), wanted)
    pd.testing.assert_frame_equal(mf.similar_items(convert(items)), mf.similar_items(items))
    assert coverage_at_k(wanted, convert(X["item"])) == coverage_at_k(wanted, X["item"])
    sequences = pd.Series([[1, 2], [3]])
    assert SequencePadder().fit_transform(convert(sequences)).tolist() == [[1, 2], [0, 3]]


@table
def test_metrics_and_scorers_read_tables(table):
    mf = clone(MODELS[1]).fit(X, Y)
    train, test = X[["user", "item"]][:300], X[["user", "item"]][300:].drop_duplicates()
    lists = mf.recommend(X["user"].unique(), exclude_seen=False)
    wanted = ndcg_at_k(test, lists), novelty_at_k(lists, X), coverage_at_k(lists, X["item"])
    scorer = make_ranking_scorer(threshold=3)
    wanted += (scorer(mf, X, Y),)
    if isinstance(table(train), np.ndarray):
        return  # metrics find columns by their names
    given = table(test.reset_index(drop=True)), table(lists), table(X)
    found = ndcg_at_k(given[0], given[1]), novelty_at_k(given[1], given[2])
    found += coverage_at_k(given[1], X["item"]), scorer(mf, given[2], pl.Series(Y))
    assert found == wanted


@table
@pytest.mark.parametrize(
    "splitter",
    [
        UserStratifiedKFold(3),
        ColdItemKFold(3),
        LastInteractionsSplit(2, timestamp=2),
        GlobalTimeSplit(2, timestamp=2),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
@pytest.mark.filterwarnings("ignore:.*on both sides of a split")
def test_splitters_return_positions(splitter, table):
    given, y = table(X), Y.to_numpy()
    for found, wanted in zip(splitter.split(given), splitter.split(X), strict=True):
        assert all(np.array_equal(*parts) for parts in zip(found, wanted, strict=True))
    train = found[0]
    if not isinstance(given, nw.DataFrame | pa.RecordBatch):  # scikit-learn does not index these
        model = BiasRegressor(1, 1).fit(_safe_indexing(given, train), y[train])
        wanted = BiasRegressor(1, 1).fit(X.iloc[train], y[train])
        assert np.array_equal(model.predict(given), wanted.predict(X))
    if isinstance(given, pl.DataFrame):
        assert given[train].rows() == _safe_indexing(given, train).rows()
        scores = cross_val_score(BiasRegressor(), given, pl.Series(Y), cv=splitter)
        assert np.array_equal(scores, cross_val_score(BiasRegressor(), X, Y, cv=splitter))


PRICES = ("float64", "double[pyarrow]")  # dtypes of columns that stay as they are


@pytest.mark.parametrize("output", ["pandas", "polars"])
@table
def test_codes_are_columns_of_integers_in_every_kind_of_output(table, output):
    encoder = IDEncoder().set_output(transform=output)
    given = table(X)
    for found in (encoder.fit_transform(given), encoder.transform(given)):
        assert isinstance(found, pd.DataFrame if output == "pandas" else pl.DataFrame)
        kinds = dict(zip(found.columns, map(str, found.dtypes), strict=True))
        assert [kinds[name].lower() for name in encoder.get_feature_names_out()[:2]] == [
            "int64"
        ] * 2
        assert kinds[encoder.get_feature_names_out()[3]].lower() in PRICES
        assert np.array_equal(
            found.to_numpy()[:, :2], IDEncoder().fit_transform(X).to_numpy()[:, :2]
        )


def test_codes_become_ids_in_the_kind_of_table_that_was_given():
    for convert in (TABLES["polars"], TABLES["pyarrow"]):
        given = convert(X)
        encoder = IDEncoder().fit(given)
        codes = encoder.transform(given)
        assert type(codes) is type(given)
        pd.testing.assert_frame_equal(encoder.inverse_transform(codes).to_pandas(), X)
        unknown = encoder.inverse_transform(convert(X[:2].assign(user=[0, 1], item=[1, 0])))
        assert nw.from_native(unknown).rows()[0][:2] == (None, X["item"][0])
        assert nw.from_native(unknown).rows()[1][:2] == (X["user"][0], None)


def test_columns_of_every_type_are_read():
    """Values, also missing ones, are those of the same table of pandas."""
    days = pd.to_datetime(["2020-01-01", "2020-01-02", None, "2020-01-05"] * 5)
    sides = pd.DataFrame(
        {
            "user": range(20),
            "item": [7, 8] * 10,
            "count": pd.array([3, None, 2, 2**60] * 5, dtype="Int64"),
            "flag": pd.array([True, None, False, True] * 5, dtype="boolean"),
            "day": days,
            "zoned": days.tz_localize("Europe/Paris"),
            "length": days - days[0],
            "word": ["a", None, "b", "a"] * 5,
            "size": pd.Categorical(["s", "l", None, "s"] * 5),
            "tags": [["x", "y"], None, [], ["y"]] * 5,
        }
    )
    y = np.arange(20.0)
    wanted = BayesianMFRegressor(2, n_iter=3, side_features="all", random_state=0).fit(sides, y)
    for convert in (TABLES["polars"], TABLES["pyarrow"], TABLES["narwhals"]):
        given = convert(sides)
        found = clone(wanted).fit(given, y)
        assert np.array_equal(found.predict(given), wanted.predict(sides))
        assert np.array_equal(wanted.predict(given), wanted.predict(sides))
    dates = sides[["user", "item"]].assign(date=days.date)
    found = clone(wanted).fit(pl.from_pandas(dates), y).predict(pl.from_pandas(dates))
    assert np.array_equal(found, clone(wanted).fit(dates, y).predict(dates))


# Queries, and the methods that run them.
QUERIES = {
    "polars": (lambda: pl.from_pandas(X).lazy(), "collect"),
    "narwhals": (lambda: nw.from_native(pl.from_pandas(X).lazy()), "collect"),
    "duckdb": (lambda: pytest.importorskip("duckdb").sql("SELECT 1 AS user, 2 AS item"), "pl"),
}


@pytest.mark.parametrize("kind", QUERIES)
@pytest.mark.parametrize(
    "call",
    [
        lambda table: BiasRegressor().fit(table, Y),
        lambda table: BiasRegressor().fit(X, Y, X_val=table, y_val=Y),
        lambda table: BiasRegressor().fit(X, Y).predict(table),
        lambda table: clone(MODELS[-1]).fit(X, Y).predict(X, history=(table, Y)),
        lambda table: SequenceRatingRegressor(input="sequences").fit(table, Y),
        lambda table: IDEncoder().fit(table),
        lambda table: IDEncoder().fit(X).transform(table),
        lambda table: SequenceWindower().fit(table),
        lambda table: next(UserStratifiedKFold().split(table)),
        lambda table: ndcg_at_k(table, X[:1].assign(rank=1)),
        lambda table: novelty_at_k(X[:1].assign(rank=1), table),
    ],
)
def test_queries_that_have_not_run_are_refused(call, kind):
    query, method = QUERIES[kind]
    with pytest.raises(TypeError, match=rf"a query that has not run. Call \.{method}\(\)"):
        call(query())


def test_lists_of_rows_keep_large_integers_beside_floats():
    rows = [[2**62 + k, 1, 0.5] for k in range(4)]
    assert BiasRegressor().fit(rows, [1, 2, 3, 4]).n_users_ == 4
    assert len(set(IDEncoder().fit_transform(rows)[:, 0])) == 4
    model = BiasRegressor().fit(np.array(rows, dtype=object), [1, 2, 3, 4])
    assert set(model.recommend([2**62, 2**62 + 1, 0.5], exclude_seen=False)["user"]) == {
        2**62,
        2**62 + 1,
        0.5,
    }


def test_arrays_of_another_byte_order_are_read():
    ids = X[["user", "item"]].assign(item=X["timestamp"] % 7).to_numpy()
    big = ids.astype(">i8")
    assert np.array_equal(IDEncoder().fit_transform(big), IDEncoder().fit_transform(ids))
    wanted = BiasRegressor().fit(ids, Y).predict(ids)
    assert np.array_equal(BiasRegressor().fit(big, Y).predict(ids), wanted)
    frame = pd.DataFrame(big, columns=["user", "item"])
    assert np.array_equal(BiasRegressor().fit(frame, Y).predict(frame), wanted)
    assert len(list(ColdItemKFold(2).split(big))) == 2


STARS = Y.round().to_numpy()
IDS = np.c_[X["timestamp"] % 9, X["timestamp"] % 7]
NUMBERS_OF_ALL_TYPES = {
    "decimals": [Decimal(int(v)) for v in STARS],
    "fractions": [Fraction(int(v)) for v in STARS],
    "arrow decimals": pa.array([Decimal(int(v)) for v in STARS]),
    "big endian": STARS.astype(">f8"),
    "long doubles": STARS.astype(np.longdouble),
    "nullable": pd.array(STARS, "Float64"),
    "categories": pd.Categorical(STARS),
    "nothing masked": np.ma.array(STARS),
}
NO_NUMBERS = {
    "strings": STARS.astype(str),
    "complex": [1j, *STARS[1:]],
    "datetimes": STARS.astype("datetime64[D]"),
    "time differences": STARS.astype("timedelta64[D]"),
    "huge": [10**400, *STARS[1:]],
}


@pytest.mark.parametrize("kind", NUMBERS_OF_ALL_TYPES)
def test_ratings_weights_and_scores_are_numbers_of_any_type(kind):
    values = NUMBERS_OF_ALL_TYPES[kind]
    wanted = BiasRegressor().fit(X, STARS, STARS).predict(X)
    assert np.array_equal(BiasRegressor().fit(X, values, values).predict(X), wanted)
    assert masked_root_mean_squared_error(values, STARS) == 0


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_is_refused(kind):
    values = NO_NUMBERS[kind]
    scores = values
    if isinstance(values, list):  # pandas 2 infers a type of huge integers, and fails
        scores = pd.Series(values, index=X.index, dtype=object)
    for call in (
        lambda: BiasRegressor().fit(X, values),
        lambda: BiasRegressor().fit(X, STARS, values),
        lambda: masked_root_mean_squared_error(STARS, values),
        lambda: ndcg_at_k(X, X.assign(score=scores)),
    ):
        with pytest.raises(
            ValueError, match=r"must (be numeric, got|hold numbers of)|Complex data not"
        ):
            call()


def test_masked_values_are_missing():
    mask = np.arange(len(X)) == 7
    masked = np.ma.array(STARS, mask=mask)
    with pytest.raises(ValueError, match=r"y contains NaN.\nRatings.*the first in row 7"):
        BiasRegressor().fit(X, masked)
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        BiasRegressor().fit(X, STARS, masked)
    error = masked_root_mean_squared_error(masked, STARS + ~mask)
    assert error == 1
    ids = np.ma.array(IDS, mask=np.c_[mask, mask])
    with pytest.raises(ValueError, match=r"contains NaN.\nColumn 0 holds None in row 7"):
        BiasRegressor().fit(ids, STARS)


def test_ids_of_other_dtypes_of_numpy_are_saved(tmp_path):
    for dtype in (np.longdouble, np.float16, np.dtypes.StringDType()):
        model = BiasRegressor().fit(IDS.astype(dtype), STARS)
        sklrec.save(model, tmp_path / "model")
        found = sklrec.load(tmp_path / "model").predict(IDS.astype(dtype))
        assert np.array_equal(found, model.predict(IDS.astype(dtype)))
    third = np.full(IDS.shape, np.longdouble(1) / 3)
    if np.longdouble(1) / 3 != 1 / 3:
        with pytest.raises(ValueError, match="holds numbers that float64 cannot represent"):
            BiasRegressor().fit(third, STARS)


def test_models_of_arrow_dtypes_are_saved(tmp_path):
    log = TABLES["arrow dtypes"](X)
    model = BiasRegressor().fit(log, Y)
    sklrec.save(model, tmp_path / "model")
    assert np.array_equal(sklrec.load(tmp_path / "model").predict(log), model.predict(log))
