"""Random tables, ratings and weights of all kinds, valid and invalid."""
# SPDX-License-Identifier: BSD-3-Clause

import datetime
import decimal
import fractions

import numpy as np
import pandas as pd
from hypothesis import strategies as st


class Colour(str):
    """A subclass of str."""


def steps(first, step):
    return st.integers(0, 9).map(lambda k: first + k * step)


DAY, ROME = pd.Timestamp("1999-12-31"), pd.Timestamp("2000-03-26", tz="Europe/Rome")
MOMENT = datetime.datetime(2020, 2, 3, tzinfo=datetime.UTC)
# Values of a column, and the dtype for pandas.
IDS = {
    "integers": (st.integers(0, 6), None),
    "strings": (st.text("abé \x00", max_size=3), None),
    "int8": (st.integers(-128, 127), "int8"),
    "uint64": (st.integers(2**63 - 2, 2**64 - 1), "uint64"),
    "int64": (st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, -1]), "int64"),
    "long": (st.integers(2**62, 2**70), object),
    "floats": (st.floats(-2, 2, width=32), "float32"),
    "extreme floats": (st.sampled_from([0.0, -0.0, 1e308, 5e-324, 2.0**63, -(2.0**63)]), None),
    "booleans": (st.booleans(), "bool"),
    "nullable integers": (st.integers(0, 9), "Int64"),
    "nullable floats": (st.integers(0, 9).map(float), "Float32"),
    "python strings": (st.text("xyz", max_size=2), "string[python]"),
    "arrow strings": (st.text("xyz", max_size=2), "string[pyarrow]"),
    "surrogates": (st.sampled_from(["\ud800", "a\udfff", "\x00", ""]), object),
    "digits": (st.integers(0, 9).map(str), object),
    "own strings": (st.sampled_from("rgb").map(Colour), object),
    "categories": (st.text("uvw", max_size=2), "category"),
    "bytes": (st.binary(max_size=2), object),
    "tuples": (st.tuples(st.integers(0, 1), st.text("ab", max_size=1)), object),
    "datetimes": (steps(DAY, pd.Timedelta("9h")), "datetime64[ns]"),
    "seconds": (steps(DAY, pd.Timedelta("1s")), "datetime64[s]"),
    "zoned": (steps(ROME, pd.Timedelta("1h")), None),
    "durations": (steps(pd.Timedelta(0), pd.Timedelta("1s")), "timedelta64[ns]"),
    "dates": (steps(datetime.date(2020, 2, 1), datetime.timedelta(1)), object),
    "moments": (steps(MOMENT, datetime.timedelta(hours=1)), object),
    "periods": (steps(pd.Period("2020-01", "M"), 1), None),
    "decimals": (st.integers(0, 9).map(lambda k: decimal.Decimal(k) / 4), object),
    "numpy scalars": (st.integers(0, 9).map(np.int16), object),
    "complex": (st.sampled_from([1j, 2 + 0j]), None),
    "sparse": (st.integers(0, 3), pd.SparseDtype(int)),
    "mixed": (st.sampled_from([1, 1.5, "1", b"1", (1,), True, 2**70, None.__class__]), object),
}
INVALID_CELLS = [
    *(None, np.nan, np.inf, -np.inf, pd.NA, pd.NaT, "", b"", [], {}, {1}, [1, [2]], 1j),
    *(np.array([1, 2]), pd.Series([1]), decimal.Decimal("NaN"), -1e300, "inf", 2**80),
]
SIDES = {
    **IDS,
    "numbers": (st.floats(-1e6, 1e6), None),
    "gaps": (st.sampled_from([np.nan, 1.0, 2.0]), None),
    "huge": (st.sampled_from([1e308, -1e308, 0.0, 1e-308]), None),
    "lists": (st.lists(st.sampled_from("abc"), max_size=3), object),
    "sets": (st.sets(st.integers(0, 3)), object),
    "missing": (st.none(), object),
}
TIMES = (
    "integers datetimes seconds zoned floats int64 dates moments uint64 decimals digits durations"
)
TIMES = {name: IDS[name] for name in TIMES.split()}
USUAL = st.sampled_from(["integers", "strings"])
LAYOUTS = "frame frame frame unnamed index list objects array fortran read-only".split()
COMMON_ERRORS = ValueError, TypeError, OverflowError, ArithmeticError


