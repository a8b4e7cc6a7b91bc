"""Accuracy, time and memory on a log of the user's own."""
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from typing import Any

from sklearn.model_selection import train_test_split

from benchmarks._data import mae, read_log, rmse
from benchmarks._models import (
    ALS,
    ALS_IMPLICIT,
    GIBBS,
    IMPLICIT,
    IMPLICIT_60,
    MYFM_IMPLICIT,
    OURS,
    PEERS,
    SGD_IMPLICIT,
)
from benchmarks._peers import Field


def run(
    *,
    path: Path,
    columns: tuple[str, str, str],
    title: str,
    time_limit: float,
    quick: bool = False,
) -> dict[str, Any]:
    """One random 90/10 split; a model slower than the limit is left out."""
    log = read_log(path, *columns)
    if quick:
        log = log.sample(min(len(log), 50_000), random_state=0)
    train, test = train_test_split(log, test_size=0.1, random_state=0)
    ours = [OURS, SGD_IMPLICIT, ALS, ALS_IMPLICIT, GIBBS, IMPLICIT_60, IMPLICIT]
    field = Field([*ours, *PEERS, MYFM_IMPLICIT], time_limit)
    rows = []
    for model in list(field.models):
        for answer in field.run(model, train, test) or []:
            truth = test["rating"].to_numpy()
            rows.append(
                {
                    "model": model.name,
                    "rmse": rmse(truth, answer.prediction),
                    "mae": mae(truth, answer.prediction),
                    "fit_seconds": answer.fit_seconds,
                    "total_seconds": answer.build_seconds + answer.fit_seconds,
                    "predict_seconds": answer.predict_seconds,
                    "peak_mb": answer.peak_bytes / 1e6,
                }
            )
            print(f"{model.name}: RMSE {rows[-1]['rmse']:.4f}", flush=True)
    rows.sort(key=lambda row: row["rmse"])
    users, items = (log[column].nunique() for column in ("user", "item"))
    return {
        "title": f"Ratings log: {title}",
        "notes": [
            f"{len(log):,} ratings (repeated pairs averaged), {users:,} users, {items:,} items, "
            f"ratings from {log['rating'].min():g} to {log['rating'].max():g}; random 90/10 split "
            "with seed 0, every model once with the settings used on MovieLens 100K."
        ],
        "tables": [
            {
                "title": "Random 90/10 split",
                "columns": {
                    "Model": "",
                    "RMSE": ".4f",
                    "MAE": ".4f",
                    "Fit, s": ".2f",
                    "With training set, s": ".2f",
                    "Predict, s": ".3f",
                    "Peak of the process, MB": ".0f",
                },
                "rows": [list(row.values()) for row in rows],
            }
        ],
        "left_out": field.left_out,
        "measurements": rows,
    }
