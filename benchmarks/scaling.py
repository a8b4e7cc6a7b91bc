"""How the cost of a fit grows from ten thousand to ten million made ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._data import grown, grown_size
from benchmarks._models import CORNAC_60, LIBMF, SURPRISE
from benchmarks._peers import Field, LeftOut, exchange
from benchmarks._results import bar


class Case(NamedTuple):
    """An estimator of ours with its settings, and what it has to reach."""

    name: str
    estimator: str
    params: dict[str, Any]
    timestamps: bool = False
    max_exponent: float | None = None
    max_memory: float | None = None


CASES = [
    Case("MFRegressor", "MFRegressor", {}, max_exponent=1.05, max_memory=3.0),
    Case(
        "MFRegressor(solver='adam')",
        "MFRegressor",
        {"solver": "adam"},
        max_exponent=1.05,
        max_memory=3.0,
    ),
    Case("MFRegressor(solver='als')", "MFRegressor", {"solver": "als"}, max_exponent=1.05),
    Case(
        "MFRegressor(solver='gibbs', n_iter=20)",
        "MFRegressor",
        {"solver": "gibbs", "n_iter": 20},
    ),
    Case("MFRegressor(implicit_features=True)", "MFRegressor", {"implicit_features": True}),
    Case("BayesianFMRegressor(n_iter=20)", "BayesianFMRegressor", {"n_iter": 20}),
    Case("DenseRecRegressor", "DenseRecRegressor", {}),
    Case("SequenceRatingRegressor", "SequenceRatingRegressor", {"timestamp": 2}, timestamps=True),
]
SIZES = [10_000, 100_000, 1_000_000, 10_000_000]
FITTED_FROM = 100_000  # below, what a fit costs in any case counts too much
TIME_LIMIT = 150.0  # seconds that a fit may be expected to take
PATIENCE = 600.0  # and seconds after which its process is ended all the same
PEERS = [(SURPRISE, 1_000_000), (CORNAC_60, 1_000_000), (LIBMF, 10_000_000)]
MB = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit ours and the peers on ever more ratings."""
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
            "Made ratings with a long tail, 100 ratings a user and, for n ratings, 5 times the "
            "root of n items, about as MovieLens grows: "
            + ", ".join(f"{u:,} x {i:,} for {n:,}" for n in sizes for u, i in [grown_size(n)])
            + ". Ours get X as an int64 array and encode it in the fit; the peers' training sets "
            "are made beforehand. Seconds are the best of up to five fits of two seconds in all. "
            f"The exponent is that of n, by least squares of the logarithms from {FITTED_FROM:,} "
            f"ratings on. A fit expected to take over {TIME_LIMIT:g} seconds is left out.",
            "Memory is the peak during the first fit above what the process held before, after "
            "a fit of a few rows: above the imports and the data. It is compared with the bytes "
            "of X (two int64 a row) and y (a float64), once the model's own tables are taken off.",
        ],
        "bars": bars(frame, exponents),
        "tables": [
            {
                "title": "Seconds",
                "columns": {"Model": "", **{f"{n:,}": "" for n in sizes}, "Exponent": ""},
                "rows": [
                    [name, *cells(found, "seconds", sizes, "{:.2f}"), f"{exponents[name]:.3f}"]
                    for name, found in frame.groupby("model", sort=False)
                ],
            },
            {
                "title": "Peak memory of the fit, MB",
                "columns": {"Model": "", **{f"{n:,}": "" for n in sizes}},
                "rows": [
                    [name, *cells(found.assign(mb=found["bytes"] / MB), "mb", sizes, "{:,.0f}")]
                    for name, found in frame.groupby("model", sort=False)
                ],
            },
            {
                "title": "The same without the model, in bytes of X and y",
                "columns": {"Model": "", **{f"{n:,}": "" for n in sizes}},
                "rows": [
                    [name, *cells(found, "multiple", sizes, "{:.2f}")]
                    for name, found in frame.groupby("model", sort=False)
                    if found["multiple"].notna().any()
                ],
            },
        ],
        "left_out": left_out + field.left_out,
        "measurements": frame.astype(object).where(frame.notna(), None).to_dict("records"),
    }


def grow(case: Case, sizes: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows for each size that is not too large, and what was left out."""
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
    """What one fit cost; the multiple is NaN where the model's bytes are not known."""
    return {
        "model": name,
        "n_ratings": n_ratings,
        "seconds": seconds,
        "bytes": held,
        "model_bytes": model,
        "multiple": (held - model) / (3 * 8 * n_ratings),
    }


def exponent(found: pd.DataFrame) -> float:
    """The power of the number of ratings that the seconds grow with; NaN for a single size."""
    large = found[found["n_ratings"] >= FITTED_FROM]
    if len(large) < 2:
        return float("nan")
    return float(np.polyfit(np.log(large["n_ratings"]), np.log(large["seconds"]), 1)[0])


def cells(found: pd.DataFrame, column: str, sizes: list[int], form: str) -> list[str]:
    """A column's value for each size, empty where it was not measured."""
    by_size = found.set_index("n_ratings")[column].dropna()
    return [form.format(by_size[n]) if n in by_size.index else "" for n in sizes]


def bars(frame: pd.DataFrame, exponents: dict[str, float]) -> list[dict[str, Any]]:
    """What the exponents, and the memory of the largest fit, have to be."""
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
