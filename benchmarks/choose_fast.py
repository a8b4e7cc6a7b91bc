"""How the settings called fast were chosen: fewest seconds to an RMSE on held-out training rows.

``python -m benchmarks.choose_fast --ratings FILE:USER:ITEM:RATING ...``

The training rows are those of `choose_defaults`; a tenth of them is held out, and the test rows
are not read. For each library and solver as many settings are drawn from a grid; shown are those
that no other one beats in both RMSE and seconds of fit and predict.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks._data import folds, movielens, read_log, rmse
from benchmarks._measure import settle_environment
from benchmarks._models import CORNAC, LIBMF, Model
from benchmarks._peers import run
from benchmarks._results import RESULTS

OURS: dict[str, list[Any]] = {
    "n_factors": [8, 16, 32],
    "max_epochs": [1, 2, 3, 4, 5, 6],
    "batch_size": [2048, 4096, 8192, 16_384, 32_768],
    "alpha": [0.05, 0.07, 0.1],
    "init_std": ["auto", 0.03],
}
GRIDS: list[tuple[Model, dict[str, list[Any]]]] = [
    (Model("sgd", "sklrec", {}), {**OURS, "lr": ["auto", 0.1, 0.2]}),
    (Model("adam", "sklrec", {"solver": "adam"}), {**OURS, "lr": ["auto", 0.04, 0.08, 0.12]}),
    (LIBMF, {"k": [8, 16, 32], "nr_iters": [2, 4, 6, 8, 12, 20], "eta": [0.05, 0.1, 0.2]}),
    (
        CORNAC,
        {
            "k": [10, 32],
            "max_iter": [2, 4, 6, 10, 15],
            "learning_rate": [0.02, 0.05],
            "lambda_reg": [0.05, 0.08],
        },
    ),
]


def main() -> None:
    """Print and write the front of each library and solver on each log."""
    settle_environment()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choose_fast")
    parser.add_argument("--ratings", action="append", default=[], metavar="FILE:USER:ITEM:RATING")
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    logs = {"movielens-100k": next(folds(movielens(), shuffle=True))[0]}
    for entry in options.ratings:
        path, *columns = entry.rsplit(":", 3)
        log = read_log(path, *columns)
        logs[Path(path).parent.name] = train_test_split(log, test_size=0.1, random_state=0)[0]

    parts = []
    for name, log in logs.items():
        for model, grid in GRIDS:
            found = front(search(model, grid, log, options.draws))
            text = found.to_string(index=False, float_format="{:.4f}".format)
            parts.append(f"{model.name} on {name}\n{text}\n")
            print(parts[-1], flush=True)
    (RESULTS / "defaults_fast.txt").write_text("\n".join(parts))


def search(
    model: Model, grid: dict[str, list[Any]], log: pd.DataFrame, n_draws: int
) -> pd.DataFrame:
    """RMSE on a held-out tenth, and seconds of fit and predict, of settings drawn from a grid."""
    rng = np.random.default_rng(0)
    jobs = [
        {name: values[rng.integers(len(values))] for name, values in grid.items()}
        for _ in range(n_draws)
    ]
    train, held_out = train_test_split(log, test_size=0.1, random_state=1)
    truth = held_out["rating"].to_numpy()
    answers = run(model, train, held_out, jobs)
    return pd.DataFrame(jobs).assign(
        rmse=[rmse(truth, answer.prediction) for answer in answers],
        seconds=[answer.fit_seconds + answer.predict_seconds for answer in answers],
    )


def front(points: pd.DataFrame) -> pd.DataFrame:
    """Keep the points that no other one beats in both `rmse` and `seconds`, quickest first."""
    ordered = points.sort_values(["seconds", "rmse"])
    return ordered[ordered["rmse"] < ordered["rmse"].cummin().shift(fill_value=np.inf)]


if __name__ == "__main__":
    main()
