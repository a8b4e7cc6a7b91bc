"""Data of every kind, good and bad, for estimators to live with."""
# SPDX-License-Identifier: BSD-3-Clause

import datetime
import decimal
import fractions

import numpy as np
import pandas as pd
from hypothesis import strategies as st

UTC = datetime.UTC


class Colour(str):
    """A string that is none of the usual kind."""


# How the values of a column are drawn, and the dtype that pandas is asked for.
IDS = {
    "integers": (st.integers(0, 6), None),
    "strings": (st.text("abé \x00", max_size=3), None),
    "int8": (st.integers(-128, 127), "int8"),
    "int16": (st.integers(-300, 300), "int16"),
    "uint8": (st.integers(0, 255), "uint8"),
    "uint64": (st.integers(2**63 - 2, 2**64 - 1), "uint64"),
    "int64": (st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, -1]), "int64"),
    "long": (st.integers(2**62, 2**70), object),
    "whole floats": (st.integers(-3, 3).map(float), "float64"),
    "floats": (st.floats(-2, 2, width=32), "float32"),
    "extreme floats": (st.sampled_from([0.0, -0.0, 1e308, 5e-324, 2.0**63, -(2.0**63)]), None),
    "float16": (st.integers(0, 9).map(float), "float16"),
    "booleans": (st.booleans(), "bool"),
    "nullable booleans": (st.booleans(), "boolean"),
    "nullable integers": (st.integers(0, 9), "Int64"),
    "nullable floats": (st.integers(0, 9).map(float), "Float32"),
    "python strings": (st.text("xyz", max_size=2), "string[python]"),
    "arrow strings": (st.text("xyz", max_size=2), "string[pyarrow]"),
    "surrogates": (st.sampled_from(["\ud800", "a\udfff", "\x00", ""]), object),
    "digits": (st.integers(0, 9).map(str), object),
    "string objects": (st.text("pq", max_size=2), object),
    "own strings": (st.sampled_from("rgb").map(Colour), object),
    "categories": (st.text("uvw", max_size=2), "category"),
    "number categories": (st.integers(0, 5), "category"),
    "bytes": (st.binary(max_size=2), object),
    "tuples": (st.tuples(st.integers(0, 1), st.text("ab", max_size=1)), object),
    "datetimes": (
        st.integers(0, 9).map(lambda d: pd.Timestamp("1999-12-31") + d * pd.Timedelta("9h")),
        "datetime64[ns]",
    ),
    "seconds": (st.integers(0, 9).map(lambda s: pd.Timestamp(s, unit="s")), "datetime64[s]"),
    "zoned": (st.integers(0, 9).map(lambda s: pd.Timestamp(s, unit="h", tz="Europe/Rome")), None),
    "durations": (st.integers(0, 9).map(lambda s: pd.Timedelta(s, unit="s")), "timedelta64[ns]"),
    "dates": (st.integers(1, 9).map(lambda d: datetime.date(2020, 2, d)), object),
    "moments": (
        st.integers(1, 9).map(lambda h: datetime.datetime(2020, 2, 3, h, tzinfo=UTC)),
        object,
    ),
    "periods": (st.integers(0, 9).map(lambda m: pd.Period("2020-01", "M") + m), None),
    "intervals": (st.integers(0, 9).map(lambda k: pd.Interval(k, k + 1)), None),
    "decimals": (st.integers(0, 9).map(lambda k: decimal.Decimal(k) / 4), object),
    "numpy scalars": (st.integers(0, 9).map(np.int16), object),
    "complex": (st.sampled_from([1j, 2 + 0j]), None),
    "sparse": (st.integers(0, 3), pd.SparseDtype(int)),
    "mixed": (st.sampled_from([1, 1.5, "1", b"1", (1,), True, 2**70, None.__class__]), object),
}
ODD_CELLS = [None, np.nan, np.inf, -np.inf, pd.NA, pd.NaT, "", b"", [], {}, {1}, [1, [2]], 1j]
ODD_CELLS += [np.array([1, 2]), pd.Series([1]), decimal.Decimal("NaN"), -1e300, "inf", 2**80]
SIDES = {
    **{name: IDS[name] for name in IDS},
    "numbers": (st.floats(-1e6, 1e6), None),
    "gaps": (st.sampled_from([np.nan, 1.0, 2.0]), None),
    "huge": (st.sampled_from([1e308, -1e308, 0.0, 1e-308]), None),
    "lists": (st.lists(st.sampled_from("abc"), max_size=3), object),
    "sets": (st.sets(st.integers(0, 3)), object),
    "barred": (st.sampled_from(["a|b", "a", "", "b|c|a", "|"]), None),
    "nothing": (st.none(), object),
}
TIMES = {
    name: IDS[name]
    for name in (
        "integers",
        "datetimes",
        "seconds",
        "zoned",
        "floats",
        "int64",
        "dates",
        "moments",
        "nullable integers",
        "uint64",
        "decimals",
        "digits",
        "durations",
    )
}
USUAL = st.sampled_from(["integers", "strings"])


