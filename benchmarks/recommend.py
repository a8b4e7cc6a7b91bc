"""Lists for everybody beside implicit's, and what a new user costs."""
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from benchmarks._data import made, read_log
from benchmarks._measure import alternate, seconds
from benchmarks._peers import LeftOut, exchange
from benchmarks._results import bar
from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import fetch_movielens

IDS = ["user", "item"]
N_FACTORS, N_ITEMS, N_NEW, N_RATINGS = 64, 10, 1_000, 20
PEER, BARE, OURS = "implicit, ALS.recommend", "scores and topk alone", "MFRegressor.recommend"
MB, MS = 1e6, 1e3
FOLDED = {
    "sgd, 64 factors": MFRegressor(n_factors=N_FACTORS, random_state=0),
    "als, 64 factors": MFRegressor(solver="als", n_factors=N_FACTORS, random_state=0),
    "gibbs, its 10 factors": MFRegressor(solver="gibbs", n_iter=110, random_state=0),
}
# A list takes as long with barely trained weights.
OTHERS = {
    "MFRegressor": MFRegressor(random_state=0),
    "DenseRecRegressor": DenseRecRegressor(max_epochs=1, random_state=0),
    "SequenceRatingRegressor": SequenceRatingRegressor(max_epochs=1, random_state=0),
}


def run(
    *,
    path: Path | None = None,
    columns: tuple[str, str, str] = ("user", "item", "rating"),
    quick: bool = False,
) -> dict[str, Any]:
    """Recommend to everybody, fold in newcomers, and recommend with the other estimators."""
    size = (5_000, 2_000, 100_000) if quick else (50_000, 10_000, 1_000_000)
    log = made(*size) if path is None else read_log(path, *columns)
    repeats = 1 if quick else 3
    lists, same, left_out = compare_lists(log, repeats)
    new = fold_in(log, repeats)
    bars = []
    if PEER in lists:
        limit = lists[PEER]["seconds"]
        what = f"Lists, seconds; the bar is {PEER}"
        bars.append(bar(what, lists[OURS]["seconds"], limit, ".2f"))
    bars += [
        bar("Lists, MB beyond the factors", lists[OURS]["mb"], 1_000.0, ".0f"),
        *(bar(f"fold_in, ms a user, {n}", new[n], 1.0, ".3f") for n in list(FOLDED)[:2]),
    ]
    users, items = (log[column].nunique() for column in IDS)
    return {
        "title": "Lists for everybody, and new users",
        "notes": [
            f"{len(log):,} ratings by {users:,} users of {items:,} items"
            f"{' (made)' if path is None else ''}. The first {N_ITEMS} items for every user, "
            f"without those rated, from the same {N_FACTORS} factors without biases; implicit "
            "gets the factors and the matrix of what was rated ready-made. `recommend` takes "
            "IDs and gives a DataFrame of IDs, ranks and scores. Memory is the peak beyond what "
            f"was held before, results included. Medians of {repeats} calls.",
            *same,
            f"Folding in: {N_NEW:,} users are left out of the fit and added in one call with "
            f"{N_RATINGS} ratings each. The call copies the model.",
            f"The others are fitted on MovieLens 100K; {N_NEW:,} lists from the whole catalogue.",
        ],
        "bars": bars,
        "tables": [
            {
                "title": "Lists for everybody",
                "columns": {"": "", "Seconds": ".2f", "Users/s": ",.0f", "MB": ".0f"},
                "rows": [
                    [name, row["seconds"], users / row["seconds"], row["mb"]]
                    for name, row in lists.items()
                ],
            },
            {
                "title": f"Folding in {N_NEW:,} users",
                "columns": {"Solver": "", "ms a user": ".3f"},
                "rows": [list(row) for row in new.items()],
            },
            {
                "title": "Lists on MovieLens 100K",
                "columns": {"Estimator": "", "ms a user": ".3f"},
                "rows": [list(row) for row in other_lists(repeats).items()],
            },
        ],
        "left_out": left_out,
    }


