"""Encoding two columns of string IDs beside scikit-learn's encoder and pandas' hashing."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import OrdinalEncoder

from benchmarks._measure import alternate, seconds
from benchmarks._results import bar, render
from sklrec.preprocessing import IDEncoder

N_ROWS = 3_000_000
N_DISTINCT = {"user": 1_000, "item": 200_000}
# What a column of strings is in pandas 3, and what it was before.
DTYPES = ["str", "object"]
FACTORIZE = "pandas.factorize of both columns"
ONE_PASS = "IDEncoder, fit_transform"
TWO_STEPS = "IDEncoder, fit then transform"
ORDINAL = "OrdinalEncoder, fit then transform"
ORDINAL_INT = "OrdinalEncoder(dtype=int64), fit then transform"
N_LOOKED_UP = 1_000_000


def run(*, quick: bool = False) -> dict[str, Any]:
    """Time the encoders on strings of both dtypes, and a look-up of integers."""
    n_rows, repeats = (N_ROWS // 20, 2) if quick else (N_ROWS, 5)
    bars, tables = [], []
    for dtype in DTYPES:
        X = string_ids(n_rows, dtype)
        alternate(timings(X.head(1_000)), 1)
        times = alternate(timings(X), repeats)
        bars += [
            bar(
                f"Speed of IDEncoder over OrdinalEncoder's, fit and transform, {dtype}",
                min(times[ORDINAL], times[ORDINAL_INT]) / times[TWO_STEPS],
                2.0,
                ".2f",
                at_least=True,
            ),
            bar(
                f"Time of IDEncoder.fit_transform over pandas.factorize's, {dtype}",
                times[ONE_PASS] / times[FACTORIZE],
                1.3,
                ".2f",
            ),
        ]
        tables.append(
            {
                "title": f"{n_rows:,} rows, two columns of dtype `{dtype}`",
                "columns": {
                    "What": "",
                    "Seconds": ".3f",
                    "Over pandas.factorize": ".2f",
                    "Over OrdinalEncoder": ".2f",
                },
                "rows": [
                    [name, value, value / times[FACTORIZE], value / times[ORDINAL]]
                    for name, value in times.items()
                ],
            }
        )
    lookup = alternate({"": look_up_integers()}, repeats)[""]
    bars.append(bar(f"Seconds to transform {N_LOOKED_UP:,} rows of integers", lookup, 0.1, ".4f"))
    return {
        "title": "Encoding IDs",
        "notes": [
            f"Two columns of {' and '.join(f'{n:,}' for n in N_DISTINCT.values())} distinct "
            "strings, drawn uniformly. Medians of runs that alternate.",
        ],
        "bars": bars,
        "tables": tables,
    }


def string_ids(n_rows: int, dtype: str) -> pd.DataFrame:
    """Users and items with names such as item_123, each string in memory once."""
    rng = np.random.default_rng(0)
    columns = {}
    for name, n_distinct in N_DISTINCT.items():
        ids = np.array([f"{name}_{k}" for k in range(n_distinct)], dtype=object)
        columns[name] = pd.Series(ids[rng.integers(n_distinct, size=n_rows)], dtype=dtype)
    return pd.DataFrame(columns)


def timings(X: pd.DataFrame) -> dict[str, Callable[[], float]]:
    """What is compared, by name; each call returns its seconds."""
    contenders = {
        FACTORIZE: lambda: [pd.factorize(X[name]) for name in X],
        ONE_PASS: lambda: IDEncoder().fit_transform(X),
        TWO_STEPS: lambda: IDEncoder().fit(X).transform(X),
        ORDINAL: lambda: OrdinalEncoder().fit(X).transform(X),
        ORDINAL_INT: lambda: OrdinalEncoder(dtype=np.int64).fit(X).transform(X),
    }
    return {
        name: lambda contender=contender: seconds(contender)
        for name, contender in contenders.items()
    }


def look_up_integers() -> Callable[[], float]:
    """Seconds of `transform` on a DataFrame of integer IDs, with as many distinct ones."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.integers(n, size=N_LOOKED_UP) for name, n in N_DISTINCT.items()}
    X = pd.DataFrame(drawn)
    encoder = IDEncoder().fit(X)
    return lambda: seconds(lambda: encoder.transform(X))


if __name__ == "__main__":
    print(render(run()))