def rarely(draw, n_times):
    """Be true once in so many times."""
    # Neither of the ends, which are drawn more often than what is between them.
    return draw(st.integers(0, n_times)) == n_times // 2


def columns_of(draw, kinds, n_rows, usual):
    """Values of a column, each some of a small pool, and the dtype they are to have."""
    name = draw(st.one_of(usual, usual, st.sampled_from(list(kinds))))
    elements, dtype = kinds[name]
    pool = draw(st.lists(elements, min_size=1, max_size=4))
    places = draw(st.lists(st.integers(0, len(pool) - 1), min_size=n_rows, max_size=n_rows))
    return [pool[place] for place in places], dtype


def as_series(values, dtype):
    try:
        return pd.Series(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        series = pd.Series([None] * len(values), dtype=object)
        for row, value in enumerate(values):
            series.iat[row] = value
        return series


@st.composite
def tables(draw, kind):
    """X as whatever holds a table."""
    if kind == "sequences":
        return draw(padded())
    n_rows = draw(st.sampled_from([4, 2, 8, 12, 1, 7]))
    columns = [columns_of(draw, IDS, n_rows, USUAL) for _ in range(2)]
    names = ["user", "item"]
    if kind == "lstm" and draw(st.sampled_from([True, True, False])):
        columns.append(columns_of(draw, TIMES, n_rows, st.just("integers")))
        names.append("timestamp")
    if kind in ("dense", "fm"):
        for k in range(draw(st.integers(0, 3))):
            usual = st.sampled_from(["numbers", "strings", "barred", "gaps"])
            columns.append(columns_of(draw, SIDES, n_rows, usual))
            names.append(f"side{k}")
    if rarely(draw, 9):
        values, _ = columns[draw(st.integers(0, len(columns) - 1))]
        values[draw(st.integers(0, n_rows - 1))] = draw(st.sampled_from(ODD_CELLS))
    if rarely(draw, 9):
        n_wanted = draw(st.integers(0, len(columns)))
        columns, names = columns[:n_wanted], names[:n_wanted]
    form = draw(
        st.sampled_from(
            [
                "frame",
                "frame",
                "frame",
                "unnamed",
                "odd index",
                "list",
                "objects",
                "array",
                "fortran",
                "read-only",
            ]
        )
    )
    if form == "list":
        return [list(row) for row in zip(*(values for values, _ in columns), strict=True)]
    frame = pd.concat([as_series(*column) for column in columns] or [pd.DataFrame()], axis=1)
    frame.columns = names
    if form == "unnamed":
        frame.columns = range(len(names))
    elif form == "odd index":
        frame.index = draw(st.sampled_from([[0] * n_rows, list(range(n_rows))[::-1]]))[
            : len(frame)
        ]
    elif form in ("objects", "array", "fortran", "read-only"):
        array = frame.to_numpy(dtype=object) if form == "objects" else np.asarray(frame)
        if form == "fortran":
            array = np.asfortranarray(array)
        array.flags.writeable = form != "read-only"
        return array
    return frame


@st.composite
def padded(draw):
    """Padded codes of items, with the past ratings beside them or without."""
    n_rows = draw(st.sampled_from([4, 2, 1, 6]))
    width = draw(st.integers(1, 4))
    cells = st.one_of(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 7, 10**6]))
    if rarely(draw, 9):
        cells = st.one_of(cells, st.sampled_from([-1, 0.5, np.nan, np.inf, 2**60, 1e300]))
    rows = st.lists(cells, min_size=width, max_size=width)
    X = np.array(draw(st.lists(rows, min_size=n_rows, max_size=n_rows)))
    if not rarely(draw, 5):
        past = st.one_of(st.integers(1, 5).map(float), st.just(np.nan))
        rows = st.lists(past, min_size=width, max_size=width)
        ratings = np.array(draw(st.lists(rows, min_size=n_rows, max_size=n_rows)))
        ratings[:, -1] = np.nan
        X = np.hstack([X, ratings])
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
USUAL_RATINGS = st.sampled_from(["stars", "halves", "floats"])