def rarely(draw, n_times):
    """True once in so many times."""
    return draw(st.integers(0, n_times)) == n_times // 2  # hypothesis draws the ends more often


def column(draw, kinds, n_rows, usual):
    """Values from a small pool, and their dtype."""
    elements, dtype = kinds[draw(st.one_of(usual, usual, st.sampled_from(list(kinds))))]
    pool = draw(st.lists(elements, min_size=1, max_size=4))
    places = draw(st.lists(st.integers(0, len(pool) - 1), min_size=n_rows, max_size=n_rows))
    return [pool[place] for place in places], dtype


def as_series(values, dtype=None):
    try:
        return pd.Series(values, dtype=dtype)
    except COMMON_ERRORS:
        series = pd.Series([None] * len(values), dtype=object)
        for row, value in enumerate(values):
            series.iat[row] = value
        return series


@st.composite
def tables(draw, kind):
    """X as a table of any type."""
    if kind == "padded":
        return draw(padded())
    n_rows = draw(st.sampled_from([4, 2, 8, 12, 1, 7]))
    columns = {name: column(draw, IDS, n_rows, USUAL) for name in ("user", "item")}
    if kind == "lstm" and draw(st.sampled_from([True, True, False])):
        columns["timestamp"] = column(draw, TIMES, n_rows, st.just("integers"))
    if kind in ("dense", "bayesian"):
        usual = st.sampled_from(["numbers", "strings", "lists", "gaps"])
        for k in range(draw(st.integers(0, 3))):
            columns[f"side{k}"] = column(draw, SIDES, n_rows, usual)
    if rarely(draw, 9):
        values, _ = columns[draw(st.sampled_from(list(columns)))]
        values[draw(st.integers(0, n_rows - 1))] = draw(st.sampled_from(INVALID_CELLS))
    if rarely(draw, 9):
        columns = dict(list(columns.items())[: draw(st.integers(0, len(columns)))])
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "list":
        return [list(row) for row in zip(*(values for values, _ in columns.values()), strict=True)]
    series = [as_series(*values).rename(name) for name, values in columns.items()]
    frame = pd.concat(series or [pd.DataFrame()], axis=1)
    if layout == "unnamed":
        frame.columns = range(len(columns))
    elif layout == "index":
        frame.index = draw(st.sampled_from([[0] * len(frame), list(range(len(frame)))[::-1]]))
    if layout not in ("objects", "array", "fortran", "read-only"):
        return frame
    array = frame.to_numpy(dtype=object) if layout == "objects" else np.asarray(frame)
    array = np.asfortranarray(array) if layout == "fortran" else array
    array.flags.writeable = layout != "read-only"
    return array


def matrix(draw, cells, n_rows, width):
    rows = st.lists(cells, min_size=width, max_size=width)
    return np.array(draw(st.lists(rows, min_size=n_rows, max_size=n_rows)))


@st.composite
def padded(draw):
    """Padded codes of items, with past ratings or without."""
    n_rows, width = draw(st.sampled_from([4, 2, 1, 6])), draw(st.integers(1, 4))
    cells = st.one_of(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 7, 10**6]))
    if rarely(draw, 9):
        cells = st.one_of(cells, st.sampled_from([-1, 0.5, np.nan, np.inf, 2**60, 1e300]))
    X = matrix(draw, cells, n_rows, width)
    if not rarely(draw, 5):
        past = st.one_of(st.integers(1, 5).map(float), st.just(np.nan))
        past_ratings = matrix(draw, past, n_rows, width)
        past_ratings[:, -1] = np.nan
        X = np.hstack([X, past_ratings])
    return pd.DataFrame(X) if rarely(draw, 5) else X


