"""How the defaults of `SequenceRatingRegressor` were chosen: on held-out parts of training data.

``python -m benchmarks.choose_sequence``

Every setting is tried on parts of the training parts of MovieLens 100K's splits, never on their
test rows: the last 10 ratings of each user among what is left without the last 10, the last fifth
of the first 80 % by time (history as at the split, and up to each row), and a random fifth of the
first shuffled fold's training part, read from one side and from both.
"""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from benchmarks._data import rmse
from benchmarks._measure import settle_environment
from sklrec import MFRegressor, SequenceRatingRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import GlobalTimeSplit, LastInteractionsSplit

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{f"n_factors={n}": {"n_factors": n} for n in (16, 64)},
    **{f"hidden_size={n}": {"hidden_size": n} for n in (8, 32)},
    **{f"alpha={a}": {"alpha": a} for a in (5.0, 20.0)},
    **{f"dropout={p}": {"dropout": p} for p in (0.0, 0.2)},
    **{f"history_dropout={p}": {"history_dropout": p} for p in (0.0, 0.25)},
    **{f"batch_size={n}": {"batch_size": n} for n in (1024, 4096)},
    **{f"max_epochs={n}": {"max_epochs": n} for n in (6, 14)},
    **{f"lr={lr}": {"lr": lr} for lr in (0.01, 0.03)},
    "lr_schedule='constant'": {"lr_schedule": "constant"},
    "init_std=0.1": {"init_std": 0.1},
}
SEEDS = range(3)


def parts() -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Training and validation parts; each splitter splits twice."""
    X, y = fetch_movielens("100k", return_X_y=True)
    log = X.assign(rating=np.asarray(y, dtype=np.float64))
    splits = {
        "last 10": LastInteractionsSplit(10, random_state=0),
        "time": GlobalTimeSplit(1, test_size=0.2),
        "random": KFold(5, shuffle=True, random_state=0),
    }
    for name, splitter in splits.items():
        known = log.iloc[next(splitter.split(log))[0]]
        train, valid = next(splitter.split(known))
        yield name, known.iloc[train], known.iloc[valid]


def errors(make: Any) -> dict[str, float]:
    """RMSE on each validation part, means over the seeds."""
    found: dict[str, list[float]] = {}
    for name, train, valid in parts():
        columns, truth = ["user", "item", "timestamp"], valid["rating"].to_numpy()
        for seed in SEEDS:
            model = make(seed).fit(train[columns], train["rating"])
            found.setdefault(name, []).append(rmse(truth, model.predict(valid[columns])))
            if not isinstance(model, SequenceRatingRegressor):
                continue
            if name == "time":
                whole = pd.concat([train, valid])
                live = model.predict(valid[columns], history=(whole[columns], whole["rating"]))
                found.setdefault("time, live", []).append(rmse(truth, live))
            if name == "random":
                both = model.set_params(bidirectional=True).fit(train[columns], train["rating"])
                found.setdefault("both sides", []).append(
                    rmse(truth, both.predict(valid[columns]))
                )
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    """Print a line for each setting."""
    settle_environment()
    names = ["last 10", "time", "time, live", "random", "both sides"]
    print(f"{'setting':<24}", *(f"{name:>11}" for name in names), flush=True)
    makers = {"MFRegressor": lambda seed: MFRegressor(random_state=seed)}
    for label, params in SETTINGS.items():
        makers[label] = lambda seed, params=params: SequenceRatingRegressor(
            random_state=seed, **params
        )
    for label, make in makers.items():
        found = errors(make)
        cells = (f"{found[name]:>11.4f}" if name in found else " " * 11 for name in names)
        print(f"{label:<24}", *cells, flush=True)


if __name__ == "__main__":
    main()