def compare_lists(
    log: pd.DataFrame, repeats: int
) -> tuple[dict[str, dict[str, float]], list[str], list[str]]:
    """Seconds and MB of each way to the lists, how alike these are, and who was left out."""
    request = {"n_items": N_ITEMS, "repeats": repeats}
    params = {"n_factors": N_FACTORS, "biased": False, "random_state": 0}
    arrays = {name: log[name].to_numpy() for name in log}
    reply, data = exchange("sklrec", "sklrec_topk", {**request, "params": params}, arrays)
    lists = {
        OURS: _cost(*reply["recommend"]),
        f"{OURS[:11]}, {BARE}": _cost(*reply["bare"]),
    }
    users, items = (log[column].nunique() for column in IDS)
    least = 2 * N_FACTORS * users * items / reply["rate"]
    same = [
        f"`recommend` and {BARE}: {reply['same']:.3%} of the places have the same item.",
        f"The multiplications alone take {least:.2f} seconds at the {reply['rate'] / 1e9:.0f} "
        "billion operations a second that the same threads reach with square matrices of "
        f"float32: `recommend` is at {least / lists[OURS]['seconds']:.0%} of that bound.",
    ]
    try:
        peer, theirs = exchange("implicit", "implicit_topk", request, data)
    except LeftOut as reason:
        return lists, same, [f"{PEER}: left out, {reason}"]
    lists[PEER] = _cost(peer["seconds"], peer["bytes"])
    same.append(agreement(data["items"], theirs["items"]))
    return lists, same, []


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How alike two sets of lists are; sums in another order may turn near ties round."""
    places = np.mean(ours == theirs)
    sets = np.mean((np.sort(ours, axis=1) == np.sort(theirs, axis=1)).all(axis=1))
    return (
        f"`recommend` and {PEER}: {places:.3%} of the places have the same item, and {sets:.3%} "
        "of the lists the same items."
    )


def fold_in(log: pd.DataFrame, repeats: int) -> dict[str, float]:
    """Milliseconds a new user."""
    rest, new = newcomers(log)
    found = {}
    for name, model in FOLDED.items():
        model = clone(model).fit(rest[IDS], rest["rating"])
        elapsed = alternate(
            {name: lambda model=model: seconds(lambda: model.fold_in(new[IDS], new["rating"]))},
            repeats,
        )
        found[name] = MS * elapsed[name] / N_NEW
        print(f"fold_in, {name}: {found[name]:.3f} ms a user", flush=True)
    return found


def newcomers(log: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take some users out of a log, and give the rest and the first of their ratings.

    Their number is `N_NEW`, with `N_RATINGS` of items that the rest knows.
    """
    counts = log["user"].value_counts()
    able = np.sort(counts.index[counts >= 2 * N_RATINGS].to_numpy())
    if len(able) < N_NEW:
        able = np.sort(counts.index[:N_NEW].to_numpy())
    chosen = np.random.default_rng(0).choice(able, N_NEW, replace=False)
    is_new = log["user"].isin(chosen)
    rest, new = log[~is_new], log[is_new]
    new = new[new["item"].isin(rest["item"])]
    return rest, new[new.groupby("user").cumcount() < N_RATINGS]


def other_lists(repeats: int) -> dict[str, float]:
    """Milliseconds a list from the whole catalogue of MovieLens 100K."""
    X, y = fetch_movielens("100k", return_X_y=True)
    users = np.random.default_rng(0).choice(X["user"].unique(), N_NEW)
    found = {}
    for name, model in OTHERS.items():
        columns = X.columns if name == "SequenceRatingRegressor" else IDS
        model = clone(model).fit(X[columns], y)
        model.recommend(users[:10])  # warms up
        elapsed = alternate(
            {name: lambda model=model: seconds(lambda: model.recommend(users))}, repeats
        )
        found[name] = MS * elapsed[name] / N_NEW
    return found


def _cost(elapsed: float, held: float) -> dict[str, float]:
    return {"seconds": elapsed, "mb": held / MB}
