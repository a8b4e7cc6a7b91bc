"""Lists by an approximate index of a large catalogue beside the exact ones."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np

from benchmarks._data import made
from benchmarks._measure import seconds
from sklrec import MFRegressor
from sklrec.approximate import ApproximateItems

N_FACTORS, N_ITEMS, N_ASKED = 32, 10, 2_000
SEARCHES = [64, 128, 256, 512]


def run(*, quick: bool = False) -> dict[str, Any]:
    """Recommend to some users exactly and by indices that look at more and more."""
    size = (5_000, 20_000, 100_000) if quick else (20_000, 300_000, 1_500_000)
    log = made(*size)
    model = MFRegressor(n_factors=N_FACTORS, max_epochs=8, random_state=0)
    model.fit(log[["user", "item"]], log["rating"])
    users = np.random.default_rng(0).choice(log["user"].unique(), N_ASKED)
    users = np.unique(users)
    exact = model.recommend(users, N_ITEMS)
    rows = [
        ["MFRegressor.recommend", 1e3 * seconds(lambda: model.recommend(users)) / len(users), 1.0]
    ]
    indices = []
    build = seconds(lambda: indices.append(ApproximateItems(model)))
    index = indices[0]
    for ef_search in SEARCHES:
        index._ef_search = ef_search
        found = index.recommend(users, N_ITEMS)
        share = len(found.merge(exact, on=["user", "item"])) / len(exact)
        took = 1e3 * seconds(lambda: index.recommend(users, N_ITEMS)) / len(users)
        rows.append([f"ApproximateItems(ef_search={ef_search})", took, share])
        print(*rows[-1], flush=True)
    n_items = log["item"].nunique()
    return {
        "title": "Lists from a large catalogue",
        "notes": [
            f"{n_items:,} items and {len(log):,} made ratings; the first {N_ITEMS} items for "
            f"{len(users):,} users at once, without those rated, from {N_FACTORS} factors and "
            f"biases. The index took {build:.0f} seconds to build, two threads. Recall is the "
            "share of the exact lists that is found.",
        ],
        "bars": [],
        "tables": [
            {
                "title": "Time and recall",
                "columns": {"": "", "ms a user": ".2f", "Recall": ".3f"},
                "rows": rows,
            }
        ],
        "left_out": [],
    }