@st.composite
def ratings(draw, X, kind):
    n_rows = len(X)
    if rarely(draw, 24):
        n_rows = draw(st.integers(0, 13))
    name = draw(st.one_of(USUAL_RATINGS, USUAL_RATINGS, st.sampled_from(list(RATINGS))))
    values = draw(st.lists(RATINGS[name], min_size=n_rows, max_size=n_rows))
    if kind == "sequences" and draw(st.booleans()):
        width = draw(st.sampled_from([X.shape[1], X.shape[1] // 2]))
        values = [[value] * width for value in values]
        return (
            np.where(np.asarray(X)[: len(values), :width] > 0, values, np.nan)
            if (name in ("stars", "halves", "floats") and width and len(values) == len(X))
            else values
        )
    form = draw(
        st.sampled_from(
            [
                "array",
                "array",
                "list",
                "series",
                "odd index",
                "column",
                "Float64",
                "float32",
                "frame",
            ]
        )
    )
    if form == "list":
        return values
    series = as_series(values, None)
    if form == "odd index":
        series.index = [7] * len(series)
    elif form in ("Float64", "float32"):
        try:
            with np.errstate(over="ignore"):
                series = series.astype(form)
        except (ValueError, TypeError, OverflowError, ArithmeticError):
            pass
    elif form == "array":
        return series.to_numpy()
    elif form == "column":
        return series.to_numpy().reshape(-1, 1)
    elif form == "frame":
        return series.to_frame()
    return series


@st.composite
def weights(draw, X):
    if draw(st.integers(0, 2)):
        return None
    n_rows = len(X) + (rarely(draw, 19))
    usual = st.one_of(st.floats(0.1, 10), st.sampled_from([1.0, 2.0, 0.0]))
    odd = st.sampled_from([np.nan, -1.0, np.inf, 1e300, 1e-300, 5e-324, 1e38, 1e-38, "1", None])
    elements = draw(
        st.sampled_from([usual, usual, usual, st.one_of(usual, odd), st.just(0.0), odd])
    )
    values = draw(st.lists(elements, min_size=n_rows, max_size=n_rows))
    return draw(st.sampled_from([np.array, list, lambda v: as_series(v, None)]))(values)


# What all can be fitted to.
FRAME = pd.DataFrame({"user": list("aabbcc"), "item": [1, 2, 1, 3, 2, 3], "timestamp": range(6)})
STARS = np.array([1, 2, 3, 4, 5, 3])
PLAIN = {
    **dict.fromkeys(("mf", "exact", "fm", "dense"), (FRAME[["user", "item"]], STARS)),
    "lstm": (FRAME, STARS),
    "sequences": (
        np.array([[0, 1, 2, np.nan, 3, np.nan], [2, 1, 1, 4, 5, np.nan]]),
        np.array([4.0, 2.0]),
    ),
}
