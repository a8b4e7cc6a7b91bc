"""Cost of a fit of ten thousand to ten million made ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _models as m
from benchmarks._data import grown, grown_size
from benchmarks._peers import Field, LeftOut, exchange
from benchmarks._results import bar, table

TIMED = [m.ours("SequenceRatingRegressor", timestamp=2)]
OF_PAIRS = [m.OURS, m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP, m.ours("DenseRecRegressor")]
MODELS = [m.ours("BiasRegressor"), *OF_PAIRS, *TIMED]
MAX_EXPONENT, MAX_MEMORY = 1.05, 3.2
SIZES = [10_000, 100_000, 1_000_000, 10_000_000]
FITTED_FROM = 100_000  # smaller fits have too large a constant part
TIME_LIMIT = 400.0  # longest expected seconds of a fit
PATIENCE = 1_200.0  # seconds after which the process of a fit is ended
PEERS = [(m.SURPRISE, 1_000_000), (m.CORNAC_60, 1_000_000), (m.LIBMF, 10_000_000)]
MB = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    sizes = SIZES[:2] if quick else SIZES
    rows, left_out = [], []
    for model in MODELS:
        found, reason = grow(model, sizes)
        rows += found
        left_out += reason
    field = Field([model for model, _ in PEERS], PATIENCE)
    for n in sizes:
        log = grown(n)
        for model, largest in PEERS:
            for answer in (field.run(model, log, log[:1]) if n <= largest else None) or []:
                cost = {"seconds": answer.fit_seconds, "mb": answer.fit_bytes / MB}
                rows.append({"model": model.name, "n_ratings": n, **cost})
    frame = pd.DataFrame(rows)
    by_size = frame.pivot(index="model", columns="n_ratings")
    by_size = by_size.loc[frame["model"].unique()].astype(object)
    exponents = {name: exponent(found) for name, found in frame.groupby("model")}
    bars = []
    for model in MODELS:
        if model.name in exponents:
            bars.append(bar(f"Exponent, {model.name}", exponents[model.name], MAX_EXPONENT, ".3f"))
            last = by_size.loc[model.name, "multiple"].dropna()
            what = f"Memory without the model, {model.name}, {last.index[-1]:,} ratings"
            bars.append(bar(what, last.iloc[-1], MAX_MEMORY, ".2f"))
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
            "model's own tables, by the bytes of X (two int64 a row, three with times) and y (a "
            "float64).",
        ],
        "bars": bars,
        "tables": [
            table(
                title,
                {"Model": "", **{f"{n:,}": form for n in sizes}} | last_column,
                [
                    [name, *values.where(values.notna(), None)]
                    + [exponents[name] for _ in last_column]
                    for name, values in by_size[column].iterrows()
                    if values.notna().any()
                ],
            )
            for title, column, form, last_column in (
                ("Seconds", "seconds", ".2f", {"Exponent": ".3f"}),
                ("Peak memory of the fit, MB", "mb", ",.0f", {}),
                ("The same without the model, in bytes of X and y", "multiple", ".2f", {}),
            )
        ],
        "left_out": left_out + field.left_out,
    }


def grow(model: m.Model, sizes: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the sizes that are not too large, and the reasons for the others."""
    rows: list[dict[str, Any]] = []
    for n in sizes:
        expected = rows[-1]["seconds"] * n / rows[-1]["n_ratings"] if rows else 0.0
        if expected > TIME_LIMIT:
            return rows, [f"{model.name}: {n:,} would take {expected:.0f} s"]
        request = {"model": model, "n_ratings": n}
        try:
            reply, _ = exchange("sklrec", "sklrec_cost", request, {}, PATIENCE)
        except LeftOut as reason:
            return rows, [f"{model.name}: {n:,} left out, {reason}"]
        row = {"model": model.name, "n_ratings": n, "seconds": reply["seconds"]}
        row["mb"] = reply["fit_bytes"] / MB
        n_columns = 4 if model in TIMED else 3
        row["multiple"] = (reply["fit_bytes"] - reply["model_bytes"]) / (n_columns * 8 * n)
        rows.append(row)
        print(f"{model.name}, {n:,}: {row['seconds']:.2f} s", flush=True)
    return rows, []


def exponent(found: pd.DataFrame) -> float:
    """Exponent of the seconds in the number of ratings; NaN for a single size."""
    large = found[found["n_ratings"] >= FITTED_FROM]
    if len(large) < 2:
        return float("nan")
    return float(np.polyfit(np.log(large["n_ratings"]), np.log(large["seconds"]), 1)[0])
