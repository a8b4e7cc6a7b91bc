"""`DenseRecRegressor` on MovieLens 100K, with IDs only and with side features."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.model_selection import KFold

from benchmarks._data import (
    ITEM_FEATURES,
    SEPARATORS,
    USER_FEATURES,
    described_movielens,
    mae,
    rmse,
)
from benchmarks._measure import seconds
from benchmarks._models import FASTAI_NN
from benchmarks._peers import Field
from benchmarks._results import bar
from sklrec import DenseRecRegressor, MFRegressor

IDS = ["user", "item"]
SIDE = [*IDS, "timestamp", *USER_FEATURES, *ITEM_FEATURES]
BY_IDS, BY_SIDE = "DenseRecRegressor, IDs only", "DenseRecRegressor, side features"
MODELS = {
    BY_IDS: (DenseRecRegressor, IDS, {}),
    BY_SIDE: (DenseRecRegressor, SIDE, {"multi_valued": SEPARATORS}),
    f"{BY_IDS}, products=False": (DenseRecRegressor, IDS, {"products": False}),
    f"{BY_SIDE}, products=False": (
        DenseRecRegressor,
        SIDE,
        {"multi_valued": SEPARATORS, "products": False},
    ),
    "MFRegressor": (MFRegressor, IDS, {}),
}
LIMITS = {BY_IDS: 0.921, BY_SIDE: 0.912}
TIME_LIMIT = 300  # seconds for a peer on one fold; one that takes longer is left out


def run(*, quick: bool = False) -> dict[str, Any]:
    """Compare on the shuffled folds."""
    log = described_movielens()
    for estimator, columns, options in MODELS.values():
        estimator(max_epochs=1, **options).fit(log[columns][:1_000], log["rating"][:1_000])
    field = Field([FASTAI_NN], TIME_LIMIT)
    rows = []
    for number, (known, asked) in enumerate(KFold(5, shuffle=True, random_state=0).split(log)):
        if quick and number > 0:
            break
        for row in compare(field, log.iloc[known], log.iloc[asked]):
            print(f"fold {number}: {row['model']} {row['rmse']:.4f}", flush=True)
            rows.append({"fold": number, **row})
    table = summary(rows)
    return {
        "title": "Side features on MovieLens 100K",
        "notes": [
            "RMSE and MAE in stars, means over KFold(5, shuffle=True, random_state=0) at seed 0; "
            "seconds are medians. Parameters are at their defaults. The side features are "
            f"{', '.join(['timestamp', *USER_FEATURES, *ITEM_FEATURES])}. Ours were fitted in "
            "the process of the benchmark.",
        ],
        "bars": [
            bar(f"RMSE of {name}", table.loc[name, "RMSE"], limit, ".4f")
            for name, limit in LIMITS.items()
        ],
        "tables": [
            {
                "title": "KFold(5, shuffle=True, random_state=0)",
                "columns": {"Model": "", "RMSE": ".4f", "MAE": ".4f", "Fit, s": ".2f"},
                "rows": table.reset_index().to_numpy().tolist(),
            }
        ],
        "left_out": field.left_out,
        "measurements": rows,
    }


def compare(field: Field, known: pd.DataFrame, asked: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row for each model."""
    truth = asked["rating"].to_numpy()
    for name, (estimator, columns, options) in MODELS.items():
        model = estimator(random_state=0, **options)
        elapsed = seconds(lambda m=model, c=columns: m.fit(known[c], known["rating"]))
        prediction = model.predict(asked[columns])
        yield {
            "model": name,
            "rmse": rmse(truth, prediction),
            "mae": mae(truth, prediction),
            "fit_seconds": elapsed,
        }
    pairs = [part[[*IDS, "rating"]] for part in (known, asked)]
    for peer in list(field.models):
        for answer in field.run(peer, *pairs, [{}]) or []:
            yield {
                "model": peer.name,
                "rmse": rmse(truth, answer.prediction),
                "mae": mae(truth, answer.prediction),
                "fit_seconds": answer.fit_seconds,
            }


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Means and medians over folds, best RMSE first."""
    found = pd.DataFrame(rows).groupby("model", sort=False)
    return pd.DataFrame(
        {
            "RMSE": found["rmse"].mean(),
            "MAE": found["mae"].mean(),
            "Fit, s": found["fit_seconds"].median(),
        }
    ).sort_values("RMSE")