RATINGS = {
    "stars": st.integers(1, 5),
    "halves": st.integers(1, 10).map(lambda k: k / 2),
    "floats": st.floats(-10, 10),
    "constant": st.just(3.0),
    "huge": st.sampled_from([1e30, -1e30, 3e38, 1e20]),
    "beyond float32": st.sampled_from([1e39, -1e300, 1.7e308, 0.0]),
    "tiny": st.sampled_from([1e-30, 2e-30, 5e-324, 1e-300, 0.0]),
    "far from 0": st.integers(0, 4).map(lambda k: 1e6 + k),
    "farther": st.integers(0, 4).map(lambda k: 1e15 + k),
    "gaps": st.sampled_from([1.0, 2.0, np.nan]),
    "infinite": st.sampled_from([1.0, np.inf, -np.inf]),
    "booleans": st.booleans(),
    "strings": st.sampled_from(["3", "4.5", "x"]),
    "objects": st.sampled_from([1, 2.5, None, decimal.Decimal(2), fractions.Fraction(1, 2)]),
    "long": st.sampled_from([2**70, 1]),
    "dates": st.just(pd.Timestamp("2000-01-01")),
    "complex": st.just(1j),
}
VALID_RATINGS = "stars", "halves", "floats"
RATING_LAYOUTS = "array array list series index column Float64 float32 frame".split()


@st.composite
def ratings(draw, X, kind):
    n_rows = draw(st.integers(0, 13)) if rarely(draw, 24) else len(X)
    usual = st.sampled_from(VALID_RATINGS)
    name = draw(st.one_of(usual, usual, st.sampled_from(list(RATINGS))))
    values = draw(st.lists(RATINGS[name], min_size=n_rows, max_size=n_rows))
    if kind == "padded" and draw(st.booleans()):
        width = draw(st.sampled_from([X.shape[1], X.shape[1] // 2]))
        values = [[value] * width for value in values]
        if name in VALID_RATINGS and width and len(values) == len(X):  # no ratings of padding
            return np.where(np.asarray(X)[:, :width] > 0, values, np.nan)
        return values
    layout = draw(st.sampled_from(RATING_LAYOUTS))
    if layout == "list":
        return values
    series = as_series(values)
    if layout == "index":
        series.index = [7] * len(series)
    elif layout in ("Float64", "float32"):
        try:
            with np.errstate(over="ignore"):
                return series.astype(layout)
        except COMMON_ERRORS:
            return series
    elif layout in ("array", "column"):
        return series.to_numpy() if layout == "array" else series.to_numpy().reshape(-1, 1)
    return series.to_frame() if layout == "frame" else series


@st.composite
def weights(draw, X):
    if draw(st.integers(0, 2)):
        return None
    n_rows = len(X) + rarely(draw, 19)
    usual = st.one_of(st.floats(0.1, 10), st.sampled_from([1.0, 2.0, 0.0]))
    odd = st.sampled_from([np.nan, -1.0, np.inf, 1e300, 1e-300, 5e-324, 1e38, 1e-38, "1", None])
    kinds = [usual, usual, usual, st.one_of(usual, odd), st.just(0.0), odd]
    values = draw(st.lists(draw(st.sampled_from(kinds)), min_size=n_rows, max_size=n_rows))
    return draw(st.sampled_from([np.array, list, as_series]))(values)


# Data that every estimator of the kind can be fitted to.
FRAME = pd.DataFrame({"user": list("aabbcc"), "item": [1, 2, 1, 3, 2, 3], "timestamp": range(6)})
STARS = np.array([1, 2, 3, 4, 5, 3])
PADDED = np.array([[0, 1, 2, np.nan, 3, np.nan], [2, 1, 1, 4, 5, np.nan]])
VALID = {
    **dict.fromkeys(("mf", "bayesian", "bias", "dense"), (FRAME[["user", "item"]], STARS)),
    "lstm": (FRAME, STARS),
    "padded": (PADDED, np.array([4.0, 2.0])),
}
