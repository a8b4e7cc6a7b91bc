"""How the default parameters were chosen: on held-out parts of training data, on several logs.

``python -m benchmarks.choose_defaults --ratings FILE:USER:ITEM:RATING ...``

Of MovieLens 100K only the training part of the first shuffled fold is used, of each other log a
random 80 %. A tenth of that part is held out, several times over; the test rows are not read.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit, train_test_split

from benchmarks._data import folds, movielens, read_log, rmse
from benchmarks._results import RESULTS

# For sgd the grid holds the sum of the learning rates at each epoch's start, were they constant.
GRIDS = {
    "sgd": {
        "n_factors": [64, 100],
        "alpha": [0.06, 0.07, 0.08],
        "lr_times_epochs": [1.0, 1.2, 1.4],
        "max_epochs": [10, 15, 20],
    },
    "adam": {
        "n_factors": [32, 100],
        "alpha": [0.06, 0.08, 0.1],
        "lr": [0.01, 0.02, 0.04],
        "max_epochs": [10, 20],
    },
}
# Logs of a million ratings differ little from split to split, and take long.
MANY_ROWS = 500_000


def main() -> None:
    """Print the validation RMSE of every setting on every log, and each setting's mean rank."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choose_defaults")
    parser.add_argument("--ratings", action="append", default=[], metavar="FILE:USER:ITEM:RATING")
    parser.add_argument("--solver", choices=GRIDS, default="sgd")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()

    logs = {"movielens-100k": next(folds(movielens(), shuffle=True))[0]}
    for entry in options.ratings:
        path, *columns = entry.rsplit(":", 3)
        log = read_log(path, *columns)
        logs[Path(path).parent.name] = train_test_split(log, train_size=0.8, random_state=0)[0]

    grid = GRIDS[options.solver]
    settings = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    found = {
        name: [validate(log, options, setting, name) for setting in settings]
        for name, log in logs.items()
    }
    table = pd.DataFrame(settings).join(pd.DataFrame(found).map(lambda f: f[0]))
    table["above_best"] = (table[[*logs]] - table[[*logs]].min()).mean(axis=1)
    table["seconds"] = [f[1] for f in found["movielens-100k"]]
    text = table.sort_values("above_best").to_string(index=False, float_format="{:.4f}".format)
    print(text)
    (RESULTS / f"defaults_{options.solver}.txt").write_text(text + "\n")


def validate(
    log: pd.DataFrame, options: argparse.Namespace, setting: dict, name: str
) -> tuple[float, float]:
    """Mean RMSE on held-out tenths of a training part, and mean seconds of a fit."""
    from sklrec import MFRegressor

    n_splits = 1 if len(log) > MANY_ROWS else options.splits
    errors, seconds = [], []
    splitter = ShuffleSplit(n_splits, test_size=0.1, random_state=1)
    for seed, (train, held_out) in enumerate(splitter.split(log)):
        params = dict(setting)
        if "lr_times_epochs" in params:
            params["lr"] = params.pop("lr_times_epochs") / params["max_epochs"]
        model = MFRegressor(solver=options.solver, random_state=seed, **params)
        X, y = log[["user", "item"]], log["rating"].to_numpy()
        start = time.perf_counter()
        model.fit(X.iloc[train], y[train])
        seconds.append(time.perf_counter() - start)
        errors.append(rmse(y[held_out], model.predict(X.iloc[held_out])))
    print(name, setting, f"{np.mean(errors):.4f} in {np.mean(seconds):.2f} s", flush=True)
    return float(np.mean(errors)), float(np.mean(seconds))


if __name__ == "__main__":
    main()
