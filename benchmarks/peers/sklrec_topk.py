"""Our lists for all users: by `recommend`, and by scores and their highest values alone."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import torch

from benchmarks._bandwidth import multiplication_rate
from benchmarks.peers._serve import measured, read_request, write_reply
from sklrec import MFRegressor

SCORES_AT_ONCE = 2**21


def highest(model: MFRegressor, n_items: int) -> np.ndarray:
    """Positions of the highest scores of each user, from factors without biases."""
    users, items = (
        torch.from_numpy(factors.astype(np.float32))
        for factors in (model.user_factors_, model.item_factors_)
    )
    seen = model.seen_[1:, 1:]
    found, n_rows = [], max(1, SCORES_AT_ONCE // len(items))
    for first, block in enumerate(users.split(n_rows)):
        scores = block @ items.T  # (n_rows, n_items)
        row, column = seen[first * n_rows : first * n_rows + len(block)].nonzero()
        scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
        found.append(scores.topk(n_items).indices.numpy())
    return np.concatenate(found)


def main() -> None:
    """Fit, unmeasured, and recommend to all users, without the items that they rated."""
    request, data = read_request()
    log = pd.DataFrame({"user": data["user"], "item": data["item"]})
    model = MFRegressor(**request["params"]).fit(log, data["rating"])
    users, names = model.encoder_.categories_
    n_items, repeats = request["n_items"], request["repeats"]
    model.recommend(users[:100], n_items)  # warms up
    lists, *recommended = measured(lambda: model.recommend(users, n_items), repeats)
    places, *bare = measured(lambda: highest(model, n_items), repeats)
    found = pd.Index(names).get_indexer(lists["item"]).reshape(len(users), n_items)
    seen = model.seen_[1:, 1:]
    same = float(np.mean(found == places))
    rate = multiplication_rate()
    write_reply(
        {"recommend": recommended, "bare": bare, "same": same, "rate": rate},
        {
            "items": found,
            "user_factors": model.user_factors_.astype(np.float32),
            "item_factors": model.item_factors_.astype(np.float32),
            "indices": seen.indices,
            "indptr": seen.indptr,
        },
    )


if __name__ == "__main__":
    main()
