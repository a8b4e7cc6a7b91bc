"""Cost of a fit of ten thousand to ten million made ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._data import grown, grown_size
from benchmarks._models import CORNAC_60, LIBMF, SURPRISE
from benchmarks._peers import Field, LeftOut, exchange
from benchmarks._results import bar, table


class Case(NamedTuple):
    """An estimator of ours with its settings and its limits."""

    name: str
    estimator: str
    params: dict[str, Any]
    timestamps: bool = False
    max_exponent: float | None = None
    max_memory: float | None = None


CASES = [
    Case("MFRegressor", "MFRegressor", {}, max_exponent=1.05, max_memory=3.0),
    Case("MFRegressor(svdpp=True)", "MFRegressor", {"svdpp": True}),
    Case("BayesianMFRegressor(n_iter=20)", "BayesianMFRegressor", {"n_iter": 20}),
    Case(
        "BayesianMFRegressor(svdpp=True, n_iter=20)",
        "BayesianMFRegressor",
        {"svdpp": True, "n_iter": 20},
    ),
    Case("DenseRecRegressor", "DenseRecRegressor", {}),
    Case("SequenceRatingRegressor", "SequenceRatingRegressor", {"timestamp": 2}, timestamps=True),
]
SIZES = [10_000, 100_000, 1_000_000, 10_000_000]
FITTED_FROM = 100_000  # smaller fits have too large a constant part
TIME_LIMIT = 150.0  # longest expected seconds of a fit
PATIENCE = 600.0  # seconds after which the process of a fit is ended
PEERS = [(SURPRISE, 1_000_000), (CORNAC_60, 1_000_000), (LIBMF, 10_000_000)]
MB = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit ours and the peers on more and more ratings."""
    sizes = SIZES[:2] if quick else SIZES
    rows, left_out = [], []
    for case in CASES:
        found, reason = grow(case, sizes)
        rows += found
        left_out += reason
    field = Field([model for model, _ in PEERS], PATIENCE)
    for n_ratings in sizes:
        log = grown(n_ratings)
        for model, largest in PEERS:
            if n_ratings > largest:
                continue
            for answer in field.run(model, log, log[:1]) or []:
                rows.append(row(model.name, n_ratings, answer.fit_seconds, answer.fit_bytes))
    frame = pd.DataFrame(rows)
    exponents = {name: exponent(found) for name, found in frame.groupby("model", sort=False)}
    return {
        "title": "The cost of a fit by the number of ratings",
        "notes": [
            "Made ratings, 100 for each user and, for n ratings, 5 times the root of n items, "
            "about as in the MovieLens files: "
            + ", ".join(f"{u:,} x {i:,} for {n:,}" for n in sizes for u, i in [grown_size(n)])
            + ". Ours get X as an int64 array and encode it in the fit; the training sets of the "
            "peers are made before. Seconds are the best of up to five fits within two seconds. "
            f"The exponent of n is the least-squares slope of the logarithms from {FITTED_FROM:,} "
            f"ratings on. A fit that should take over {TIME_LIMIT:g} seconds is left out.",
            "Memory is the peak during the first fit above the memory before it, after a fit of a "
            "few rows: above the imports and the data. The last table divides it, without the "
            "model's own tables, by the bytes of X (two int64 a row) and y (a float64).",
        ],
        "bars": bars(frame, exponents),
        "tables": [
            table(
                "Seconds",
                {"Model": "", **{f"{n:,}": ".2f" for n in sizes}, "Exponent": ".3f"},
                [
                    [name, *cells(found, "seconds", sizes), exponents[name]]
                    for name, found in frame.groupby("model", sort=False)
                ],
            ),
            *(
                table(
                    title,
                    {"Model": "", **{f"{n:,}": form for n in sizes}},
                    [
                        [name, *cells(found, column, sizes)]
                        for name, found in frame.groupby("model", sort=False)
                        if found[column].notna().any()
                    ],
                )
                for title, column, form in (
                    ("Peak memory of the fit, MB", "mb", ",.0f"),
                    ("The same without the model, in bytes of X and y", "multiple", ".2f"),
                )
            ),
        ],
        "left_out": left_out + field.left_out,
    }


def grow(case: Case, sizes: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the sizes that are not too large, and the reasons for the others."""
    rows: list[dict[str, Any]] = []
    for n_ratings in sizes:
        if rows:
            expected = rows[-1]["seconds"] * n_ratings / rows[-1]["n_ratings"]
            if expected > TIME_LIMIT:
                return rows, [f"{case.name}: {n_ratings:,} would take {expected:.0f} s"]
        request = {**case._asdict(), "n_ratings": n_ratings}
        try:
            reply, _ = exchange("sklrec", "sklrec_cost", request, {}, PATIENCE)
        except LeftOut as reason:
            return rows, [f"{case.name}: {n_ratings:,} left out, {reason}"]
        rows.append(
            row(case.name, n_ratings, reply["seconds"], reply["fit_bytes"], reply["model_bytes"])
        )
        print(f"{case.name}, {n_ratings:,}: {rows[-1]['seconds']:.2f} s", flush=True)
    return rows, []


def row(
    name: str, n_ratings: int, seconds: float, held: float, model: float = float("nan")
) -> dict[str, Any]:
    """Cost of one fit; the multiple is NaN if the size of the model is not known."""
    return {
        "model": name,
        "n_ratings": n_ratings,
        "seconds": seconds,
        "mb": held / MB,
        "multiple": (held - model) / (3 * 8 * n_ratings),
    }


def exponent(found: pd.DataFrame) -> float:
    """Exponent of the seconds in the number of ratings; NaN for a single size."""
    large = found[found["n_ratings"] >= FITTED_FROM]
    if len(large) < 2:
        return float("nan")
    return float(np.polyfit(np.log(large["n_ratings"]), np.log(large["seconds"]), 1)[0])


def cells(found: pd.DataFrame, column: str, sizes: list[int]) -> list[float | None]:
    """Value of a column for each size; None if it was not measured."""
    by_size = found.set_index("n_ratings")[column].dropna()
    return [by_size.get(n) for n in sizes]


def bars(frame: pd.DataFrame, exponents: dict[str, float]) -> list[dict[str, Any]]:
    """Limits of the exponents, and of the memory of the largest fit."""
    entries = []
    for case in CASES:
        found = frame[frame["model"] == case.name]
        if case.max_exponent is not None:
            what = f"Exponent, {case.name}"
            entries.append(bar(what, exponents[case.name], case.max_exponent, ".3f"))
        if case.max_memory is not None:
            last = found.loc[found["n_ratings"].idxmax()]
            what = f"Memory without the model, {case.name}, {last['n_ratings']:,} ratings"
            entries.append(bar(what, last["multiple"], case.max_memory, ".2f"))
    return entries
