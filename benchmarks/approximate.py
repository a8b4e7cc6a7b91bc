"""Lists by an approximate index of a large catalogue beside the exact ones."""
# SPDX-License-Identifier: BSD-3-Clause

from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._data import made
from benchmarks._measure import seconds
from benchmarks._results import table
from sklrec import MFRegressor
from sklrec.approximate import ApproximateItems

N_FACTORS, N_ITEMS, N_ASKED = 32, 10, 2_000
SEARCHES = [64, 128, 256, 512]


def run(*, quick: bool = False) -> dict[str, Any]:
    """Recommend to some users exactly and by indices of growing precision."""
    size = (5_000, 20_000, 100_000) if quick else (20_000, 300_000, 1_500_000)
    log = made(*size)
    model = MFRegressor(n_factors=N_FACTORS, max_epochs=8, random_state=0)
    model.fit(log[["user", "item"]], log["rating"])
    users = np.unique(np.random.default_rng(0).choice(log["user"].unique(), N_ASKED))
    exact, took = timed_lists(model, users)
    rows, built = [["MFRegressor.recommend", took, 1.0]], []
    for ef_search in SEARCHES:
        start = perf_counter()
        index = ApproximateItems(model, ef_search=ef_search)
        built.append(perf_counter() - start)
        found, took = timed_lists(index, users)
        share = len(found.merge(exact, on=["user", "item"])) / len(exact)
        rows.append([f"ApproximateItems(ef_search={ef_search})", took, share])
        print(*rows[-1], flush=True)
    return {
        "title": "Lists from a large catalogue",
        "notes": [
            f"{log['item'].nunique():,} items and {len(log):,} made ratings; the first {N_ITEMS} "
            f"items for {len(users):,} users at once, without rated items, from {N_FACTORS} "
            f"factors and biases. An index took {np.median(built):.0f} seconds to build. Recall "
            "is the share of the exact lists that is found."
        ],
        "tables": [table("Time and recall", {"": "", "ms a user": ".2f", "Recall": ".3f"}, rows)],
    }


def timed_lists(model: Any, users: np.ndarray) -> tuple[pd.DataFrame, float]:
    """Lists of a model, and the milliseconds of a second call for each user."""
    found = model.recommend(users, N_ITEMS)
    return found, 1e3 * seconds(lambda: model.recommend(users, N_ITEMS)) / len(users)
