"""Encoding of two columns of IDs beside scikit-learn's encoder and pandas' hashing."""
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

N_ROWS = 3_000_000
N_DISTINCT = {"user": 1_000, "item": 200_000}
DTYPES = ["str", "object", "int64"]  # strings in pandas 3, strings before, and integers
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
        X = random_ids(n_rows, dtype)
        for rows, rounds in ((X.head(1_000), 1), (X, repeats)):  # the first warms up
            functions = {
                name: partial(seconds, partial(encode, rows))
                for name, encode in CONTENDERS.items()
            }
            times = alternate(functions, rounds)
        hashed, _, two_steps, ordinal, _ = times.values()
        what = f"Time of IDEncoder, fit then transform, over pandas.factorize's, {dtype}"
        bars.append(bar(what, two_steps / hashed, 1.3, ".2f"))
        forms = {"Seconds": ".3f", "Over pandas.factorize": ".2f", "Over OrdinalEncoder": ".2f"}
        tables.append(
            table(
                f"{n_rows:,} rows, two columns of dtype `{dtype}`",
                {"Encoder": "", **forms},
                [[name, took, took / hashed, took / ordinal] for name, took in times.items()],
            )
        )
    return {
        "title": "Encoding of IDs",
        "notes": [
            f"Two columns of {' and '.join(f'{n:,}' for n in N_DISTINCT.values())} distinct "
            "IDs, drawn uniformly. Medians of runs that alternate."
        ],
        "bars": bars,
        "tables": tables,
    }


def random_ids(n_rows: int, dtype: str) -> pd.DataFrame:
    """Users and items: integers, or names such as item_123, each in memory once."""
    rng = np.random.default_rng(0)
    columns = {}
    for name, n_distinct in N_DISTINCT.items():
        ids = np.arange(n_distinct)
        if dtype != "int64":
            ids = np.array([f"{name}_{k}" for k in ids], dtype=object)
        columns[name] = pd.Series(ids[rng.integers(n_distinct, size=n_rows)], dtype=dtype)
    return pd.DataFrame(columns)
