"""Lists for all users beside implicit's."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from benchmarks._data import made
from benchmarks._peers import LeftOut, exchange
from benchmarks._results import bar, table

IDS = ["user", "item"]
N_FACTORS, N_ITEMS = 64, 10
PEER, OURS = "implicit, ALS.recommend", "MFRegressor.recommend"
MB = 1e6


def run(
    *, log: pd.DataFrame | None = None, title: str = "made ratings", quick: bool = False
) -> dict[str, Any]:
    size = (5_000, 2_000, 100_000) if quick else (50_000, 10_000, 1_000_000)
    log = made(*size) if log is None else log
    repeats = 1 if quick else 3
    lists, same, left_out = compare_lists(log, repeats)
    bars = [bar("Lists, MB beyond the factors", lists[OURS][1] / MB, 1_000.0, ".0f")]
    if PEER in lists:
        what = f"Lists, seconds; the bar is {PEER}"
        bars.append(bar(what, lists[OURS][0], lists[PEER][0], ".2f"))
    users, items = (log[column].nunique() for column in IDS)
    forms = {"": "", "Seconds": ".2f", "Users/s": ",.0f", "MB": ".0f"}
    rows = [[name, took, users / took, held / MB] for name, (took, held) in lists.items()]
    return {
        "title": f"Lists for all users, {title}",
        "notes": [
            f"{len(log):,} ratings by {users:,} users of {items:,} items. The first {N_ITEMS} "
            f"items for every user, without rated items, from the same {N_FACTORS} factors "
            "without biases. implicit gets the factors and the matrix of rated pairs. "
            "`recommend` takes IDs and gives a DataFrame of IDs, ranks and scores. Memory is the "
            f"peak of the call, results included. Medians of {repeats} calls.",
            *same,
        ],
        "bars": bars,
        "tables": [table("Lists for all users", forms, rows)],
        "left_out": left_out,
    }


def compare_lists(
    log: pd.DataFrame, repeats: int
) -> tuple[dict[str, tuple[float, float]], list[str], list[str]]:
    """Seconds and bytes of each way to the lists, how similar they are, and failed peers."""
    request = {"n_items": N_ITEMS, "repeats": repeats}
    params = {"n_factors": N_FACTORS, "biased": False, "random_state": 0}
    arrays = {name: log[name].to_numpy() for name in log}
    reply, data = exchange("sklrec", "sklrec_lists", {**request, "params": params}, arrays)
    lists = {OURS: reply["recommend"]}
    users, items = (log[column].nunique() for column in IDS)
    least = 2 * N_FACTORS * users * items / reply["rate"]
    same = [
        f"The multiplications alone take {least:.2f} seconds at the {reply['rate'] / 1e9:.0f} "
        "billion operations a second that the same threads reach with square matrices of "
        f"float32: `recommend` is at {least / lists[OURS][0]:.0%} of that bound."
    ]
    try:
        peer, theirs = exchange("implicit", "implicit_lists", request, data)
    except LeftOut as reason:
        return lists, same, [f"{PEER}: left out, {reason}"]
    lists[PEER] = peer["seconds"], peer["bytes"]
    return lists, [*same, agreement(data["items"], theirs["items"])], []


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Similarity of two sets of lists; another order of the sums may swap items."""
    places = np.mean(ours == theirs)
    sets = np.mean((np.sort(ours, axis=1) == np.sort(theirs, axis=1)).all(axis=1))
    return (
        f"`recommend` and {PEER}: {places:.3%} of the places have the same item, and {sets:.3%} "
        "of the lists the same items."
    )
