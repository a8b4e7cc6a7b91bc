"""Encoding of two columns of string IDs beside scikit-learn's encoder and pandas' hashing."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import OrdinalEncoder

from benchmarks._measure import alternate, seconds
from benchmarks._results import bar, table
from sklrec.preprocessing import IDEncoder

N_ROWS, N_LOOKED_UP = 3_000_000, 1_000_000
N_DISTINCT = {"user": 1_000, "item": 200_000}
DTYPES = ["str", "object"]  # of a column of strings in pandas 3, and before
CONTENDERS: dict[str, Callable[[pd.DataFrame], object]] = {
    "pandas.factorize of both columns": lambda X: [pd.factorize(X[name]) for name in X],
    "IDEncoder, fit_transform": lambda X: IDEncoder().fit_transform(X),
    "IDEncoder, fit then transform": lambda X: IDEncoder().fit(X).transform(X),
    "OrdinalEncoder, fit then transform": lambda X: OrdinalEncoder().fit(X).transform(X),
    "OrdinalEncoder(dtype=int64), fit then transform": lambda X: (
        OrdinalEncoder(dtype=np.int64).fit(X).transform(X)
    ),
}


def run(*, quick: bool = False) -> dict[str, Any]:
    n_rows, repeats = (N_ROWS // 20, 2) if quick else (N_ROWS, 5)
    bars, tables = [], []
    for dtype in DTYPES:
        X = string_ids(n_rows, dtype)
        for rows, rounds in ((X.head(1_000), 1), (X, repeats)):  # the first warms up
            functions = {
                name: partial(seconds, partial(encode, rows))
                for name, encode in CONTENDERS.items()
            }
            times = alternate(functions, rounds)
        hashed, one_pass, two_steps, ordinal, ordinal_int = times.values()
        what = f"Speed of IDEncoder over OrdinalEncoder's, fit and transform, {dtype}"
        speed = min(ordinal, ordinal_int) / two_steps
        bars.append(bar(what, speed, 2.0, ".2f", at_least=True))
        what = f"Time of IDEncoder.fit_transform over pandas.factorize's, {dtype}"
        bars.append(bar(what, one_pass / hashed, 1.3, ".2f"))
        forms = {"Seconds": ".3f", "Over pandas.factorize": ".2f", "Over OrdinalEncoder": ".2f"}
        tables.append(
            table(
                f"{n_rows:,} rows, two columns of dtype `{dtype}`",
                {"Encoder": "", **forms},
                [[name, took, took / hashed, took / ordinal] for name, took in times.items()],
            )
        )
    rng = np.random.default_rng(0)
    X = pd.DataFrame({name: rng.integers(n, size=N_LOOKED_UP) for name, n in N_DISTINCT.items()})
    encoder = IDEncoder().fit(X)
    took = alternate({"": lambda: seconds(lambda: encoder.transform(X))}, repeats)[""]
    bars.append(bar(f"Seconds to transform {N_LOOKED_UP:,} rows of integers", took, 0.1, ".4f"))
    return {
        "title": "Encoding of IDs",
        "notes": [
            f"Two columns of {' and '.join(f'{n:,}' for n in N_DISTINCT.values())} distinct "
            "strings, drawn uniformly. Medians of runs that alternate."
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
