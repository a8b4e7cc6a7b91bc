"""`DenseRecRegressor` on MovieLens 100K, with IDs only and with side features."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import pandas as pd

from benchmarks._data import ITEM_FEATURES, SHUFFLED, USER_FEATURES, described_movielens, folds
from benchmarks._models import FASTAI_NN, OURS, ours
from benchmarks._peers import Field
from benchmarks._results import bar, table

IDS = ["user", "item"]
SIDE = [*IDS, "timestamp", *USER_FEATURES, *ITEM_FEATURES]
MODELS = [
    *(
        (ours("DenseRecRegressor", f", {label}", **options), columns)
        for options in ({}, {"products": False})
        for label, columns in (("IDs only", IDS), ("side features", SIDE))
    ),
    (OURS, IDS),
    (FASTAI_NN, IDS),
]
LIMITS = {MODELS[0][0].name: 0.921, MODELS[1][0].name: 0.912}
TIME_LIMIT = 300  # seconds of a model on one fold


def run(*, quick: bool = False) -> dict[str, Any]:
    """Compare on the shuffled folds."""
    field = Field((model for model, _ in MODELS), TIME_LIMIT)
    rows = [
        row
        for train, test in list(folds(described_movielens(), shuffle=True))[: 1 if quick else 5]
        for model, columns in MODELS
        for row in field.measure(model, train[[*columns, "rating"]], test[[*columns, "rating"]])
    ]
    found = pd.DataFrame(rows).groupby("model", sort=False)
    summary = found.agg(
        rmse=("rmse", "mean"),
        error=("rmse", "sem"),
        mae=("mae", "mean"),
        seconds=("fit_seconds", "median"),
    ).sort_values("rmse")
    forms = {"RMSE": ".4f", "Standard error": ".4f", "MAE": ".4f", "Fit, s": ".2f"}
    return {
        "title": "Side features on MovieLens 100K",
        "notes": [
            f"RMSE and MAE in stars, means over {SHUFFLED} at seed 0, with the standard error of "
            "the mean over folds; seconds are medians. Parameters are at their defaults. The "
            f"side features are {', '.join(SIDE[2:])}."
        ],
        "bars": [
            bar(f"RMSE of {name}", summary.loc[name, "rmse"], limit, ".4f")
            for name, limit in LIMITS.items()
        ],
        "tables": [
            table(SHUFFLED, {"Model": "", **forms}, summary.reset_index().to_numpy().tolist())
        ],
        "left_out": field.left_out,
    }
