"""How the defaults of `DenseRecRegressor` were chosen: on held-out parts of training data.

``python -m benchmarks.choose_dense``

Of MovieLens 100K only the training part of the first shuffled fold is used. A tenth of it is held
out, several times over; the test rows are not read. Settings differ from the defaults in one or
two parameters at a time, and count by IDs only and with side features.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, ShuffleSplit

from benchmarks._data import SEPARATORS, described_movielens, rmse
from benchmarks._results import RESULTS
from benchmarks.dense import IDS, SIDE
from sklrec import DenseRecRegressor

SETTINGS: list[dict[str, Any]] = [
    {},
    {"products": False},
    {"products": False, "dropout": 0.5, "alpha": 0.2},
    {"products": False, "biased": False},
    {"biased": False},
    *({"hidden_layer_sizes": sizes} for sizes in ((), (16,), (64,), (64, 32))),
    *({"n_factors": n} for n in (32, 100)),
    *({"alpha": alpha} for alpha in (0.07, 0.15)),
    *({"lr": lr} for lr in (0.01, 0.02)),
    *({"max_epochs": n, "lr": 0.12 / n} for n in (5, 12)),
    *({"batch_size": n, "lr": lr} for n, lr in ((512, 0.01), (2048, 0.02))),
    {"dropout": 0.2},
    {"init_std": 0.1},
    *({"n_bins": n} for n in (1, 8, 32)),
]


def main() -> None:
    """Print the validation RMSE of every setting, best first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choose_dense")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    log = described_movielens()
    log = log.iloc[next(KFold(5, shuffle=True, random_state=0).split(log))[0]]
    rows = []
    for setting in SETTINGS:
        by_ids = validate(log[IDS], log["rating"], setting, options.splits)
        side = setting | {"multi_valued": SEPARATORS}
        by_side = validate(log[SIDE], log["rating"], side, options.splits)
        name = ", ".join(f"{k}={v}" for k, v in setting.items()) or "defaults"
        rows.append([name, by_ids[0], by_side[0], (by_ids[0] + by_side[0]) / 2])
        rows[-1] += [by_ids[1], by_side[1]]
        print(*rows[-1], flush=True)
    columns = ["setting", "IDs only", "side features", "mean", "seconds", "seconds with side"]
    table = pd.DataFrame(rows, columns=columns).sort_values("mean")
    text = table.to_string(index=False, float_format="{:.4f}".format)
    print(text)
    (RESULTS / "defaults_dense.txt").write_text(text + "\n")


def validate(
    X: pd.DataFrame, y: pd.Series, setting: dict[str, Any], n_splits: int
) -> tuple[float, float]:
    """Mean RMSE on held-out tenths, and mean seconds of a fit."""
    errors, seconds = [], []
    splitter = ShuffleSplit(n_splits, test_size=0.1, random_state=1)
    for seed, (train, held_out) in enumerate(splitter.split(X)):
        model = DenseRecRegressor(random_state=seed, **setting)
        start = time.perf_counter()
        model.fit(X.iloc[train], y.iloc[train])
        seconds.append(time.perf_counter() - start)
        errors.append(rmse(y.iloc[held_out].to_numpy(), model.predict(X.iloc[held_out])))
    return float(np.mean(errors)), float(np.mean(seconds))


if __name__ == "__main__":
    main()
